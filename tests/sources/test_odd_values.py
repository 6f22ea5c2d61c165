"""What labels of an unexpected type say, the same in every container."""

import json
import tarfile
from decimal import Decimal

import h5py
import makers
import numpy as np
import pyarrow as pa
import pytest
import written
from pyarrow import parquet

from bottleneck.errors import BottleneckError, ImageError
from bottleneck.sources import open_source


def labels_of(path):
    manifest = open_source([str(path)]).manifest
    return [manifest.classes[i] if i >= 0 else None for i in manifest.labels]


def write_tar(root, labels, ending, write):
    with tarfile.open(root / "a.tar", "w") as archive:
        for i, label in enumerate(labels):
            makers.add_member(archive, f"{i}.png", b"%d" % i)
            makers.add_member(archive, f"{i}{ending}", write(label))
    return root / "a.tar"


def in_json(root, labels):
    return write_tar(root, labels, ".JSON", lambda v: json.dumps({"label": v}).encode())


def in_cls(root, labels):
    return write_tar(root, labels, ".cls", lambda v: ("\ufeff" + str(v) + "\r\n").encode())


def in_hdf5(root, labels):
    with h5py.File(root / "a.h5", "w") as file:
        file["kept/x"] = np.zeros((len(labels), 4, 4), np.uint8)
        file["x"] = h5py.SoftLink("/kept/x")
        file["y"] = labels
    return root / "a.h5"


def test_json_that_names_no_class_goes_on_to_the_next_name(tmp_path):
    path = write_tar(
        tmp_path,
        [b'{"label": null, "class_name": "cat"}', b'[{"box": [1, 2]}]', b'"dog"', b"null"],
        ".json",
        lambda text: text,
    )
    assert labels_of(path) == ["cat", None, "dog", None]


@pytest.mark.parametrize("label", [[0, 1, 0], {"name": "cat"}])
def test_json_labels_of_several_values_are_refused(tmp_path, label):
    with pytest.raises(BottleneckError, match="'0.JSON' at offset 1536: expected "):
        open_source([str(in_json(tmp_path, [label]))])


def test_long_texts_in_cls_are_refused(tmp_path):
    with pytest.raises(BottleneckError, match="expected the name or number of a class, got 106"):
        open_source([str(in_cls(tmp_path, ["x" * 101]))])


def test_one_hot_labels_are_refused_with_what_to_do(tmp_path):
    labels = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    rows = [written.Row(number, label) for number, label in enumerate(labels, 1)]
    for kind in ("npz", "tfrecord", "json_files", "parquet_bytes"):
        with pytest.raises(BottleneckError, match="one per image|one label per image") as caught:
            written.opened(written.VALUES[kind](tmp_path, rows))
        assert "argmax" in caught.value.hint


def test_labels_of_any_shape_with_one_value_per_image_are_read(tmp_path):
    assert labels_of(in_hdf5(tmp_path, np.arange(2).reshape(2, 1, 1, 1))) == ["0", "1"]


def test_datasets_with_several_names_are_read_once(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = np.zeros((2, 4, 4), np.uint8)
        file["data"] = file["images"]  # a hard link
        file["group"] = file["/"]  # a circle
        file["lost"] = h5py.SoftLink("/nowhere")
    assert len(open_source([str(tmp_path / "a.h5")])) == 2


def test_labels_behind_an_external_link_are_read(tmp_path):
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["labels"] = [3, 4]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = np.zeros((2, 4, 4), np.uint8)
        file["labels"] = h5py.ExternalLink("b.h5", "/labels")
    assert labels_of(tmp_path / "a.h5") == ["3", "4"]


# Parquet


def in_parquet(root, labels, **columns):
    table = {"path": [f"{i}.png" for i in range(len(labels))], "label": labels} | columns
    parquet.write_table(pa.table(table), root / "a.parquet")
    return root / "a.parquet"


@pytest.mark.parametrize(
    "values",
    [
        pa.array([0, 1, None], pa.int8()),
        pa.array([0.0, 1.0, None]),
        pa.array([0.0, 1.0, float("nan")], pa.float32()),
        pa.array([Decimal("0.00"), Decimal("1.00"), None], pa.decimal128(5, 2)),
        pa.array(["0", "1", None]).dictionary_encode(),
        pa.array([b"0", b"1", b""]),
        pa.array([[0], [1], []]),
        pa.array(["0.0", "1", "-1"]),
    ],
    ids=lambda values: str(values.type),
)
def test_columns_of_any_type_of_label_say_the_same(tmp_path, values):
    assert labels_of(in_parquet(tmp_path, values)) == ["0", "1", None]


def test_a_column_of_nulls_is_no_label(tmp_path):
    assert labels_of(in_parquet(tmp_path, pa.nulls(2))) == [None, None]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pa.array([[0], [0, 1]]), "column 'label', row 1: expected one label per image"),
        (pa.array([1.0, 0.5]), "column 'label', row 1: expected a label, got the number 0.5"),
        (pa.array([0, 1], pa.timestamp("s")), "column 'label', row 0: expected a label, got date"),
        (pa.array([{"a": 1}, {"a": 2}]), "column 'label', row 0: expected a label, got dict"),
    ],
)
def test_columns_that_are_no_labels_are_refused_by_row(tmp_path, values, message):
    with pytest.raises(BottleneckError, match=message):
        open_source([str(in_parquet(tmp_path, values))])


