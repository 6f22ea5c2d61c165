"""Sounds where images are wanted and the reverse: said once, of the source, before any row is."""

import json
import tarfile
import zipfile

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from makers import encode_example, write_records
from sounds import chord, written
from written import png

from bottleneck.sources import Choice, OtherItemsError, open_source

CLASSES = "aab"
COLUMNS = {"image": "image", "sound": "audio"}
OTHER = {"image": "sound", "sound": "image"}


def item_bytes(kind):
    if kind == "image":
        return png(1)
    return written(chord(seconds=0.2))


def folder(root, names, data, kind):
    return root / "items"


def glob(root, names, data, kind):
    return root / "items" / "*" / "*"


def csv_table(root, names, data, kind):
    path = root / "t.csv"
    path.write_text("path,label\n" + "".join(f"items/{n},{n[0]}\n" for n in names))
    return path


def json_lines(root, names, data, kind):
    path = root / "t.jsonl"
    path.write_text("".join(json.dumps({"path": f"items/{n}"}) + "\n" for n in names))
    return path


def parquet_paths(root, names, data, kind):
    pq.write_table(pa.table({"path": [f"items/{n}" for n in names]}), root / "t.parquet")
    return root / "t.parquet"


def parquet_named(root, names, data, kind):
    pq.write_table(pa.table({COLUMNS[kind]: [data] * len(names)}), root / "t.parquet")
    return root / "t.parquet"


def parquet_plain(root, names, data, kind):
    pq.write_table(pa.table({"bytes": [data] * len(names)}), root / "t.parquet")
    return root / "t.parquet"


def tfrecord(root, names, data, kind):
    record = encode_example({f"{COLUMNS[kind]}/encoded": data, "label": 1})
    return write_records(root / "t.tfrecord", [record] * len(names))


def tfrecord_given(root, names, data, kind):
    record = encode_example({"bytes": data, "label": 1})
    return f"{write_records(root / 't.tfrecord', [record] * len(names))}::bytes,label"


def tar(root, names, data, kind):
    with tarfile.open(root / "t.tar", "w") as archive:
        archive.add(root / "items", "items")
    return root / "t.tar"


def zipped(root, names, data, kind):
    with zipfile.ZipFile(root / "t.zip", "w") as archive:
        for name in names:
            archive.write(root / "items" / name, name)
    return root / "t.zip"


def hdf5(root, names, data, kind):
    with h5py.File(root / "t.h5", "w") as file:
        file["images"] = np.zeros((3, 8, 8, 3), np.uint8)
    return root / "t.h5"


BY_NAME = [folder, glob, csv_table, json_lines, parquet_paths, parquet_named, tfrecord, tar, zipped]
BY_CONTENT = [csv_table, json_lines, parquet_paths, parquet_plain, tfrecord_given]
CASES = [
    *((make, kind, True) for make in BY_NAME for kind in ("image", "sound")),
    *((make, kind, False) for make in BY_CONTENT for kind in ("image", "sound")),
    (hdf5, "image", True),
]


@pytest.mark.parametrize(("make", "kind", "endings"), CASES)
def test_items_of_the_other_kind_are_refused_up_front(tmp_path, make, kind, endings):
    data = item_bytes(kind)
    ending = {"image": ".png", "sound": ".wav"}[kind] if endings else ""
    names = [f"{c}/{i}{ending}" for i, c in enumerate(CLASSES)]
    for name in names:
        (tmp_path / "items" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "items" / name).write_bytes(data)
    given = str(make(tmp_path, names, data, kind))
    with pytest.raises(OtherItemsError, match=f"expected {OTHER[kind]}s in .*, got .*{kind}s"):
        open_source([given], (), Choice(item=OTHER[kind]))
    if make is not hdf5:
        assert len(open_source([given], (), Choice(item=kind)).manifest) == 3


@pytest.mark.parametrize("make", [csv_table, parquet_paths])
def test_one_of_the_others_is_a_row_that_fails(tmp_path, make):
    names = ["a.png", "b.wav", "c.png"]
    source = open_source([str(make(tmp_path, names, b"", "image"))], (), Choice(item="image"))
    assert [key.rpartition("/")[2] for key in source.manifest.keys] == names
