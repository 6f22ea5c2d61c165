"""Random weights that are the same on every framework.

Each framework has a generator of its own, so that Keras's initialisers draw other numbers on
each. Here NumPy draws, from the distributions that the layers name.
"""

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_KERNELS: Final = (
    ("kernel", "kernel_initializer"),
    ("kernel", "depthwise_initializer"),
    ("depthwise_kernel", "depthwise_initializer"),
    ("pointwise_kernel", "pointwise_initializer"),
)
"""Where layers keep a kernel and what draws it."""

_TRUNCATED_STD: Final = 0.87962566103423978
"""Standard deviation of a standard normal that is cut off at -2 and 2."""


def draw(model: Any) -> None:
    """Draw the kernels of a network anew, always the same ones; changes it in place.

    Kernels whose initialiser is no ``VarianceScaling`` (zeros, say) stay, as do biases and
    statistics, which start from constants.

    Parameters
    ----------
    model : keras.Model
    """
    generator = np.random.default_rng(0)
    for layer in _leaves(model):
        for kernel_name, initializer_name in _KERNELS:
            kernel = getattr(layer, kernel_name, None)
            initializer = getattr(layer, initializer_name, None)
            if kernel is not None and hasattr(initializer, "distribution"):
                kernel.assign(_variance_scaling(generator, tuple(kernel.shape), initializer))


def _leaves(model: Any) -> Iterator[Any]:
    """Yield the layers, those of models among them too, in their order."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _leaves(layer)
        else:
            yield layer


def _variance_scaling(
    generator: np.random.Generator, shape: tuple[int, ...], initializer: Any
) -> NDArray[np.float32]:
    """Draw as Keras documents ``VarianceScaling``: variance ``scale`` over the mode's fan."""
    field = math.prod(shape[:-2])
    fan_in, fan_out = field * shape[-2], field * shape[-1]
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
    variance = initializer.scale / max(1.0, fan[initializer.mode])
    if initializer.distribution == "uniform":
        limit = math.sqrt(3 * variance)
        return generator.uniform(-limit, limit, shape).astype(np.float32)
    drawn = generator.standard_normal(shape, np.float32)
    if initializer.distribution == "truncated_normal":
        while (outside := np.abs(drawn) > 2).any():
            drawn[outside] = generator.standard_normal(int(outside.sum()), np.float32)
        variance /= _TRUNCATED_STD**2
    return drawn * np.float32(math.sqrt(variance))
