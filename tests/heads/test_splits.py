import numpy as np
import pytest

from bottleneck.errors import HeadError, OptionError
from bottleneck.heads import folds, holdout


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [50, 31, 12])
    rng.shuffle(labels)
    return [f"img{i}.png" for i in range(93)], labels


def test_folds_are_stratified(rows):
    keys, labels = rows
    fold = folds(keys, labels, n_folds=5)
    for code, count in enumerate((50, 31, 12)):
        per_fold = np.bincount(fold[labels == code], minlength=5)
        assert per_fold.sum() == count
        assert per_fold.max() - per_fold.min() <= 1


def test_known_values():
    """Folds are part of what people report: a release must not move them."""
    keys, labels = [f"{i}.png" for i in range(12)], np.arange(12) % 2
    assert folds(keys, labels, n_folds=3).tolist() == [2, 0, 1, 1, 0, 2, 2, 1, 1, 0, 0, 2]
    assert np.flatnonzero(holdout(keys, labels, fraction=0.3)).tolist() == [3, 4, 5, 10]


@pytest.mark.parametrize("grouped", [False, True])
def test_order_of_rows_does_not_matter(rows, grouped):
    keys, labels = rows
    groups = np.arange(93) // 3 if grouped else None
    shuffle = np.random.default_rng(1).permutation(93)
    shuffled_keys = [keys[i] for i in shuffle]
    # The groups are numbered otherwise as well: only who belongs together counts.
    moved = None if groups is None else (groups.max() - groups)[shuffle]
    for split in (folds, holdout):
        here = split(keys, labels, groups)
        there = split(shuffled_keys, labels[shuffle], moved)
        np.testing.assert_array_equal(there, here[shuffle])


def test_leaving_a_row_out_moves_few_others(rows):
    keys, labels = rows
    fold, held = folds(keys, labels), holdout(keys, labels)
    for out in range(0, 93, 7):
        keep = np.arange(93) != out
        kept_keys = [keys[i] for i in np.flatnonzero(keep)]
        assert np.count_nonzero(folds(kept_keys, labels[keep]) != fold[keep]) <= 4
        assert np.count_nonzero(holdout(kept_keys, labels[keep]) != held[keep]) <= 1


def test_groups_stay_together_and_classes_even():
    rng = np.random.default_rng(2)
    groups = rng.integers(0, 40, 600)
    groups[:100] = -1
    labels = np.where(groups < 0, rng.integers(0, 3, 600), groups % 3)
    keys = [str(i) for i in range(600)]
    fold, held = folds(keys, labels, groups), holdout(keys, labels, groups, fraction=0.25)
    for group in range(40):
        assert len(set(fold[groups == group])) == 1
        assert len(set(held[groups == group])) == 1
    for code in range(3):
        share = np.bincount(fold[labels == code], minlength=5) / np.count_nonzero(labels == code)
        assert share.min() > 0.17
        assert share.max() < 0.23
        assert abs(held[labels == code].mean() - 0.25) < 0.02
    assert len(set(fold[groups < 0])) > 1


def test_seed_changes_splits_and_they_are_independent(rows):
    keys, labels = rows
    assert (folds(keys, labels, seed=0) != folds(keys, labels, seed=1)).mean() > 0.5
    assert (holdout(keys, labels, seed=0) != holdout(keys, labels, seed=1)).any()
    held, fold = holdout(keys, labels), folds(keys, labels)
    assert len(set(fold[held])) == 5


def test_small_classes_share_the_folds_evenly():
    labels = np.repeat(np.arange(100), 6)
    keys = [str(i) for i in range(600)]
    assert np.bincount(folds(keys, labels)).tolist() == [120] * 5


def test_thin_class_is_dealt_as_far_as_it_goes():
    labels = np.array([0] * 20 + [1] * 20 + [2] * 2)
    fold = folds([str(i) for i in range(42)], labels)
    assert len(set(fold[labels == 2])) == 2


def test_holdout_share_and_both_sides():
    labels = np.repeat([0, 1, 2, 3], [100, 10, 2, 1])
    held = holdout([str(i) for i in range(113)], labels, fraction=0.2)
    counts = [int(held[labels == code].sum()) for code in range(4)]
    assert counts == [20, 2, 1, 0]
    nearly_all = holdout([str(i) for i in range(113)], labels, fraction=0.999)
    assert [int((~nearly_all)[labels == code].sum()) for code in range(4)] == [1, 1, 1, 1]


def test_refusals():
    keys = [str(i) for i in range(6)]
    with pytest.raises(OptionError, match="2 or more folds, got 1"):
        folds(keys, np.zeros(6), n_folds=1)
    with pytest.raises(OptionError, match="between 0 and 1, got 1"):
        holdout(keys, np.zeros(6), fraction=1.0)
    with pytest.raises(HeadError, match="would be empty"):
        folds(keys, np.zeros(6), n_folds=7)
    with pytest.raises(HeadError, match="would be empty"):
        folds(keys, [0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1], n_folds=3)
    with pytest.raises(HeadError, match="would leave one"):
        folds(keys, [0, 0, 0, 0, 0, 1], n_folds=3)
    with pytest.raises(HeadError, match="got 1 without a label"):
        folds(keys, [0, 0, 0, 1, 1, -1])
    with pytest.raises(HeadError, match="one label for each of 6 keys"):
        holdout(keys, [0, 1])
    with pytest.raises(HeadError, match="one group for each of 6 keys"):
        holdout(keys, np.zeros(6), [0, 1])
    with pytest.raises(HeadError, match="got none"):
        folds([], [])
