"""Which backbones there are, by name, and whether their weights are at hand.

``catalogue.csv`` beside this has a row for each, with the columns of
:class:`~bottleneck.backbones.network.BackboneSpec`. Sizes, feature lengths and parameter counts
are what Keras 3.15 reports for the headless networks; a test asks Keras again, so a row that
drifts is found. Networks of TF-slim were evaluated on the centre of 256, or on 0.875 of each
side, squashed. Licences are those that packages and repositories state.
"""

import csv
import difflib
import os
import re
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

from bottleneck.backbones.architectures.music_taggers import CRNN_INPUT, MSD_TAGS, VGG_INPUT
from bottleneck.backbones.network import BackboneSpec, Preprocess, Top
from bottleneck.errors import BackboneError
from bottleneck.images import ImageSize
from bottleneck.location import expanded, home

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

NONE: Final = Preprocess("none")
"""The network normalises by itself."""

TF: Final = Preprocess("tf", scale=(1 / 127.5,) * 3, offset=(-1.0,) * 3)
"""To -1..1."""

CAFFE: Final = Preprocess("caffe", channels="bgr", offset=(-103.939, -116.779, -123.68))
"""BGR less the mean pixel of ImageNet."""

BVLC: Final = Preprocess("bvlc", channels="bgr", offset=(-104.0, -117.0, -123.0))
"""The same, rounded, as BVLC's own networks take it."""

TORCH: Final = Preprocess(
    "torch",
    scale=(
        1 / (255 * _IMAGENET_STD[0]),
        1 / (255 * _IMAGENET_STD[1]),
        1 / (255 * _IMAGENET_STD[2]),
    ),
    offset=(
        -_IMAGENET_MEAN[0] / _IMAGENET_STD[0],
        -_IMAGENET_MEAN[1] / _IMAGENET_STD[1],
        -_IMAGENET_MEAN[2] / _IMAGENET_STD[2],
    ),
)
"""Standardised by mean and standard deviation of ImageNet's channels."""

LITE: Final = Preprocess("lite", scale=(1 / 128,) * 3, offset=(-127 / 128,) * 3)
"""``(x - 127) / 128``, as EfficientNet-Lite was trained."""

RGB_MEAN: Final = Preprocess("rgb_mean", offset=(-123.68, -116.78, -103.94))
"""RGB less the mean pixel of ImageNet, as TF-slim's VGG and ResNet v1 were trained."""

_PREPROCESS: Final = {one.name: one for one in (NONE, TF, CAFFE, TORCH, LITE, RGB_MEAN)}

_SPECTROGRAMS: Final = {"crnn": CRNN_INPUT, "vgg": VGG_INPUT}

_NUMBERS: Final = ("input_size", "min_size", "dim", "params")


@cache
def all_backbones() -> tuple[BackboneSpec, ...]:
    """Return every backbone, the bundled ones first."""
    text = Path(__file__).with_suffix(".csv").read_text(encoding="utf-8")
    return tuple(_row(cells) for cells in csv.DictReader(text.splitlines()))


def _row(cells: dict[str, str]) -> BackboneSpec:
    """Read a row; an empty cell stands for the default."""
    given: dict[str, Any] = {name: cell for name, cell in cells.items() if cell}
    given |= {name: int(given[name]) for name in _NUMBERS}
    given["preprocess"] = _PREPROCESS[given["preprocess"]]
    if "spectrogram" in given:
        given["fixed"] = _SPECTROGRAMS[given.pop("spectrogram")]
    if "top" in given:
        given["top"] = Top(given["top"], MSD_TAGS)
    return BackboneSpec(**given)


DEFAULT: Final = "efficientnet_lite0"
"""The backbone used when none is named: its weights come as a package."""

_SIZED: Final = {"mobilenet": (128, 160, 192), "mobilenet_v2": (96, 128, 160, 192)}
"""Families of which Keras has other weights for other sizes."""

_WIDTHS: Final[dict[str, dict[float, tuple[int, int]]]] = {
    "MobileNet": {
        0.25: (256, 218_544),
        0.5: (512, 829_536),
        0.75: (768, 1_832_976),
        1.0: (1024, 3_228_864),
    },
    "MobileNetV2": {
        0.35: (1280, 410_208),
        0.5: (1280, 706_224),
        0.75: (1280, 1_382_064),
        1.0: (1280, 2_257_984),
        1.3: (1664, 3_766_048),
        1.4: (1792, 4_363_712),
    },
    "MobileNetV3Large": {0.75: (720, 1_808_736), 1.0: (960, 2_996_352)},
    "MobileNetV3Small": {0.75: (432, 583_160), 1.0: (576, 939_120)},
}
"""Length of features and parameters by alpha, of networks that have been trained with several."""

_DEEPER: Final = {0.25: 212_344, 0.5: 817_136, 0.75: 1_814_376, 1.0: 3_204_064}
"""Parameters that MobileNet 1 has more for each step of its depth multiplier, by alpha."""

_WIDTH: Final = re.compile(r"(.+?)_(\d+\.\d+)(?:_depth(\d+))?")
"""A name with the width behind it: ``mobilenet_0.75``, ``mobilenet_1.0_depth2``."""

AtHand = Literal["bundled", "cached", "extra", "download", "file"]


