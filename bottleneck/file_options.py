"""Options of what works on what is there already: files, backbones, the installation."""

import numbers
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from bottleneck.declare import Option, Options
from bottleneck.errors import OptionError
from bottleneck.images import parse_size

One: TypeAlias = str | Path
Paths: TypeAlias = str | Path | Sequence[str | Path]


def checked_size(name: str, value: object) -> int | str:
    """Check a size: a whole number, or width x height as text, which stays text.

    Raises
    ------
    OptionError
    """
    if isinstance(value, str):
        try:
            size = parse_size(value)
        except OptionError as error:
            raise OptionError(
                f"expected {name} to be a whole number, got {value!r}",
                hint="Or width x height: 320x240.",
            ) from error
        return size if isinstance(size, int) else value.lower()
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise OptionError(f"expected {name} to be a whole number, got {value!r}")
    if value < 1:
        raise OptionError(f"expected {name} to be at least 1, got {value}")
    return int(value)


DEVICE = Option("cpu, gpu or gpu:N. The first GPU, else the CPU.", metavar="NAME")
FEATURE = Option("Output of the file, where it has several.", metavar="NAME")
FEATURES = Option(
    "The feature file.", metavar="FEATURES.h5", role="reads", holds="features", argument=True
)

IMAGES = Option("Where the images are; by default as extracted.", metavar="SOURCE", role="images")
NEAR = Option("From which images count as near duplicates; from the data.", metavar="COSINE")
MAP = Option("Maps of the features; auto adds UMAP where its extra is installed.")
MapKind: TypeAlias = Literal["auto", "pca", "umap"]


@dataclass(frozen=True)
class MergeOptions(Options):
    """Feature files of one recipe to one."""

    inputs: Annotated[
        Paths,
        Option(
            "Feature files.",
            metavar="A.h5 B.h5 ...",
            role="reads",
            holds="features",
            argument=True,
        ),
    ]
    output: Annotated[One, Option("The joined file.", ("-o", "--output"), "ALL.h5", role="writes")]
    _: KW_ONLY
    concatenate: Annotated[bool, Option("Put different lists of images one behind the other.")] = (
        False
    )


@dataclass(frozen=True)
class ExportOptions(Options):
    """Features or a head for other programs."""

    source: Annotated[
        One,
        Option("What to export.", metavar="FEATURES.h5|HEAD", role="reads", argument=True),
    ]
    output: Annotated[One, Option("Where to.", ("-o", "--output"), "FILE", role="writes")]
    _: KW_ONLY
    compress: Annotated[
        Literal["gzip", "lzf"] | None,
        Option("Make a compressed feature file: it opens like the original but cannot be resumed."),
    ] = None
    to: Annotated[
        Literal[
            "npy", "parquet", "usearch", "fiftyone", "atlas", "cleanlab", "lightly", "tensorboard"
        ]
        | None,
        Option("For other programs; by default what the ending of FILE says."),
    ] = None
    deploy: Annotated[
        bool,
        Option(
            "A head with its backbone as one model of pixels: FILE.onnx, FILE.keras, FILE.xml "
            "(OpenVINO), or a folder (SavedModel)."
        ),
    ] = False
    precision: Annotated[
        Literal["float32", "int8"], Option("Of the deployed model; int8 only of FILE.xml.")
    ] = "float32"
    images: Annotated[
        Paths,
        Option(
            "Images the deployed model is checked on, and int8 calibrated with; by default the "
            "sample. For programs: where the images are, by default as extracted.",
            metavar="SOURCE",
            role="images",
        ),
    ] = ()
    weights: Annotated[
        One | None, Option("Where the backbone's weights are now.", metavar="PATH")
    ] = None
    device: Annotated[
        str | None,
        Option("What checks the deployed model: cpu, gpu or gpu:N. The first GPU, else the CPU.",
               metavar="NAME"),
    ] = None  # fmt: skip
    feature: Annotated[str | None, FEATURE] = None


@dataclass(frozen=True)
class VerifyOptions(Options):
    """Whether a feature file is sound."""

    file: Annotated[One, Option("The feature file.", metavar="FILE", role="reads", argument=True)]
    _: KW_ONLY
    fix: Annotated[bool, Option("Set bad rows to pending, for `extract` to redo.")] = False


@dataclass(frozen=True)
class RescueOptions(Options):
    """The sound rows of a damaged feature file to a new one."""

    broken: Annotated[
        One, Option("The damaged file.", metavar="BROKEN.h5", role="reads", argument=True)
    ]
    output: Annotated[One, Option("The new file.", ("-o", "--output"), "NEW.h5", role="writes")]
    _: KW_ONLY
    like: Annotated[
        One | None,
        Option(
            "A sound file of the same images and options, if BROKEN does not tell them any more.",
            metavar="GOOD.h5",
            role="reads",
        ),
    ] = None


