"""Several files from one pass, and several views of each image."""

import numpy as np
import pytest
from fakes import LateBackbone, MeanBackbone, fake_embedder, write_png
from PIL import Image

from bottleneck.errors import OptionError
from bottleneck.extraction import fill_stores
from bottleneck.extraction.engine import viewed
from bottleneck.extraction.plan import MaxFailed
from bottleneck.heads.selection.splits import folds
from bottleneck.images import Drawing, Geometry, decode, decode_all, make_view
from bottleneck.manifest import Manifest
from bottleneck.progress import Silent
from bottleneck.sources import open_source
from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore


@pytest.fixture
def fill(tmp_path):
    def run(source, embedders, names="abc", batch_size=5, **options):
        sizes = batch_size if isinstance(batch_size, list) else [batch_size] * len(embedders)
        defaults = {
            "workers": 2,
            "max_failed": MaxFailed.parse("10%"),
            "progress": Silent(),
        }
        paths = [tmp_path / f"{name}.h5" for name, _ in zip(names, embedders)]  # noqa: B905
        loaded = list(zip(embedders, sizes, strict=True))
        return fill_stores(
            open_source([str(source)]), paths, lambda begun: loaded, **defaults | options
        )

    return run


def three():
    """Backbones of two sizes."""
    return [
        fake_embedder(MeanBackbone(), size=16),
        fake_embedder(MeanBackbone(), size=24),
        fake_embedder(MeanBackbone(), size=16, identity={"weights": "other"}),
    ]


def assert_same_rows(path, reference):
    store, expected = FeatureStore.open(path), FeatureStore.open(reference)
    np.testing.assert_array_equal(store.status, expected.status)
    np.testing.assert_array_equal(store.digests, expected.digests)
    for name in store.outputs:
        for row in np.flatnonzero(store.done):
            np.testing.assert_array_equal(store.features(name)[row], expected.features(name)[row])


@pytest.mark.parametrize("worker_kind", ["processes", "threads"])
def test_each_file_is_what_a_run_of_its_own_gives(photos, fill, worker_kind):
    (photos / "train/ant/10.png").write_bytes(b"")
    results = fill(photos, three(), worker_kind=worker_kind)
    assert [(r.ok, r.failed) for r in results] == [(11, 1)] * 3
    for i, embedder in enumerate(three()):
        (alone,) = fill(photos, [embedder], names=["alone"], overwrite=True)
        assert_same_rows(results[i].output, alone.output)


def test_every_image_is_read_and_decoded_once(photos, fill, monkeypatch):
    from bottleneck import images

    calls = []

    def counting(data, drawings):
        calls.append(sorted(drawing.geometry.size for drawing in drawings))
        return decode_all(data, drawings)

    monkeypatch.setattr(images, "decode_all", counting)
    fill(photos, three())
    assert calls == [[16, 24]] * 12


def test_each_file_gets_only_what_it_lacks(photos, fill):
    first = three()
    fill(photos, first[:1], limit=5)
    fill(photos, first[:2], limit=3)  # rows that any of the two lacks
    embedders = three()
    results = fill(photos, embedders)
    stores = [FeatureStore.open(result.output) for result in results]
    assert all(store.complete for store in stores)
    for result, embedder in zip(results, embedders, strict=True):
        assert sum(embedder.network.batches) == result.ok
        assert result.ok + result.already_done == 12
    assert results[2].ok == 12
    assert results[0].ok <= 7
    for i, embedder in enumerate(three()):
        (alone,) = fill(photos, [embedder], names=["alone"], overwrite=True)
        assert_same_rows(results[i].output, alone.output)


def test_each_backbone_has_its_own_batch_size(photos, fill):
    embedders = three()
    fill(photos, embedders, batch_size=[4, 12, 6], workers=1)
    assert [e.network.batches for e in embedders] == [[4, 4, 4], [12], [6, 6]]


def test_ctrl_c_keeps_what_was_done_in_every_file(photos, fill):
    class Interrupted(MeanBackbone):
        def __call__(self, batch):
            if len(self.batches) == 1:
                raise KeyboardInterrupt
            return super().__call__(batch)

    two = [fake_embedder(), fake_embedder(Interrupted(), size=24)]
    results = fill(photos, two, workers=1)
    assert all(result.interrupted for result in results)
    assert [r.ok for r in results] == [10, 5]
    assert [r.ok for r in fill(photos, three()[:2], workers=1)] == [2, 7]


def test_few_images_are_divided_among_workers(photos, fill):
    embedder = fake_embedder()
    fill(photos, [embedder], batch_size=12)
    assert embedder.network.batches == [6, 6]


def test_batches_on_their_way_of_one_backbone_and_none_of_another(photos, fill):
    late = LateBackbone()
    results = fill(photos, [fake_embedder(), fake_embedder(late, size=24)], names=["a", "b"])
    plain = fill(photos, [fake_embedder(), fake_embedder(size=24)], names=["c", "d"])
    for ours, theirs in zip(results, plain, strict=True):
        assert_same_rows(ours.output, theirs.output)


