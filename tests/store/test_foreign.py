import pickle

import h5py
import numpy as np
import pytest

from bottleneck.errors import OptionError, StoreError
from bottleneck.store import FeatureStore


@pytest.fixture
def X(rng):
    return rng.normal(size=(9, 4)).astype(np.float32)


def test_hdf5_of_another_program(tmp_path, X):
    path = tmp_path / "clam.h5"
    with h5py.File(path, "w") as file:
        file["feats"] = X
        file["deep/names"] = np.array([f"slide{i}" for i in range(9)], "S")
        file["y"] = np.array([0, 1, 2] * 3)
        file["part"] = np.array(["train"] * 6 + ["test"] * 3, h5py.string_dtype())
    store = FeatureStore.open(
        path,
        features="feats",
        keys="deep/names",
        labels="y",
        splits="part",
        identity={"backbone": "uni"},
    )
    assert repr(store) == "<FeatureStore clam.h5 9x4 float32 uni, complete>"
    rows = store.load("test")
    assert np.array_equal(rows.X, X[6:])
    assert rows.keys == ["slide6", "slide7", "slide8"]
    assert [store.classes[i] for i in rows.y] == ["0", "1", "2"]
    again = pickle.loads(pickle.dumps(store))
    assert np.array_equal(again.features()[3:5], X[3:5])
    assert again.recipe.identity["backbone"] == "uni"
    with pytest.raises(StoreError, match="written by another program"):
        store.layout  # noqa: B018


def test_rows_without_names_are_numbered(tmp_path, X):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["feats"] = X
    store = FeatureStore.open(tmp_path / "x.h5", features="feats")
    assert list(store.keys) == [str(i) for i in range(9)]
    assert len(store.load().X) == 0  # no labels


def test_what_is_not_there_is_named(tmp_path, X):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["group/feats"] = X
        file["names"] = np.array(["a"], "S")
        file["flat"] = X[0]
    with pytest.raises(StoreError, match="no dataset 'feats'") as caught:
        FeatureStore.open(path, features="feats")
    assert "group/feats" in caught.value.hint
    with pytest.raises(StoreError, match="9 rows of features, but 1 keys"):
        FeatureStore.open(path, features="group/feats", keys="names")
    with pytest.raises(StoreError, match=r"shape \(rows, length\)"):
        FeatureStore.open(path, features="flat")
    with pytest.raises(OptionError, match="name of the features beside keys"):
        FeatureStore.open(path, keys="names")
    with pytest.raises(StoreError) as caught:
        FeatureStore.open(path)
    assert "FeatureStore.open(path, features=" in caught.value.hint


def test_npy_with_a_table(tmp_path, X):
    np.save(tmp_path / "x.npy", X)
    lines = "".join(f"img{i}.jpg,{'ab'[i % 2]},train\n" for i in range(9))
    (tmp_path / "x.csv").write_text("path,label,split\n" + lines)
    store = FeatureStore.open(tmp_path / "x.npy", keys=str(tmp_path / "x.csv"))
    assert isinstance(store.features(), np.memmap)
    assert np.array_equal(store.features(), X)
    assert store.keys[8] == "img8.jpg"
    assert store.classes == ("a", "b")
    assert store.splits.tolist() == [1] * 9
    (tmp_path / "x.csv").write_text("name\nq\n")
    with pytest.raises(StoreError, match="column path or key, got name"):
        FeatureStore.open(tmp_path / "x.npy", keys=str(tmp_path / "x.csv"))


