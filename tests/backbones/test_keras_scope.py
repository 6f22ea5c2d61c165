"""Keras for several threads: imported once, its settings and the process's put back."""

import contextlib
import os
import random
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from bottleneck.backbones.keras_scope import import_keras, isolated
from bottleneck.process_wide import warnings_ignored

KERAS = """
import os

import gate

asked_for = os.environ["KERAS_BACKEND"]
gate.begun.set()
assert gate.open.wait(60)


class backend:
    backend = staticmethod(lambda: asked_for)
"""
GATE = """
import threading

begun, open = threading.Event(), threading.Event()
"""
PROGRAM = """
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import gate
from bottleneck.backbones.keras_scope import current_backend, import_keras

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "0"
with ThreadPoolExecutor(3) as executor:
    first = executor.submit(import_keras, "jax")
    assert gate.begun.wait(60)
    others = [executor.submit(import_keras, "jax"), executor.submit(current_backend)]
    threading.Timer(0.3, gate.open.set).start()
    print(first.result(60).asked_for, others[0].result(60).asked_for, others[1].result(60))
print(os.environ.get("KERAS_BACKEND"))
"""


def test_who_comes_while_keras_is_imported_waits_for_it(tmp_path: Path) -> None:
    (tmp_path / "keras.py").write_text(KERAS)
    (tmp_path / "gate.py").write_text(GATE)
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split() == ["jax", "jax", "jax", "None"], done.stderr


def _overlapping(enter: Callable[[], AbstractContextManager[Any]]) -> None:
    """Enter by two threads; the first leaves while the other one is inside, if both can be."""
    inside, left = threading.Event(), threading.Event()

    def second() -> None:
        with enter():
            inside.set()
            assert left.wait(60)

    with ThreadPoolExecutor(1) as executor:
        with enter():
            other = executor.submit(second)
            inside.wait(0.5)
        left.set()
        other.result(60)


def test_overlapping_threads_leave_the_warnings_as_they_were() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _overlapping(warnings_ignored)
        with pytest.raises(UserWarning, match="heard"):
            warnings.warn("heard", UserWarning, stacklevel=1)


def test_overlapping_threads_leave_keras_as_the_user_had_set_it() -> None:
    keras = import_keras()
    before = keras.config.floatx(), keras.config.image_data_format(), random.getstate()
    try:
        keras.config.set_floatx("float64")
        keras.config.set_image_data_format("channels_first")
        random.seed(7)
        drawn = random.getstate()
        _overlapping(isolated)
        assert keras.config.floatx() == "float64"
        assert keras.config.image_data_format() == "channels_first"
        assert random.getstate() == drawn
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_image_data_format(before[1])
        random.setstate(before[2])


def test_weights_drawn_by_two_threads_are_those_of_one() -> None:
    keras = import_keras()
    both = threading.Barrier(2)

    def drawn() -> list[float]:
        with isolated():
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(0.2)  # both are inside, where they can be
            layers = [keras.layers.Dense(2) for _ in range(3)]
            for layer in layers:
                layer.build((None, 2))
            return [float(layer.get_weights()[0].sum()) for layer in layers]

    alone = drawn()
    both.reset()
    with ThreadPoolExecutor(2) as executor:
        assert [*executor.map(lambda _: drawn(), range(2))] == [alone, alone]
