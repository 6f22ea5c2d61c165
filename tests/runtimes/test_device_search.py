"""Nearest rows on a device are those of the search on the CPU, and of a plain one."""

import numpy as np
import pytest

from bottleneck import graph
from bottleneck.errors import OptionError, RuntimeUnavailableError
from bottleneck.heads.rows import ArrayRows
from bottleneck.heads.solver import device_search
from bottleneck.heads.solver.neighbor_search import nearest_rows
from bottleneck.runtimes import choice


@pytest.fixture(params=["torch", "jax"])
def search(request):
    pytest.importorskip(request.param, reason="torch: run by `make test-torch`")
    return getattr(device_search, f"{request.param}_search")("cpu")


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_it_finds_what_the_search_on_the_cpu_finds(search, metric, dtype, monkeypatch, rng):
    monkeypatch.setattr(device_search, "_QUERIES", 50)  # several blocks of each, cut unevenly
    monkeypatch.setattr(device_search, "_BLOCK", 64)
    X = rng.normal(size=(230, 12)).astype(dtype)
    X[7] = 0
    apart = np.arange(230, dtype=np.int32)
    rows = ArrayRows(X)
    expected = [*nearest_rows(rows, rows, 9, metric=metric, apart=apart)]
    found = [*device_search.nearest_on(search, rows, 9, metric=metric)]
    assert [start for start, *_ in found] == [*range(0, 230, 50)]
    for part in (1, 2):
        ours = np.concatenate([one[part] for one in found])
        theirs = np.concatenate([one[part] for one in expected])
        if part == 1:
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)
        else:
            # Row 7 has no direction: all are equally far, and it is from all.
            kept = np.arange(230) != 7 if metric == "cosine" else np.ones(230, bool)
            assert np.array_equal(ours[kept], theirs[kept])
    numbers = np.concatenate([one[2] for one in found])
    assert not (numbers == np.arange(230)[:, None]).any()


def test_more_neighbours_than_a_block_has_rows(search, monkeypatch, rng):
    monkeypatch.setattr(device_search, "_BLOCK", 4)
    X = rng.normal(size=(11, 3))
    ((_, distances, numbers),) = device_search.nearest_on(search, ArrayRows(X), 10)
    assert [sorted(line) for line in numbers.tolist()] == [
        [other for other in range(11) if other != row] for row in range(11)
    ]
    assert (np.diff(distances, axis=1) >= 0).all()


def test_the_first_framework_that_sees_a_gpu_is_asked(monkeypatch):
    seen = []
    there = {"jax": ("gpu:0 (A)", "gpu:1 (B)"), "torch": ()}
    monkeypatch.setattr(choice, "gpus_seen_by", there.get)
    monkeypatch.setattr(device_search, "jax_search", lambda *where: seen.append(where))
    device_search.search_on("gpu:1")
    assert seen == [("gpu", 1)]
    with pytest.raises(
        RuntimeUnavailableError, match=r"gpu:2, but jax sees gpu:0 \(A\), gpu:1 \(B\)"
    ):
        device_search.search_on("gpu:2")
    monkeypatch.setattr(
        "bottleneck.gpus.shows_one", lambda: True
    )  # a command, which is shown this one only
    device_search.search_on("gpu:1")
    assert seen[1:] == [("gpu", 0)]
    for name in ("tpu", "tensorrt", "cpu"):
        with pytest.raises(OptionError, match="expected the device cpu, gpu or gpu:N"):
            device_search.search_on(name)


def test_where_there_is_no_gpu_it_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(choice, "gpus_seen_by", lambda name: ())
    np.save(tmp_path / "x.npy", np.eye(6, dtype=np.float32))
    with pytest.raises(RuntimeUnavailableError, match="neither PyTorch nor JAX sees a GPU"):
        graph(tmp_path / "x.npy", tmp_path / "g.npz", k=2, device="gpu")
    assert not (tmp_path / "g.npz").exists()
