"""Comparing: metrics, statistics, the leaderboard and the page.

Importing this package is instant; what it holds is loaded when it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bottleneck.comparison.judging import judge_head as judge_head
    from bottleneck.comparison.metrics import ClassJudgement as ClassJudgement
    from bottleneck.comparison.metrics import Judgement as Judgement
    from bottleneck.comparison.metrics import judge as judge
    from bottleneck.comparison.neighbors import Neighbor as Neighbor
    from bottleneck.comparison.study import Comparison as Comparison
    from bottleneck.comparison.study import compare as compare
    from bottleneck.comparison.target_judging import judge_targets as judge_targets

_HOME = {
    "ClassJudgement": "bottleneck.comparison.metrics",
    "Comparison": "bottleneck.comparison.study",
    "Judgement": "bottleneck.comparison.metrics",
    "Neighbor": "bottleneck.comparison.neighbors",
    "compare": "bottleneck.comparison.study",
    "judge": "bottleneck.comparison.metrics",
    "judge_head": "bottleneck.comparison.judging",
    "judge_targets": "bottleneck.comparison.target_judging",
}

__all__ = [
    "ClassJudgement",
    "Comparison",
    "Judgement",
    "Neighbor",
    "compare",
    "judge",
    "judge_head",
    "judge_targets",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'bottleneck.comparison' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
