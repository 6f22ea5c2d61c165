"""Convolutions of a Keras network as PyTorch computes them best: one call, nothing copied.

Keras's Torch layers permute a kernel for every batch, which makes PyTorch copy the layout of what
goes in and comes out, and add the bias in a pass of its own. Here a kernel is laid out once, the
bias belongs to the convolution, and a ReLU behind it works in place.
"""

from collections.abc import Sequence
from typing import Any

from bottleneck.runtimes.folding import Graph, has_plain_weights, rewired


def native(torch: Any, keras: Any, network: Any) -> Any:
    """Replace the convolutions of a network.

    Parameters
    ----------
    torch, keras : module
    network : keras.Model
        Built with ``backend="torch"``. Not changed; its other layers are shared with the result.

    Returns
    -------
    keras.Model
        The same function; ``network`` itself where there is nothing to replace.
    """
    graph = Graph(network)
    plain = {id(layer): layer for layer, _ in graph.calls if _is_plain(keras, layer, graph)}
    if not plain:
        return network
    behind = {
        id(layer): (relu, most)
        for layer, relu in graph.pairs()
        if id(layer) in plain and (most := _relu(keras, relu)) is not None
    }
    kind = _kind(torch, keras)
    replaced = {
        id(layer): kind(layer, made, behind[id(layer)][1] if id(layer) in behind else None)
        for layer, made in graph.calls
        if id(layer) in plain
    }
    return rewired(keras, network, replaced, [relu for relu, _ in behind.values()])


def _is_plain(keras: Any, layer: Any, graph: Graph) -> bool:
    return (
        type(layer) in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
        and has_plain_weights(keras, layer)
        and layer.padding in ("same", "valid")
        and graph.uses(layer) == 1
    )


def _relu(keras: Any, layer: Any) -> float | None:
    """Return the largest value a ReLU lets through; None for any other layer."""
    if type(layer) is keras.layers.Activation:
        largest = {keras.activations.relu: float("inf"), keras.activations.relu6: 6.0}
        return largest.get(layer.activation)
    if type(layer) is not keras.layers.ReLU or layer.negative_slope or layer.threshold:
        return None
    return float("inf") if layer.max_value is None else float(layer.max_value)


def _kind(torch: Any, keras: Any) -> Any:
    """Make the class of layers; it derives from what Keras's back end has made of its own."""
    functional = torch.nn.functional

    class Convolution(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, layer: Any, made: Any, most: float | None) -> None:
            super().__init__(name=layer.name, dtype=layer.dtype_policy, trainable=False)
            kernel, *bias = (
                variable.value.detach().to(getattr(torch, layer.compute_dtype))
                for variable in layer.weights
            )
            self._groups = getattr(layer, "groups", 1)
            if type(layer) is keras.layers.DepthwiseConv2D:
                height, width, self._groups, multiplier = kernel.shape
                kernel = kernel.reshape(height, width, 1, self._groups * multiplier)
            kernel = kernel.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
            self.register_buffer("laid_out", kernel, persistent=False)
            self.register_buffer("added", bias[0] if bias else None, persistent=False)
            self._strides = _both(layer.strides)
            self._dilation = _both(layer.dilation_rate)
            self._same = layer.padding == "same"
            self._most = most
            self._made = keras.KerasTensor(made.shape, layer.compute_dtype)
            self.built = True

        def compute_output_spec(self, inputs: Any) -> Any:
            return self._made

        def call(self, inputs: Any) -> Any:
            # Channels last in memory, which PyTorch takes as it is.
            maps = inputs.permute(0, 3, 1, 2)
            padding = (0, 0)
            if self._same:
                (top, bottom), (left, right) = self._padding(maps.shape[2:])
                if (top, left) == (bottom, right):
                    padding = top, left
                else:
                    maps = functional.pad(maps, (left, right, top, bottom))
            found = functional.conv2d(
                maps, self.laid_out, self.added, self._strides, padding, self._dilation,
                self._groups,
            )  # fmt: skip
            if self._most is not None:
                found.clamp_(0.0, self._most)
            return found.permute(0, 2, 3, 1)

        def _padding(self, sides: Sequence[int]) -> list[tuple[int, int]]:
            """Pad as TensorFlow does: what is odd at the end."""
            found = []
            lengths = zip(
                sides, self.laid_out.shape[2:], self._strides, self._dilation, strict=True
            )
            for side, length, stride, dilation in lengths:
                reach = (length - 1) * dilation + 1
                more = max((-(-side // stride) - 1) * stride + reach - side, 0)
                found.append((more // 2, more - more // 2))
            return found

    return Convolution


def _both(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
