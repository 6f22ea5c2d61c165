import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture
def images():
    """Make random uint8 images of a given size."""

    def make(count: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
        generator = np.random.default_rng(seed)
        return generator.integers(0, 256, (count, size, size, 3), dtype=np.uint8)

    return make


@pytest.fixture(autouse=True)
def keras_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the user's own cache of weights out of the tests."""
    folder = tmp_path_factory.mktemp("keras_home")
    monkeypatch.setitem(os.environ, "KERAS_HOME", str(folder))
    return folder


@pytest.fixture
def small():
    """A backbone that is quick to build, with random weights."""
    from bottleneck import backbones

    return backbones.load(backbones.get("mobilenet_v3_small"), weights="none", size=32)
