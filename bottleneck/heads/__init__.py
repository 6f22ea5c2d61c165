"""Cheap heads on stored features: the catalogue, splits, selection, the saved head.

Importing this package is instant: scikit-learn is loaded when a head is built or read.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bottleneck.heads.catalogue import HEAD_NAMES, HEADS, HeadSpec, head_spec
from bottleneck.heads.selection.grid import parse_grid

if TYPE_CHECKING:
    from bottleneck.heads.kinds.knn import KNeighbors as KNeighbors
    from bottleneck.heads.kinds.lda import LinearDiscriminant as LinearDiscriminant
    from bottleneck.heads.kinds.logreg import LogisticRegression as LogisticRegression
    from bottleneck.heads.kinds.logreg import (
        MultiLabelLogisticRegression as MultiLabelLogisticRegression,
    )
    from bottleneck.heads.kinds.mlp import MultilayerPerceptron as MultilayerPerceptron
    from bottleneck.heads.kinds.nearest_mean import NearestMean as NearestMean
    from bottleneck.heads.kinds.ridge import Ridge as Ridge
    from bottleneck.heads.kinds.ridge import RidgeClassifier as RidgeClassifier
    from bottleneck.heads.kinds.svm import LinearSVC as LinearSVC
    from bottleneck.heads.saved import Head as Head
    from bottleneck.heads.selection.fitted import Fitted as Fitted
    from bottleneck.heads.selection.linear import select as select
    from bottleneck.heads.selection.network import select_mlp as select_mlp
    from bottleneck.heads.selection.splits import folds as folds
    from bottleneck.heads.selection.splits import holdout as holdout
    from bottleneck.heads.selection.targets import select_targets as select_targets

_HOME = {
    "Fitted": "bottleneck.heads.selection.fitted",
    "Head": "bottleneck.heads.saved",
    "KNeighbors": "bottleneck.heads.kinds.knn",
    "LinearDiscriminant": "bottleneck.heads.kinds.lda",
    "LinearSVC": "bottleneck.heads.kinds.svm",
    "LogisticRegression": "bottleneck.heads.kinds.logreg",
    "MultiLabelLogisticRegression": "bottleneck.heads.kinds.logreg",
    "MultilayerPerceptron": "bottleneck.heads.kinds.mlp",
    "NearestMean": "bottleneck.heads.kinds.nearest_mean",
    "Ridge": "bottleneck.heads.kinds.ridge",
    "RidgeClassifier": "bottleneck.heads.kinds.ridge",
    "folds": "bottleneck.heads.selection.splits",
    "holdout": "bottleneck.heads.selection.splits",
    "select": "bottleneck.heads.selection.linear",
    "select_mlp": "bottleneck.heads.selection.network",
    "select_targets": "bottleneck.heads.selection.targets",
}

__all__ = [
    "HEADS",
    "HEAD_NAMES",
    "Fitted",
    "Head",
    "HeadSpec",
    "KNeighbors",
    "LinearDiscriminant",
    "LinearSVC",
    "LogisticRegression",
    "MultiLabelLogisticRegression",
    "MultilayerPerceptron",
    "NearestMean",
    "Ridge",
    "RidgeClassifier",
    "folds",
    "head_spec",
    "holdout",
    "parse_grid",
    "select",
    "select_mlp",
    "select_targets",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'bottleneck.heads' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
