"""SIGKILL at random moments, with the NumPy backbone: many kills, cheaply.

``tests/cli/test_real.py`` does the same to the real command.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from fakes import write_png

from bottleneck.store import FeatureStore

RUN = """
import sys
from pathlib import Path
from fakes import MeanBackbone, fake_embedder
from bottleneck.extraction import fill_store, Silent
from bottleneck.extraction.plan import MaxFailed
from bottleneck.sources import open_source
from bottleneck.store import Writer, writer_lock
Writer.__init__.__kwdefaults__["commit_seconds"] = 0.0
source, output = open_source([sys.argv[1]]), Path(sys.argv[2])
print("ready", flush=True)
with writer_lock(output):
    fill_store(source, output, fake_embedder(MeanBackbone(seconds_per_batch=0.004)),
               batch_size=2, workers=2, max_failed=MaxFailed.parse("10%"), progress=Silent())
"""


def start(folder, output):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder), str(output)],
        env=environment,
        stdout=subprocess.PIPE,
    )


def finish(folder, output):
    with start(folder, output) as process:
        process.stdout.read()
    assert process.returncode == 0


def test_two_dozen_kills_cost_nothing(tmp_path):
    rng = np.random.default_rng(1)
    for i in range(120):
        write_png(tmp_path / "set" / f"{i}.png", rng.integers(0, 256, (8, 9, 3)))
    (tmp_path / "set" / "60.png").write_bytes(b"")
    whole = tmp_path / "whole.h5"
    finish(tmp_path / "set", whole)
    reference = FeatureStore.open(whole)

    chance = random.Random(5)
    kills = caught_midway = files = 0
    while kills < 24:
        output = tmp_path / f"{files}.h5"
        with start(tmp_path / "set", output) as process:
            process.stdout.readline()
            time.sleep(chance.uniform(0, 0.4))
            process.send_signal(signal.SIGKILL)
        if process.returncode == 0 or kills % 3 == 2:  # at most three kills for one file
            finish(tmp_path / "set", output)
            assert FeatureStore.open(output).complete
            files += 1
        kills += process.returncode == -signal.SIGKILL
        if output.exists():
            store = FeatureStore.open(output)
            caught_midway += 0 < np.count_nonzero(store.done) < 119
            assert_finished_rows_equal(store, reference)
    assert caught_midway >= 4
    assert [path.name for path in tmp_path.glob(".*.tmp")] == []


def assert_finished_rows_equal(store, reference):
    flagged = store.status > 0
    np.testing.assert_array_equal(store.status[flagged], reference.status[flagged])
    done = store.done
    np.testing.assert_array_equal(store.digests[done], reference.digests[done])
    for name in store.outputs:
        np.testing.assert_array_equal(store.features(name)[done], reference.features(name)[done])
