"""Images that need not be computed: twice in a set, or in an older file."""

import shutil

import numpy as np
import pytest
from fakes import LateBackbone, MeanBackbone, fake_embedder, write_png

from bottleneck.decode.fill import row_keys
from bottleneck.errors import RecipeMismatchError
from bottleneck.extraction.reuse import OldFile, OwnRows
from bottleneck.images import Geometry, decode
from bottleneck.manifest import Manifest
from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore, Writer, create, writer_lock


def mean_of(path):
    return decode(path.read_bytes(), Geometry(16)).reshape(-1, 3).mean(axis=0)


def assert_exact(store, folder):
    for row in np.flatnonzero(store.done):
        expected = mean_of(folder / store.keys[int(row)])
        np.testing.assert_allclose(store.features("mean")[row], expected, rtol=1e-6)


@pytest.fixture
def doubled(photos):
    """The twelve photos, each twice more: within a batch and far from it."""
    for path in sorted(photos.rglob("*.png")):
        shutil.copy(path, path.with_name(f"{path.stem}a.png"))
        shutil.copy(path, photos / "test" / "cat" / f"z{path.parent.name}{path.name}")
    return photos


@pytest.mark.parametrize("worker_kind", ["processes", "threads"])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_identical_images_are_computed_once_and_copied(doubled, run, batch_size, worker_kind):
    network = MeanBackbone()
    result = run(
        doubled, embedder=fake_embedder(network), batch_size=batch_size, worker_kind=worker_kind
    )
    different = len({path.read_bytes() for path in doubled.rglob("*.png")})
    assert sum(network.batches) == different
    assert (result.ok, result.copied) == (result.rows, result.rows - different)
    store = FeatureStore.open(result.output)
    assert store.complete
    assert_exact(store, doubled)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_images_on_their_way_are_not_computed_again(doubled, run, batch_size):
    """With several batches begun before the first is finished: the same batches, rows, counts."""
    networks = [MeanBackbone(), LateBackbone()]
    results = [
        run(doubled, doubled / f"../{i}.h5", fake_embedder(network), batch_size=batch_size)
        for i, network in enumerate(networks)
    ]
    assert networks[0].batches == networks[1].batches
    assert results[0].copied == results[1].copied > 0
    one, other = (FeatureStore.open(result.output) for result in results)
    for name in ("mean", "spread"):
        assert np.array_equal(one.features(name), other.features(name))


def test_rows_of_an_earlier_run_are_copied_too(doubled, run):
    first = run(doubled, limit=7)
    network = MeanBackbone()
    second = run(doubled, embedder=fake_embedder(network))
    different = len({path.read_bytes() for path in doubled.rglob("*.png")})
    assert sum(network.batches) == different - (first.ok - first.copied)
    assert_exact(FeatureStore.open(second.output), doubled)


def test_a_damaged_row_is_not_copied(doubled, run):
    result = run(doubled, limit=4)
    store = FeatureStore.open(result.output)
    extent = store.layout.features["mean"]
    with open(result.output, "r+b") as file:
        for row in np.flatnonzero(store.done).tolist():
            file.seek(extent.offset + row * extent.row_bytes)
            file.write(b"\0" * extent.row_bytes)
    before = store.done
    after = FeatureStore.open(run(doubled).output)
    for row in np.flatnonzero(~before):
        expected = mean_of(doubled / after.keys[int(row)])
        np.testing.assert_allclose(after.features("mean")[row], expected, rtol=1e-6)


def test_non_finite_features_fail_every_copy(doubled, run):
    class Broken(MeanBackbone):
        def __call__(self, batch):
            features = super().__call__(batch)
            features["mean"][:] = np.nan
            return features

    class Late(Broken, LateBackbone):
        pass

    for i, network in enumerate((Broken(), Late())):
        result = run(doubled, doubled / f"../broken{i}.h5", fake_embedder(network))
        assert (result.ok, result.reasons) == (0, {"non finite": result.rows})


