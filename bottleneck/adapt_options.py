"""Options of what goes beyond frozen features: edit, fine-tune, serve, watch."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

from bottleneck.declare import Option, Options
from bottleneck.extract_options import DEVICES, Names
from bottleneck.file_options import DEVICE, One, Paths, checked_size
from bottleneck.runtimes.choice import RuntimeName
from bottleneck.sources.layout import SourceOptions

_HEAD = Option("The head's file.", metavar="HEAD", role="reads", holds="head", argument=True)
_WORKERS = Option("Processes or threads that decode; one per core.", metavar="N", least=1)
_WEIGHTS = Option("Where the backbone's weights are now.", metavar="PATH")
_MAX_FAILED = Option("More failed images than this are an error.", metavar="N|P%")


@dataclass(frozen=True)
class FinetuneOptions(SourceOptions):
    """A head and labelled images to a fine-tuned model."""

    head: Annotated[One, _HEAD]
    sources: Annotated[
        Paths,
        Option(
            "Labelled images, as for `extract`.",
            metavar="SOURCE...",
            role="images",
            holds="images",
            argument=True,
        ),
    ]
    output: Annotated[
        One, Option("The model.", ("-o", "--output"), "MODEL.keras", role="writes")
    ] = "model.keras"
    _: KW_ONLY
    unfreeze: Annotated[
        Paths,
        Option(
            "Layers to train, repeatable: a layer's name, the beginning of a block's (block5), or "
            "last:N blocks; last:1 by default.",
            metavar="NAME",
        ),
    ] = ()
    unfreeze_from: Annotated[
        str | None, Option("Train this layer or block and all behind it.", metavar="NAME")
    ] = None
    gradual: Annotated[bool, Option("Train one more block, and one more, as long as it pays.")] = (
        False
    )
    epochs: Annotated[int, Option("At most.", metavar="N", least=1)] = 20
    patience: Annotated[
        int, Option("Stop after so many epochs that were not better.", metavar="N", least=1)
    ] = 8
    rate: Annotated[float, Option("Highest learning rate of the backbone.", metavar="R")] = 3e-4
    head_rate: Annotated[float, Option("Highest learning rate of the head.", metavar="R")] = 1e-3
    warmup: Annotated[
        float, Option("Share of the steps in which rates rise; then they fall by a cosine.")
    ] = 0.1
    weight_decay: Annotated[float, Option("Decoupled weight decay of kernels.")] = 1e-2
    label_smoothing: Annotated[float, Option("Share of a label given to all classes.")] = 0.1
    dropout: Annotated[float, Option("Share of the features left out in a training step.")] = 0.2
    class_weights: Annotated[
        Literal["none", "balanced"], Option("balanced: every class counts as much.")
    ] = "none"
    train_batchnorm: Annotated[
        bool, Option("Also train batch normalisation; else it stays in inference mode.")
    ] = False
    views: Annotated[
        int, Option("Views per image, taken in turns: the plain one and random parts.", least=1)
    ] = 8
    validation: Annotated[
        float,
        Option("Share of the training images that decides when to stop, without a val split."),
    ] = 0.2
    batch_size: Annotated[int, Option("Images per step.", metavar="N", least=1)] = 32
    workers: Annotated[int | None, _WORKERS] = None
    seed: Annotated[
        int, Option("Decides the validation share and the order of images.", least=0)
    ] = 0
    precision: Annotated[
        Literal["float32", "bfloat16"],
        Option(
            "bfloat16: dense convolutions and products of the backbone are trained in it; all "
            "weights, and the model, stay float32."
        ),
    ] = "float32"
    device: Annotated[str | None, DEVICE] = None
    page: Annotated[
        One | None,
        Option("Also a page with the curves.", metavar="PAGE.html", role="writes"),
    ] = None
    weights: Annotated[One | None, _WEIGHTS] = None
    overwrite: Annotated[bool, Option("Replace the model if the file exists.")] = False
    max_failed: Annotated[str | int, _MAX_FAILED] = "10%"


@dataclass(frozen=True)
class EditOptions(Options):
    """A backbone to another one: cut off, with layers taken out or put in."""

    backbone: Annotated[str, Option("What -b takes.", metavar="BACKBONE", argument=True)]
    output: Annotated[
        One, Option("The new backbone.", ("-o", "--output"), "NEW.keras", role="writes")
    ] = "new.keras"
    _: KW_ONLY
    cut: Annotated[str | None, Option("The last layer that stays.", metavar="LAYER")] = None
    drop: Annotated[
        Paths,
        Option(
            "Take a layer, a block (block5) or all from one to another out; repeatable.",
            metavar="LAYER|A..B",
        ),
    ] = ()
    insert: Annotated[
        Paths,
        Option(
            "Put layers behind one, or where it was; repeatable. FILE: .toml ([[layers]]), .keras, "
            "or module:function.",
            metavar="LAYER:FILE",
        ),
    ] = ()
    replace: Annotated[
        Paths,
        Option("Put layers in the place of others; repeatable.", metavar="LAYER|A..B:FILE"),
    ] = ()
    weights: Annotated[
        One | None,
        Option("Of the backbone: bundled, imagenet, none or a file.", metavar="NAME|PATH"),
    ] = None
    size: Annotated[
        str | int | None,
        Option("Side of its images in pixels, or WxH.", metavar="N|WxH", check=checked_size),
    ] = None
    preprocess: Annotated[
        str | None, Option("What it wants of pixels, as for `extract`.", metavar="WHAT")
    ] = None
    overwrite: Annotated[bool, Option("Replace the new backbone if the file exists.")] = False


@dataclass(frozen=True)
class ServeOptions(Options):
    """A deployed model as an HTTP service."""

    model: Annotated[
        One,
        Option(
            "What `export --deploy` or `finetune` wrote.",
            metavar="MODEL",
            role="reads",
            argument=True,
        ),
    ]
    _: KW_ONLY
    host: Annotated[str, Option("Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1"
    port: Annotated[int, Option("Port to listen on; 0 for any free one.", least=0)] = 8000
    batch_size: Annotated[
        int, Option("Images computed at once, at most.", metavar="N", least=1)
    ] = 16
    device: Annotated[str | None, DEVICE] = None
    max_waiting: Annotated[
        int, Option("Images that wait at most; more are answered 503.", metavar="N", least=1)
    ] = 256
    max_mb: Annotated[float, Option("Bodies that are larger are refused.", metavar="MB")] = 20.0
    max_megapixels: Annotated[float, Option("Images that are larger are refused.")] = 50.0
    timeout: Annotated[
        float, Option("A request that takes longer is refused.", metavar="SECONDS")
    ] = 30.0


@dataclass(frozen=True)
class DriftOptions(SourceOptions):
    """A head and new images to whether they are like those it was trained with."""

    head: Annotated[One, _HEAD]
    sources: Annotated[
        Paths,
        Option(
            "New images as for `extract`, or their feature file.",
            metavar="SOURCE...",
            role="images",
            holds="images",
            argument=True,
        ),
    ]
    _: KW_ONLY
    features: Annotated[
        One,
        Option(
            "The feature file the head was trained on.",
            ("-f", "--features"),
            "FEATURES.h5",
            role="reads",
        ),
    ]
    output: Annotated[
        One | None,
        Option(
            "Also a table of the images, or a page.",
            ("-o", "--output"),
            "FILE.csv|html",
            role="writes",
        ),
    ] = None
    level: Annotated[float, Option("Share of false alarms of a test.")] = 0.05
    rate: Annotated[
        float, Option("Share of images like the training ones that are called unlike them.")
    ] = 0.01
    permutations: Annotated[int, Option("Of each test.", metavar="N", least=19)] = 999
    seed: Annotated[int, Option("Of the permutations.", least=0)] = 0
    weights: Annotated[One | None, _WEIGHTS] = None
    batch_size: Annotated[int, Option("Images per forward pass.", metavar="N", least=1)] = 32
    workers: Annotated[int | None, _WORKERS] = None
    runtime: Annotated[
        Literal["auto", RuntimeName],
        Option("How the network is compiled."),
    ] = "auto"
    devices: Annotated[Names, DEVICES] = ()
    max_failed: Annotated[str | int, _MAX_FAILED] = "10%"
