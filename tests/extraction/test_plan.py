import numpy as np
import pytest
from fakes import fake_recipe

from bottleneck.errors import OptionError, RecipeMismatchError
from bottleneck.extraction.plan import MaxFailed, Plan, require_same_recipe


def rows_of(plan, size=4):
    return [row for batch in plan.batches(size) for row in batch.tolist()]


def test_rows_to_do_are_the_pending_ones():
    status = np.array([0, 1, 5, 0, 0, 1, 0], np.uint8)
    assert rows_of(Plan(status)) == [0, 3, 4, 6]
    assert [batch.tolist() for batch in Plan(status).batches(3)] == [[0, 3, 4], [6]]
    assert rows_of(Plan(np.ones(5, np.uint8))) == []


@pytest.mark.parametrize(
    ("rows", "workers", "sizes"),
    [
        (30, 2, [15, 15]),
        (33, 2, [17, 16]),
        (100, 2, [32, 32, 32, 4]),
        (100, 1, [32, 32, 32, 4]),
        (9, 8, [4, 4, 1]),
        (0, 2, []),
    ],
)
def test_few_rows_are_divided_among_workers(monkeypatch, rows, workers, sizes):
    for block in (7, 1000):
        monkeypatch.setattr("bottleneck.extraction.plan._BLOCK_ROWS", block)
        batches = list(Plan(np.zeros(rows, np.uint8)).batches(32, workers))
        assert [len(batch) for batch in batches] == sizes
        assert [row for batch in batches for row in batch.tolist()] == list(range(rows))


def test_a_limit_is_spread_evenly():
    plan = Plan(np.zeros(1000, np.uint8), limit=4)
    assert len(plan) == 4
    assert rows_of(plan) == [0, 250, 500, 750]
    assert rows_of(Plan(np.zeros(3, np.uint8), limit=9)) == [0, 1, 2]


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
@pytest.mark.parametrize("limit", [None, 1, 10, 333])
def test_plans_do_not_depend_on_the_block(monkeypatch, rng, block, limit):
    monkeypatch.setattr("bottleneck.extraction.plan._BLOCK_ROWS", block)
    status = rng.integers(0, 3, 1000).astype(np.uint8)
    waiting = np.flatnonzero(status == 0)
    n = min(limit or len(waiting), len(waiting))
    expected = waiting[np.arange(n) * len(waiting) // n].tolist()
    for size in (1, 8, 5000):
        assert rows_of(Plan(status, limit=limit), size) == expected


@pytest.mark.parametrize(
    ("text", "failed", "exceeded"),
    [("10%", 10, False), ("10%", 11, True), ("0", 0, False), ("0", 1, True), ("2.5%", 3, True)],
)
def test_max_failed(text, failed, exceeded):
    assert MaxFailed.parse(text).exceeded(failed, 100) is exceeded
    assert str(MaxFailed.parse(text)) == text


@pytest.mark.parametrize("text", ["", "many", "-1", "1.5", "101%", "10 percent"])
def test_max_failed_refuses_nonsense(text):
    with pytest.raises(OptionError, match="max-failed"):
        MaxFailed.parse(text)


class Store:
    path = location = "x.h5"
    recipe = fake_recipe({"size": 8}, {"device": "gpu"})


def test_another_device_is_a_note_and_another_type_is_refused():
    now = fake_recipe({"size": 8}, {"device": "cpu"})
    assert require_same_recipe(Store, now) == [
        "continuing with another device: cpu now, gpu before"
    ]
    with pytest.raises(RecipeMismatchError, match=r"dtype: float16 \(this run\), float32 \(x.h5\)"):
        require_same_recipe(Store, fake_recipe({"size": 8}, {"device": "gpu", "dtype": "float16"}))
    with pytest.raises(RecipeMismatchError, match=r"size: 9 \(this run\), 8 \(x.h5\)"):
        require_same_recipe(Store, fake_recipe({"size": 9}, {"device": "gpu"}))
