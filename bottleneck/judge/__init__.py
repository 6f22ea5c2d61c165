"""Judging: scores, one resampler of whole groups, intervals, and the test against the best.

Importing this package is instant; what it holds is loaded when it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bottleneck.judge.scores import ClassJudgement as ClassJudgement
    from bottleneck.judge.scores import Judgement as Judgement
    from bottleneck.judge.scores import judge as judge
    from bottleneck.judge.scores import judge_head as judge_head
    from bottleneck.judge.targets import judge_targets as judge_targets

_HOME = {
    "ClassJudgement": "bottleneck.judge.scores",
    "Judgement": "bottleneck.judge.scores",
    "judge": "bottleneck.judge.scores",
    "judge_head": "bottleneck.judge.scores",
    "judge_targets": "bottleneck.judge.targets",
}

__all__ = ["ClassJudgement", "Judgement", "judge", "judge_head", "judge_targets"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'bottleneck.judge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