def get(name: str) -> BackboneSpec:
    """Look a backbone up.

    Parameters
    ----------
    name : str
        ``mobilenet_v2`` or its class name ``MobileNetV2``; case does not matter. MobileNets with
        the width behind it: ``mobilenet_v2_0.35``.

    Raises
    ------
    BackboneError
        For an unknown name; lists the nearest ones.
    """
    known = _by_name()
    spec = known.get(_folded(name))
    wide = _WIDTH.fullmatch(_folded(name))
    if spec is None and wide is not None and wide[1] in known:
        return scaled(known[wide[1]], float(wide[2]), int(wide[3] or 1))
    if spec is None:
        near = difflib.get_close_matches(_folded(name), known, n=6, cutoff=0.5)
        names = list(dict.fromkeys(known[match].name for match in near))[:3]
        raise BackboneError(
            f"expected the name of a backbone, got {name!r}",
            hint=(f"Nearest: {', '.join(names)}. " if names else "")
            + "`bottleneck backbones` lists all of them.",
        )
    return spec


def name_with_width(
    name: str, alpha: float | None = None, depth_multiplier: int | None = None
) -> str:
    """Put the width of a MobileNet behind its name, where one is given.

    Raises
    ------
    BackboneError
        When there is no such network.
    """
    if alpha is None and depth_multiplier is None:
        return name
    wide = f"{name.strip()}_{1.0 if alpha is None else float(alpha)}"
    if depth_multiplier is not None:
        wide += f"_depth{depth_multiplier}"
    get(wide)
    return wide


def scaled(spec: BackboneSpec, alpha: float, depth_multiplier: int = 1) -> BackboneSpec:
    """Return the row of a MobileNet of another width.

    Raises
    ------
    BackboneError
        For a backbone that comes in one width, or a width that nobody has trained it with.
    """
    widths = _WIDTHS.get(spec.network or spec.class_name, {})
    if alpha not in widths:
        raise BackboneError(
            f"{spec.name}: expected an alpha of {', '.join(map(str, widths))}, got {alpha}"
            if widths
            else f"{spec.name}: expected no alpha, got {alpha}: it comes in one width",
            hint=None
            if widths
            else "MobileNets come in several: `bottleneck backbones mobilenet`.",
        )
    deeper = depth_multiplier - 1
    if deeper < 0 or (deeper and (spec.network or spec.class_name) != "MobileNet"):
        raise BackboneError(
            f"{spec.name}: expected a depth multiplier of 1, got {depth_multiplier}",
            hint="Only MobileNet 1 has another.",
        )
    dim, params = widths[alpha]
    wide = f"_{alpha}" if alpha != 1 or deeper else ""
    return replace(
        spec,
        name=spec.name + wide + (f"_depth{depth_multiplier}" if deeper else ""),
        dim=dim,
        params=params + deeper * _DEEPER.get(alpha, 0),
        alpha=alpha,
        depth_multiplier=depth_multiplier,
        width_named=True,
    )


def widths_of(spec: BackboneSpec) -> tuple[BackboneSpec, ...]:
    """List the widths that a backbone comes in, the widest first, those with deeper layers last.

    Itself alone where it comes in one width, or its width was named.
    """
    network = spec.network or spec.class_name
    alphas = () if spec.width_named else sorted(_WIDTHS.get(network, ()), reverse=True)
    depths = (1, 2) if network == "MobileNet" else (1,)
    return tuple(scaled(spec, alpha, depth) for depth in depths for alpha in alphas) or (spec,)


def weights_at_hand(spec: BackboneSpec) -> AtHand:
    """Say where the pretrained weights of a backbone would come from, without loading anything.

    Returns
    -------
    {"bundled", "cached", "extra", "download", "file"}
        An installed package has them; Keras's cache folder has them; a package that is not
        installed would bring them; Keras would have to download them; somebody has to bring a file.
    """
    if spec.bundled is not None:
        return "bundled" if find_spec(spec.bundled) is not None else "extra"
    if weights_file(spec) is None:
        return "file"
    return "cached" if cached_file(spec) is not None else "download"


def weights_file(spec: BackboneSpec, size: ImageSize | None = None) -> str | None:
    """Name the file of ImageNet weights that Keras would look for, for images of a size."""
    name = spec.weights_file
    if name is None or spec.depth_multiplier != 1:
        return None
    if spec.alpha != 1:
        # 0.75 is 7_5 in the names of MobileNet 1, 0.75 in all later ones.
        short = f"{round(spec.alpha * 100):03d}"
        name = name.replace("_1_0_", f"_{short[-2]}_{short[-1]}_")
        name = name.replace("_1.0_", f"_{spec.alpha}_")
    if spec.family in _SIZED and size in _SIZED[spec.family]:
        return name.replace("_224_", f"_{size}_")
    return name


def cached_file(spec: BackboneSpec, size: ImageSize | None = None) -> Path | None:
    """Find that file where Keras keeps what it has downloaded, if it is there."""
    name = weights_file(spec, size)
    if name is None:
        return None
    # Where it could not write before, it may now.
    folders = (cache_folder(), Path("/tmp/.keras/models"))
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def bundled_names() -> tuple[str, ...]:
    """Name the backbones whose weights are installed as packages."""
    return tuple(spec.name for spec in all_backbones() if weights_at_hand(spec) == "bundled")


def cache_folder() -> Path:
    """Return the folder in which Keras keeps downloaded weights, by Keras's rule."""
    told = os.environ.get("KERAS_HOME")
    if told:
        return expanded(told) / "models"
    writable = home().is_dir() and os.access(home(), os.W_OK)
    return (home() if writable else Path("/tmp")) / ".keras" / "models"


def _folded(name: str) -> str:
    # "MobileNetV2", "mobilenet-v2" and "mobilenet_v2" are the same wish.
    return name.strip().lower().replace("-", "_").replace(" ", "_")


@cache
def _by_name() -> dict[str, BackboneSpec]:
    return {
        alias.lower(): spec for spec in all_backbones() for alias in (spec.name, spec.class_name)
    }
