"""The options of every function of the package: one dataclass each, and nowhere else.

Those of functions that work on files which are there already are in :mod:`bottleneck.file_options`,
those that go on from a head in :mod:`bottleneck.adapt_options`.
See :mod:`bottleneck.declare` for what is derived from them.
"""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Any, Literal

from bottleneck.adapt_options import DriftOptions as DriftOptions
from bottleneck.adapt_options import EditOptions as EditOptions
from bottleneck.adapt_options import FinetuneOptions as FinetuneOptions
from bottleneck.adapt_options import ServeOptions as ServeOptions
from bottleneck.backbones.catalogue import DEFAULT
from bottleneck.backbones.network import Pool
from bottleneck.declare import Option, Options
from bottleneck.extract_options import (
    BATCH_OR_AUTO,
    CHOSEN_BACKBONE,
    DECODER,
    DEVICES,
    MAX_FAILED,
    PASS_SIZE,
    PRECISION,
    PREPROCESS,
    RUNTIME,
    SIZE,
    SOURCES,
    TARGETS,
    WORKERS,
    Names,
    Precision,
    Runtime,
)
from bottleneck.extract_options import ExtractOptions as ExtractOptions
from bottleneck.extract_options import ExtractSetOptions as ExtractSetOptions
from bottleneck.extract_options import PlanOptions as PlanOptions
from bottleneck.extract_options import RecipeOptions as RecipeOptions
from bottleneck.extract_options import SealOptions as SealOptions
from bottleneck.file_options import (
    DEVICE,
    FEATURE,
    FEATURES,
    IMAGES,
    MAP,
    NEAR,
    MapKind,
    One,
    Paths,
)
from bottleneck.file_options import AddBackboneOptions as AddBackboneOptions
from bottleneck.file_options import BackbonesOptions as BackbonesOptions
from bottleneck.file_options import DoctorOptions as DoctorOptions
from bottleneck.file_options import ExportOptions as ExportOptions
from bottleneck.file_options import GraphOptions as GraphOptions
from bottleneck.file_options import InfoOptions as InfoOptions
from bottleneck.file_options import MergeOptions as MergeOptions
from bottleneck.file_options import NeighborsOptions as NeighborsOptions
from bottleneck.file_options import RelabelOptions as RelabelOptions
from bottleneck.file_options import RemoveBackboneOptions as RemoveBackboneOptions
from bottleneck.file_options import RescueOptions as RescueOptions
from bottleneck.file_options import VerifyOptions as VerifyOptions
from bottleneck.file_options import ViewOptions as ViewOptions
from bottleneck.images import DecoderName
from bottleneck.sources.layout import SourceOptions

_HEAD_FILE = Option("The head's file.", metavar="HEAD", role="reads", holds="head", argument=True)
_EXCLUDE = Option(
    "Leave the images of a table out (path); of corrections those whose label changes; repeatable.",
    metavar="FIXES.csv",
    role="reads",
)


@dataclass(frozen=True)
class SurveyOptions(SourceOptions):
    """Images to what they are: how many, of which classes and splits."""

    sources: Annotated[Paths, SOURCES]
    _: KW_ONLY
    targets: Annotated[Names, TARGETS] = ()


SCREEN = Option(
    "Of logreg, svm: solve a C only as far as shows that it is not chosen; the same C is chosen."
)


