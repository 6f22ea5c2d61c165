"""Passes by the actors of a Ray cluster, whose nodes are killed and joined."""

import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest
from raylets import Raylets

from bottleneck.errors import HeadError, OptionError
from bottleneck.heads.kinds.logreg import LogisticRegression
from bottleneck.heads.rows import ArrayRows, ShardedRows

pytest.importorskip("ray", reason="needs the extra ray: make test-cluster installs it")
pytestmark = pytest.mark.cluster

from bottleneck.cluster.holder import Holder  # noqa: E402
from bottleneck.cluster.passes import ShardWorkers  # noqa: E402
from bottleneck.cluster.ray_crew import ray_crew  # noqa: E402


@pytest.fixture
def raylets(tmp_path, monkeypatch):
    found = Raylets(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", found.address)
    yield found
    found.close()


def until(crew, count):
    end = time.monotonic() + 90
    while len(crew.members()) != count:
        assert time.monotonic() < end, crew.members()
        time.sleep(0.2)


@dataclass(frozen=True)
class Saved:
    """Rows of a file that every node sees."""

    path: str

    def open(self):
        return ArrayRows(np.load(self.path))


def test_a_pass_outlives_a_node_and_another_joins(raylets, tmp_path, rng):
    y = rng.integers(0, 3, 7000)
    X = (rng.normal(size=(3, 16))[y] + 1.5 * rng.normal(size=(7000, 16))).astype(np.float32)
    shards = {i: X[i * 1000 : (i + 1) * 1000] for i in range(7)}
    for i, part in shards.items():
        np.save(tmp_path / f"{i}.npy", part)
    head = LogisticRegression(C=0.1, standardize=True, tol=1e-6)
    here = head.fit(ShardedRows({i: ArrayRows(part) for i, part in shards.items()}), y).coef_.copy()
    sources = {i: Saved(str(tmp_path / f"{i}.npy")) for i in shards}
    raylets.join("a")
    raylets.join("b")
    with ray_crew("ray", Holder, (1,)) as crew:
        until(crew, 2)
        workers = ShardWorkers(crew, sources)
        rows = ShardedRows({i: ArrayRows(part) for i, part in shards.items()}, workers)
        passes = []
        ask = workers.ask

        def watched(*given):
            passes.append(time.monotonic())
            if len(passes) == 5:
                # While the answers are on their way.
                threading.Timer(0.01, raylets.kill, ["a"]).start()
            return ask(*given)

        workers.ask = watched
        found = head.fit(rows, y).coef_.copy()
        np.testing.assert_array_equal(found, here)
        raylets.join("c")
        until(crew, 2)
        np.testing.assert_array_equal(head.fit(rows, y).coef_, here)
        homes = {member.node for member in workers._homes.values()}
        assert homes == {member.node for member in crew.members()}
        assert len(homes) == 2
        with pytest.raises(HeadError, match="row 3007"):
            spoilt = shards[3].copy()
            spoilt[7, 2] = np.nan
            np.save(tmp_path / "spoilt.npy", spoilt)
            broken = ShardWorkers(crew, {**sources, 3: Saved(str(tmp_path / "spoilt.npy"))})
            for member in crew.members():
                member.call("forget").result(30)
            LogisticRegression().fit(
                ShardedRows({i: ArrayRows(p) for i, p in shards.items()}, broken), y
            )


def test_a_cluster_that_is_not_there_is_said(monkeypatch):
    with pytest.raises(OptionError, match="expected ray or ray://"), ray_crew("dask", Holder):
        pass
