"""Images to features: plan what is pending, decode ahead, run the network, write."""

from typing import TYPE_CHECKING, Any

from bottleneck.extraction.embedder import Embedder
from bottleneck.extraction.engine import fill_store, fill_stores
from bottleneck.extraction.inference import embed
from bottleneck.extraction.result import ExtractResult
from bottleneck.extraction.run import build_embedder, extract_many, rebuild_embedder
from bottleneck.progress import Progress, Silent

if TYPE_CHECKING:
    from bottleneck.extraction.transformer import FeatureExtractor as FeatureExtractor

__all__ = [
    "Embedder",
    "ExtractResult",
    "FeatureExtractor",
    "Progress",
    "Silent",
    "build_embedder",
    "embed",
    "extract_many",
    "fill_store",
    "fill_stores",
    "rebuild_embedder",
]


def __getattr__(name: str) -> Any:
    # The transformer needs scikit-learn, which the engine does not.
    if name == "FeatureExtractor":
        from bottleneck.extraction.transformer import FeatureExtractor

        return FeatureExtractor
    raise AttributeError(f"module 'bottleneck.extraction' has no attribute {name!r}")
