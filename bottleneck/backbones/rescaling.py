"""The layer that Keras's EfficientNet B0-B7 has only when it is built for ImageNet.

Keras's published weights carry ImageNet's standard deviations where the normalisation layer
expects variances. ``EfficientNetB0(weights="imagenet")`` makes up for it with one more
``Rescaling`` by ``1 / sqrt(std)``; ``EfficientNetB0(weights=None)`` has no such layer. The
layer has no weights, so a weights file loads into either network without complaint, and into
the wrong one it gives wrong features.
"""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

FAMILY: Final = "efficientnet"
"""Only this family of ``keras.applications`` is concerned."""

STDDEV: Final = (0.229, 0.224, 0.225)
"""Standard deviations of ImageNet's channels on 0..1; found in the variance slot."""

LAYER: Final = "rescaling_1"
"""The name Keras gives the layer in a fresh process."""

_BEFORE = "stem_conv_pad"


def is_needed(variance: ArrayLike, rescalings: int | None) -> bool:
    """Decide whether weights belong to a network with the extra layer.

    Parameters
    ----------
    variance : array_like of 3 floats
        The variance stored for the normalisation layer.
    rescalings : int or None
        How many ``Rescaling`` layers the saved network had, where the file tells; the file is
        then believed. None where it does not: then standard deviations in place of variances
        mean ImageNet weights, which need it. (So a network that was built with
        ``weights=None``, filled with ImageNet weights, trained on and saved by Keras 2 is
        taken for one with the layer; nothing in such a file could tell.)
    """
    if rescalings is not None:
        return rescalings > 1
    return bool(np.allclose(np.ravel(variance), STDDEV, rtol=0, atol=1e-3))


def added(keras: Any, model: Any) -> Any:
    """Copy a network that lacks the layer into one that has it, weights included."""

    def called(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if layer.name == _BEFORE:
            scale = [1.0 / math.sqrt(stddev) for stddev in STDDEV]
            x = keras.layers.Rescaling(scale, name=LAYER)(args[0])
            return layer(x, *args[1:], **kwargs)
        return layer(*args, **kwargs)

    # The layers are new as well: a layer in two networks has its `output` in the first.
    copy = keras.models.clone_model(model, call_function=called)
    copy.set_weights(model.get_weights())
    copy.get_layer("normalization").finalize_state()
    return copy
