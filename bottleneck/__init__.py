"""Frozen backbones, cheap heads: features for image sets larger than memory.

The public names below are loaded on first use, so that ``import bottleneck`` stays
instant and never loads TensorFlow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bottleneck.comparison import compare as compare
    from bottleneck.errors import BottleneckError as BottleneckError
    from bottleneck.extraction import FeatureExtractor as FeatureExtractor
    from bottleneck.extraction import extract as extract
    from bottleneck.manifest import Manifest as Manifest
    from bottleneck.store import FeatureStore as FeatureStore

_HOME = {
    "BottleneckError": "bottleneck.errors",
    "FeatureExtractor": "bottleneck.extraction",
    "FeatureStore": "bottleneck.store",
    "Manifest": "bottleneck.manifest",
    "compare": "bottleneck.comparison.study",
    "extract": "bottleneck.extraction.run",
}

__all__ = [
    "BottleneckError",
    "FeatureExtractor",
    "FeatureStore",
    "Manifest",
    "__version__",
    "compare",
    "extract",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name == "heads":
        return import_module("bottleneck.heads")
    raise AttributeError(f"module 'bottleneck' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, "heads"})
