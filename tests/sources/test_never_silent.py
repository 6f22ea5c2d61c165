"""No source loses a row, a label or a split without a word.

For each kind of source, a file with one odd value of each kind. The row it is in is either right,
or the file is refused by name, or the row fails with its place, or the summary that ``extract``
prints counts it. A kind of file that has no way to hold a value is listed as such.
"""

import datetime
import gzip
import json
import math
import re
import shutil
import stat
import subprocess
import tarfile
import zipfile
from contextlib import suppress
from decimal import Decimal

import h5py
import makers
import numpy as np
import pyarrow as pa
import pytest
import written
from pyarrow import parquet
from written import CannotHold, Row

from bottleneck.errors import BottleneckError, ImageError, ManifestError
from bottleneck.sources.survey import Survey

REFUSED = "refused"
UNLABELLED = "unlabelled"
NAN = float("nan")

LABELS = {
    "null": ([0, None, 2], UNLABELLED),
    "NaN": ([0.0, NAN, 2.0], UNLABELLED),
    "text of NaN": (["0", "nan", "2"], UNLABELLED),
    "empty": (["0", "", "2"], UNLABELLED),
    "blank": (["0", " ", "2"], UNLABELLED),
    "negative": ([0, -1, 2], UNLABELLED),
    "negative text": (["0", "-1", "2"], UNLABELLED),
    "empty list": ([[0], [], [2]], UNLABELLED),
    "whole float": ([0.0, 1.0, 2.0], "1"),
    "decimal": ([Decimal(0), Decimal("1.00"), Decimal(2)], "1"),
    "bytes": ([b"0", b"1", b"2"], "1"),
    "byte order mark": ([b"0", b"\xef\xbb\xbf1\r\n", b"2"], "1"),
    "list of one": ([[0], [1], [2]], "1"),
    "huge": ([0, 2**63 - 1, 2], str(2**63 - 1)),
    "flag": ([False, True, False], "True"),
    "text among numbers": ([0, "cat", 2], "cat"),
    "letters": (["0", "Größe 名", "2"], "Größe 名"),
    "fraction": ([0.0, 0.5, 2.0], REFUSED),
    "infinite": ([0.0, math.inf, 2.0], REFUSED),
    "one-hot": ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], REFUSED),
    "other length": ([[0], [0, 1], [2]], REFUSED),
    "not UTF-8": ([b"0", b"\xff\xfe", b"2"], REFUSED),
    "mapping": ([{"a": 0}, {"a": 1}, {"a": 2}], REFUSED),
    "date": ([datetime.date(2020, 1, day) for day in (1, 2, 3)], REFUSED),
}
"""Labels of three rows, the odd one in the middle, and what becomes of it."""

_LISTS = {"empty list", "list of one", "one-hot", "other length"}
_OBJECTS = {"decimal", "mapping", "date"}
_RAGGED = {"empty list", "other length"}
_NO_TEXT = {*_LISTS, *_OBJECTS, "flag"}
_BYTES = {"bytes", "byte order mark", "not UTF-8"}
_NO_CELL = {*_NO_TEXT, *_BYTES}
_OF_MANY_TYPES = {"text among numbers"}
CANNOT_HOLD = {
    **{
        "table": _NO_CELL,
        "tsv": _NO_CELL,
        "semicolons": _NO_CELL,
        "cls": _NO_TEXT,
        "txt": _NO_TEXT,
    },
    "json_files": {"decimal", "date", *_BYTES},
    "json_lines": {"decimal", "date", *_BYTES},
    "parquet_paths": _OF_MANY_TYPES,
    "parquet_bytes": _OF_MANY_TYPES,
    "parquet_struct": _OF_MANY_TYPES,
    "tfrecord": {*_OBJECTS, "flag"},
    "npz": {*_RAGGED, "decimal", "mapping"},
    "npy": {*_RAGGED, "decimal", "mapping"},
    "hdf5": {*_RAGGED, *_OBJECTS, "null", "text among numbers"},
    "idx": {
        *(*_RAGGED, *_OBJECTS, "null", "text of NaN", "empty", "blank", "negative text"),
        *("huge", "flag", "text among numbers", "letters", *_BYTES),
    },
}
OTHERWISE = {
    # Python objects in NumPy's files are pickles.
    **dict.fromkeys([(kind, odd) for kind in ("npz", "npy") for odd in ("null", "date")], REFUSED),
    # A text is a class whatever it says.
    **{(kind, "fraction"): "0.5" for kind in ("cls", "txt")},
    **{(kind, "infinite"): "inf" for kind in ("table", "tsv", "semicolons", "cls", "txt")},
}