def test_no_more_backbones_than_bits(photos, fill):
    with pytest.raises(OptionError, match="at most 32 backbones at once, got 33"):
        fill(photos, three() * 11, names=map(str, range(33)))


def test_views_have_rows_of_their_own_that_no_fold_separates(photos, fill):
    embedder = fake_embedder()
    (result,) = fill(photos, [embedder], views=4)
    store = FeatureStore.open(result.output)
    assert (result.rows, result.ok, result.copied) == (48, 48, 0)
    assert [store.keys[i] for i in range(4, 7)] == [f"test/bee/9.png#{v}" for v in range(3)]
    (plain,) = fill(photos, [fake_embedder()], names=["plain"])
    first = FeatureStore.open(plain.output)
    np.testing.assert_array_equal(store.features("mean")[::4], first.features("mean"))
    np.testing.assert_array_equal(store.labels, np.repeat(first.labels, 4))
    np.testing.assert_array_equal(store.splits, np.repeat(first.splits, 4))
    assert len({row.tobytes() for row in np.asarray(store.features("mean"))}) == 48
    part = store.load("train", "mean")
    fold = folds(part.keys, part.y, part.groups, n_folds=3).reshape(-1, 4)
    assert (fold == fold[:, :1]).all()


def test_views_follow_from_the_image_and_not_from_its_name(photos, fill, tmp_path):
    (a,) = fill(photos, [fake_embedder()], names=["a"], views=3)
    for i, path in enumerate(sorted(photos.rglob("*.png"))):
        target = tmp_path / "other" / f"{(5 * i) % 12}.png"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    old = FeatureStore.open(a.output)
    network = MeanBackbone()
    (b,) = fill(tmp_path / "other", [fake_embedder(network)], names=["b"], views=3, reuse=[old])
    assert (b.reused, network.batches) == (36, [])
    (c,) = fill(tmp_path / "other", [fake_embedder()], names=["c"], views=3)
    assert_same_rows(b.output, c.output)


def test_a_group_of_the_set_keeps_its_name_and_its_views():
    manifest = viewed(Manifest.build(["a", "b", "c"], groups=["p", None, "p"]), 2)
    assert list(manifest.keys) == ["a#0", "a#1", "b#0", "b#1", "c#0", "c#1"]
    assert [manifest.group_names[int(code)] for code in manifest.groups] == list("ppbbpp")


def test_a_bad_image_fails_in_all_its_views(photos, fill):
    (photos / "train/ant/10.png").write_bytes(b"")
    (result,) = fill(photos, [fake_embedder()], views=3)
    store = FeatureStore.open(result.output)
    bad = [store.keys[int(row)] for row in np.flatnonzero(store.status == RowStatus.EMPTY)]
    assert bad == [f"train/ant/10.png#{view}" for view in range(3)]


def test_a_view_is_the_part_it_says(tmp_path, rng):
    """Against the part cut out, and turned round, by hand."""
    data = write_png(tmp_path / "x.png", rng.integers(0, 256, (200, 300, 3))).read_bytes()
    seen = set()
    for number in range(1, 30):
        view = make_view(b"digest", number)
        assert 0.5**0.5 <= view.side <= 1
        (found,) = decode_all(data, [Drawing(Geometry(32, "squash"), view)])
        with Image.open(tmp_path / "x.png") as image:
            width, height = 300 * view.side, 200 * view.side
            left, top = (300 - width) * view.left, (200 - height) * view.top
            box = (left, top, left + width, top + height)
            expected = image.resize((32, 32), Image.Resampling.BICUBIC, box=box)
        if view.mirrored:
            expected = expected.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        np.testing.assert_allclose(found.astype(int), np.array(expected, int), atol=1)
        seen.add((view.mirrored, view.side > 0.85, view.left > 0.5, view.top > 0.5))
    assert len(seen) >= 12
    plain = decode(data, Geometry(32))
    np.testing.assert_array_equal(decode_all(data, [Drawing(Geometry(32))])[0], plain)
    assert make_view(b"digest", 0) is None


@pytest.mark.parametrize(("views", "worker_kind"), [(1, "processes"), (3, "threads")])
def test_files_with_more_pages_are_counted_once_each(photos, fill, views, worker_kind):
    pages = [Image.new("RGB", (20, 20), (40 * i, 0, 0)) for i in range(3)]
    for name in ("10", "11"):
        pages[0].save(photos / f"train/ant/{name}.png", "TIFF", save_all=True,
                      append_images=pages[1:])  # fmt: skip
    (photos / "train/ant/12.png").write_bytes(b"II*\0\x08\0\0\0")
    results = fill(photos, three(), worker_kind=worker_kind, views=views, max_failed=MaxFailed(9))
    assert {result.first_of_several for result in results} == {2}
