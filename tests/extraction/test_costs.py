"""What a run says its network cost: its own seconds for the images it computed itself."""

import threading
from functools import partial

import numpy as np
import pytest
from fakes import ThreadClock, fake_embedder, sleeping

from bottleneck.extraction import fill_stores
from bottleneck.extraction.plan import MaxFailed
from bottleneck.progress import Silent
from bottleneck.runtimes.step import Parts
from bottleneck.sources import open_source
from bottleneck.store import FeatureStore


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr("bottleneck.runtimes.step.time", clock := ThreadClock())
    return clock


@pytest.fixture
def network(clock):
    return partial(sleeping, clock=clock, threads=2, most=2)


@pytest.fixture
def fill(tmp_path):
    def run(source, outputs, **options):
        loaded = [
            (fake_embedder(one, identity={"weights": name[:4]}), 4) for name, one in outputs.items()
        ]
        return fill_stores(
            open_source([str(source)]),
            [tmp_path / f"{name}.h5" for name in outputs],
            lambda begun: loaded,
            workers=2,
            max_failed=MaxFailed.parse("10%"),
            progress=Silent(),
            **options,
        )

    return run


def per_image(result):
    return 1e3 * result.forward_seconds / result.computed


def test_a_network_costs_the_same_alone_and_beside_another(photos, fill, network):
    fast, slow = fill(photos, {"fast": network(10), "slow": network(40)})
    (alone,) = fill(photos, {"fast-alone": network(10)})
    assert fast.computed == slow.computed == alone.computed == 12
    # Two threads: half of what each image takes.
    assert per_image(alone) == pytest.approx(5)
    assert per_image(fast) == pytest.approx(5)
    assert per_image(slow) == pytest.approx(20)
    assert fast.decode_seconds == slow.decode_seconds > 0


def test_rows_taken_over_cost_nothing(photos, fill, network, tmp_path):
    fill(photos, {"fast": network(10)}, limit=9)
    old = FeatureStore.open(tmp_path / "fast.h5")
    (result,) = fill(photos, {"fast-more": network(10)}, reuse=[old])
    assert (result.ok, result.reused, result.computed) == (12, 9, 3)
    assert per_image(result) == pytest.approx(5)
    (again,) = fill(
        photos,
        {"fast-again": network(10)},
        reuse=[FeatureStore.open(result.output)],
    )
    assert (again.ok, again.computed, again.forward_seconds) == (12, 0, 0)


def test_networks_take_turns_on_the_cores(clock):
    most, now, lock = [0], [0], threading.Lock()

    def compute(images):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        clock.sleep(0.01)
        with lock:
            now[0] -= 1
        return [images]

    both = [Parts(compute, threads=2, most=1) for _ in range(2)]
    begun = [parts.start(np.zeros((4, 1), np.uint8)) for parts in both]
    for parts, batch in zip(both, begun, strict=True):
        assert len(parts.gather(batch)[0]) == 4
        assert parts.busy_seconds == pytest.approx(0.02)
    assert most == [2]