@pytest.mark.parametrize("odd", LABELS)
@pytest.mark.parametrize("kind", written.VALUES)
def test_an_odd_label(tmp_path, kind, odd):
    labels, expected = LABELS[odd]
    rows = [Row(number, label) for number, label in enumerate(labels, 1)]
    if odd in CANNOT_HOLD.get(kind, ()):
        with pytest.raises(CannotHold):
            written.VALUES[kind](tmp_path, rows)
        return
    given = written.VALUES[kind](tmp_path, rows)
    expected = OTHERWISE.get((kind, odd), expected)
    if expected is REFUSED:
        refused(given, tmp_path)
        return
    source = written.opened(given)
    first, last = ("False", "False") if odd == "flag" else ("0", "2")
    label = None if expected is UNLABELLED else expected
    assert written.rows_of(source) == [(1, first, ""), (2, label, ""), (3, last, "")]
    assert ("without a class: 1" in Survey.of(source).lines()) == (label is None)


def refused(given, folder):
    """Open what cannot be opened; the message names the file."""
    with pytest.raises(BottleneckError) as caught:
        written.opened(given)
    assert str(folder) in caught.value.message
    assert caught.value.hint
    return caught.value.message


# labels and rows that are somewhere else than where the first ones are


def told(source):
    return "\n".join(Survey.of(source).lines())


def test_images_of_a_split_without_labels_are_rows_too(tmp_path):
    """As contests give them out: x_train, y_train, x_test."""
    arrays = {
        "x_train": written.stacked([1, 2]),
        "y_train": [0, 1],
        "x_test": written.stacked([3]),
        "masks": written.stacked([1, 2]),
        "age": [30, 40],
        "weights": np.zeros((9, 9)),
    }
    np.savez(tmp_path / "a.npz", **arrays)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, values in arrays.items():
            file[name] = values
    for name in ("a.npz", "a.h5"):
        source = written.opened(tmp_path / name)
        rows = [(1, "0", "train"), (2, "1", "train"), (3, None, "test")]
        assert sorted(written.rows_of(source)) == rows
        assert "without a class: 1" in told(source)
        (note,) = source.listing.notes
        assert sorted(note.removeprefix("arrays not used: ").split(", ")) == ["age", "masks"]


def test_parquet_says_which_columns_it_did_not_use(tmp_path):
    images = [written.png(1), written.png(2)]
    columns = {"image": images, "depth": [{"bytes": image} for image in images], "age": [1, 2]}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert "columns not used: depth, age" in told(written.opened(tmp_path / "a.parquet"))


def test_columns_are_found_in_any_case(tmp_path):
    table = {"Image": [written.png(1)], "Label": ["cat"], "SPLIT": ["Test"], " Group ": [-5]}
    parquet.write_table(pa.table(table), tmp_path / "a.parquet")
    source = written.opened(tmp_path / "a.parquet")
    assert written.rows_of(source) == [(1, "cat", "test")]
    assert list(source.manifest.group_names) == ["-5"]  # a number like any other


@pytest.mark.parametrize("more", ["label", "split", "group"])
def test_a_later_file_with_a_column_that_the_first_lacks_is_refused(tmp_path, more):
    for name, columns in (("a", {}), ("b", {more: ["test"]})):
        table = pa.table({"image": [written.png(1)], **columns})
        parquet.write_table(table, tmp_path / f"{name}.parquet")
    assert f"it has {more!r} too" in refused(tmp_path, tmp_path)


def test_a_number_without_its_text_is_the_class_that_has_it(tmp_path):
    def record(number, text, code):
        features = {"image/encoded": written.png(number), "image/class/text": text,
                    "image/class/label": code, "sex": 1}  # fmt: skip
        return makers.encode_example({k: v for k, v in features.items() if v is not None})

    path = tmp_path / "a.tfrecord"
    records = [(b"cat", 3), (None, 3), (b"cat", None), (b"dog", 4), (None, 5), (None, None)]
    makers.write_records(path, [record(i, *one) for i, one in enumerate(records, 1)])
    source = written.opened(path)
    labels = [label for _, label, _ in written.rows_of(source)]
    assert labels == ["cat", "cat", "cat", "dog", "5", None]
    assert "features not used: sex" in told(source)
    records += [(b"cat", 6)]
    makers.write_records(path, [record(i, *one) for i, one in enumerate(records, 1)])
    assert "class 'cat', which has the numbers 3, 6; one has none" in refused(path, tmp_path)