def test_a_fraction_that_is_asked_for_as_target_is_no_class(tmp_path):
    source = open_source([str(in_parquet(tmp_path, [0.5, 1.5]))], ["label"])
    assert source.manifest.classes == ()
    assert source.manifest.targets


def test_hashes_beside_paths_are_no_images(tmp_path):
    hashes = pa.array([bytes(16), bytes([7]) * 16])
    for name in ("md5", "digest", "image_hash"):
        source = open_source([str(in_parquet(tmp_path, ["a", "b"], **{name: hashes}))])
        assert list(source.manifest.keys) == ["0.png", "1.png"]


def test_images_beside_hashes_and_paths_are_found_by_their_first_bytes(tmp_path, samples):
    path = in_parquet(
        tmp_path,
        ["a", "b"],
        digest=pa.array([bytes(16)] * 2),
        jpeg_bytes=pa.array([None, samples[0].data]),
    )
    source = open_source([str(path)])
    assert list(source.manifest.keys) == ["0.png", "1.png"]
    assert source.read(1) == samples[0].data


def test_rows_with_a_path_and_no_bytes_are_read_from_the_path(tmp_path, samples):
    (tmp_path / "there.png").write_bytes(samples[0].data)
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    rows = [
        {"bytes": None, "path": str(tmp_path / "there.png")},
        {"bytes": None, "path": "there.png"},
        {"bytes": None, "path": "gone.png"},
        {"bytes": samples[1].data, "path": "there.png"},
    ]
    parquet.write_table(pa.table({"image": pa.array(rows, kind)}), tmp_path / "a.parquet")
    source = open_source([str(tmp_path / "a.parquet")])
    found = [source.read(row) for row in (0, 1, 3)]
    assert found == [samples[0].data, samples[0].data, samples[1].data]
    with pytest.raises(ImageError, match=r"no image in it but a path: .*gone.png"):
        source.read(2)


def test_class_names_are_those_of_each_file(tmp_path):
    for split, classes in (("train", ["cat", "dog"]), ("test", ["dog", "cat"])):
        features = {"label": {"_type": "ClassLabel", "names": classes}}
        schema = pa.schema(
            {"path": pa.string(), "label": pa.int64()},
            {"huggingface": json.dumps({"info": {"features": features}})},
        )
        rows = [{"path": f"{split}/{i}.png", "label": i} for i in range(2)]
        table = pa.Table.from_pylist(rows, schema=schema)
        parquet.write_table(table, tmp_path / f"{split}.parquet")
    files = [str(tmp_path / name) for name in ("train.parquet", "test.parquet")]
    manifest = open_source(files).manifest
    assert [manifest.classes[i] for i in manifest.labels] == ["cat", "dog", "dog", "cat"]
    rows.append({"path": "test/2.png", "label": 2})
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "test.parquet")
    with pytest.raises(BottleneckError, match="row 2: expected one of 2 classes"):
        open_source(files)


# arrays


def test_arrays_beside_images_and_labels_do_not_matter(tmp_path, rng):
    images = rng.integers(0, 256, (4, 8, 8, 3), np.uint8)
    np.savez(
        tmp_path / "a.npz",
        images=images,
        labels=np.arange(4),
        n_classes=4,
        names=np.array(["a", None], object),
        weights=np.asfortranarray(np.ones((2, 3))),
    )
    source = open_source([str(tmp_path / "a.npz")])
    assert labels_of(tmp_path / "a.npz") == ["0", "1", "2", "3"]
    assert np.array_equal(source.read(3), images[3])


def test_one_colour_picture_is_not_read_as_grey_ones(tmp_path):
    picture = np.zeros((32, 48, 3), np.uint8)
    np.save(tmp_path / "a.npy", picture)
    np.savez(tmp_path / "a.npz", images=picture)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = picture
    for name in ("a.npy", "a.npz", "a.h5"):
        with pytest.raises(BottleneckError, match="one picture, or 32 grey ones") as caught:
            open_source([str(tmp_path / name)])
        assert "newaxis" in caught.value.hint


def test_an_enumeration_in_hdf5_has_its_names(tmp_path):
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["images"] = np.zeros((4, 8, 8, 3), np.uint8)
        kind = h5py.enum_dtype({"cat": 0, "dog": 1, "unknown": -1}, basetype="i1")
        file.create_dataset("labels", data=np.array([1, 0, -1, 2], "i1"), dtype=kind)
    manifest = open_source([str(tmp_path / "t.h5")]).manifest
    assert manifest.classes == ("2", "cat", "dog")  # a number without a name is itself
    assert [manifest.classes[c] if c >= 0 else None for c in manifest.labels] == [
        *("dog", "cat", None, "2"),
    ]
