"""Inception 1 to 4 as TF-slim has them, and the Inception 3 that Keras had before release 0.5.

A network is a table of its blocks: one step, or branches whose results are joined. Sources:
``tf_slim/nets/inception_v1.py`` to ``_v3.py`` (tf-slim 1.1.0), ``research/slim/nets/
inception_v4.py`` (tensorflow/models), ``keras/applications/inception_v3.py`` (Keras 1.2.2).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bottleneck.images import ImageSize, image_shape

EPSILON: Final = 1e-3
"""Of every batch normalisation in all five."""

_DEPTHWISE: Final = 8
"""Filters per channel in the separable first layer of Inception 2."""

Blocks = Mapping[str, str | tuple[str, ...]]
"""By name: one step, or branches of steps.

A step is kernel and filters, ``5x5 64``; ``sep`` before it is a separable convolution, ``max`` and
``avg`` are pools. ``/2`` is a stride, ``!`` says that nothing is padded, a comma comes between
steps, a plus between steps side by side. Slim's names follow from the place in the branch; those
that do not stand before a colon.
"""

_STEP: Final = re.compile(
    r"(?:(?P<name>\w+): )?(?:(?P<kind>max|avg|sep) )?(?P<kernel>(?P<height>\d)x(?P<width>\d))"
    r"(?:/(?P<stride>\d))?(?P<valid>!)?(?: (?P<filters>\d+))?"
)


def _first(*filters: int, third: str = "Conv2d_0b_3x3: ") -> tuple[str, ...]:
    """Return a block of Inception 1 by its numbers of filters."""
    a, b, c, d, e, f = filters
    return f"1x1 {a}", f"1x1 {b}, 3x3 {c}", f"1x1 {d}, {third}3x3 {e}", f"max 3x3, 1x1 {f}"


def _second(*filters: int, pool: str = "avg") -> tuple[str, ...]:
    """Return a block of Inception 2."""
    a, b, c, d, e, f = filters
    return f"1x1 {a}", f"1x1 {b}, 3x3 {c}", f"1x1 {d}, 3x3 {e}, 3x3 {e}", f"{pool} 3x3, 1x1 {f}"


def _sevens(narrow: int, first: int | None = None) -> tuple[str, ...]:
    """Return a block of Inception 3 with rows and columns of seven."""
    n = narrow
    return (
        "1x1 192",
        f"1x1 {n}, 1x7 {n}, 7x1 192",
        f"1x1 {first or n}, 7x1 {n}, 1x7 {n}, 7x1 {n}, 1x7 192",
        "avg 3x3, 1x1 192",
    )


def _threes(pooled: int) -> tuple[str, ...]:
    """Return a block of Inception 3 with a five and two threes."""
    return "1x1 64", "1x1 48, 5x5 64", "1x1 64, 3x3 96, 3x3 96", f"avg 3x3, 1x1 {pooled}"


_STEM_7: Final = {
    "MaxPool_2a_3x3": "max 3x3/2",
    "Conv2d_2b_1x1": "1x1 64",
    "Conv2d_2c_3x3": "3x3 192",
    "MaxPool_3a_3x3": "max 3x3/2",
}

_STEM_3: Final = {
    "Conv2d_1a_3x3": "3x3/2 32",
    "Conv2d_2a_3x3": "3x3! 32",
    "Conv2d_2b_3x3": "3x3 64",
}

_V1: Final[Blocks] = {
    "Conv2d_1a_7x7": "7x7/2 64",
    **_STEM_7,
    "Mixed_3b": _first(64, 96, 128, 16, 32, 32),
    "Mixed_3c": _first(128, 128, 192, 32, 96, 64),
    "MaxPool_4a_3x3": "max 3x3/2",
    "Mixed_4b": _first(192, 96, 208, 16, 48, 64),
    "Mixed_4c": _first(160, 112, 224, 24, 64, 64),
    "Mixed_4d": _first(128, 128, 256, 24, 64, 64),
    "Mixed_4e": _first(112, 144, 288, 32, 64, 64),
    "Mixed_4f": _first(256, 160, 320, 32, 128, 128),
    "MaxPool_5a_2x2": "max 2x2/2",
    "Mixed_5b": _first(256, 160, 320, 32, 128, 128, third="Conv2d_0a_3x3: "),
    "Mixed_5c": _first(384, 192, 384, 48, 128, 128),
}

_V2: Final[Blocks] = {
    "Conv2d_1a_7x7": "sep 7x7/2 64",
    **_STEM_7,
    "Mixed_3b": _second(64, 64, 64, 64, 96, 32),
    "Mixed_3c": _second(64, 64, 96, 64, 96, 64),
    "Mixed_4a": ("1x1 128, 3x3/2 160", "1x1 64, 3x3 96, 3x3/2 96", "max 3x3/2"),
    "Mixed_4b": _second(224, 64, 96, 96, 128, 128),
    "Mixed_4c": _second(192, 96, 128, 96, 128, 128),
    "Mixed_4d": _second(160, 128, 160, 128, 160, 96),
    "Mixed_4e": _second(96, 128, 192, 160, 192, 96),
    "Mixed_5a": ("1x1 128, 3x3/2 192", "1x1 192, 3x3 256, 3x3/2 256", "max 3x3/2"),
    "Mixed_5b": _second(352, 192, 320, 160, 224, 128),
    "Mixed_5c": _second(352, 192, 320, 192, 224, 128, pool="max"),
}

_V3: Final[Blocks] = {
    **_STEM_3,
    "MaxPool_3a_3x3": "max 3x3/2",
    "Conv2d_3b_1x1": "1x1 80",
    "Conv2d_4a_3x3": "3x3! 192",
    "MaxPool_5a_3x3": "max 3x3/2",
    "Mixed_5b": _threes(32),
    "Mixed_5c": (
        "1x1 64",
        "Conv2d_0b_1x1: 1x1 48, Conv_1_0c_5x5: 5x5 64",
        "1x1 64, 3x3 96, 3x3 96",
        "avg 3x3, 1x1 64",
    ),
    "Mixed_5d": _threes(64),
    "Mixed_6a": (
        "Conv2d_1a_1x1: 3x3/2 384",
        "1x1 64, 3x3 96, Conv2d_1a_1x1: 3x3/2 96",
        "max 3x3/2",
    ),
    "Mixed_6b": _sevens(128),
    "Mixed_6c": _sevens(160),
    "Mixed_6d": _sevens(160),
    "Mixed_6e": _sevens(192),
    "Mixed_7a": ("1x1 192, 3x3/2 320", "1x1 192, 1x7 192, 7x1 192, 3x3/2 192", "max 3x3/2"),
    "Mixed_7b": (
        "1x1 320",
        "1x1 384, 1x3 384 + Conv2d_0b_3x1: 3x1 384",
        "1x1 448, 3x3 384, 1x3 384 + 3x1 384",
        "avg 3x3, 1x1 192",
    ),
    "Mixed_7c": (
        "1x1 320",
        "1x1 384, 1x3 384 + 3x1 384",
        "1x1 448, 3x3 384, 1x3 384 + 3x1 384",
        "avg 3x3, 1x1 192",
    ),
}

_V4_A: Final = ("1x1 96", "1x1 64, 3x3 96", "1x1 64, 3x3 96, 3x3 96", "avg 3x3, 1x1 96")
_V4_B: Final = (
    "1x1 384",
    "1x1 192, 1x7 224, 7x1 256",
    "1x1 192, 7x1 192, 1x7 224, 7x1 224, 1x7 256",
    "avg 3x3, 1x1 128",
)
_V4_C: Final = (
    "1x1 256",
    "1x1 384, 1x3 256 + 3x1 256",
    "1x1 384, 3x1 448, 1x3 512, 1x3 256 + 3x1 256",
    "avg 3x3, 1x1 256",
)

_V4: Final[Blocks] = {
    **_STEM_3,
    "Mixed_3a": ("max 3x3/2", "Conv2d_0a_3x3: 3x3/2 96"),
    "Mixed_4a": (
        "1x1 64, Conv2d_1a_3x3: 3x3! 96",
        "1x1 64, 1x7 64, 7x1 64, Conv2d_1a_3x3: 3x3! 96",
    ),
    "Mixed_5a": ("3x3/2 192", "max 3x3/2"),
    **{f"Mixed_5{letter}": _V4_A for letter in "bcde"},
    "Mixed_6a": ("3x3/2 384", "1x1 192, 3x3 224, 3x3/2 256", "max 3x3/2"),
    **{f"Mixed_6{letter}": _V4_B for letter in "bcdefgh"},
    "Mixed_7a": ("1x1 192, 3x3/2 192", "1x1 256, 1x7 256, 7x1 320, 3x3/2 320", "max 3x3/2"),
    **{f"Mixed_7{letter}": _V4_C for letter in "bcd"},
}

_BEFORE_V05: Final[Blocks] = {
    **_V3,
    # Narrower in places than all later ones, and an average where they take the maximum.
    **{name: _threes(32) for name in ("Mixed_5c", "Mixed_5d")},
    "Mixed_6e": _sevens(192, first=160),
    "Mixed_7a": (*_V3["Mixed_7a"][:2], "avg 3x3/2"),
}


@dataclass(frozen=True)
class _Network:
    """One of the networks.

    Parameters
    ----------
    blocks : Blocks
    padded : bool
        Whether steps with a stride pad.
    """

    blocks: Blocks
    padded: bool


_NETWORKS: Final = {
    "slim_inception_v1": _Network(_V1, padded=True),
    "slim_inception_v2": _Network(_V2, padded=True),
    "slim_inception_v3": _Network(_V3, padded=False),
    "slim_inception_v4": _Network(_V4, padded=False),
    "inception_v3_v02": _Network(_BEFORE_V05, padded=False),
}


@dataclass(frozen=True)
class _Step:
    """A step of a branch, read from its table."""

    name: str
    kind: str
    kernel: tuple[int, int]
    stride: int
    padding: str
    filters: int


def build(keras: Any, name: str, size: ImageSize, *, random: bool) -> Any:
    """Build the headless network.

    Parameters
    ----------
    keras : module
        The imported Keras.
    name : str
        ``slim_inception_v1`` to ``v4``, or ``inception_v3_v02``.
    size : int or (int, int)
        Side of the square input, or height and width, pixels.
    random : bool
        Draw kernels; otherwise they stay zero until weights are loaded, which is faster.

    Returns
    -------
    keras.Model
        Float NHWC input already normalised; output (n, h, w, channels).
    """
    layers, network = keras.layers, _NETWORKS[name]
    draw = "glorot_uniform" if random else "zeros"
    step = (_early if name == "inception_v3_v02" else _slim)(layers, draw)

    def run(x: Any, steps: str, owner: str) -> Any:
        for side_by_side in _read(steps, owner, padded=network.padded):
            results = [step(x, one) for one in side_by_side]
            x = results[0] if len(results) == 1 else layers.Concatenate()(results)
        return x

    inputs = x = layers.Input(image_shape(size), name="images")
    joined = 0
    for block, content in network.blocks.items():
        if isinstance(content, str):
            x = run(x, f"{block}: {content}", "")
            continue
        branches = [run(x, steps, f"{block}_Branch_{i}_") for i, steps in enumerate(content)]
        title = f"mixed{joined}" if name == "inception_v3_v02" else block
        x, joined = layers.Concatenate(name=title)(branches), joined + 1
    return keras.Model(inputs, x, name=name)


def _slim(layers: Any, draw: str) -> Any:
    """Return what makes slim's steps: no bias, no scale, the activation last."""

    def made(x: Any, step: _Step) -> Any:
        if step.kind in {"max", "avg"}:
            return _pool(layers, x, step)
        if step.kind == "sep":
            # Slim's scope of arguments leaves this one without a normalisation.
            return layers.SeparableConv2D(
                step.filters,
                step.kernel,
                step.stride,
                padding=step.padding,
                depth_multiplier=_DEPTHWISE,
                activation="relu",
                depthwise_initializer=draw,
                pointwise_initializer=draw,
                name=step.name,
            )(x)
        x = layers.Conv2D(
            step.filters,
            step.kernel,
            step.stride,
            padding=step.padding,
            use_bias=False,
            kernel_initializer=draw,
            name=step.name,
        )(x)
        x = layers.BatchNormalization(scale=False, epsilon=EPSILON, name=f"{step.name}_bn")(x)
        return layers.ReLU(name=f"{step.name}_relu")(x)

    return made


