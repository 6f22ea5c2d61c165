"""How a network of Keras computes in another precision than its own."""

from typing import Any, Final

from bottleneck.runtimes.folding import folded

_LARGEST_FLOAT16: Final = 65504.0

HALF: Final = ("bfloat16", "float16")
"""The precisions of :func:`mixed`."""


def in_precision(keras: Any, network: Any, precision: str) -> Any:
    """Rebuild a network so that it computes in a precision, with its normalisations folded.

    In bfloat16 they stay, for accuracy; see :mod:`bottleneck.runtimes.folding`.

    Parameters
    ----------
    keras : module
    network : keras.Model
        Not changed.
    precision : str
        What its layers are to compute in; all but :data:`HALF` are the framework's own matter.

    Returns
    -------
    keras.Model
        The same function, but for rounding.
    """
    if precision == "bfloat16":
        return mixed(keras, network, precision)
    if precision == "float16":
        return mixed(keras, folded(keras, network, largest=_LARGEST_FLOAT16), precision)
    return folded(keras, network)


def mixed(keras: Any, network: Any, precision: str) -> Any:
    """Rebuild a network that computes in a shorter type and keeps float32 weights.

    In float16 every layer does. In bfloat16 only dense convolutions and products do, which is
    where the time goes: it has 8 bits of precision, and a depthwise kernel has few numbers, whose
    rounding does not average out. EfficientNet-Lite0 with all layers in bfloat16 has a least
    cosine to float32 of 0.9959 on the sample, and 0.9993 so (docs/decisions/0005-runtimes.md).

    Parameters
    ----------
    keras : module
    network : keras.Model
        Not changed, and shares nothing with the result.
    precision : {"bfloat16", "float16"}
        What its layers are to compute in.

    Returns
    -------
    keras.Model
        The same function, but for rounding.
    """

    def clone(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):
            return layer  # an operation has no type of its own
        short = precision == "float16" or _is_dense(keras, layer)
        policy = f"mixed_{precision}" if short else "float32"
        return type(layer).from_config({**layer.get_config(), "dtype": policy})

    cloned = keras.models.clone_model(network, clone_function=clone, recursive=True)
    cloned.set_weights(network.get_weights())
    return cloned


def _is_dense(keras: Any, layer: Any) -> bool:
    layers = keras.layers
    if isinstance(layer, layers.Conv2D):
        return bool(layer.groups == 1)
    return isinstance(layer, layers.Dense | layers.SeparableConv2D)
