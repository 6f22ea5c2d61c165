"""Comparing: metrics, statistics, the leaderboard and the page.

Importing this package is instant; what it holds is loaded when it is used.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bottleneck.compare.judging import judge_head as judge_head
    from bottleneck.compare.metrics import ClassJudgement as ClassJudgement
    from bottleneck.compare.metrics import Judgement as Judgement
    from bottleneck.compare.metrics import judge as judge
    from bottleneck.compare.neighbors import Neighbor as Neighbor
    from bottleneck.compare.study import Comparison as Comparison
    from bottleneck.compare.study import compare as compare
    from bottleneck.compare.target_judging import judge_targets as judge_targets

_HOME = {
    "ClassJudgement": "bottleneck.compare.metrics",
    "Comparison": "bottleneck.compare.study",
    "Judgement": "bottleneck.compare.metrics",
    "Neighbor": "bottleneck.compare.neighbors",
    "compare": "bottleneck.compare.study",
    "judge": "bottleneck.compare.metrics",
    "judge_head": "bottleneck.compare.judging",
    "judge_targets": "bottleneck.compare.target_judging",
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


class _CallableModule(ModuleType):
    """Lets ``bottleneck.compare`` be both this package and the function in it.

    Importing a package sets its name in the parent, so that after any import from here the
    parent's ``compare`` is this module, and no longer the function.
    """

    def __call__(self, *args: Any, **options: Any) -> "Comparison":
        from bottleneck.compare.study import compare

        return compare(*args, **options)


sys.modules[__name__].__class__ = _CallableModule


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'bottleneck.compare' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