def test_clip_retrieval(tmp_path, X):
    pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    import pyarrow as pa
    from pyarrow import parquet

    (tmp_path / "img_emb").mkdir()
    (tmp_path / "metadata").mkdir()
    # Ten parts, so that natural order differs from the order of text.
    for i, rows in enumerate(np.array_split(np.arange(9), 5) + np.array_split(np.arange(9), 6)):
        np.save(tmp_path / "img_emb" / f"img_emb_{i}.npy", X[rows].astype(np.float16))
        table = pa.table(
            {"image_path": [f"{i}/{r}" for r in rows], "kind": [f"k{r}" for r in rows]}
        )
        parquet.write_table(table, tmp_path / "metadata" / f"metadata_{i}.parquet")
    store = FeatureStore.open(tmp_path, labels="kind")
    assert store.dtype == np.float16
    assert np.array_equal(store.features()[:], np.concatenate([X, X]).astype(np.float16))
    assert np.array_equal(store.features()[np.array([17, 0])], X[[8, 0]].astype(np.float16))
    assert np.array_equal(store.features()[-1], X[8].astype(np.float16))
    assert store.keys[17] == "10/8"
    assert store.classes[store.labels[17]] == "k8"
    with pytest.raises(StoreError, match="column 'size'"):
        FeatureStore.open(tmp_path, labels="size")
    paths = table.column("image_path").to_pylist()
    lost = table.set_column(0, "image_path", pa.array([*paths[:-1], None]))
    parquet.write_table(lost, tmp_path / "metadata" / "metadata_10.parquet")
    with pytest.raises(StoreError, match="expected a key in every row, row 17 has none"):
        FeatureStore.open(tmp_path)


def test_the_independent_reader_agrees(make, fill):
    """pyfive reads HDF5 without HDF5's library."""
    pyfive = pytest.importorskip("pyfive", reason="pyfive is not installed")
    path = make(2000, {"avg": 300})
    values, digests = fill(path, range(2000))
    with pyfive.File(str(path)) as file:
        assert np.array_equal(file["features/avg"][:], values["avg"])
        assert np.array_equal(file["digest"][:], digests)
        assert set(file["status"][:].tolist()) == {1}
        assert file["manifest/key_bytes"][:].tobytes().startswith(b"img0.pngimg1.png")


def test_labels_that_say_nothing_are_no_classes(tmp_path, X):
    labels = [0, 1, -1, 2, 0, 1, 2, -1, 0]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["feats"] = X
        file["y"] = labels
        file["z"] = np.where(np.array(labels) < 0, np.nan, labels)
        file["one_hot"] = np.eye(9)
    for name in ("y", "z"):
        store = FeatureStore.open(tmp_path / "x.h5", features="feats", labels=name)
        assert store.classes == ("0", "1", "2")
        assert store.labels.tolist() == labels
    with pytest.raises(StoreError, match="expected one label per image"):
        FeatureStore.open(tmp_path / "x.h5", features="feats", labels="one_hot")
    np.save(tmp_path / "x.npy", X)
    cells = "\n".join(f"{i}.png,{cell}" for i, cell in enumerate(["", "nan", "-1", *"123456"]))
    (tmp_path / "x.csv").write_text("path,label\n" + cells)
    store = FeatureStore.open(tmp_path / "x.npy", keys=str(tmp_path / "x.csv"))
    assert store.labels.tolist() == [-1, -1, -1, 0, 1, 2, 3, 4, 5]


def test_parts_of_another_width_are_refused(tmp_path, X):
    (tmp_path / "img_emb").mkdir()
    np.save(tmp_path / "img_emb" / "img_emb_0.npy", X)
    np.save(tmp_path / "img_emb" / "img_emb_1.npy", X[:, :1])
    with pytest.raises(StoreError, match=r"expected parts of shape \(rows, 4\).*in part 1"):
        FeatureStore.open(tmp_path)


def test_the_table_of_the_same_name_is_found_and_its_keys_may_be_any_bytes(tmp_path, X):
    np.save(tmp_path / "x.npy", X)
    lines = b'path,label\n"a\rb.png",a\ncaf\xe9.png,b\n' + b"".join(
        b"%d.png,a\n" % i for i in range(7)
    )
    (tmp_path / "x.csv").write_bytes(lines)
    store = FeatureStore.open(tmp_path / "x.npy")
    assert list(store.keys[:2]) == ["a\rb.png", b"caf\xe9.png".decode("utf-8", "surrogateescape")]
    assert store.classes == ("a", "b")
