"""Options of what makes features: of one file, or of a set that many machines fill."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal, TypeAlias

from bottleneck.backbones.catalogue import DEFAULT
from bottleneck.backbones.network import Pool
from bottleneck.declare import Option, Options
from bottleneck.decode.stream import WorkerKind
from bottleneck.decode.workers import TIMEOUT_SECONDS
from bottleneck.file_options import One, Paths, checked_size
from bottleneck.images import DecoderName, ResizeRule
from bottleneck.runtimes.choice import RuntimeName
from bottleneck.sets import ROWS
from bottleneck.sources.layout import SourceOptions

Names: TypeAlias = str | Sequence[str]
Precision: TypeAlias = Literal["float32", "tf32", "bfloat16", "float16", "int8"]
Runtime: TypeAlias = Literal["auto", RuntimeName]

BATCH_SIZE = 32
"""Images per forward pass: on a CPU more brings nothing, and 32 of 224x224 are 5 MB. On a GPU by
default so many at least; see :func:`bottleneck.extraction.forward.batch_size_for`."""

RUNTIME = Option("How the network is compiled.")
DEVICES = Option(
    "cpu, gpu or gpu:N; repeat it for a process on each. The first GPU, else the CPU. tensorrt:N "
    "for graphs on ONNX Runtime.",
    ("--device",),
    "NAME",
)
CHOSEN_BACKBONE = Option("See `bottleneck backbones`.", ("-b", "--backbone"), "NAME")
_PASS = "Images per forward pass; 32 on a CPU, up to 256 on a GPU"
PASS_SIZE = Option(f"{_PASS}.", metavar="N", least=1)
PRECISION = Option("Arithmetic of the network.")
SIZE = Option(
    "Side of the input in pixels, or width x height; its own.", metavar="N|WxH", check=checked_size
)
PREPROCESS = Option(
    "What the network wants, where its file does not say: torch, tf, caffe, bvlc, rgb_mean, "
    "lite, none, or numbers (mean=...;std=...;scale=...;channels=bgr;crop=...).",
    metavar="WHAT",
)
DECODER = Option(
    "What decodes JPEGs; all but pillow draw them where the network computes, to other pixels: "
    "docs/decoders.md."
)
MAX_FAILED = Option("More failed images than this exit with 3.", metavar="N|P%")
WORKERS = Option("Processes or threads that decode; one per core.", metavar="N", least=1)
TARGETS = Option(
    "Column of the table to keep for `train --target`; repeatable.", ("--target",), "COLUMN"
)
SOURCES = Option(
    "Folders, tables, image files, archives, arrays, URLs: docs/sources.md.",
    metavar="SOURCE...",
    role="images",
    holds="images",
    argument=True,
)
WORKER_KIND = Option("auto: processes, and threads where those cannot be had.")
TIMEOUT = Option("An image that takes longer in a process has failed.", metavar="SECONDS")
PREALLOCATE = Option("Reserve the disk space at once.")
RETRY_FAILED = Option("Try images again that failed before.")
BATCH_OR_AUTO = Option(f"{_PASS}; auto measures.", metavar="N|auto", least=1)


@dataclass(frozen=True)
class RecipeOptions(SourceOptions):
    """How features are made: base of the options of all that make new ones."""

    _: KW_ONLY
    backbone: Annotated[
        Names,
        Option(
            "See `bottleneck backbones`; several make a file each from one pass.",
            ("-b", "--backbone"),
            "NAME",
        ),
    ] = DEFAULT
    alpha: Annotated[
        float | None,
        Option("Width of a MobileNet: 0.25 to 1.4; 1, or what the weights have.", metavar="A"),
    ] = None
    depth_multiplier: Annotated[
        int | None,
        Option(
            "Filters per channel in the depthwise layers of mobilenet; 1.", metavar="N", least=1
        ),
    ] = None
    weights: Annotated[
        One | None,
        Option(
            "bundled, imagenet, none (random) or a path; by default the best at hand.",
            metavar="WHICH",
        ),
    ] = None
    partial: Annotated[
        bool, Option("The file of --weights may lack some; which are random is in the recipe.")
    ] = False
    layers: Annotated[
        Names, Option("Layer to pool, repeatable; the network's own output.", ("--layer",), "NAME")
    ] = ()
    pool: Annotated[
        Pool | None,
        Option("How a layer's output becomes a vector; avg of maps, the class token of tokens."),
    ] = None
    size: Annotated[str | int | None, SIZE] = None
    resize: Annotated[
        ResizeRule | None, Option("How images are brought to that size; the backbone's own rule.")
    ] = None
    preprocess: Annotated[str | None, PREPROCESS] = None
    decoder: Annotated[DecoderName, DECODER] = "pillow"
    views: Annotated[
        int,
        Option(
            "Rows per image: the plain one and random parts of it; windows of a sound.",
            metavar="K",
            least=1,
        ),
    ] = 1
    precision: Annotated[Precision, PRECISION] = "float32"
    dtype: Annotated[Literal["float32", "float16"], Option("Type of the features on disk.")] = (
        "float32"
    )
    runtime: Annotated[Runtime, RUNTIME] = "auto"
    devices: Annotated[Names, DEVICES] = ()
    targets: Annotated[Names, TARGETS] = ()


@dataclass(frozen=True)
class ExtractOptions(RecipeOptions):
    """Images to features."""

    sources: Annotated[Paths, SOURCES] = ()
    output: Annotated[
        One | None,
        Option(
            "The feature file; {backbone} in it stands for the backbone's name.",
            ("-o", "--output"),
            "FILE.h5",
            role="writes",
        ),
    ] = None
    _: KW_ONLY
    batch_size: Annotated[int | Literal["auto"] | None, BATCH_OR_AUTO] = None
    workers: Annotated[int | None, WORKERS] = None
    worker_kind: Annotated[WorkerKind, WORKER_KIND] = "auto"
    timeout: Annotated[float, TIMEOUT] = TIMEOUT_SECONDS
    reuse: Annotated[
        Paths,
        Option(
            "Take features of equal images from a file of the same recipe; repeatable.",
            metavar="OLD.h5",
            role="reads",
        ),
    ] = ()
    part: Annotated[
        str | None,
        Option("Only part I of N of the list, for one of N machines; then merge.", metavar="I/N"),
    ] = None
    ranges: Annotated[
        str | None,
        Option("Instead: only images A to B-1 of the list, counted from 0.", metavar="A-B,..."),
    ] = None
    limit: Annotated[
        int | None,
        Option("Only N of the pending images now, evenly spread.", metavar="N", least=1),
    ] = None
    overwrite: Annotated[bool, Option("Start over even if the file exists.")] = False
    preallocate: Annotated[bool, PREALLOCATE] = True
    retry_failed: Annotated[bool, RETRY_FAILED] = False
    refresh: Annotated[bool, Option("Compute images again whose bytes changed since.")] = False
    max_failed: Annotated[str | int, MAX_FAILED] = "10%"


@dataclass(frozen=True)
class PlanOptions(RecipeOptions):
    """Images to a set that many machines fill."""

    sources: Annotated[Paths, SOURCES]
    output: Annotated[
        One,
        Option("The set: a folder, or an s3:// URL.", ("-o", "--output"), "PHOTOS.set"),
    ]
    _: KW_ONLY
    rows: Annotated[
        int, Option("Images of a shard, for ever: what a killed worker loses at most.",
                    metavar="R", least=1)
    ] = ROWS  # fmt: skip


@dataclass(frozen=True)
class ExtractSetOptions(Options):
    """A set to its shards, or to some of them."""

    set: Annotated[
        One, Option("The set, as `plan` made it: a folder or a URL.", ("--set",), "PHOTOS.set")
    ]
    _: KW_ONLY
    part: Annotated[
        str | None,
        Option("Only ranges I, I+N, ... of the set; else whatever is free.", metavar="I/N"),
    ] = None
    ranges: Annotated[
        str | None, Option("Instead: only ranges A to B-1, counted from 0.", metavar="A-B,...")
    ] = None
    on: Annotated[
        str | None,
        Option("By the nodes of a cluster: ray (found, or started), ray://HOST:PORT.",
               metavar="ENGINE"),
    ] = None  # fmt: skip
    weights: Annotated[
        One | None, Option("Where the backbone's weights are now.", metavar="PATH")
    ] = None
    batch_size: Annotated[int | Literal["auto"] | None, BATCH_OR_AUTO] = None
    workers: Annotated[int | None, WORKERS] = None
    worker_kind: Annotated[WorkerKind, WORKER_KIND] = "auto"
    timeout: Annotated[float, TIMEOUT] = TIMEOUT_SECONDS
    runtime: Annotated[Runtime, RUNTIME] = "auto"
    devices: Annotated[Names, DEVICES] = ()
    scratch: Annotated[
        One | None,
        Option(
            "Folder on a local disk where shards are filled; one for temporary files.",
            metavar="FOLDER",
        ),
    ] = None
    preallocate: Annotated[bool, PREALLOCATE] = True
    retry_failed: Annotated[bool, RETRY_FAILED] = False
    max_failed: Annotated[str | int, MAX_FAILED] = "10%"


@dataclass(frozen=True)
class SealOptions(Options):
    """A set that is complete to one that says what its shards are."""

    set: Annotated[One, Option("The set.", metavar="PHOTOS.set", role="reads", argument=True)]
