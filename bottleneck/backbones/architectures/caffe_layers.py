"""Layers of Caffe that Keras does not have, with Caffe's own rules of borders and sums.

Rules from BVLC/caffe: ``pooling_layer.cpp``, ``lrn_layer.cpp``.
"""

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pooled_length(length: int, kernel: int, stride: int, pad: int) -> int:
    """Say how many windows Caffe pools: rounded up, less one that would begin in the padding."""
    count = -((length + 2 * pad - kernel) // -stride) + 1
    if pad and (count - 1) * stride >= length + pad:
        count -= 1
    return count


@cache
def own_layers(keras: Any) -> SimpleNamespace:
    """Make the layers that Keras does not have."""
    ops = keras.ops

    class ScaleShift(keras.layers.Layer):  # type: ignore[misc]
        """One factor and one summand for each channel."""

        def __init__(self, scale: bool, shift: bool, **given: Any) -> None:
            super().__init__(**given)
            self._scale, self._shift = scale, shift

        def build(self, shape: Any) -> None:
            self.gamma = self.beta = None
            if self._scale:
                self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones", name="gamma")
            if self._shift:
                self.beta = self.add_weight(shape=(shape[-1],), initializer="zeros", name="beta")

        def call(self, x: Any) -> Any:
            x = x if self.gamma is None else x * ops.cast(self.gamma, x.dtype)
            return x if self.beta is None else x + ops.cast(self.beta, x.dtype)

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "scale": self._scale, "shift": self._shift}

    class LocalResponse(keras.layers.Layer):  # type: ignore[misc]
        """``x / (k + alpha / n * sum of squares)^beta``, over n channels or n x n pixels."""

        def __init__(
            self, size: int, alpha: float, beta: float, k: float, within: bool, **given: Any
        ) -> None:
            super().__init__(**given)
            self._size, self._within = size, within
            self._alpha, self._beta, self._k = alpha, beta, k

        def call(self, x: Any) -> Any:
            size, k = self._size, self._k
            half = size // 2
            wide = ops.cast(x, "float32")  # squares leave the range of float16
            squares = ops.square(wide)
            if self._within:
                padded = ops.pad(squares, [[0, 0], [half, half], [half, half], [0, 0]])
                mean = ops.average_pool(padded, (size, size), (1, 1), "valid")
                k = 1.0
            else:
                padded = ops.pad(squares, [[0, 0], [0, 0], [0, 0], [half, half]])
                channels = x.shape[-1]
                mean = padded[..., :channels]
                for start in range(1, size):
                    mean = mean + padded[..., start : start + channels]
                mean = mean / size
            return ops.cast(wide * ops.power(k + self._alpha * mean, -self._beta), x.dtype)

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

        def get_config(self) -> dict[str, Any]:
            own = {"size": self._size, "alpha": self._alpha, "beta": self._beta, "k": self._k}
            return {**super().get_config(), **own, "within": self._within}

    class PaddedPooling(keras.layers.Layer):  # type: ignore[misc]
        """Windows that reach over the border, as Caffe counts them.

        Of a maximum, the border's own pixels are repeated, which changes none. Of a mean, zeros of
        the padding count, and what is behind it does not.
        """

        def __init__(self, how: str, kernel: Any, stride: Any, pad: Any, **given: Any) -> None:
            super().__init__(**given)
            self._how = how
            self._kernel, self._stride, self._pad = tuple(kernel), tuple(stride), tuple(pad)

        def _counts(self, sides: Any) -> list[int]:
            each = zip(sides, self._kernel, self._stride, self._pad, strict=True)
            return [pooled_length(*one) for one in each]

        def call(self, x: Any) -> Any:
            sides = x.shape[1:3]
            out = self._counts(sides)
            ends = []
            for axis in (0, 1):
                before = self._pad[axis]
                covered = (out[axis] - 1) * self._stride[axis] + self._kernel[axis]
                ends.append((before, covered - before - sides[axis]))
            for axis, (before, after) in enumerate(ends, 1):
                x = self._padded(x, axis, before, after)
            if self._how == "MAX":
                return ops.max_pool(x, self._kernel, self._stride, "valid")
            weights = [self._shares(axis, sides[axis], out[axis]) for axis in (0, 1)]
            mean = ops.average_pool(x, self._kernel, self._stride, "valid")
            share = np.outer(*weights)[None, :, :, None].astype(np.float32)
            return mean * ops.cast(ops.convert_to_tensor(share), mean.dtype)

        def _padded(self, x: Any, axis: int, before: int, after: int) -> Any:
            if after < 0:
                x = _part(x, axis, 0, x.shape[axis] + after)
            if not before and after <= 0:
                return x
            if self._how == "AVE":
                widths = [[0, 0]] * 4
                widths[axis] = [before, max(after, 0)]
                return ops.pad(x, widths)
            length = x.shape[axis]
            first, last = _part(x, axis, 0, 1), _part(x, axis, length - 1, length)
            return ops.concatenate([first] * before + [x] + [last] * max(after, 0), axis)

        def _shares(self, axis: int, length: int, count: int) -> NDArray[np.float64]:
            """Kernel length, as a multiple of the pixels that count in each window."""
            start = np.arange(count) * self._stride[axis] - self._pad[axis]
            stop = np.minimum(start + self._kernel[axis], length + self._pad[axis])
            found: NDArray[np.float64] = self._kernel[axis] / (stop - start)
            return found

        def compute_output_shape(self, shape: Any) -> Any:
            return (shape[0], *self._counts(shape[1:3]), shape[3])

        def get_config(self) -> dict[str, Any]:
            own = {"how": self._how, "kernel": self._kernel, "stride": self._stride}
            return {**super().get_config(), **own, "pad": self._pad}

    class Part(keras.layers.Layer):  # type: ignore[misc]
        """From ``start`` to ``stop`` along an axis."""

        def __init__(self, axis: int, start: int, stop: int, **given: Any) -> None:
            super().__init__(**given)
            self._range = {"axis": axis, "start": start, "stop": stop}

        def call(self, x: Any) -> Any:
            return _part(x, *self._range.values())

        def compute_output_shape(self, shape: Any) -> Any:
            axis, start, stop = self._range.values()
            return (*shape[:axis], stop - start, *shape[axis + 1 :])

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), **self._range}

    return SimpleNamespace(
        ScaleShift=ScaleShift, LocalResponse=LocalResponse, PaddedPooling=PaddedPooling, Part=Part
    )


def _part(x: Any, axis: int, start: int, stop: int) -> Any:
    return x[(*(slice(None),) * axis, slice(start, stop))]
