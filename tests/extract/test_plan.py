import numpy as np
import pytest
from fakes import fake_recipe

from bottleneck.errors import OptionError, RecipeMismatchError
from bottleneck.extract.plan import MaxFailed, require_same_recipe, rows_to_do


def test_rows_to_do_are_the_pending_ones():
    status = np.array([0, 1, 5, 0, 0, 1, 0], np.uint8)
    assert rows_to_do(status).tolist() == [0, 3, 4, 6]
    assert rows_to_do(status, retry_failed=True).tolist() == [0, 2, 3, 4, 6]


def test_a_limit_is_spread_evenly():
    rows = rows_to_do(np.zeros(1000, np.uint8), limit=4)
    assert rows.tolist() == [0, 250, 500, 750]
    assert rows_to_do(np.zeros(3, np.uint8), limit=9).tolist() == [0, 1, 2]


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
    path = "x.h5"
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