def test_labels_of_idx_are_found_in_any_case(tmp_path):
    rows = [Row(1, 4), Row(2, 5)]
    given = written.idx(tmp_path, rows, images="Images-IDX3-ubyte", labels="LABELS-idx1-ubyte")
    assert written.rows_of(written.opened(given)) == [(1, "4", ""), (2, "5", "")]


def test_a_folder_of_arrays_with_their_labels(tmp_path):
    written.npy(tmp_path, [Row(1, "a", "train"), Row(2, "b", "test")])
    assert sorted(written.rows_of(written.opened(tmp_path))) == [
        (1, "a", "train"),
        (2, "b", "test"),
    ]


def test_labels_of_an_array_behind_a_url_are_found(tmp_path, web):
    written.npy(tmp_path, [Row(1, "a"), Row(2, "b")])
    for name in ("images.npy", "labels.npy"):
        web.put(name, (tmp_path / name).read_bytes())
    source = written.opened(f"{web.url}/images.npy")
    assert written.rows_of(source) == [(1, "a", ""), (2, "b", "")]


@pytest.mark.parametrize("lost", ["train/images", "train/labels"])
def test_images_and_labels_behind_a_lost_link_are_refused(tmp_path, lost):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for split, number in (("train", 1), ("test", 2)):
            file[f"{split}/images"] = written.stacked([number])
            file[f"{split}/labels"] = [number]
        del file[lost]
        file[lost] = h5py.ExternalLink("gone.h5", "/x")
    assert f"{lost!r} is a link to what is not there" in refused(tmp_path / "a.h5", tmp_path)


