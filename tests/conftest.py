"""What every test gets: no user directory of the person who runs it, no random surprise."""

import os

import numpy as np
import pytest
from fakes import write_png

# Keras lives once in a process, on one framework: `--runtime auto` is not to choose another one
# in the middle of the tests. Other frameworks are tested in processes of their own.
os.environ["KERAS_BACKEND"] = "tensorflow"
LOG_LEVEL = os.environ.get("TF_CPP_MIN_LOG_LEVEL")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    # jax and tf2onnx set it for the process that imports them, thus for the commands that tests
    # start: before fixtures of any scope, what the tests were started with is put back.
    if LOG_LEVEL is None:
        os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)
    else:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = LOG_LEVEL


@pytest.fixture(autouse=True)
def _own_directories(tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("home")
    for name in ("HOME", "KERAS_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(home))
    for name in [name for name in os.environ if name.startswith("BOTTLENECK_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def photos(tmp_path):
    """Twelve small images in train/test and three classes, in natural order."""
    rng = np.random.default_rng(7)
    root = tmp_path / "photos"
    for split, count in (("train", 3), ("test", 1)):
        for name in ("ant", "bee", "cat"):
            for i in range(count):
                write_png(root / split / name / f"{i + 9}.png", rng.integers(0, 256, (20, 24, 3)))
    return root
