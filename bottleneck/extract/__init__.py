"""Images to features: plan what is pending, decode ahead, run the network, write."""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bottleneck.extract.build import build_embedder, rebuild_embedder
from bottleneck.extract.embedder import Embedder
from bottleneck.extract.engine import fill_store, fill_stores
from bottleneck.extract.options import BATCH_SIZE, ExtractOptions
from bottleneck.extract.progress import Progress, Silent
from bottleneck.extract.result import ExtractResult
from bottleneck.extract.run import extract, extract_many

if TYPE_CHECKING:
    from bottleneck.extract.transformer import FeatureExtractor as FeatureExtractor

__all__ = [
    "BATCH_SIZE",
    "Embedder",
    "ExtractOptions",
    "ExtractResult",
    "FeatureExtractor",
    "Progress",
    "Silent",
    "build_embedder",
    "extract",
    "extract_many",
    "fill_store",
    "fill_stores",
    "rebuild_embedder",
]


class _CallableModule(ModuleType):
    """Lets ``bottleneck.extract`` be both this package and the function in it.

    Importing a package sets its name in the parent, so that after any import from here the
    parent's ``extract`` is this module, and no longer the function.
    """

    def __call__(self, *args: Any, **options: Any) -> ExtractResult:
        return extract(*args, **options)


sys.modules[__name__].__class__ = _CallableModule


def __getattr__(name: str) -> Any:
    # The transformer needs scikit-learn, which the engine does not.
    if name == "FeatureExtractor":
        from bottleneck.extract.transformer import FeatureExtractor

        return FeatureExtractor
    raise AttributeError(f"module 'bottleneck.extract' has no attribute {name!r}")
