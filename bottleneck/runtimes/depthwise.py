"""ConvNeXt's grouped convolutions as depthwise ones.

TensorFlow has no grouped convolution on a CPU, so Keras goes through XLA for it, which is slow
there. With as many groups as channels it is a depthwise convolution, which TensorFlow has.
"""

from typing import Any

import numpy as np


def depthwise(keras: Any, network: Any) -> Any:
    """Rewire a network so that no convolution has one group per channel.

    Parameters
    ----------
    keras : module
    network : keras.Model
        Not changed; its other layers are shared with the result.

    Returns
    -------
    keras.Model
        The same function; ``network`` itself where there is nothing to replace.
    """
    grouped = [layer for layer in network.layers if _has_a_group_per_channel(keras, layer)]
    if not grouped:
        return network
    replaced = {layer.name: _replacement(keras, layer) for layer in grouped}
    rewired = keras.models.clone_model(
        network, clone_function=lambda layer: replaced.get(layer.name, layer)
    )
    for layer in grouped:
        kernel, *bias = layer.get_weights()
        # (h, w, 1, channels) there, (h, w, channels, 1) here.
        replaced[layer.name].set_weights([np.swapaxes(kernel, 2, 3), *bias])
    return rewired


def _has_a_group_per_channel(keras: Any, layer: Any) -> bool:
    return (
        type(layer) is keras.layers.Conv2D
        and layer.groups > 1
        and layer.groups == layer.filters == layer.kernel.shape[2] * layer.groups
    )


def _replacement(keras: Any, layer: Any) -> Any:
    return keras.layers.DepthwiseConv2D(
        layer.kernel_size,
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
        activation=layer.activation,
        use_bias=layer.use_bias,
        depthwise_initializer="zeros",
        name=layer.name,
    )
