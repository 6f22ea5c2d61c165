import numpy as np
import pytest
from fakes import fake_recipe

from bottleneck.errors import OptionError, RecipeMismatchError, StoreError
from bottleneck.manifest import Manifest
from bottleneck.status import RowStatus
from bottleneck.store import FailedRow, FeatureStore, Writer, create
from bottleneck.store.export import export_compressed
from bottleneck.store.merge import merge
from bottleneck.store.verify import verify


def test_shards_of_one_list_become_one_file(make, fill, tmp_path):
    a, b = make(50, name="a.h5"), make(50, name="b.h5")
    first, digests = fill(a, range(30), seed=1)
    second, _ = fill(b, range(20, 45), seed=2)
    with Writer(b, FeatureStore.open(b).layout) as writer:
        writer.fail(
            [
                FailedRow(48, "img48.png", RowStatus.EMPTY, ""),
                FailedRow(3, "img3.png", RowStatus.EMPTY, ""),
            ]
        )
    result = merge([a, b], tmp_path / "all.h5")
    assert (result.copied, result.failed, result.pending) == (45, 1, 4)
    assert result.changed == 10  # rows 20 to 29: other digests
    store = FeatureStore.open(tmp_path / "all.h5")
    assert np.array_equal(store.features()[:30], first["avg"])
    assert np.array_equal(store.features()[30:45], second["avg"][10:])
    assert np.array_equal(store.digests[:30], digests)
    assert store.status[48] == RowStatus.EMPTY
    assert store.status[3] == RowStatus.DONE
    assert verify(store.path).ok
    again = merge([a, b], tmp_path / "all.h5")
    assert (again.copied, again.failed, again.already_done) == (0, 0, 46)


def test_a_merge_that_was_stopped_goes_on(make, fill, tmp_path, monkeypatch):
    a, b = make(50, name="a.h5"), make(50, name="b.h5")
    first, _ = fill(a, range(25), seed=1)
    second, _ = fill(b, range(25, 50), seed=2)
    monkeypatch.setattr("bottleneck.store.merge._BLOCK_ROWS", 10)
    write, calls = Writer.write, []

    def stopping(self, *arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        write(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Writer, "write", stopping)
        merge([a, b], tmp_path / "all.h5")
    result = merge([a, b], tmp_path / "all.h5")
    assert (result.already_done, result.copied, result.pending) == (25, 25, 0)
    merged = FeatureStore.open(tmp_path / "all.h5").features()
    assert np.array_equal(merged, np.concatenate([first["avg"], second["avg"]]))


def test_damaged_rows_are_taken_from_another_file_or_left_out(make, fill, tmp_path):
    a, b = make(10, name="a.h5"), make(10, name="b.h5")
    values, _ = fill(a, range(10), seed=1)
    fill(b, [4], seed=1)
    extent = FeatureStore.open(a).layout.features["avg"]
    with a.open("r+b") as stream:
        for row in (4, 7):
            stream.seek(extent.offset + row * extent.row_bytes)
            stream.write(b"\xff\xff")
    result = merge([a, b], tmp_path / "all.h5")
    assert (result.copied, result.damaged, result.pending) == (9, 2, 1)
    store = FeatureStore.open(tmp_path / "all.h5")
    assert np.flatnonzero(~store.done).tolist() == [7]
    kept = [0, 1, 2, 3, 5, 6, 8, 9]
    assert np.array_equal(store.features()[kept], values["avg"][kept])
    assert verify(store.path).ok


def test_lists_one_behind_the_other(tmp_path, fill):
    paths, blocks = [], []
    for name, n in (("a", 5), ("b", 7)):
        path = tmp_path / f"{name}.h5"
        manifest = Manifest.build([f"{name}/{i}" for i in range(n)], [name] * n, ["train"] * n)
        create(path, manifest=manifest, recipe=fake_recipe(), dims={"avg": 3})
        blocks.append(fill(path, range(n), seed=n)[0]["avg"])
        paths.append(path)
    with pytest.raises(StoreError, match="7 images now, 5 in the file") as caught:
        merge(paths, tmp_path / "all.h5")
    assert "--concatenate" in caught.value.hint
    result = merge(paths, tmp_path / "all.h5", concatenate_lists=True)
    assert (result.rows, result.copied, result.pending) == (12, 12, 0)
    store = FeatureStore.open(tmp_path / "all.h5")
    assert np.array_equal(store.features(), np.concatenate(blocks))
    assert list(store.keys)[4:6] == ["a/4", "b/0"]
    assert [store.classes[i] for i in store.labels] == ["a"] * 5 + ["b"] * 7
    with pytest.raises(StoreError, match="'a/0' a second time"):
        merge([paths[0], paths[0]], tmp_path / "twice.h5", concatenate_lists=True)


def test_other_recipes_and_types_are_refused(make, tmp_path):
    a = make(10, name="a.h5")
    b = make(10, name="b.h5", recipe=fake_recipe({"size": 9}))
    with pytest.raises(RecipeMismatchError, match=r"size: \(absent\) .*a.h5\), 9 "):
        merge([a, b], tmp_path / "all.h5")
    c = make(10, name="c.h5", dtype="float16")
    with pytest.raises(RecipeMismatchError, match="holds float32, .*c.h5 holds float16"):
        merge([a, c], tmp_path / "all.h5")
    with pytest.raises(OptionError, match="is also an input"):
        merge([a], a)
    d = make(10, name="d.h5", recipe=fake_recipe(execution={"device": "gpu"}))
    assert merge([a, d], tmp_path / "all.h5").notes == (
        f"{d} was made with another device: gpu instead of (absent)",
    )


def test_another_programs_features_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((4, 3), "f4"))
    for refused in (
        lambda: merge([tmp_path / "x.npy"], tmp_path / "all.h5"),
        lambda: verify(tmp_path / "x.npy"),
        lambda: export_compressed(tmp_path / "x.npy", tmp_path / "small.h5"),
    ):
        with pytest.raises(StoreError, match="another program's features"):
            refused()


def test_a_row_that_failed_is_taken_back_before_it_is_filled(make, fill, tmp_path, monkeypatch):
    """Killed between the two it must not look like a failed row that holds features."""
    a, b = make(10, name="a.h5"), make(10, name="b.h5")
    with Writer(a, FeatureStore.open(a).layout) as writer:
        writer.fail([FailedRow(4, "img4.png", RowStatus.EMPTY, "")])
    fill(b, range(10))
    merge([a], tmp_path / "all.h5")
    monkeypatch.setattr(Writer, "commit", lambda self: None)  # as if killed before it
    merge([b], tmp_path / "all.h5")
    monkeypatch.undo()
    assert FeatureStore.open(tmp_path / "all.h5").status[4] == RowStatus.PENDING
    assert verify(tmp_path / "all.h5").ok
    assert merge([b], tmp_path / "all.h5").copied == 10