@dataclass(frozen=True)
class TrainOptions(Options):
    """Features to a head."""

    features: Annotated[One, FEATURES]
    output: Annotated[
        One, Option("Where to save the head.", ("-o", "--output"), "HEAD", role="writes")
    ]
    _: KW_ONLY
    head: Annotated[
        str,
        Option("logreg, svm, ridge, lda, nearest_mean, knn, mlp, or a path: sklearn.svm.SVC.",
               metavar="NAME"),
    ] = "logreg"  # fmt: skip
    settings: Annotated[
        Names,
        Option("Parameter of lda, knn, mlp or of a classifier by its path.", ("--set",), "K=V"),
    ] = ()
    C: Annotated[
        str | float | Sequence[float] | None,
        Option("Strengths to try: lo:hi:n (log scale) or a,b,c.", ("--C",), "GRID", commas=True),
    ] = None
    cv: Annotated[
        int,
        Option("Folds of the cross-validation; 0 for none with a single C.", metavar="K"),
    ] = 5
    feature: Annotated[str | None, FEATURE] = None
    holdout: Annotated[
        float,
        Option("Share held out for the test, where there are no splits.", metavar="P"),
    ] = 0.0
    seed: Annotated[int, Option("Decides folds and hold-out, with the images' keys.", least=0)] = 0
    jobs: Annotated[int, Option("Threads that share the work; -1 for all cores.", metavar="N")] = -1
    engine: Annotated[
        Literal["numpy", "keras"],
        Option("What logreg and svm are fitted with; keras is for a GPU."),
    ] = "numpy"
    device: Annotated[str | None, DEVICE] = None
    on: Annotated[
        str | None,
        Option("Fit a set on the nodes of a cluster: ray (found, or started), ray://HOST:PORT.",
               metavar="ENGINE"),
    ] = None  # fmt: skip
    one_se: Annotated[
        bool, Option("Take the smallest C within one standard error of the best.")
    ] = False
    screen: Annotated[bool, SCREEN] = False
    nested: Annotated[bool, Option("Also estimate the accuracy with the choice of C included.")] = (
        False
    )
    curve: Annotated[
        str | float | Sequence[float] | None,
        Option("Also fit on shares of the rows: 0.1,0.3,1.", metavar="SHARES", commas=True),
    ] = None
    shots: Annotated[
        str | int | Sequence[int] | None,
        Option("Also fit on a few rows per class: 1,2,4,8,16.", metavar="COUNTS", commas=True),
    ] = None
    targets: Annotated[
        Names,
        Option(
            "Predict this target, not the class; repeatable. logreg: labels, ridge: numbers, knn.",
            ("--target",),
            "NAME",
        ),
    ] = ()
    exclude: Annotated[Paths, _EXCLUDE] = ()
    calibrate: Annotated[
        bool, Option("Also make probabilities of the scores, on rows left out.")
    ] = False
    overwrite: Annotated[bool, Option("Replace the head if the file exists.")] = False


@dataclass(frozen=True)
class EvaluateOptions(Options):
    """A head and features to a judgement."""

    head: Annotated[One, _HEAD_FILE]
    features: Annotated[One, FEATURES]
    _: KW_ONLY
    split: Annotated[
        Literal["train", "val", "test", "all"] | None,
        Option("Which rows; by default test, else those held out, else all."),
    ] = None
    exclude: Annotated[Paths, _EXCLUDE] = ()
    output: Annotated[
        One | None,
        Option("Also keep the judgement.", ("-o", "--output"), "FILE.json", role="writes"),
    ] = None
    device: Annotated[str | None, DEVICE] = None


@dataclass(frozen=True)
class PredictOptions(SourceOptions):
    """A head and images, or their features, to labels."""

    head: Annotated[One, _HEAD_FILE]
    sources: Annotated[
        Paths,
        Option(
            "Images as for `extract`, or feature files, of which nothing is computed again.",
            metavar="SOURCE...",
            role="images",
            holds="images",
            argument=True,
        ),
    ]
    _: KW_ONLY
    output: Annotated[
        One | None,
        Option("Where rows go, - for standard output.", ("-o", "--output"), "FILE", role="writes"),
    ] = None
    format: Annotated[
        Literal["csv", "jsonl", "json"] | None,
        Option("By default what the output's ending says, else csv."),
    ] = None
    top_k: Annotated[
        int | Literal["all"] | None,
        Option(
            "Also the N likeliest classes, or the probability of every class.",
            metavar="N|all",
            least=1,
        ),
    ] = None
    full_paths: Annotated[
        bool, Option("Name images by paths and URLs that open from everywhere.")
    ] = False
    weights: Annotated[
        One | None, Option("Where the backbone's weights are now.", metavar="PATH")
    ] = None
    batch_size: Annotated[int | None, PASS_SIZE] = None
    workers: Annotated[int | None, WORKERS] = None
    runtime: Annotated[Runtime, RUNTIME] = "auto"
    devices: Annotated[Names, DEVICES] = ()
    max_failed: Annotated[str | int, MAX_FAILED] = "10%"


