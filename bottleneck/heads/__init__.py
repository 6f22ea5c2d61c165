"""Cheap heads on stored features: the registry of kinds, splits, selection, the saved head.

Importing this package is instant: scikit-learn is loaded when a head is built or read.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bottleneck.heads.registry import HEAD_NAMES, head_kind, head_names
from bottleneck.heads.selection.grid import parse_grid

if TYPE_CHECKING:
    from pathlib import Path

    from bottleneck.heads.head import Head as Head
    from bottleneck.heads.kind import HeadKind as HeadKind
    from bottleneck.heads.kinds.estimator import EstimatorKind as EstimatorKind
    from bottleneck.heads.kinds.knn import KNeighbors as KNeighbors
    from bottleneck.heads.kinds.knn import NeighborMeans as NeighborMeans
    from bottleneck.heads.kinds.lda import LinearDiscriminant as LinearDiscriminant
    from bottleneck.heads.kinds.logreg import LogisticRegression as LogisticRegression
    from bottleneck.heads.kinds.logreg import (
        MultiLabelLogisticRegression as MultiLabelLogisticRegression,
    )
    from bottleneck.heads.kinds.mlp import MultiLabelPerceptron as MultiLabelPerceptron
    from bottleneck.heads.kinds.mlp import MultilayerPerceptron as MultilayerPerceptron
    from bottleneck.heads.kinds.mlp import PerceptronRegressor as PerceptronRegressor
    from bottleneck.heads.kinds.nearest_mean import NearestMean as NearestMean
    from bottleneck.heads.kinds.ridge import Ridge as Ridge
    from bottleneck.heads.kinds.ridge import RidgeClassifier as RidgeClassifier
    from bottleneck.heads.kinds.svm import LinearSVC as LinearSVC
    from bottleneck.heads.selection.model_selection import select as select
    from bottleneck.heads.selection.splits import folds as folds
    from bottleneck.heads.selection.splits import holdout as holdout

_HOME = {
    "Head": "bottleneck.heads.head",
    "HeadKind": "bottleneck.heads.kind",
    "EstimatorKind": "bottleneck.heads.kinds.estimator",
    "KNeighbors": "bottleneck.heads.kinds.knn",
    "LinearDiscriminant": "bottleneck.heads.kinds.lda",
    "LinearSVC": "bottleneck.heads.kinds.svm",
    "LogisticRegression": "bottleneck.heads.kinds.logreg",
    "MultiLabelLogisticRegression": "bottleneck.heads.kinds.logreg",
    "MultiLabelPerceptron": "bottleneck.heads.kinds.mlp",
    "MultilayerPerceptron": "bottleneck.heads.kinds.mlp",
    "NearestMean": "bottleneck.heads.kinds.nearest_mean",
    "NeighborMeans": "bottleneck.heads.kinds.knn",
    "PerceptronRegressor": "bottleneck.heads.kinds.mlp",
    "Ridge": "bottleneck.heads.kinds.ridge",
    "RidgeClassifier": "bottleneck.heads.kinds.ridge",
    "folds": "bottleneck.heads.selection.splits",
    "holdout": "bottleneck.heads.selection.splits",
    "select": "bottleneck.heads.selection.model_selection",
}

__all__ = [
    "HEAD_NAMES",
    "EstimatorKind",
    "Head",
    "HeadKind",
    "KNeighbors",
    "LinearDiscriminant",
    "LinearSVC",
    "LogisticRegression",
    "MultiLabelLogisticRegression",
    "MultiLabelPerceptron",
    "MultilayerPerceptron",
    "NearestMean",
    "NeighborMeans",
    "PerceptronRegressor",
    "Ridge",
    "RidgeClassifier",
    "folds",
    "head_kind",
    "head_names",
    "holdout",
    "load",
    "parse_grid",
    "select",
]


def load(path: "str | Path", *, device: str | None = None) -> "Head":
    """Read a head that was saved; see :meth:`bottleneck.heads.Head.load`."""
    from bottleneck.heads.head import Head

    return Head.load(path, device=device)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'bottleneck.heads' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
