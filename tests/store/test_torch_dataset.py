"""Feature files as data sets of PyTorch, with and without workers."""

import pickle

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


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_give_them_in_order(filled, workers):
    store, rows, expected = filled
    data = pickle.loads(pickle.dumps(store.to_torch()))
    context = "spawn" if workers else None
    loader = torch.utils.data.DataLoader(
        data, batch_size=4, num_workers=workers, multiprocessing_context=context
    )
    batches = [*loader]
    assert torch.cat([x for x, _ in batches]).numpy().tobytes() == expected.tobytes()
    assert torch.cat([y for _, y in batches]).tolist() == [row % 3 for row in rows]
    assert np.dtype(str(batches[0][0].dtype).removeprefix("torch.")) == store.dtype


def test_workers_that_are_forked(filled):
    store, _, expected = filled
    loader = torch.utils.data.DataLoader(
        store.to_torch(), batch_size=3, num_workers=2, multiprocessing_context="fork"
    )
    assert torch.cat([x for x, _ in loader]).numpy().tobytes() == expected.tobytes()
