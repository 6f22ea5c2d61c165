"""What holds for features holds for those of every kind of item: one set of tests, over both."""

import csv
import io
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import kinds
import numpy as np
import pytest
from sounds import written

import bottleneck
from bottleneck.errors import BackboneError, ManifestError
from bottleneck.sources import OtherItemsError, open_source
from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore
from bottleneck.store.verify import verify


@pytest.fixture(params=kinds.BOTH)
def kind(request):
    return kinds.BOTH[request.param]


@pytest.fixture
def folder(kind, tmp_path):
    return kind.folder(tmp_path / "set")


def read(store):
    return store.features("avg")[:]


def by_hand(kind, source):
    return np.stack([kind.expected(source.read(row)) for row in range(len(source))])


@pytest.mark.parametrize("worker_kind", ["threads", "processes"])
def test_every_row_holds_its_own_item(kind, folder, run, worker_kind):
    result = run(folder, embedder=kind.embedder(), worker_kind=worker_kind)
    assert (result.ok, result.failed) == (12, 0)
    store = FeatureStore.open(result.output)
    np.testing.assert_allclose(read(store), by_hand(kind, open_source([str(folder)])), rtol=1e-6)
    assert sorted(set(store.manifest.classes)) == ["ant", "bee", "cat"]


def test_alone_together_and_resumed_are_the_same(kind, folder, run, tmp_path):
    whole = FeatureStore.open(run(folder, embedder=kind.embedder()).output)
    alone = run(folder, tmp_path / "1.h5", embedder=kind.embedder(), batch_size=1)
    begun = run(folder, tmp_path / "2.h5", embedder=kind.embedder(), limit=5)
    assert begun.ok == 5
    resumed = run(folder, tmp_path / "2.h5", embedder=kind.embedder())
    assert (resumed.ok, resumed.already_done) == (7, 5)
    for one in (alone, resumed):
        np.testing.assert_array_equal(read(FeatureStore.open(one.output)), read(whole))