def test_images_put_together_from_a_file_that_is_lost_are_refused(tmp_path):
    for name in ("one.h5", "two.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file["images"] = written.stacked([1, 2])
    layout = h5py.VirtualLayout((4, 8, 8), np.uint8)
    layout[:2] = h5py.VirtualSource("one.h5", "images", (2, 8, 8))
    layout[2:] = h5py.VirtualSource("two.h5", "images", (2, 8, 8))
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file.create_virtual_dataset("images", layout)
    assert [row[0] for row in written.rows_of(written.opened(tmp_path / "all.h5"))] == [1, 2, 1, 2]
    (tmp_path / "two.h5").unlink()
    assert "there is no two.h5" in refused(tmp_path / "all.h5", tmp_path)


def test_that_no_image_has_a_label_is_said_by_the_files_beside_them(tmp_path):
    """And not by the folder they are in, which is none's class then."""
    for name, text in (("a.cls", b"-1"), ("a.json", b'{"label": null}'), ("a.txt", b"")):
        path = tmp_path / f"{name}.tar"
        written.tar_of(path, [("shard/a.png", written.png(1)), (f"shard/{name}", text)])
        assert written.rows_of(written.opened(path)) == [(1, None, "")], name
    path = tmp_path / "more.tar"  # what says nothing of a label leaves it to the folder
    members = [("cat/a.png", written.png(1)), ("cat/a.json", b'{"width": 8}')]
    written.tar_of(path, members)
    assert written.rows_of(written.opened(path)) == [(1, "cat", "")]


def test_captions_in_another_encoding_are_captions(tmp_path):
    members = [("a.png", written.png(1)), ("a.txt", "Größe\nmehr".encode("latin-1"))]
    path = written.tar_of(tmp_path / "a.tar", members)
    assert written.rows_of(written.opened(path)) == [(1, None, "")]


# more, or less, behind what a header says


def test_what_is_behind_an_array_is_refused(tmp_path):
    """Two arrays saved into one file, of which NumPy's load gives the first."""
    with (tmp_path / "a.npy").open("wb") as stream:
        for number in (1, 2):
            np.save(stream, written.stacked([number]))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(tmp_path / "a.npy", "images.npy")
    for ending in ("", ".gz"):
        makers.write_idx(tmp_path / f"images-idx3-ubyte{ending}", written.stacked([1, 2]))
    plain = tmp_path / "images-idx3-ubyte"
    plain.write_bytes(plain.read_bytes() + b"\0")
    packed = tmp_path / "images-idx3-ubyte.gz"
    packed.write_bytes(packed.read_bytes() + gzip.compress(b"more"))
    for name in ("a.npy", "a.npz", plain.name, packed.name):
        assert re.search(r"expected \d+ bytes.* there are", refused(tmp_path / name, tmp_path))


def test_two_zips_behind_one_another_are_refused(tmp_path):
    for name in "ab":
        written.zip_of(tmp_path / f"{name}.zip", [(f"{name}/1.png", written.png(1))])
    both = tmp_path / "ab.zip"
    both.write_bytes((tmp_path / "a.zip").read_bytes() + (tmp_path / "b.zip").read_bytes())
    assert "bytes of another zip in front" in refused(both, tmp_path)


def test_links_and_pipes_in_archives_fail_their_row_by_name(tmp_path):
    link = zipfile.ZipInfo("a/link.png")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    members = [("a/1.png", written.png(1)), (link, b"1.png"), ("a/2.png", written.png(2))]
    source = written.opened(written.zip_of(tmp_path / "a.zip", members))
    assert [row[0] for row in written.rows_of(source)] == [1, 2, "UNSUPPORTED"]
    with pytest.raises(ImageError, match=r"a\.zip, the member at offset \d+: a symbolic link"):
        source.read(2)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for i, kind in enumerate((tarfile.FIFOTYPE, tarfile.CHRTYPE, b"M", b"Q")):
            info = tarfile.TarInfo(f"a/{i}.png")
            info.type = kind
            archive.addfile(info)
        makers.add_member(archive, "a/4.png", written.png(4))
    source = written.opened(tmp_path / "a.tar")
    assert [row[0] for row in written.rows_of(source)] == [*["UNSUPPORTED"] * 4, 4]


@pytest.mark.skipif(not shutil.which("tar"), reason="needs the tar program")
@pytest.mark.parametrize("format", ["oldgnu", "gnu", "posix"])
def test_a_sparse_member_of_many_pieces_fails_alone(tmp_path, format):
    with (tmp_path / "holes.png").open("wb") as stream:
        for piece in range(60):  # more than its headers hold, and those behind it
            stream.seek(piece << 16)
            stream.write(b"x" * 4096)
    (tmp_path / "sound.png").write_bytes(written.png(3))
    command = ["tar", f"--format={format}", "-cSf", "a.tar", "holes.png", "sound.png"]
    subprocess.run(command, cwd=tmp_path, check=True)
    rows = written.rows_of(written.opened(tmp_path / "a.tar"))
    assert [row[0] for row in rows] == ["UNSUPPORTED", 3]


def test_a_zip_of_64_bits_behind_a_program_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    path = written.zip_of(tmp_path / "a.zip", [(f"{i}.png", written.png(i)) for i in (1, 2)])
    path.write_bytes(b"MZ" + bytes(1000) + path.read_bytes())
    assert [row[0] for row in written.rows_of(written.opened(path))] == [1, 2]


# splits

SPLITS = {
    "null": (None, ""),
    "empty": ("", ""),
    "NaN": ("nan", ""),
    "other case": ("TRAIN", "train"),
    "synonym": ("validation", "val"),
    "year": ("val2017", "val"),
    "blanks": (" test ", "test"),
    "unknown": ("holdout", REFUSED),
    "number": ("3", REFUSED),
    "negative": ("-1", REFUSED),
}
COLUMNS = (
    "table",
    "tsv",
    "semicolons",
    "json_lines",
    "parquet_paths",
    "parquet_bytes",
    "parquet_struct",
)


@pytest.mark.parametrize("odd", SPLITS)
@pytest.mark.parametrize("kind", COLUMNS)
def test_an_odd_split(tmp_path, kind, odd):
    split, expected = SPLITS[odd]
    rows = [Row(1, "a", "train"), Row(2, "b", split), Row(3, "a", "test")]
    given = written.VALUES[kind](tmp_path, rows)
    if expected is REFUSED:
        assert repr(split) in refused(given, tmp_path)
        return
    source = written.opened(given)
    assert written.rows_of(source) == [(1, "a", "train"), (2, "b", expected), (3, "a", "test")]
    assert ("splits: no split 1, train 1, test 1" in told(source)) == (not expected)


@pytest.mark.parametrize("odd", ["TRAIN", "Validation", "val2017", "holdout"])
@pytest.mark.parametrize("kind", ["folder", "wrapped_tar", "wrapped_zip", "folder_url"])
def test_an_odd_folder_among_splits(tmp_path, kind, odd):
    rows = [Row(1, "a", "train"), Row(2, "b", odd), Row(3, "a", "test")]
    given = written.TREES[kind](tmp_path, rows)
    if odd == "holdout":
        with pytest.raises(ManifestError, match="look like splits, but beside them are: holdout"):
            written.opened(given)
        return
    expected = "train" if odd == "TRAIN" else "val"
    found = sorted(written.rows_of(written.opened(given)))
    assert found == [(1, "a", "train"), (2, "b", expected), (3, "a", "test")]


def test_an_odd_group(tmp_path):
    """The same in every table: a number is a number, and nothing is no group."""
    groups = [3, 3.0, -5, None, NAN]
    for row in range(5):
        (tmp_path / f"{row}.png").write_bytes(written.png(row))
    names = [f"{row}.png" for row in range(5)]
    table = {"path": names, "group": pa.array(groups, pa.float64())}
    parquet.write_table(pa.table(table), tmp_path / "a.parquet")
    cells = ["3", "3.0", "-5", "", "nan"]
    lines = [f"{name},{group}" for name, group in zip(names, cells, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(["path,group", *lines]))
    objects = [{"path": n, "group": g} for n, g in zip(names, groups, strict=True)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, objects)))
    for name in ("a.parquet", "a.csv", "a.jsonl"):
        manifest = written.opened(tmp_path / name).manifest
        found = [manifest.group_names[int(i)] if i >= 0 else None for i in manifest.groups]
        assert found == ["3", "3", "-5", None, None], name
    (tmp_path / "b.jsonl").write_text('{"path": "0.png", "group": ["a", "b"]}')
    assert "line 1, column 'group'" in refused(tmp_path / "b.jsonl", tmp_path)