@pytest.mark.parametrize("worker_kind", ["processes", "threads"])
def test_a_set_that_grew_shrank_and_was_renamed_costs_its_new_images(
    photos, run, tmp_path, monkeypatch, worker_kind
):
    old = FeatureStore.open(run(photos, tmp_path / "old.h5").output)
    (photos / "train/ant/9.png").unlink()
    (photos / "train/bee").rename(photos / "train/wasp")
    (photos / "train/cat/9.png").rename(photos / "train/cat/77.png")
    new = [write_png(photos / f"train/ant/{i}.png", np.full((9, 9, 3), i)) for i in (30, 31)]
    network = MeanBackbone()
    result = run(
        photos,
        tmp_path / "new.h5",
        fake_embedder(network),
        reuse=[old],
        worker_kind=worker_kind,
    )
    assert sum(network.batches) == len(new)
    assert (result.ok, result.reused, result.rows) == (13, 11, 13)
    assert_exact(FeatureStore.open(result.output), photos)


def test_images_that_are_taken_over_are_read_but_not_decoded(photos, run, tmp_path, monkeypatch):
    old = FeatureStore.open(run(photos, tmp_path / "old.h5").output)

    def decoding(*arguments):
        raise AssertionError("decoded")

    monkeypatch.setattr("bottleneck.images.decode_all", decoding)
    result = run(photos, tmp_path / "new.h5", reuse=[old])
    assert (result.ok, result.reused) == (12, 12)
    np.testing.assert_array_equal(FeatureStore.open(result.output).digests, old.digests)


def test_failed_and_damaged_rows_are_not_taken_over(photos, run, tmp_path):
    (photos / "test/ant/9.png").write_bytes(b"")
    old = FeatureStore.open(run(photos, tmp_path / "old.h5").output)
    extent = old.layout.features["spread"]
    with open(old.path, "r+b") as file:
        file.seek(extent.offset + 5 * extent.row_bytes)
        file.write(b"\xff")
    network = MeanBackbone()
    result = run(photos, tmp_path / "new.h5", fake_embedder(network), reuse=[old])
    assert (result.reused, result.failed) == (10, 1)
    assert network.batches == [1]
    assert FeatureStore.open(result.output).status[0] == RowStatus.EMPTY
    assert_exact(FeatureStore.open(result.output), photos)


def test_a_file_of_another_recipe_is_refused(photos, run, tmp_path):
    old = FeatureStore.open(run(photos, tmp_path / "old.h5").output)
    for other in (fake_embedder(size=17), fake_embedder(execution={"dtype": "float16"})):
        with pytest.raises(RecipeMismatchError, match=r"(size: 17|dtype: float16) \(this run\)"):
            run(photos, tmp_path / "new.h5", other, reuse=[old])
    assert not (tmp_path / "new.h5").exists()


@pytest.fixture
def keyed(tmp_path, rng):
    """A file whose rows have few different digests, and those digests."""
    n = 500
    digests = rng.integers(0, 256, (60, 16), np.uint8)[rng.integers(0, 60, n)]
    digests[:20, 8:] = 0  # ends in zero bytes
    digests[10:30, :8] = digests[10, :8]  # all want one place of the table
    path = tmp_path / "k.h5"
    manifest = Manifest.build([str(row) for row in range(n)])
    create(path, manifest=manifest, recipe=fake_embedder().recipe, dims={"mean": 3})
    store = FeatureStore.open(path)
    with writer_lock(path), Writer(path, store.layout) as writer:
        rows = np.arange(0, n, 2)
        writer.write(rows, {"mean": np.zeros((len(rows), 3), np.float32)}, digests[rows])
    return FeatureStore.open(path), digests


@pytest.mark.parametrize("views", [1, 5])
@pytest.mark.parametrize("block", [7, 1000])
def test_indexes_find_what_a_dictionary_finds(keyed, monkeypatch, views, block):
    monkeypatch.setattr("bottleneck.extraction.reuse._BLOCK_ROWS", block)
    store, digests = keyed
    rows = np.arange(len(store))
    keys = row_keys(digests, rows, views)
    shown = {(digests[row].tobytes(), row % views) for row in range(0, len(store), 2)}
    expected = [(digests[row].tobytes(), row % views) in shown for row in rows.tolist()]
    own = OwnRows(store.path, store.layout, views)
    own.add_finished(store.done)
    for index in (own, OldFile.read(store, views)):
        found = index.find(keys)
        assert ((found >= 0) == expected).all()
        for row in np.flatnonzero(found >= 0).tolist():
            assert found[row] % 2 == 0
            assert digests[found[row]].tobytes() == digests[row].tobytes()
            assert found[row] % views == row % views
