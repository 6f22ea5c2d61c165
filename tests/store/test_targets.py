"""Targets in the feature file: written once, read back, told when damaged."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from fakes import fake_recipe

from bottleneck.manifest import Manifest
from bottleneck.store import FeatureStore
from bottleneck.store.creation import create
from bottleneck.store.export import export_compressed
from bottleneck.store.rescue import rescue
from bottleneck.store.verify import verify
from bottleneck.store.writer import Writer
from bottleneck.targets import collect


@pytest.fixture
def manifest():
    plain = Manifest.build(["a.png", "b.png", "c.png"], ["x", "y", "x"])
    columns = [
        ("price", np.array([1.25, np.nan, -3e9])),
        ("tags/ä b", np.array([1, 255, 0], np.uint8)),
    ]
    return replace(plain, targets=collect(columns, 3))


@pytest.fixture
def file(manifest, tmp_path):
    path = tmp_path / "f.h5"
    create(path, manifest=manifest, recipe=fake_recipe(), dims={"avg": 4})
    store = FeatureStore.open(path)
    with Writer(path, store.layout) as writer:
        features = np.arange(12, dtype=np.float32).reshape(3, 4)
        writer.write(np.arange(3), {"avg": features}, np.ones((3, 16), np.uint8))
    return path


def test_they_are_read_back(file, manifest):
    store = FeatureStore.open(file)
    found = store.manifest.targets
    assert found.names == ("price", "tags/ä b")
    np.testing.assert_array_equal(found.numbers, [[1.25, np.nan, -3e9]])
    np.testing.assert_array_equal(found.flags, [[1, 255, 0]])
    assert store.targets_sha256 == found.sha256 == manifest.targets.sha256
    assert verify(file).problems == ()


def test_the_manifests_fingerprint_does_not_know_them(file, manifest):
    """A reader from before there were targets finds nothing amiss."""
    plain = Manifest.build(["a.png", "b.png", "c.png"], ["x", "y", "x"])
    assert FeatureStore.open(file).manifest_sha256 == plain.sha256


def test_a_file_without_targets_has_no_trace_of_them(tmp_path):
    plain = Manifest.build(["a.png"])
    create(tmp_path / "p.h5", manifest=plain, recipe=fake_recipe(), dims={"avg": 4})
    with h5py.File(tmp_path / "p.h5") as stored:
        assert not [name for name in stored["manifest"] if "target" in name]
        assert "targets_sha256" not in stored.attrs
    store = FeatureStore.open(tmp_path / "p.h5")
    assert (store.manifest.targets.names, store.targets_sha256) == ((), "")


def test_rows_that_have_the_targets_asked_for(file):
    store = FeatureStore.open(file)
    chosen = store.choose(targets=["price"])
    assert (chosen.rows.tolist(), chosen.unlabelled) == ([0, 2], 1)
    np.testing.assert_array_equal(chosen.y, [[1.25], [-3e9]])
    flags = store.choose(targets=["tags/ä b"])
    assert flags.y.tolist() == [[1], [0]]
    assert store.choose().y.tolist() == [0, 1, 0]


def test_a_changed_target_is_told(file):
    with h5py.File(file, "r+") as stored:
        stored["manifest/target_number"][0, 0] = 1.5
    assert verify(file).problems == ("the targets are not what their fingerprint says",)


def test_copies_and_rescued_files_have_them(file, tmp_path, manifest):
    export_compressed(file, tmp_path / "small.h5")
    rescue(file, tmp_path / "saved.h5")
    for name in ("small.h5", "saved.h5"):
        store = FeatureStore.open(tmp_path / name)
        assert store.manifest.targets.sha256 == store.targets_sha256 == manifest.targets.sha256
        np.testing.assert_array_equal(store.features()[2], [8, 9, 10, 11])


def test_many_targets_leave_the_rows_in_place(tmp_path):
    """Their names and values lie before the rows; the layout is checked when it is opened."""
    flags = np.zeros((600, 500), np.uint8)
    names = [f"tags/{i:04d}" for i in range(600)]
    manifest = replace(
        Manifest.build([f"{i}.png" for i in range(500)]),
        targets=collect(list(zip(names, flags, strict=True)), 500),
    )
    create(tmp_path / "m.h5", manifest=manifest, recipe=fake_recipe(), dims={"avg": 1280})
    store = FeatureStore.open(tmp_path / "m.h5")
    assert store.live
    assert store.manifest.targets.flag_names == tuple(names)
