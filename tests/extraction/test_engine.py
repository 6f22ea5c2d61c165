import hashlib
import json
import os

import h5py
import numpy as np
import pytest
from fakes import MeanBackbone, fake_embedder, write_png

from bottleneck.errors import ImageError, ManifestError, RecipeMismatchError, StoreLockedError
from bottleneck.extraction.plan import MaxFailed
from bottleneck.images import Geometry, decode
from bottleneck.progress import Silent
from bottleneck.sources import PixelSource, open_source
from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore, failures_path, writer_lock


def expected_rows(folder):
    """Features computed one image at a time, in NumPy."""
    source = open_source([str(folder)])
    pixels = [decode(source.read(i), Geometry(16)).reshape(-1, 3) for i in range(len(source))]
    return (
        np.array([p.mean(axis=0) for p in pixels], np.float32),
        np.array([p.std(axis=0) for p in pixels], np.float32),
    )


def test_every_row_holds_its_own_image(photos, run):
    result = run(photos)
    store = FeatureStore.open(result.output)
    mean, spread = expected_rows(photos)
    np.testing.assert_allclose(store.features("mean"), mean, rtol=1e-6)
    np.testing.assert_allclose(store.features("spread"), spread, rtol=1e-6)
    assert store.keys[0] == "test/ant/9.png"
    first = (photos / "test/ant/9.png").read_bytes()
    digest = hashlib.blake2b(first, digest_size=16).digest()
    assert store.digests[0].tobytes() == digest


def test_result_adds_up(photos, run):
    result = run(photos)
    assert (result.rows, result.ok, result.failed, result.already_done) == (12, 12, 0, 0)
    assert result.outputs == {"mean": 3, "spread": 3}
    assert set(result.stages) == {*("read", "decode", "transfer", "forward", "write", "waiting")}
    assert result.peak_rss_mb > 10
    json.dumps(result.to_json(), allow_nan=False)


def test_a_finished_file_is_left_alone(photos, run):
    run(photos)
    network = MeanBackbone()
    before = (photos.parent / "x.h5").read_bytes()
    result = run(photos, embedder=fake_embedder(network))
    assert (result.ok, result.already_done, result.pending) == (0, 12, 0)
    assert network.batches == []
    assert (photos.parent / "x.h5").read_bytes() == before


def test_only_what_is_missing_is_computed(photos, run, tmp_path):
    whole = FeatureStore.open(run(photos, tmp_path / "whole.h5").output)
    first = run(photos, limit=5)
    assert (first.ok, first.pending) == (5, 7)
    network = MeanBackbone()
    second = run(photos, embedder=fake_embedder(network))
    assert (second.ok, second.already_done, second.pending) == (7, 5, 0)
    assert sum(network.batches) == 7
    resumed = FeatureStore.open(second.output)
    for name in ("mean", "spread"):
        assert np.array_equal(resumed.features(name), whole.features(name))
    assert np.array_equal(resumed.digests, whole.digests)


def test_ctrl_c_keeps_what_was_done(photos, run):
    class Interrupted(MeanBackbone):
        def __call__(self, batch):
            if len(self.batches) == 2:
                raise KeyboardInterrupt
            return super().__call__(batch)

    result = run(photos, embedder=fake_embedder(Interrupted()))
    assert result.interrupted
    assert (result.ok, result.pending) == (8, 4)
    assert run(photos).ok == 4


