"""ResNets that are not Keras's: TF-slim's of both versions, and the ResNet50 of Keras 0.2.

They differ in where a stride stands, in what is padded, in biases and in the epsilon, none of
which a weights file shows. Sources: ``tf_slim/nets/resnet_v1.py``, ``resnet_v2.py`` and
``resnet_utils.py`` (tf-slim 1.1.0); ``keras/applications/resnet50.py`` (Keras 1.2.2).
"""

from collections.abc import Callable
from typing import Any, Final

from bottleneck.images import ImageSize, image_shape

SLIM_EPSILON: Final = 1e-5
EARLY_EPSILON: Final = 1e-3

_FILTERS: Final = (64, 128, 256, 512)
"""Inside the units of each block; four times as many come out."""

_UNITS: Final = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Units per block, by depth."""

Convolve = Callable[..., Any]


def build(keras: Any, name: str, size: ImageSize, *, random: bool) -> Any:
    """Build the headless network.

    Parameters
    ----------
    keras : module
        The imported Keras.
    name : str
        ``slim_resnet_v1_50`` (or ``v2``, 101, 152), or ``resnet50_v02``.
    size : int or (int, int)
        Side of the square input, or height and width, pixels.
    random : bool
        Draw kernels; otherwise they stay zero until weights are loaded, which is faster.

    Returns
    -------
    keras.Model
        Float NHWC input already normalised; output (n, h, w, 2048).
    """
    layers = keras.layers

    def convolve(x: Any, name: str, filters: int, kernel: int, stride: int, **options: Any) -> Any:
        if stride > 1 and kernel > 1:
            # As much on both sides, where "same" would put less in front.
            x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
        return layers.Conv2D(
            filters,
            kernel,
            stride,
            padding="valid" if stride > 1 else "same",
            kernel_initializer="glorot_uniform" if random else "zeros",
            name=name,
            **options,
        )(x)

    inputs = layers.Input(image_shape(size), name="images")
    if name == "resnet50_v02":
        x = _early(layers, convolve, inputs)
    elif name.startswith("slim_resnet_v1_"):
        x = _slim_v1(layers, convolve, inputs, _UNITS[int(name.rpartition("_")[2])])
    else:
        x = _slim_v2(layers, convolve, inputs, _UNITS[int(name.rpartition("_")[2])])
    return keras.Model(inputs, x, name=name)


def _units(units: tuple[int, ...]) -> list[tuple[str, int, int]]:
    """List slim's units: name, filters inside, stride; each block but the last ends with one."""
    return [
        (f"block{b + 1}_unit_{u + 1}", _FILTERS[b], 2 if b < 3 and u == units[b] - 1 else 1)
        for b in range(len(units))
        for u in range(units[b])
    ]


def _subsampled(layers: Any, x: Any, stride: int, name: str) -> Any:
    return x if stride == 1 else layers.MaxPooling2D(1, stride, name=f"{name}_subsample")(x)


def _slim_v1(layers: Any, convolve: Convolve, x: Any, units: tuple[int, ...]) -> Any:
    def normalised(x: Any, name: str, filters: int, kernel: int, stride: int = 1) -> Any:
        x = convolve(x, name, filters, kernel, stride, use_bias=False)
        return layers.BatchNormalization(epsilon=SLIM_EPSILON, name=f"{name}_bn")(x)

    x = layers.ReLU(name="conv1_relu")(normalised(x, "conv1", 64, 7, 2))
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool1")(x)
    for name, filters, stride in _units(units):
        if x.shape[-1] == 4 * filters:
            shortcut = _subsampled(layers, x, stride, name)
        else:
            shortcut = normalised(x, f"{name}_shortcut", 4 * filters, 1, stride)
        x = layers.ReLU(name=f"{name}_conv1_relu")(normalised(x, f"{name}_conv1", filters, 1))
        x = normalised(x, f"{name}_conv2", filters, 3, stride)
        x = layers.ReLU(name=f"{name}_conv2_relu")(x)
        x = normalised(x, f"{name}_conv3", 4 * filters, 1)
        x = layers.ReLU(name=name)(layers.Add(name=f"{name}_add")([shortcut, x]))
    return x


def _slim_v2(layers: Any, convolve: Convolve, x: Any, units: tuple[int, ...]) -> Any:
    def activated(x: Any, name: str) -> Any:
        x = layers.BatchNormalization(epsilon=SLIM_EPSILON, name=name)(x)
        return layers.ReLU(name=f"{name}_relu")(x)

    x = convolve(x, "conv1", 64, 7, 2)
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool1")(x)
    for name, filters, stride in _units(units):
        before = activated(x, f"{name}_preact")
        if x.shape[-1] == 4 * filters:
            shortcut = _subsampled(layers, x, stride, name)
        else:
            shortcut = convolve(before, f"{name}_shortcut", 4 * filters, 1, stride)
        x = convolve(before, f"{name}_conv1", filters, 1, 1, use_bias=False)
        x = activated(x, f"{name}_conv1_bn")
        x = convolve(x, f"{name}_conv2", filters, 3, stride, use_bias=False)
        x = activated(x, f"{name}_conv2_bn")
        x = convolve(x, f"{name}_conv3", 4 * filters, 1, 1)
        x = layers.Add(name=name)([shortcut, x])
    return activated(x, "postnorm")


def _early(layers: Any, convolve: Convolve, x: Any) -> Any:
    def normalised(x: Any, name: str, filters: int, kernel: int, stride: int) -> Any:
        x = convolve(x, name, filters, kernel, stride)
        normal = "bn_conv1" if name == "conv1" else name.replace("res", "bn")
        return layers.BatchNormalization(epsilon=EARLY_EPSILON, name=normal)(x)

    x = layers.ReLU(name="conv1_relu")(normalised(x, "conv1", 64, 7, 2))
    x = layers.MaxPooling2D(3, 2, name="pool1")(x)
    for stage, (filters, count) in enumerate(zip(_FILTERS, _UNITS[50], strict=True), start=2):
        for number in range(count):
            unit = f"{stage}{chr(ord('a') + number)}"
            stride = 2 if number == 0 and stage > 2 else 1
            shortcut = x
            sizes = ((filters, 1, stride), (filters, 3, 1), (4 * filters, 1, 1))
            for branch, numbers in zip(("2a", "2b", "2c"), sizes, strict=True):
                x = normalised(x, f"res{unit}_branch{branch}", *numbers)
                if branch != "2c":
                    x = layers.ReLU(name=f"res{unit}_branch{branch}_relu")(x)
            if number == 0:
                shortcut = normalised(shortcut, f"res{unit}_branch1", 4 * filters, 1, stride)
            x = layers.Add(name=f"res{unit}_add")([x, shortcut])
            x = layers.ReLU(name=f"res{unit}")(x)
    return x
