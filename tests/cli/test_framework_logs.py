"""Frameworks log below Python, to the file descriptor: none of it reaches the terminal."""

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from fakes import write_png

pytestmark = pytest.mark.skipif(find_spec("tensorflow") is None, reason="TensorFlow speaks here")


def spoken(tmp_path, *arguments, code=None):
    """Return what a process wrote to its standard error, a file, beside our own notes."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "ABSL_", "KERAS_"))}
    program = ["-c", code] if code else ["-m", "bottleneck", *map(str, arguments)]
    with (tmp_path / "stderr").open("w+b") as stderr:
        subprocess.run(
            [sys.executable, *program],
            env={**plain, "KERAS_BACKEND": "tensorflow"},
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            check=True,
            timeout=300,
        )
        stderr.seek(0)
        lines = stderr.read().decode().splitlines()
    return "\n".join(line for line in lines if not line.startswith("note: "))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Images of two classes, their features by the TensorFlow runtime, and what was said."""
    folder = tmp_path_factory.mktemp("logs")
    generator = np.random.default_rng(0)
    for i in range(12):
        label = ("dark", "light")[i % 2]
        pixels = generator.integers(0, 128, (40, 40, 3)) + 127 * (i % 2)
        write_png(folder / "images" / label / f"{i}.png", pixels)
    options = ("--size", 64, "--runtime", "tensorflow", "-q")
    said = spoken(folder, "extract", folder / "images", "-o", folder / "x.h5", *options)
    return folder, said


def test_left_alone_tensorflow_says_something(tmp_path):
    """Else the tests below would find nothing whatever we do."""
    said = spoken(tmp_path, code="import tensorflow as tf; tf.constant(1.0) + 1")
    assert "I0000" in said or "oneDNN" in said


def test_extract_says_nothing(made):
    assert made[1] == ""


def test_train_with_keras_and_predict_say_nothing(made):
    folder, _ = made
    head = folder / "x.head"
    options = ("--engine", "keras", "--cv", 2, "--C", "1e-2,1", "-q")
    assert spoken(folder, "train", folder / "x.h5", "-o", head, *options) == ""
    options = ("--runtime", "tensorflow", "-o", folder / "x.csv", "-q")
    assert spoken(folder, "predict", head, folder / "images", *options) == ""
    assert len((folder / "x.csv").read_text().splitlines()) == 13