def test_bad_files_fail_alone_with_their_reason(kind, folder, run):
    other = next(one for one in kinds.BOTH.values() if one is not kind)
    whole = kind.data(99)
    bad = {
        "empty": b"",
        "page": b"<html>none</html>" * 20,
        "other": other.data(0),
        "cut": whole[: len(whole) // 2],
    }
    for name, data in bad.items():
        (folder / f"train/ant/{name}.{kind.ending}").write_bytes(data)
    result = run(folder, embedder=kind.embedder(), worker_kind="processes")
    assert (result.ok, result.failed) == (12, 4)
    store = FeatureStore.open(result.output)
    found = {
        Path(key).stem: RowStatus(int(status)).name
        for key, status in zip(store.manifest.keys, store.status, strict=True)
        if status > RowStatus.DONE
    }
    none = "NOT_AN_IMAGE" if kind.name == "image" else "NOT_A_SOUND"
    assert found == {"empty": "EMPTY", "page": none, "other": none, "cut": "TRUNCATED"}


def test_equal_items_are_computed_once(kind, folder, run):
    (folder / f"train/bee/copy.{kind.ending}").write_bytes(kind.data(0))
    result = run(folder, embedder=kind.embedder())
    assert (result.ok, result.computed) == (13, 12)


def test_views_are_rows_of_their_own(kind, folder, run):
    result = run(folder, embedder=kind.embedder(views=3), views=3)
    assert result.ok == 36
    source, store = open_source([str(folder)]), FeatureStore.open(result.output)
    rows = read(store)
    for row in (0, 5):
        expected = [kind.expected(source.read(row), view, 3) for view in range(3)]
        np.testing.assert_allclose(rows[3 * row : 3 * row + 3], expected, rtol=1e-6)


def test_kills_cost_nothing(kind, tmp_path):
    folder = kind.folder(tmp_path / "set", 90)
    path = [str(Path(kinds.__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}

    def start(output):
        arguments = [sys.executable, kinds.__file__, kind.name, str(folder), str(output)]
        return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE)

    with start(tmp_path / "whole.h5") as process:
        process.stdout.read()
    assert process.returncode == 0
    whole, output = FeatureStore.open(tmp_path / "whole.h5"), tmp_path / "x.h5"
    chance, kills = random.Random(5), 0
    for _ in range(4):
        with start(output) as process:
            process.stdout.readline()
            time.sleep(chance.uniform(0.02, 0.2))
            process.send_signal(signal.SIGKILL)
        kills += process.returncode == -signal.SIGKILL
        if output.exists():
            store = FeatureStore.open(output)
            done = np.flatnonzero(store.done)
            np.testing.assert_array_equal(read(store)[done], read(whole)[done])
    with start(output) as process:
        process.stdout.read()
    assert process.returncode == 0
    assert kills
    np.testing.assert_array_equal(read(FeatureStore.open(output)), read(whole))
    assert verify(output).ok


def packed(kind, root, how):
    """The items 0, 1, 2 in one of the kinds of sources."""
    names = [f"{i}.{kind.ending}" for i in range(3)]
    files = {name: kind.data(i) for i, name in enumerate(names)}
    for name, data in files.items():
        (root / name).write_bytes(data)
    if how == "folder":
        return [str(root)]
    if how == "files":
        return [str(root / name) for name in names]
    if how == "pattern":
        return [str(root / f"*.{kind.ending}")]
    if how == "table":
        with (root / "x.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([["path", "label"], *([name, "a"] for name in names)])
        return [str(root / "x.csv")]
    if how == "tar":
        with tarfile.open(root / "x.tar", "w") as archive:
            for name, data in files.items():
                archive.addfile(_member(name, data), io.BytesIO(data))
                archive.addfile(_member(f"{name[0]}.cls", b"a"), io.BytesIO(b"a"))
        return [str(root / "x.tar")]
    if how == "zip":
        with zipfile.ZipFile(root / "x.zip", "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return [str(root / "x.zip")]
    if how == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        column = "audio" if kind.name == "sound" else "image"
        rows = [{"bytes": data, "path": name} for name, data in files.items()]
        table = pyarrow.table({column: rows, "label": ["a", "a", "b"]})
        parquet.write_table(table, root / "x.parquet")
        return [str(root / "x.parquet")]
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    for name, data in files.items():
        system.pipe_file(f"/{root.name}/{name}", data)
    return [f"memory://{root.name}"]


def _member(name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info


SOURCES = ["folder", "files", "pattern", "table", "tar", "zip", "parquet", "url"]


@pytest.mark.parametrize("how", SOURCES)
def test_every_source_gives_the_same_items(kind, run, tmp_path, how):
    root = tmp_path / f"{kind.name}-{how}"
    root.mkdir()
    source = open_source(packed(kind, root, how))
    result = run(source, tmp_path / "x.h5", embedder=kind.embedder())
    assert (result.ok, result.failed) == (3, 0)
    expected = [kind.expected(kind.data(i)) for i in range(3)]
    np.testing.assert_allclose(read(FeatureStore.open(result.output)), expected, rtol=1e-6)


@pytest.mark.parametrize("how", SOURCES)
def test_the_other_kind_is_refused_with_its_files_and_what_fits(kind, tmp_path, how):
    other = next(one for one in kinds.BOTH.values() if one is not kind)
    root = tmp_path / f"no-{kind.name}-{how}"
    root.mkdir()
    given = packed(other, root, how)
    with pytest.raises(OtherItemsError) as caught:
        bottleneck.extract(given, tmp_path / "x.h5", backbone=kind.backbone)
    error = caught.value
    assert f"expected {kind.name}s" in error.message
    assert f"{other.name}s: " in error.message
    assert f".{other.ending}" in error.message or "column" in error.message
    fits = "efficientnet_lite0" if other.name == "image" else "music_tagger_crnn"
    assert error.hint.startswith(f"Backbones that take {other.name}s: ")
    assert fits in error.hint


def test_arrays_of_pixels_are_no_sounds(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 8, 8, 3), np.uint8))
    with pytest.raises(OtherItemsError, match="got images: NPY files hold pixels"):
        bottleneck.extract(tmp_path / "x.npy", tmp_path / "x.h5", backbone="musicnn_vgg")


def test_a_folder_of_neither_says_what_was_looked_for(tmp_path):
    (tmp_path / "a.doc").write_bytes(b"x")
    with pytest.raises(ManifestError, match="expected sounds below .*, found none") as caught:
        bottleneck.extract(tmp_path, tmp_path / "x.h5", backbone="musicnn_vgg")
    assert ".flac" in caught.value.hint


def test_a_mixed_folder_gives_what_the_backbone_takes(kind, run, tmp_path):
    for one in kinds.BOTH.values():
        one.folder(tmp_path / "set")
    from bottleneck.backbones import list_items

    source = list_items(kind.name, [str(tmp_path / "set")])
    assert len(source) == 12
    assert {Path(key).suffix for key in source.manifest.keys} == {f".{kind.ending}"}


def test_backbones_of_two_kinds_are_refused_together(tmp_path):
    with pytest.raises(BackboneError, match="expected backbones that take the same"):
        bottleneck.extract_many(
            tmp_path, tmp_path / "{backbone}.h5", backbone=["musicnn_vgg", "mobilenet_v2"]
        )


def test_features_of_every_kind_are_verified_trained_on_compared_and_predicted(
    kind, run, tmp_path, monkeypatch
):
    folder = kind.folder(tmp_path / "set", 60)
    file = run(folder, tmp_path / "a.h5", embedder=kind.embedder()).output
    assert verify(file).ok
    trained = bottleneck.train(file, tmp_path / "head", head="logreg")
    assert trained.to_json()["rows"] == 57
    judged = bottleneck.evaluate(tmp_path / "head", file)
    assert judged.to_json()["rows"] == 3
    monkeypatch.setattr(
        "bottleneck.extraction.rebuild_embedder", lambda recipe, **_: kind.embedder()
    )
    rows = bottleneck.predict(tmp_path / "head", [folder]).records
    stored = bottleneck.predict(tmp_path / "head", [file]).records
    assert [row["label"] for row in rows] == [row["label"] for row in stored]
    assert len(rows) == 60
    second = run(folder, tmp_path / "b.h5", embedder=kind.embedder(dtype="float16")).output
    table = bottleneck.compare([file, second], heads="logreg", map="pca").to_json()
    assert len(table["leaderboard"]) == 2
    bad = written(np.zeros((10, 1)), 8000)[:20]
    (folder / f"train/ant/bad.{kind.ending}").write_bytes(bad)
    rows = bottleneck.predict(tmp_path / "head", [folder], max_failed="100%").records
    assert [row["error"] is not None for row in rows].count(True) == 1
