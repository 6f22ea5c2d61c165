import random

import numpy as np
import pytest

from bottleneck.errors import ManifestError
from bottleneck.manifest import Manifest, concatenate, natural_sort


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