def _early(layers: Any, draw: str) -> Any:
    """Return what makes the steps of Keras 0.2: a bias, and the activation before a full BN."""
    made_before = 0

    def made(x: Any, step: _Step) -> Any:
        nonlocal made_before
        if step.kind in {"max", "avg"}:
            return _pool(layers, x, step, name=None)
        made_before += 1
        x = layers.Conv2D(
            step.filters,
            step.kernel,
            step.stride,
            padding=step.padding,
            activation="relu",
            kernel_initializer=draw,
            name=f"conv2d_{made_before}",
        )(x)
        normalisation = layers.BatchNormalization(
            epsilon=EPSILON, name=f"batch_normalization_{made_before}"
        )
        return normalisation(x)

    return made


def _pool(layers: Any, x: Any, step: _Step, **name: None) -> Any:
    kind = layers.MaxPooling2D if step.kind == "max" else layers.AveragePooling2D
    options = {"name": step.name, **name}
    return kind(step.kernel, step.stride, padding=step.padding, **options)(x)


def _read(steps: str, owner: str, *, padded: bool) -> Iterator[list[_Step]]:
    """Read a branch: its steps one after another, several where they are side by side."""
    place = 0
    for part in steps.split(", "):
        side_by_side = []
        for text in part.split(" + "):
            match = _STEP.fullmatch(text)
            assert match is not None, text
            kind, stride = match["kind"] or "", int(match["stride"] or 1)
            where = "1a" if stride > 1 else f"0{chr(ord('a') + place)}"
            what = {"max": "MaxPool", "avg": "AvgPool"}.get(kind, "Conv2d")
            side_by_side.append(
                _Step(
                    owner + (match["name"] or f"{what}_{where}_{match['kernel']}"),
                    kind,
                    (int(match["height"]), int(match["width"])),
                    stride,
                    "valid" if match["valid"] or (stride > 1 and not padded) else "same",
                    int(match["filters"] or 0),
                )
            )
            place += 1
        yield side_by_side
