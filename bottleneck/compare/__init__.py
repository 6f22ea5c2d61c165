"""Judging heads: metrics, per-class tables, confusion; later statistics and the report."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bottleneck.compare.judging import judge_head as judge_head
    from bottleneck.compare.metrics import ClassJudgement as ClassJudgement
    from bottleneck.compare.metrics import Judgement as Judgement
    from bottleneck.compare.metrics import judge as judge

_HOME = {
    "ClassJudgement": "bottleneck.compare.metrics",
    "Judgement": "bottleneck.compare.metrics",
    "judge": "bottleneck.compare.metrics",
    "judge_head": "bottleneck.compare.judging",
}

__all__ = ["ClassJudgement", "Judgement", "judge", "judge_head"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'bottleneck.compare' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
