"""Targets in memory: columns by name, joined tables, fingerprints."""

import numpy as np
import pytest

from bottleneck.errors import OptionError
from bottleneck.targets import MISSING, Targets, collect, join, missing_rows

U8 = np.uint8


def example():
    return collect(
        [
            ("price", np.array([1.5, np.nan, 3.0])),
            ("tags/cat", np.array([1, 0, MISSING], U8)),
            ("tags/dog", np.array([0, 0, MISSING], U8)),
        ],
        3,
    )


def test_names_stand_for_a_column_or_for_all_labels_of_a_list():
    targets = example()
    assert targets.names == ("price", "tags/cat", "tags/dog")
    assert targets.find(["tags", "price"], "f.h5") == ("tags/cat", "tags/dog", "price")
    assert targets.find(["tags/dog"], "f.h5") == ("tags/dog",)
    with pytest.raises(OptionError, match=r"f.h5 has no target 'tag'\nIt has: tags\."):
        targets.find(["tag"], "f.h5")
    with pytest.raises(OptionError, match="different targets"):
        targets.find(["tags", "tags/cat"], "f.h5")
    with pytest.raises(OptionError, match="--target COLUMN"):
        Targets().find(["price"], "f.h5")


def test_flags_alone_stay_bytes_and_beside_numbers_become_numbers():
    flags = example().columns(["tags/dog", "tags/cat"])
    assert flags.dtype == U8
    np.testing.assert_array_equal(flags, [[0, 1], [0, 0], [MISSING, MISSING]])
    mixed = example().columns(["price", "tags/cat"])
    np.testing.assert_array_equal(mixed, [[1.5, 1], [np.nan, 0], [3, np.nan]])
    np.testing.assert_array_equal(missing_rows(flags), [False, False, True])
    np.testing.assert_array_equal(missing_rows(mixed), [False, True, True])


def test_a_label_that_a_list_never_names_holds_nowhere():
    found = example().columns(["tags/cat", "tags/fox"])
    np.testing.assert_array_equal(found[:, 1], [0, 0, MISSING])


def test_joined_tables_have_the_columns_of_all():
    other = collect(
        [("tags/fox", np.array([1, 0], U8)), ("weight", np.array([7.0, 8.0]))],
        2,
    )
    joined = join([example(), other], [3, 2])
    np.testing.assert_array_equal(
        joined.columns(["tags/cat", "tags/fox"]),
        [[1, 0], [0, 0], [MISSING, MISSING], [0, 1], [0, 0]],
    )
    np.testing.assert_array_equal(
        joined.columns(["price", "weight"]),
        [[1.5, np.nan], [np.nan] * 2, [3, np.nan], [np.nan, 7], [np.nan, 8]],
    )


def test_joined_flags_and_numbers_are_numbers():
    flags, numbers = (
        collect([("x", np.array([1, MISSING], U8))], 2),
        collect([("x", np.array([2.5]))], 1),
    )
    joined = join([flags, numbers], [2, 1])
    assert joined.number_names == ("x",)
    np.testing.assert_array_equal(joined.numbers, [[1, np.nan, 2.5]])


def test_the_fingerprint_is_of_names_and_values():
    assert Targets().sha256 == ""
    assert example().sha256 == example().sha256
    renamed = Targets(("cost",), example().flag_names, example().numbers, example().flags)
    changed = example()
    changed.flags[0, 0] = 0
    assert len({example().sha256, renamed.sha256, changed.sha256}) == 3


def test_rows_are_taken_in_the_order_given():
    taken = example().take(np.array([2, 0]))
    np.testing.assert_array_equal(taken.numbers, [[3.0, 1.5]])
    np.testing.assert_array_equal(taken.flags, [[MISSING, 1], [MISSING, 0]])


def test_a_column_that_is_not_there_is_named():
    targets = Targets(("price",), (), np.ones((1, 2)), np.zeros((0, 2), np.uint8))
    with pytest.raises(OptionError, match="no target 'prize'"):
        targets.columns(["prize"])
    with pytest.raises(OptionError, match="no target 'price'"):
        Targets().columns(["price"])