def test_bad_images_fail_alone_with_their_reason(photos, run):
    (photos / "train/ant/10.png").write_bytes(b"")
    (photos / "train/bee/9.png").write_bytes(b"<html>")
    good = (photos / "train/cat/11.png").read_bytes()
    (photos / "train/cat/11.png").write_bytes(good[: len(good) // 2])
    (photos / "train/cat/12.png").symlink_to("nowhere")
    (photos / "train/cat/13.png").mkdir()
    result = run(photos)
    store = FeatureStore.open(result.output)
    bad = {store.keys[int(i)]: RowStatus(store.status[i]).name for i in np.flatnonzero(~store.done)}
    assert bad == {
        "train/ant/10.png": "EMPTY",
        "train/bee/9.png": "NOT_AN_IMAGE",
        "train/cat/11.png": "TRUNCATED",
        "train/cat/12.png": "MISSING",
        "train/cat/13.png": "UNREADABLE",
    }
    assert (result.rows, result.ok, result.failed) == (14, 9, 5)
    assert result.too_many_failed
    assert result.reasons == {
        "empty": 1,
        "not an image": 1,
        "truncated": 1,
        "missing": 1,
        "unreadable": 1,
    }
    texts = [json.loads(line) for line in failures_path(store.path).read_text().splitlines()]
    assert {record["key"]: record["status"] for record in texts} == {
        key: status.lower().replace("_", " ") for key, status in bad.items()
    }
    for row in np.flatnonzero(store.done):
        pixels = decode((photos / store.keys[int(row)]).read_bytes(), Geometry(16)).reshape(-1, 3)
        np.testing.assert_allclose(store.features("mean")[row], pixels.mean(axis=0), rtol=1e-6)


def test_mended_images_are_tried_again_when_asked(photos, run):
    path = photos / "train/ant/10.png"
    content = path.read_bytes()
    path.write_bytes(b"")
    assert run(photos).failed == 1
    path.write_bytes(content)
    assert run(photos).ok == 0
    result = run(photos, retry_failed=True)
    assert (result.ok, result.failed_total) == (1, 0)


def test_refresh_computes_changed_images_again(photos, run):
    good = (photos / "train/ant/11.png").read_bytes()
    (photos / "train/ant/11.png").write_bytes(b"")
    before = np.array(FeatureStore.open(run(photos).output).features("mean"))
    write_png(photos / "train/bee/10.png", np.zeros((20, 24, 3)))
    (photos / "train/cat/9.png").write_bytes(b"")
    (photos / "train/ant/11.png").write_bytes(good)
    keys = list(FeatureStore.open(photos.parent / "x.h5").keys)
    result = run(photos, refresh=True)
    assert (result.ok, result.failed, result.already_done) == (2, 1, 9)
    store = FeatureStore.open(result.output)
    bee, cat = keys.index("train/bee/10.png"), keys.index("train/cat/9.png")
    ant = keys.index("train/ant/11.png")
    assert store.features("mean")[bee].tolist() == [0, 0, 0]
    assert store.status[cat] == RowStatus.EMPTY
    assert store.status[ant] == RowStatus.DONE  # it was bad and has been mended
    others = [i for i in range(12) if i not in (ant, bee, cat)]
    assert np.array_equal(store.features("mean")[others], before[others])
    assert run(photos, refresh=True).ok == 0


def test_images_that_are_away_cost_no_finished_row(photos, run, tmp_path):
    """A disk that is not mounted is no change; when it is back everything is as it was."""
    listed = open_source([str(photos)])
    run(listed)
    before = (tmp_path / "x.h5").read_bytes()
    photos.rename(tmp_path / "away")
    notes = []

    class Listening(Silent):
        def note(self, message):
            notes.append(message)

    result = run(listed, refresh=True, progress=Listening())
    assert (result.ok, result.failed, result.already_done) == (0, 0, 12)
    assert notes == ["12 images cannot be read now; their finished rows are kept"]
    assert (tmp_path / "x.h5").read_bytes() == before


def test_changed_rows_are_pending_before_they_are_overwritten(photos, run):
    """A done row must never be torn: a kill while it is overwritten leaves it pending."""
    path = photos.parent / "x.h5"
    run(photos)
    write_png(photos / "train/bee/10.png", np.zeros((20, 24, 3)))

    class Looking(MeanBackbone):
        def __call__(self, batch):
            assert np.count_nonzero(~FeatureStore.open(path).done) == 1
            return super().__call__(batch)

    assert run(photos, embedder=fake_embedder(Looking()), refresh=True).ok == 1


def test_another_recipe_or_list_is_refused_and_nothing_changes(photos, run):
    run(photos)
    before = (photos.parent / "x.h5").read_bytes()
    with pytest.raises(RecipeMismatchError, match=r"size: 17 \(this run\), 16"):
        run(photos, embedder=fake_embedder(size=17))
    write_png(photos / "train/bee/99.png", [[1]])
    with pytest.raises(ManifestError, match="13 images now, 12 in the file"):
        run(photos)
    assert (photos.parent / "x.h5").read_bytes() == before
    assert run(photos, overwrite=True).ok == 13


def test_non_finite_features_are_failures(photos, run):
    class Broken(MeanBackbone):
        def __call__(self, batch):
            features = super().__call__(batch)
            features["mean"][0, 1] = np.nan
            return features

    result = run(photos, embedder=fake_embedder(Broken()))
    assert (result.ok, result.reasons) == (9, {"non finite": 3})


def test_values_past_float16_are_failures_and_others_are_rounded(photos, run):
    class Large(MeanBackbone):
        def __call__(self, batch):
            features = super().__call__(batch)
            features["spread"][1, 2] = 70000
            return features

    result = run(photos, embedder=fake_embedder(Large(), execution={"dtype": "float16"}))
    assert (result.ok, result.reasons) == (9, {"non finite": 3})
    store = FeatureStore.open(result.output)
    mean, _ = expected_rows(photos)
    assert store.dtype == np.float16
    assert np.array_equal(store.features("mean")[store.done], mean[store.done].astype(np.float16))


def test_a_second_run_on_the_same_file_is_refused(photos, run, tmp_path):
    with writer_lock(tmp_path / "x.h5"), pytest.raises(StoreLockedError, match=str(os.getpid())):
        run(photos)


def test_float_pixels_are_refused_with_the_reason(run):
    from bottleneck.errors import SourceError

    with pytest.raises(SourceError, match="uint8 or uint16, got float32 in row 0"):
        run(PixelSource([np.zeros((2, 2, 3), np.float32)]))


def test_failures_count_against_the_whole_file(photos, run):
    (photos / "train/ant/10.png").write_bytes(b"")
    allowed = MaxFailed.parse("1")
    assert not run(photos, max_failed=allowed).too_many_failed
    assert run(photos, max_failed=MaxFailed.parse("0")).too_many_failed
    with h5py.File(photos.parent / "x.h5") as file:
        assert np.count_nonzero(file["status"][()] == RowStatus.EMPTY) == 1
    assert isinstance(ImageError(RowStatus.EMPTY, ""), ValueError)