@dataclass(frozen=True)
class CompareOptions(Options):
    """Feature files to a leaderboard and a page."""

    features: Annotated[
        Paths,
        Option(
            "Feature files over the same images.",
            metavar="A.h5 B.h5 ...",
            role="reads",
            holds="features",
            argument=True,
        ),
    ]
    _: KW_ONLY
    output: Annotated[
        One | None,
        Option("The page, one file.", ("-o", "--output"), "REPORT.html", role="writes"),
    ] = None
    heads: Annotated[
        Names,
        Option(
            "Names as for train --head; the first one makes the curves.",
            metavar="NAMES",
            commas=True,
        ),
    ] = "logreg,ridge,knn"
    feature: Annotated[
        Names, Option("Only this output of the files, repeatable.", metavar="NAME")
    ] = ()
    exclude: Annotated[Paths, _EXCLUDE] = ()
    save_best: Annotated[
        One | None,
        Option(
            "Save the head to take, fitted on all training rows.", metavar="HEAD", role="writes"
        ),
    ] = None
    images: Annotated[Paths, IMAGES] = ()
    path_column: Annotated[
        str | None, Option("Column of a table of --images that names them.", metavar="NAME")
    ] = None
    cv: Annotated[
        int,
        Option("Folds that choose strengths, and judge without a test split.", metavar="K"),
    ] = 5
    screen: Annotated[bool, SCREEN] = False
    seed: Annotated[int, Option("Decides folds and draws.", least=0)] = 0
    resamples: Annotated[int, Option("Draws of the bootstrap.", metavar="N")] = 2000
    near: Annotated[float | None, NEAR] = None
    map: Annotated[MapKind, MAP] = "auto"
    device: Annotated[str | None, DEVICE] = None


@dataclass(frozen=True)
class RaceOptions(SourceOptions):
    """Images to the backbone to take, without extracting all of them."""

    sources: Annotated[Paths, SOURCES]
    output: Annotated[
        One,
        Option(
            "The result; the feature files lie beside it.",
            ("-o", "--output"),
            "RACE.json",
            role="writes",
        ),
    ] = "race/race.json"
    _: KW_ONLY
    backbone: Annotated[
        Names, Option("A contender, repeatable.", ("-b", "--backbone"), "NAME")
    ] = ()
    resizes: Annotated[
        Names,
        Option("A resize rule that races too, repeatable: crop, squash, pad.", ("--resize",),
               "RULE"),
    ] = ()  # fmt: skip
    budget: Annotated[
        str | None,
        Option(
            "At most so long: 90s, 10m, 1h; a fifth of what all on all images would take.",
            metavar="TIME",
        ),
    ] = None
    head: Annotated[
        str,
        Option("What judges: a head as for train, fitted on few rows and on all.", metavar="NAME"),
    ] = "logreg"
    weights: Annotated[
        Names,
        Option("As for extract, of all, or BACKBONE=WHICH of one; repeatable.", metavar="WHICH"),
    ] = ()
    preprocess: Annotated[
        Names,
        Option("As for extract, of all, or BACKBONE=WHAT of one; repeatable.", metavar="WHAT"),
    ] = ()
    size: Annotated[
        Names, Option("As for extract, of all, or BACKBONE=N of one; repeatable.", metavar="N")
    ] = ()
    pool: Annotated[Pool | None, Option("As for extract, of all.")] = None
    batch_size: Annotated[int | Literal["auto"] | None, BATCH_OR_AUTO] = None
    workers: Annotated[int | None, WORKERS] = None
    precision: Annotated[Precision, PRECISION] = "float32"
    dtype: Annotated[Literal["float32", "float16"], Option("Type of the features on disk.")] = (
        "float32"
    )
    runtime: Annotated[Runtime, RUNTIME] = "auto"
    devices: Annotated[Names, DEVICES] = ()
    seed: Annotated[int, Option("Decides the samples and the folds.", least=0)] = 0
    max_failed: Annotated[str | int, MAX_FAILED] = "10%"


@dataclass(frozen=True)
class TagOptions(SourceOptions):
    """Songs to the tags that a network has for them."""

    sources: Annotated[Paths, SOURCES]
    _: KW_ONLY
    backbone: Annotated[str, CHOSEN_BACKBONE] = "music_tagger_crnn"
    weights: Annotated[One | None, Option("bundled, msd or a path.", metavar="WHICH")] = None
    top_k: Annotated[
        int | Literal["all"], Option("The likeliest tags, or all.", metavar="N|all", least=1)
    ] = 5
    views: Annotated[int, Option("Windows a song, averaged.", metavar="K", least=1)] = 1
    batch_size: Annotated[int | None, PASS_SIZE] = None
    workers: Annotated[int | None, WORKERS] = None
    runtime: Annotated[Runtime, RUNTIME] = "auto"
    devices: Annotated[Names, DEVICES] = ()
    max_failed: Annotated[str | int, MAX_FAILED] = "10%"


