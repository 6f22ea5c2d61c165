import random

import numpy as np
import pytest

from bottleneck.errors import ManifestError
from bottleneck.manifest import Manifest, concatenate, natural_order, natural_sort
from bottleneck.packed import PackedStrings


def test_natural_order_counts_as_people_do():
    names = [
        "a/img1.png",
        "a/img01.png",
        "a/img2.png",
        "a/img10.png",
        "a/img10b.png",
        "a.b/1.png",
        "a1/1.png",
        "a10/1.png",
        "b/9999999999999999999999.png",
        "b/10000000000000000000000.png",
    ]
    names[0:2] = ["a/img01.png", "a/img1.png"]
    shuffled = names.copy()
    random.Random(3).shuffle(shuffled)
    natural_sort(shuffled)
    assert shuffled == names


def test_labels_index_sorted_class_names():
    manifest = Manifest.build(["1", "2", "3", "4"], ["zebra", None, "ant", "zebra"])
    assert manifest.classes == ("ant", "zebra")
    assert manifest.labels.tolist() == [1, -1, 0, 1]


def test_splits_take_usual_names():
    manifest = Manifest.build(list("abcde"), splits=["train", "Validation", "test", "", "val"])
    assert manifest.splits.tolist() == [1, 2, 3, 0, 2]


def test_unknown_split_is_named():
    with pytest.raises(ManifestError, match="'dev'"):
        Manifest.build(["a"], splits=["dev"])


def test_duplicate_keys_are_named_with_their_row():
    with pytest.raises(ManifestError, match="'b' a second time in row 3"):
        Manifest.build(["a", "b", "c", "b"])


def test_no_rows_is_an_error():
    with pytest.raises(ManifestError, match="at least one image"):
        Manifest.build([])


def test_fingerprint_depends_on_everything():
    base = {"keys": ["a", "b"], "labels": ["x", "y"], "splits": ["train", ""], "groups": ["g", ""]}
    other = {"keys": ["a", "c"], "labels": ["x", "x"], "splits": ["test", ""], "groups": ["g", "h"]}
    seen = {Manifest.build(**base).sha256}
    for name, value in other.items():
        seen.add(Manifest.build(**{**base, name: value}).sha256)
    assert len(seen) == 5
    assert Manifest.build(**base).sha256 in seen


def test_difference_is_described():
    base = Manifest.build(["a", "b"], ["x", "y"])
    assert "3 images now, 2 in the file" in Manifest.build(list("abc")).describe_difference(base)
    assert "row 1 is 'c' now, 'b'" in Manifest.build(["a", "c"]).describe_difference(base)
    relabelled = Manifest.build(["a", "b"], ["y", "x"])
    assert relabelled.describe_difference(base) == "the labels of 2 rows differ, first 'a'"
    assert "'z'" in Manifest.build(["a", "b"], ["x", "z"]).describe_difference(base)


def test_concatenation_keeps_rows_and_merges_classes():
    left = Manifest.build(["1", "2"], ["b", "a"], ["train", "test"], ["g", None])
    right = Manifest.build(["1"], ["c"], ["val"], ["g"])
    joined = concatenate([left, right], ["l/", "r/"])
    assert list(joined.keys) == ["l/1", "l/2", "r/1"]
    assert [joined.classes[i] for i in joined.labels] == ["b", "a", "c"]
    assert joined.splits.tolist() == [1, 3, 2]
    assert list(joined.group_names) == ["l/g", "r/g"]
    assert joined.groups.tolist() == [0, -1, 1]


def test_repr_is_one_line():
    manifest = Manifest.build(["a", "b"], ["x", None], ["train", "test"])
    assert repr(manifest) == "<Manifest 2 images, 1 labelled, 1 classes, train 1, test 1>"
    assert np.asarray(manifest.labels).dtype == np.int32


def test_natural_order_is_that_of_natural_sort(rng):
    parts = ["a", "b/", "img", "1", "01", "001", "10", "9", "ü", "z" * 40, "\udcff"]
    for longest in (3, 12):
        names = {
            "".join(parts[i] for i in rng.integers(0, len(parts), rng.integers(1, longest)))
            for _ in range(400)
        }
        names = sorted(names, key=hash)
        order = natural_order(PackedStrings.pack(names))
        found = [names[i] for i in order]
        assert sorted(found) == sorted(names)
        plain = [name for name in names if "\udcff" not in name]
        natural_sort(plain)  # bytes that are no text sort elsewhere
        assert [name for name in found if "\udcff" not in name] == plain
        again = natural_order(PackedStrings.pack(found[::-1]))
        assert [found[::-1][i] for i in again] == found
        assert natural_order(PackedStrings.pack(found)) is None


@pytest.mark.parametrize("longest", [20, 300])
def test_natural_order_of_plain_names(rng, longest):
    names = [f"{'d' * (longest - 10)}/{n}.jpg" for n in (10, 9, "010", "09", 1, "0001", 100)]
    order = natural_order(PackedStrings.pack(names))
    natural_sort(names_sorted := list(names))
    assert [names[i] for i in order] == names_sorted