@dataclass(frozen=True)
class RelabelOptions(Options):
    """A feature file and corrections to one with other labels."""

    features: Annotated[One, FEATURES]
    fixes: Annotated[
        One,
        Option(
            "A table of corrections: path, label; an empty label is none.",
            metavar="FIXES.csv",
            role="reads",
            argument=True,
        ),
    ]
    output: Annotated[
        One, Option("The new feature file.", ("-o", "--output"), "NEW.h5", role="writes")
    ]


@dataclass(frozen=True)
class InfoOptions(Options):
    """What a file is."""

    file: Annotated[
        One,
        Option(
            "A feature file, a head or a weights file.", metavar="FILE", role="reads", argument=True
        ),
    ]


@dataclass(frozen=True)
class AddBackboneOptions(Options):
    """A file and what is said of it to a name for -b."""

    name: Annotated[str, Option("What -b is to take.", metavar="NAME", argument=True)]
    file: Annotated[
        One,
        Option(
            "A model (.onnx, .keras, .prototxt, .caffemodel), weights, or PROVIDER:NAME.",
            metavar="FILE",
            role="reads",
            argument=True,
        ),
    ]
    _: KW_ONLY
    backbone: Annotated[
        str | None,
        Option("For a file of weights: whose they are.", ("-b", "--backbone"), "NAME"),
    ] = None
    weights: Annotated[
        One | None,
        Option("For a prototxt: its caffemodel.", metavar="FILE", role="reads"),
    ] = None
    preprocess: Annotated[
        str | None, Option("What it wants of pixels, as for `extract`.", metavar="WHAT")
    ] = None
    layers: Annotated[
        str | Sequence[str],
        Option("Layer that is pooled when none is named; repeatable.", ("--layer",), "NAME"),
    ] = ()
    size: Annotated[
        str | int | None,
        Option("Side of its input in pixels, or WxH.", metavar="N|WxH", check=checked_size),
    ] = None
    shared: Annotated[
        bool, Option("Into the folder of `bottleneck --catalogue`, not your own.")
    ] = False
    overwrite: Annotated[bool, Option("Replace the name if it is there.")] = False


@dataclass(frozen=True)
class RemoveBackboneOptions(Options):
    """A name for -b no more; its files stay."""

    name: Annotated[str, Option("What was added.", metavar="NAME", argument=True)]


@dataclass(frozen=True)
class ViewOptions(Options):
    """A feature file to a page to look at."""

    features: Annotated[One, FEATURES]
    _: KW_ONLY
    output: Annotated[
        One | None,
        Option("Write the page instead, one file.", ("-o", "--output"), "PAGE.html", role="writes"),
    ] = None
    feature: Annotated[str | None, FEATURE] = None
    images: Annotated[Paths, IMAGES] = ()
    near: Annotated[float | None, NEAR] = None
    map: Annotated[MapKind, MAP] = "auto"


@dataclass(frozen=True)
class GraphOptions(Options):
    """A feature file to the graph of its nearest neighbours."""

    features: Annotated[One, FEATURES]
    output: Annotated[One, Option("The graph.", ("-o", "--output"), "GRAPH.npz", role="writes")]
    _: KW_ONLY
    k: Annotated[int, Option("Neighbours of each row.", ("-k",), "N", least=1)] = 15
    metric: Annotated[Literal["cosine", "euclidean"], Option("What is near.")] = "cosine"
    feature: Annotated[str | None, FEATURE] = None
    device: Annotated[
        str, Option("cpu, gpu or gpu:N, where PyTorch or JAX sees one.", metavar="NAME")
    ] = "cpu"


@dataclass(frozen=True)
class NeighborsOptions(Options):
    """An image to the most similar ones of a feature file."""

    features: Annotated[One, FEATURES]
    image: Annotated[One, Option("An image file.", metavar="IMAGE", role="images", argument=True)]
    _: KW_ONLY
    count: Annotated[int, Option("How many.", ("-k", "--count"), "N")] = 10
    feature: Annotated[str | None, FEATURE] = None
    weights: Annotated[
        One | None, Option("Where the weights are now, if they moved.", metavar="WHICH")
    ] = None
    device: Annotated[str | None, DEVICE] = None


@dataclass(frozen=True)
class DoctorOptions(Options):
    """Whether this installation is sound."""


@dataclass(frozen=True)
class BackbonesOptions(Options):
    """The catalogue of backbones."""

    name: Annotated[
        str | Sequence[str],
        Option(
            "Only those whose name contains it, or all of them.", metavar="[NAME]...", argument=True
        ),
    ] = ()
    _: KW_ONLY
    provider: Annotated[
        Literal["lite", "keras_applications", "early_keras", "slim", "music"] | None,
        Option("Only those it brings."),
    ] = None
    max_params: Annotated[
        str | None, Option("Only those of at most so many parameters: 25M, 300k.", metavar="N")
    ] = None
    license: Annotated[
        str | None, Option("Only those whose licence contains it.", metavar="WORD")
    ] = None
    layers: Annotated[bool, Option("List what can be taken from NAME instead.")] = False
    size: Annotated[
        str | int | None,
        Option("For --layers: side of the input in pixels.", metavar="N|WxH", check=checked_size),
    ] = None
