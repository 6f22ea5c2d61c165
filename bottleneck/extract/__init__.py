"""Images to features: plan what is pending, decode ahead, run the network, write."""

from typing import TYPE_CHECKING, Any

from bottleneck.extract.embedder import Embedder, build_embedder, rebuild_embedder
from bottleneck.extract.engine import BATCH_SIZE, ExtractResult, extract, fill_store
from bottleneck.extract.progress import Progress, Silent

if TYPE_CHECKING:
    from bottleneck.extract.transformer import FeatureExtractor as FeatureExtractor

__all__ = [
    "BATCH_SIZE",
    "Embedder",
    "ExtractResult",
    "FeatureExtractor",
    "Progress",
    "Silent",
    "build_embedder",
    "extract",
    "fill_store",
    "rebuild_embedder",
]


def __getattr__(name: str) -> Any:
    # The transformer needs scikit-learn, which the engine does not.
    if name == "FeatureExtractor":
        from bottleneck.extract.transformer import FeatureExtractor

        return FeatureExtractor
    raise AttributeError(f"module 'bottleneck.extract' has no attribute {name!r}")