# images

IMAGES = {
    "null": (None, "MISSING"),
    "empty": (b"", "EMPTY"),
    "a path": (b"1.png", "NOT_AN_IMAGE"),
    "text": (b"no image at all", "NOT_AN_IMAGE"),
    "cut short": (written.png(2)[:-20], "TRUNCATED"),
}
"""What is in the place of the second of three images, and how its row fails."""


def _image_in_parquet(root, data, *, struct):
    images = [written.png(1), data, written.png(3)]
    column = [{"bytes": image, "path": None} for image in images] if struct else images
    parquet.write_table(pa.table({"image": column, "label": ["a", "b", "a"]}), root / "a.parquet")
    return root / "a.parquet"


def _image_in_parquet_of_bytes(root, data):
    return _image_in_parquet(root, data, struct=False)


def _image_in_parquet_struct(root, data):
    return _image_in_parquet(root, data, struct=True)


def _image_in_tfrecord(root, data):
    def record(image, label):
        features = {"label": label} | ({} if image is None else {"image": image})
        return makers.encode_example(features)

    images = [written.png(1), data, written.png(3)]
    records = [record(*one) for one in zip(images, (b"a", b"b", b"a"), strict=True)]
    return makers.write_records(root / "a.tfrecord", records)


def _members(data):
    return [("a/1.png", written.png(1)), ("b/2.png", data), ("a/3.png", written.png(3))]


def _image_in_folder(root, data):
    for name, content in _members(data):
        (root / name).parent.mkdir(exist_ok=True)
        if content is None:
            (root / name).symlink_to("gone.png")
        else:
            (root / name).write_bytes(content)
    return root


def _image_in_table(root, data):
    _image_in_folder(root, data)
    (root / "a.csv").write_text("path,label\na/1.png,a\nb/2.png,b\na/3.png,a\n")
    return root / "a.csv"


def _image_in_tar(root, data):
    if data is None:
        return None
    return written.tar_of(root / "a.tar", _members(data))


def _image_in_zip(root, data):
    if data is None:
        return None
    return written.zip_of(root / "a.zip", _members(data))


@pytest.mark.parametrize("odd", IMAGES)
@pytest.mark.parametrize(
    "write",
    [
        *(_image_in_folder, _image_in_table, _image_in_tar, _image_in_zip, _image_in_tfrecord),
        *(_image_in_parquet_of_bytes, _image_in_parquet_struct),
    ],
)
def test_an_odd_image_fails_its_row_alone(tmp_path, write, odd):
    data, reason = IMAGES[odd]
    given = write(tmp_path, data)
    if given is None:  # an archive has no member that is not there
        assert odd == "null"
        return
    if write is _image_in_tfrecord and data is None:
        reason = "UNREADABLE"  # a record that holds something else
    rows = sorted(written.rows_of(written.opened(given)), key=lambda row: row[1])
    assert rows == [(1, "a", ""), (3, "a", ""), (reason, "b", "")]


