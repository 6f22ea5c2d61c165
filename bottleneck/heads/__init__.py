"""Cheap heads on stored features: the catalogue, splits, selection, the saved head.

Importing this package is instant: scikit-learn is loaded when a head is built or read.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bottleneck.heads.catalogue import HEAD_NAMES, HEADS, HeadSpec, head_spec
from bottleneck.heads.grid import parse_grid

if TYPE_CHECKING:
    from bottleneck.heads.discriminant import LinearDiscriminant as LinearDiscriminant
    from bottleneck.heads.discriminant import NearestMean as NearestMean
    from bottleneck.heads.linear import LinearSVC as LinearSVC
    from bottleneck.heads.linear import LogisticRegression as LogisticRegression
    from bottleneck.heads.mlp import MultilayerPerceptron as MultilayerPerceptron
    from bottleneck.heads.mlp_selection import select_mlp as select_mlp
    from bottleneck.heads.multilabel import (
        MultiLabelLogisticRegression as MultiLabelLogisticRegression,
    )
    from bottleneck.heads.neighbors import KNeighbors as KNeighbors
    from bottleneck.heads.ridge import RidgeClassifier as RidgeClassifier
    from bottleneck.heads.ridge_regression import Ridge as Ridge
    from bottleneck.heads.saved import Head as Head
    from bottleneck.heads.selection import Fitted as Fitted
    from bottleneck.heads.selection import select as select
    from bottleneck.heads.splits import folds as folds
    from bottleneck.heads.splits import holdout as holdout
    from bottleneck.heads.target_selection import select_targets as select_targets

_HOME = {
    "Fitted": "bottleneck.heads.selection",
    "Head": "bottleneck.heads.saved",
    "KNeighbors": "bottleneck.heads.neighbors",
    "LinearDiscriminant": "bottleneck.heads.discriminant",
    "LinearSVC": "bottleneck.heads.linear",
    "LogisticRegression": "bottleneck.heads.linear",
    "MultiLabelLogisticRegression": "bottleneck.heads.multilabel",
    "MultilayerPerceptron": "bottleneck.heads.mlp",
    "NearestMean": "bottleneck.heads.discriminant",
    "Ridge": "bottleneck.heads.ridge_regression",
    "RidgeClassifier": "bottleneck.heads.ridge",
    "folds": "bottleneck.heads.splits",
    "holdout": "bottleneck.heads.splits",
    "select": "bottleneck.heads.selection",
    "select_mlp": "bottleneck.heads.mlp_selection",
    "select_targets": "bottleneck.heads.target_selection",
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
