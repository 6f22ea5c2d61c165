"""Feature files as data sets of PyTorch, with and without workers."""

import subprocess
import sys

import numpy as np
import pytest

from bottleneck.store import FeatureStore

torch = pytest.importorskip("torch", reason="run by `make test-torch`")

DONE = [0, 1, 2, 3, 5, 6, 8, 10, 11, 12, 13, 19]


@pytest.fixture(params=["float32", "float16"])
def filled(request, make, fill):
    path = make(20, {"avg": 5}, request.param)
    values, _ = fill(path, DONE)
    rows = [i for i in DONE if i % 7]
    return FeatureStore.open(path), rows, values["avg"][[DONE.index(i) for i in rows]]


def test_items_are_the_rows(filled):
    store, rows, expected = filled
    data = store.to_torch(keys=True)
    assert isinstance(data, torch.utils.data.Dataset)
    assert len(data) == len(rows)
    assert data.classes == ("class0", "class1", "class2")
    for i, row in enumerate(rows):
        x, y, key = data[i]
        assert x.numpy().tobytes() == expected[i].tobytes()
        assert (y, key, data.key(i)) == (row % 3, f"img{row}.png", f"img{row}.png")
    assert data[-1][2] == f"img{rows[-1]}.png"
    with pytest.raises(IndexError):
        data[len(rows)]
    assert [len(store.to_torch(split)) for split in ("train", "test")] == [
        sum(i % 5 > 0 for i in rows),
        sum(i % 5 == 0 for i in rows),
    ]
    alone = store.to_torch(labels=False)
    assert len(alone) == len(DONE)
    assert torch.equal(alone[1], data[0][0])


# In a process of its own: the workers of a loader and the other frameworks that tests have loaded
# into this one do not always live together.
LOADED = """
import pickle, sys
import numpy as np
import torch
from bottleneck.store import FeatureStore

path, output, batch_size, workers, context = sys.argv[1:]
data = pickle.loads(pickle.dumps(FeatureStore.open(path).to_torch()))
loader = torch.utils.data.DataLoader(
    data,
    batch_size=int(batch_size),
    num_workers=int(workers),
    multiprocessing_context=context or None,
)
batches = [*loader]
x, y = (torch.cat(parts).numpy() for parts in zip(*batches))
np.savez(output, x=x, y=y, batches=len(batches))
"""


@pytest.mark.parametrize(
    ("batch_size", "workers", "context"), [(4, 0, ""), (4, 2, "spawn"), (3, 2, "fork")]
)
def test_loaders_give_them_in_order(filled, tmp_path, batch_size, workers, context):
    store, rows, expected = filled
    output = tmp_path / "loaded.npz"
    words = (store.path, output, batch_size, workers, context)
    subprocess.run([sys.executable, "-c", LOADED, *map(str, words)], check=True, timeout=300)
    with np.load(output) as loaded:
        assert loaded["x"].tobytes() == expected.tobytes()
        assert loaded["y"].tolist() == [row % 3 for row in rows]
        assert loaded["x"].dtype == store.dtype
        assert loaded["batches"] == -(-len(rows) // batch_size)
