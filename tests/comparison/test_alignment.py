"""Files side by side: joined by key, and refused when they are not of the same images."""

import numpy as np
import pytest
from fakes import fake_recipe

from bottleneck.comparison.alignment import align
from bottleneck.errors import ManifestError, OptionError
from bottleneck.store import FeatureStore, create
from bottleneck.store.export import export_compressed

CLASSES = ("ant", "bee", "cat", "dog", "elk", "fox")


def test_rows_are_joined_by_key_in_any_order(blobs):
    a = blobs("a.h5", n=60)
    b = blobs("b.h5", n=60, order=np.random.default_rng(2).permutation(60))
    aligned = align([a, b])
    assert len(aligned.y) == 60
    stores = [FeatureStore.open(path) for path in (a, b)]
    for one, store in zip(aligned.features, stores, strict=True):
        assert [store.keys[int(row)] for row in one.rows] == aligned.keys
        found = one.take(np.array([7, 3])).read(0, 2, {})
        assert np.array_equal(found, np.asarray(store.features())[one.rows[[7, 3]]])
    assert [aligned.classes[code] for code in aligned.y[:3]] == ["ant", "bee", "cat"]
    # The same seed made the same features: rows in another order are the same images.
    everything = np.arange(60)
    first, second = (one.take(everything).read(0, 60, {}).copy() for one in aligned.features)
    assert np.array_equal(first, second)


def test_rows_that_failed_anywhere_are_left_out_everywhere(blobs):
    aligned = align([blobs("a.h5", failed=(3, 4)), blobs("b.h5", failed=(4, 10))])
    assert aligned.left_out == {"failed": 3, "pending": 0, "unlabelled": 0}
    assert len(aligned.y) == 237
    gone = {"dog/3.png", "elk/4.png", "elk/10.png"}
    assert gone.isdisjoint(aligned.keys)
    assert all(len(one.rows) == 237 for one in aligned.features)


def test_pending_and_unlabelled_rows_are_counted(blobs, tmp_path):
    labels = [None if i in (0, 5) else "ab"[i % 2] for i in range(20)]
    a = blobs("a.h5", n=20, classes=("a", "b"), labels=labels, keys=[str(i) for i in range(20)])
    pending = tmp_path / "p.h5"
    manifest = FeatureStore.open(a).manifest
    create(pending, manifest=manifest, recipe=fake_recipe(), dims={"avg": 3}, dtype="float32")
    assert align([a]).left_out == {"failed": 0, "pending": 0, "unlabelled": 2}
    with pytest.raises(ManifestError, match="found none .*20 pending"):
        align([a, pending])


def test_other_images_are_refused_with_the_difference(blobs):
    a, b = blobs("a.h5", n=60), blobs("b.h5", n=66)
    with pytest.raises(ManifestError, match=r"6 images only in .*b.h5, first 'ant/60.png'"):
        align([a, b])


def test_other_labels_are_refused_with_both_values(blobs):
    labels = [CLASSES[i % 6] for i in range(60)]
    labels[13] = "ant"
    a, b = blobs("a.h5", n=60), blobs("b.h5", n=60, labels=labels)
    expected = r"labels of 1 images differ: 'bee/13.png' is 'bee' in .*a.h5, 'ant' in .*b.h5"
    with pytest.raises(ManifestError, match=expected):
        align([a, b])


def test_other_splits_and_groups_are_refused(blobs):
    a = blobs("a.h5", n=60)
    other = blobs("b.h5", n=60, split=False)
    with pytest.raises(ManifestError, match=r"splits of 60 images differ: .* 'test' in .*without"):
        align([a, other])
    other = blobs("c.h5", n=60, groups=[f"g{i // 2}" for i in range(60)])
    with pytest.raises(ManifestError, match="groups of 60 images differ"):
        align([a, other])


def test_names_tell_outputs_and_files_apart(blobs):
    a = blobs("a.h5", n=24, dims={"block10": 4, "block2": 3})
    b = blobs("b.h5", n=24, backbone="net")
    c = blobs("c.h5", n=24, backbone="net")
    names = [one.name for one in align([a, b, c]).features]
    assert names == ["a/block2", "a/block10", "b", "c"]  # as people count
    asked = align([a], ["block10", "block2"]).features
    assert [(one.name, one.dim) for one in asked] == [("block10", 4), ("block2", 3)]
    with pytest.raises(OptionError, match="no file has an output named 'block3'"):
        align([a], ["block3"])


def test_the_same_file_twice_and_no_file_are_refused(blobs):
    a = blobs("a.h5", n=24)
    with pytest.raises(OptionError, match="different files"):
        align([a, a])
    with pytest.raises(OptionError, match="got none"):
        align([])


def test_images_that_changed_between_extractions_are_noted(blobs):
    digests = np.random.default_rng(5).integers(0, 256, (24, 16), np.uint8)
    changed = digests.copy()
    changed[[3, 9]] ^= 1
    aligned = align([blobs("a.h5", n=24, digests=digests), blobs("b.h5", n=24, digests=changed)])
    (note,) = aligned.notes
    assert note.startswith("2 images were changed between the extractions")


def test_compressed_copies_compare_like_their_originals(blobs, tmp_path):
    a = blobs("a.h5", n=24)
    export_compressed(a, tmp_path / "small.h5")
    aligned = align([a, tmp_path / "small.h5"])
    rows = np.arange(24)
    first, second = (one.take(rows).read(0, 24, {}).copy() for one in aligned.features)
    assert np.array_equal(first, second)