@dataclass(frozen=True)
class BenchOptions(SourceOptions):
    """How fast a backbone is on this machine."""

    sources: Annotated[
        Paths,
        Option(
            "Where images are; drawn ones by default.",
            metavar="[SOURCE]...",
            role="images",
            argument=True,
        ),
    ] = ()
    _: KW_ONLY
    backbone: Annotated[str, CHOSEN_BACKBONE] = DEFAULT
    weights: Annotated[
        One | None,
        Option("bundled, imagenet, none (as fast as any) or a path.", metavar="WHICH"),
    ] = None
    size: Annotated[str | int | None, SIZE] = None
    preprocess: Annotated[str | None, PREPROCESS] = None
    precision: Annotated[Precision, PRECISION] = "float32"
    runtime: Annotated[Runtime, RUNTIME] = "auto"
    devices: Annotated[Names, DEVICES] = ()
    decoder: Annotated[DecoderName, DECODER] = "pillow"
    batch_sizes: Annotated[
        int | Sequence[int] | None,
        Option(
            "Batch sizes to try, repeatable; up to 64, on GPUs up to 512.",
            ("--batch-size",),
            "N",
            least=1,
        ),
    ] = None
    images: Annotated[int, Option("Read at most so many images.", metavar="N", least=1)] = 256
    seconds: Annotated[float, Option("Try each batch size so long.", metavar="S")] = 2.0
    workers: Annotated[int | None, WORKERS] = None


_EACH: Any = field(
    default=None,
    compare=False,
    repr=False,
    metadata={"help": "Is given the outcome of each step as it ends."},
)


@dataclass(frozen=True)
class RunOptions(Options):
    """A pipeline file to all it makes."""

    pipeline: Annotated[
        One, Option("The pipeline file.", metavar="PIPELINE.toml", role="reads", argument=True)
    ]
    _: KW_ONLY
    dry_run: Annotated[bool, Option("Only tell what would run.")] = False
    force: Annotated[bool, Option("Run every step; feature files are started over.")] = False
    settings: Annotated[
        Names,
        Option(
            "Set an option: NAME.option=value of one step, option=value of all that have it.",
            ("--set",),
            "KEY=VALUE",
        ),
    ] = ()
    each: Callable[[Any], None] | None = _EACH


@dataclass(frozen=True)
class DemoOptions(Options):
    """The whole job on the sample."""

    folder: Annotated[
        One, Option("Where it is made.", metavar="[FOLDER]", role="writes", argument=True)
    ] = "bottleneck-demo"
    _: KW_ONLY
    each: Callable[[Any], None] | None = _EACH


@dataclass(frozen=True)
class InitOptions(SourceOptions):
    """Images to a pipeline that fits them."""

    sources: Annotated[Paths, SOURCES]
    output: Annotated[
        One, Option("The pipeline.", ("-o", "--output"), "PIPELINE.toml", role="writes")
    ] = "pipeline.toml"
    _: KW_ONLY
    targets: Annotated[Names, TARGETS] = ()
    overwrite: Annotated[bool, Option("Replace the pipeline if the file exists.")] = False


OPTIONS: dict[str, type[Options]] = {
    "extract": ExtractOptions,
    "plan": PlanOptions,
    "seal": SealOptions,
    "train": TrainOptions,
    "evaluate": EvaluateOptions,
    "predict": PredictOptions,
    "edit": EditOptions,
    "finetune": FinetuneOptions,
    "serve": ServeOptions,
    "drift": DriftOptions,
    "compare": CompareOptions,
    "race": RaceOptions,
    "merge": MergeOptions,
    "export": ExportOptions,
    "verify": VerifyOptions,
    "rescue": RescueOptions,
    "neighbors": NeighborsOptions,
    "tag": TagOptions,
    "bench": BenchOptions,
    "info": InfoOptions,
    "backbones": BackbonesOptions,
    "run": RunOptions,
    "doctor": DoctorOptions,
    "init": InitOptions,
    "relabel": RelabelOptions,
    "view": ViewOptions,
    "graph": GraphOptions,
    "demo": DemoOptions,
}
"""The options of each function, by its name."""
