"""Comparing: the study, its leaderboard, findings and page.

Importing this package is instant; what it holds is loaded when it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bottleneck.comparison.neighbors import Neighbor as Neighbor
    from bottleneck.comparison.study import Comparison as Comparison
    from bottleneck.comparison.study import compare as compare

_HOME = {
    "Comparison": "bottleneck.comparison.study",
    "Neighbor": "bottleneck.comparison.neighbors",
    "compare": "bottleneck.comparison.study",
}

__all__ = ["Comparison", "Neighbor", "compare"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'bottleneck.comparison' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
