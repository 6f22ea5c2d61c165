"""Frozen backbones, cheap heads: features for image sets larger than memory.

The public names below are loaded on first use, so that ``import bottleneck`` stays
instant and never loads TensorFlow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bottleneck.api import add_backbone as add_backbone
    from bottleneck.api import bench as bench
    from bottleneck.api import compare as compare
    from bottleneck.api import demo as demo
    from bottleneck.api import doctor as doctor
    from bottleneck.api import drift as drift
    from bottleneck.api import edit as edit
    from bottleneck.api import evaluate as evaluate
    from bottleneck.api import export as export
    from bottleneck.api import extract as extract
    from bottleneck.api import extract_many as extract_many
    from bottleneck.api import extract_set as extract_set
    from bottleneck.api import finetune as finetune
    from bottleneck.api import graph as graph
    from bottleneck.api import info as info
    from bottleneck.api import init as init
    from bottleneck.api import merge as merge
    from bottleneck.api import neighbors as neighbors
    from bottleneck.api import plan as plan
    from bottleneck.api import predict as predict
    from bottleneck.api import race as race
    from bottleneck.api import relabel as relabel
    from bottleneck.api import remove_backbone as remove_backbone
    from bottleneck.api import rescue as rescue
    from bottleneck.api import run as run
    from bottleneck.api import seal as seal
    from bottleneck.api import serve as serve
    from bottleneck.api import survey as survey
    from bottleneck.api import tag as tag
    from bottleneck.api import train as train
    from bottleneck.api import verify as verify
    from bottleneck.api import view as view
    from bottleneck.errors import BottleneckError as BottleneckError
    from bottleneck.extraction import FeatureExtractor as FeatureExtractor
    from bottleneck.manifest import Manifest as Manifest
    from bottleneck.store import FeatureStore as FeatureStore

_HOME = {
    "BottleneckError": "bottleneck.errors",
    "FeatureExtractor": "bottleneck.extraction",
    "FeatureStore": "bottleneck.store",
    "Manifest": "bottleneck.manifest",
}

_FUNCTIONS = (
    "add_backbone",
    "bench",
    "compare",
    "demo",
    "doctor",
    "drift",
    "evaluate",
    "export",
    "extract",
    "extract_many",
    "extract_set",
    "graph",
    "edit",
    "finetune",
    "info",
    "init",
    "merge",
    "neighbors",
    "plan",
    "predict",
    "race",
    "relabel",
    "remove_backbone",
    "rescue",
    "run",
    "seal",
    "serve",
    "survey",
    "tag",
    "train",
    "verify",
    "view",
)

__all__ = [  # noqa: PLE0604  # the names are strings, made public below
    *_HOME,
    *_FUNCTIONS,
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in _FUNCTIONS:
        return getattr(import_module("bottleneck.api"), name)
    if name == "heads":
        return import_module("bottleneck.heads")
    raise AttributeError(f"module 'bottleneck' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, "heads"})
