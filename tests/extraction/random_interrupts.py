"""Ctrl-C at random moments; run by ``test_interrupts.py``, in a process of its own.

A timer's signal ends a process in which something else has taken the signal, and pytest's workers
have run many tests before this one.
"""

import random
import signal

import numpy as np
import pytest
from fakes import LateBackbone, MeanBackbone, fake_embedder, write_png

from bottleneck.store import FeatureStore


class Timed:
    """Begins to count down with its first batch."""

    delay = 0.0

    def start(self):
        if not self.batches:
            signal.setitimer(signal.ITIMER_REAL, max(1e-4, self.delay))


class Early(Timed, MeanBackbone):
    def __call__(self, batch):
        self.start()
        return super().__call__(batch)


class Late(Timed, LateBackbone):
    def submit(self, batch):
        self.start()
        return super().submit(batch)


@pytest.fixture
def alarm():
    """Turn the timer into a Ctrl-C, as the command line does with SIGTERM, while something runs."""
    runs = False

    def stop(number, frame):
        if runs:  # one that comes late is the test's own, and would end its process
            raise KeyboardInterrupt

    def interrupted(function, *args, **options):
        nonlocal runs
        runs = True
        try:
            return function(*args, **options)
        except KeyboardInterrupt:
            runs = False
            pytest.fail("an interrupt came through")
        finally:
            runs = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    before = signal.signal(signal.SIGALRM, stop)
    yield interrupted
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", [Early, Late])
@pytest.mark.parametrize("worker_kind", ["threads", "processes"])
def test_at_any_moment(run, tmp_path, alarm, kind, worker_kind, rng):
    for i in range(24):
        write_png(tmp_path / "set" / f"{i}.png", rng.integers(0, 256, (8, 9, 3)))
    (tmp_path / "set" / "7.png").write_bytes(b"")
    reference = FeatureStore.open(run(tmp_path / "set", tmp_path / "whole.h5").output)
    chance, midway = random.Random(3), 0
    for trial in range(12 if worker_kind == "threads" else 8):
        output = tmp_path / f"{trial}.h5"
        network = kind(seconds_per_batch=0.004)
        network.delay = chance.uniform(0, 0.03)
        result = alarm(
            run,
            tmp_path / "set",
            output,
            fake_embedder(network),
            batch_size=2,
            worker_kind=worker_kind,
        )
        assert result.interrupted or result.pending == 0
        midway += 0 < result.pending < 24
        store = FeatureStore.open(output)
        assert np.count_nonzero(store.done) == result.ok
        assert result.ok + result.failed + result.pending == 24
        for name in store.outputs:
            np.testing.assert_array_equal(
                store.features(name)[store.done], reference.features(name)[store.done]
            )
        assert run(tmp_path / "set", output).pending == 0
    assert midway >= 2
