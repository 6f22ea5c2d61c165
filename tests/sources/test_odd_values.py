"""What labels of an unexpected type say, the same in every container."""

import struct

import h5py
import makers
import numpy as np
import pytest

from bottleneck.errors import BottleneckError
from bottleneck.sources import open_source


def labels_of(path):
    manifest = open_source([str(path)]).manifest
    return [manifest.classes[i] if i >= 0 else None for i in manifest.labels]


def write_tar(root, labels, ending, write):
    import tarfile

    with tarfile.open(root / "a.tar", "w") as archive:
        for i, label in enumerate(labels):
            makers.add_member(archive, f"{i}.png", b"%d" % i)
            makers.add_member(archive, f"{i}{ending}", write(label))
    return root / "a.tar"


def in_json(root, labels):
    import json

    return write_tar(root, labels, ".JSON", lambda v: json.dumps({"label": v}).encode())


def in_cls(root, labels):
    return write_tar(root, labels, ".cls", lambda v: ("\ufeff" + str(v) + "\r\n").encode())


def in_npz(root, labels):
    np.savez(root / "a.npz", images=np.zeros((len(labels), 4, 4), np.uint8), labels=labels)
    return root / "a.npz"


def in_npy(root, labels):
    np.save(root / "images.npy", np.zeros((len(labels), 4, 4), np.uint8))
    np.save(root / "labels.npy", labels)
    return root / "images.npy"


def in_hdf5(root, labels):
    with h5py.File(root / "a.h5", "w") as file:
        file["kept/x"] = np.zeros((len(labels), 4, 4), np.uint8)
        file["x"] = h5py.SoftLink("/kept/x")
        file["y"] = labels
    return root / "a.h5"


def in_tfrecord(root, labels):
    def feature(value):
        if isinstance(value, float):
            return (2, struct.pack("<f", value))
        return value if isinstance(value, bytes) else int(value) % (1 << 64)

    records = [makers.encode_example({"image": b"x", "label": feature(v)}) for v in labels]
    return makers.write_records(root / "a.tfrecord", records)


NUMBERS = [in_json, in_cls, in_npz, in_npy, in_hdf5, in_tfrecord]


@pytest.mark.parametrize("write", NUMBERS)
def test_whole_numbers_are_the_same_class_however_they_are_stored(tmp_path, write):
    for i, labels in enumerate(([0, 1, 2, -1], [0.0, 1.0, 2.0, -1.0])):
        (tmp_path / str(i)).mkdir()
        assert labels_of(write(tmp_path / str(i), labels)) == ["0", "1", "2", None]


@pytest.mark.parametrize("write", [in_npz, in_npy, in_hdf5, in_tfrecord, in_cls, in_json])
def test_no_number_is_no_label(tmp_path, write):
    assert labels_of(write(tmp_path, [0.0, float("nan"), 2.0])) == ["0", None, "2"]


@pytest.mark.parametrize("write", [in_npz, in_npy, in_hdf5, in_tfrecord, in_json])
def test_fractions_are_refused(tmp_path, write):
    with pytest.raises(BottleneckError, match=r"expected a label, got the number 0.5") as caught:
        open_source([str(write(tmp_path, [0.0, 0.5, 2.0]))])
    assert "--target" in caught.value.hint


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


def test_one_hot_arrays_and_records_are_refused(tmp_path):
    with pytest.raises(BottleneckError, match="expected 3 labels, one per image") as caught:
        open_source([str(in_npz(tmp_path, np.eye(3, dtype=int)))])
    assert "argmax" in caught.value.hint
    for numbers in (b"\1\0\0", struct.pack("<3f", 1, 0, 0)):
        feature = (2 if len(numbers) > 3 else 3, numbers)
        record = makers.encode_example({"image": b"x", "label": feature})
        makers.write_records(tmp_path / "a.tfrecord", [record])
        with pytest.raises(BottleneckError, match="expected one label per image"):
            open_source([str(tmp_path / "a.tfrecord")])


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
