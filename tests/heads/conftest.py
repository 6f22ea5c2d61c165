"""A small real data set: scikit-learn's 8 x 8 digits, as if they were features."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from bottleneck.heads import Head, select
from bottleneck.recipe import Recipe


@dataclass(frozen=True)
class Digits:
    X: NDArray[np.float32]
    y: NDArray[np.int64]
    keys: list[str]
    classes: tuple[str, ...]


@pytest.fixture(scope="session")
def digits() -> Digits:
    X, y = load_digits(return_X_y=True)
    X, y = X[:300].astype(np.float32), y[:300]
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return Digits(X, y, [f"{names[c]}/{i}.png" for i, c in enumerate(y)], names)


@pytest.fixture(scope="session")
def fitted(digits: Digits) -> Callable[[str], Head]:
    made: dict[str, Head] = {}

    def get(kind: str) -> Head:
        if kind not in made:
            made[kind] = select(
                digits.X,
                digits.y,
                classes=digits.classes,
                keys=digits.keys,
                head=kind,
                grid=(1e-3, 1e-2),
                n_folds=3,
            )
        return made[kind]

    return get


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(
        identity={"backbone": "pixels", "size": 8, "weights": {"sha256": "ab" * 32}},
        execution={"precision": "float32", "device": "CPU"},
    )


@pytest.fixture
def make_head(fitted: Callable[[str], Head], recipe: Recipe) -> Callable[[str], Head]:
    def make(kind: str) -> Head:
        about = json.loads('{"manifest_sha256": "cd", "left_out": {"failed": 2}}')
        return Head.of(fitted(kind), recipe=recipe, output="avg", **about)

    return make
