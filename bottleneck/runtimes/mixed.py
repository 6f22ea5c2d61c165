"""A network that computes in half precision, with the weights of one that does not."""

from typing import Any


def mixed(keras: Any, network: Any, precision: str) -> Any:
    """Rebuild a network whose layers compute in a shorter type and keep float32 weights.

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
    policy = f"mixed_{precision}"

    def clone(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):
            return layer  # an operation has no type of its own
        return type(layer).from_config({**layer.get_config(), "dtype": policy})

    cloned = keras.models.clone_model(network, clone_function=clone)
    cloned.set_weights(network.get_weights())
    return cloned