@pytest.mark.parametrize("kind", ["npz", "npy", "hdf5", "idx"])
def test_labels_of_another_number_than_the_images_are_refused(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(written, "_labels", lambda rows: np.arange(len(rows) - 1))
    given = written.VALUES[kind](tmp_path, [Row(1, 0), Row(2, 1), Row(3, 2)])
    assert "expected 3 labels, one per image" in refused_without_hint(given)


def refused_without_hint(given):
    with pytest.raises(ManifestError) as caught:
        written.opened(given)
    return caught.value.message


def test_a_key_that_appears_twice_is_refused_or_numbered(tmp_path):
    (tmp_path / "1.png").write_bytes(written.png(1))
    (tmp_path / "a.csv").write_text("path\n1.png\n1.png\n")
    parquet.write_table(pa.table({"path": ["1.png", "./1.png"]}), tmp_path / "a.parquet")
    written.tar_of(tmp_path / "a.tar", [("1.png", written.png(1)), ("1.png", written.png(2))])
    with pytest.warns(UserWarning, match="Duplicate name"):
        written.zip_of(tmp_path / "a.zip", [("1.png", written.png(1)), ("1.png", written.png(2))])
    for name in ("a.csv", "a.parquet", "a.tar", "a.zip"):
        assert "'1.png' a second time" in refused_without_hint(tmp_path / name), name
    images = [{"bytes": written.png(number), "path": "same.png"} for number in (1, 2)]
    parquet.write_table(pa.table({"image": images}), tmp_path / "b.parquet")
    source = written.opened(tmp_path / "b.parquet")
    assert list(source.manifest.keys) == ["0", "1"]
    assert [row[0] for row in written.rows_of(source)] == [1, 2]


# damage that checksums show


def test_another_name_in_the_list_of_a_zip_fails_its_row(tmp_path):
    path = written.zip_of(tmp_path / "a.zip", _members(written.png(2)))
    data = path.read_bytes()
    assert data.count(b"b/2.png") == 2
    at = data.rindex(b"b/2.png")
    path.write_bytes(data[:at] + b"c/2.png" + data[at + 7 :])
    rows = written.rows_of(written.opened(path))
    assert rows == [(1, "a", ""), (3, "a", ""), ("UNREADABLE", "c", "")]


def test_damaged_labels_in_npz_are_refused(tmp_path):
    path = written.npz(tmp_path, [Row(1, "cat"), Row(2, "dog")])
    sound = path.read_bytes()
    at = sound.rindex(b"labels.npy")
    path.write_bytes(sound[:at] + b"labels.np_" + sound[at + 10 :])
    assert "its header is damaged, or of another name" in refused(path, tmp_path)
    path.write_bytes(sound)
    data = bytearray(path.read_bytes())
    data[data.index("dog".encode("utf-32-le"))] ^= 1
    path.write_bytes(data)
    assert "::labels is damaged: its checksum" in refused(path, tmp_path)


@pytest.mark.parametrize("kind", ["npy", "tar", "cls", "zipped", "idx", "tfrecord", "npz"])
def test_no_single_damage_ends_in_a_traceback_or_loses_a_row(tmp_path, kind, rng):
    """A byte is changed, an end is cut off, or something put behind."""
    rows = [Row(number, 3 + number, "train") for number in (1, 2, 3)]
    make = written.TREES.get(kind) or written.VALUES[kind]
    if kind in written.TREES:
        rows = [Row(row.number, str(row.label), row.split) for row in rows]
    given = make(tmp_path, rows)
    sound = sorted(written.rows_of(written.opened(given)))
    assert sound == [(1, "4", "train"), (2, "5", "train"), (3, "6", "train")]
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        data = path.read_bytes()
        for _ in range(100):
            damaged = bytearray(data)
            damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
            _try_damaged(path, damaged, given)
        for cut in rng.integers(len(data), size=20).tolist():
            if kind != "tfrecord":  # which does not say how many records there are
                _try_damaged(path, data[:cut], given)
        _try_damaged(path, data + rng.bytes(700), given)
        path.write_bytes(data)


def _try_damaged(path, data, given):
    path.write_bytes(data)
    try:
        source = written.opened(given)
    except BottleneckError:
        return
    assert len(source) == 3 or source.listing.lines()
    for row in range(len(source)):
        with suppress(ImageError):
            source.read(row)
