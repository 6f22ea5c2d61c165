"""One described set of images means the same, whatever kind of source it is written as."""

from pathlib import Path

import pytest
import written
from written import Row

from bottleneck.sources.base import Listing
from bottleneck.sources.kinds import kind_of, kinds
from bottleneck.sources.survey import Survey

ROWS = [
    *(Row(1, "cat", "train"), Row(2, "cat", "train"), Row(3, "dog", "train"), Row(4, "", "train")),
    *(Row(5, "cat", "test"), Row(6, "dog", "test"), Row(7, "-1", "test")),
]
"""Two have no class: one lies in no folder of a class, or has no label; one has a negative one."""

EXPECTED = [
    *((1, "cat", "train"), (2, "cat", "train"), (3, "dog", "train"), (4, None, "train")),
    *((5, "cat", "test"), (6, "dog", "test"), (7, None, "test")),
]
LEFT_OUT = Listing({".svg": 1, "": 1}, {"hidden": 2})
CLASSES_ARE_NUMBERS = {"idx": {"cat": 0, "dog": 1, "": -1, "-1": -1}}
"""What a kind cannot carry: IDX holds numbers alone."""
UNHIDDEN = Listing({".svg": 1, "": 1})
LISTS = {
    # A pattern that names endings matches nothing else, nor do the names of single files; and
    # none matches what is hidden, as in a shell.
    **dict.fromkeys(("pattern_of_images", "files"), Listing()),
    **dict.fromkeys(("pattern", "pattern_in_braces", "pattern_url"), UNHIDDEN),
    # What is hidden beside the splits is in none of them.
    **dict.fromkeys(("split_folders", "split_urls"), Listing({".svg": 1, "": 1}, {"hidden": 1})),
    "class_folders": Listing({".svg": 1}, {"hidden": 1}),
}
NAMED = {"class_folders": [(9, None, "test")]}
"""A file that is named is a row whatever its ending: a shell names the README of ``photos/*/*``."""


def check(source, expected, named=0):
    assert sorted(written.rows_of(source)) == expected
    assert f"without a class: {2 + named}" in Survey.of(source).lines()
    assert f"splits: train 4, test {3 + named}" in Survey.of(source).lines()


@pytest.mark.parametrize("kind", written.TREES)
def test_folders(tmp_path, kind):
    source = written.opened(written.TREES[kind](tmp_path, ROWS))
    named = NAMED.get(kind, [])
    check(source, EXPECTED + named, len(named))
    assert source.listing == LISTS.get(kind, LEFT_OUT)


@pytest.mark.parametrize("kind", {**written.VALUES, **written.VARIANTS})
def test_values(tmp_path, kind):
    rows, expected = ROWS, EXPECTED
    numbers = CLASSES_ARE_NUMBERS.get(kind.removesuffix("_url"))
    if numbers:
        rows = [Row(row.number, numbers[row.label], row.split) for row in rows]
        expected = [(n, label and str(numbers[label]), split) for n, label, split in expected]
    source = written.opened({**written.VALUES, **written.VARIANTS}[kind](tmp_path, rows))
    check(source, expected)
    assert not source.listing.lines()


def test_every_kind_that_is_registered_is_tried(tmp_path):
    tried = set()
    for kind, make in {**written.VALUES, **written.TREES}.items():
        root = tmp_path / kind
        root.mkdir()
        numbers = CLASSES_ARE_NUMBERS.get(kind, {})
        given = make(root, [Row(1, numbers.get("cat", "cat"), "train")])
        for one in given if isinstance(given, list) else [given]:
            path = Path(one)
            names = [path, *path.iterdir()] if path.is_dir() else [path]
            tried |= {kind_of(str(name)) for name in names}
    assert tried >= {*kinds()}
