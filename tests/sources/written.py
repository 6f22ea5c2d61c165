"""The same few rows written as every kind of source, by libraries that are not ours.

A row is an image that is told by its colour, and what is said of it: a label, a split. A kind that
cannot say something as it is given says so itself: :class:`CannotHold`.
"""

import csv
import io
import json
import struct
import tarfile
import zipfile
from dataclasses import dataclass
from decimal import Decimal

import h5py
import makers
import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from bottleneck.errors import ImageError
from bottleneck.images import Geometry, decode, from_pixels
from bottleneck.manifest import SPLITS
from bottleneck.sources import open_source

STEP = 20
"""Between the greys of two images."""


class CannotHold(Exception):
    """A kind of source has no way to say this."""


@dataclass(frozen=True)
class Row:
    number: int
    label: object = None
    split: object = None

    @property
    def name(self):
        return f"{self.number}.png"


def pixels(number):
    return np.full((8, 8), STEP * number, np.uint8)


def stacked(numbers):
    return np.stack([pixels(number) for number in numbers])


def png(number):
    buffer = io.BytesIO()
    Image.fromarray(pixels(number)).save(buffer, "PNG")
    return buffer.getvalue()


def number_of(image):
    """Return which image something read is; raises ImageError where it is none."""
    geometry = Geometry(8, "squash")
    drawn = decode(image, geometry) if isinstance(image, bytes) else from_pixels(image, geometry)
    number, rest = divmod(int(drawn[4, 4, 0]), STEP)
    assert not rest
    return number


def rows_of(source):
    """Return number, label and split of every image that can be read, in the order listed."""
    manifest = source.manifest
    found = []
    for row in range(len(source)):
        try:
            number = number_of(source.read(row))
        except ImageError as error:
            number = error.reason.name
        label = int(manifest.labels[row])
        found.append(
            (number, manifest.classes[label] if label >= 0 else None, SPLITS[manifest.splits[row]])
        )
    return found


def opened(given):
    return open_source([str(one) for one in (given if isinstance(given, list) else [given])])


# columns of values


def table(root, rows, *, separator=",", ending=".csv"):
    """A CSV table; a missing value is an empty cell, a number is written as Python writes it."""
    for row in rows:
        (root / row.name).write_bytes(png(row.number))
    path = root / f"list{ending}"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=separator)
        writer.writerow(["path", "label", "split"])
        writer.writerows([r.name, _written(r.label), _written(r.split)] for r in rows)
    return path


def _written(value):
    if value is None or (isinstance(value, str) and value.isprintable()):
        return value or ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)
    raise CannotHold(f"a cell of text has no {type(value).__name__}")


def tsv(root, rows):
    return table(root, rows, separator="\t", ending=".tsv")


def semicolons(root, rows):
    return table(root, rows, separator=";", ending=".txt")


def json_lines(root, rows):
    """A table of objects; a missing label is a name that is not there."""
    path = root / "metadata.jsonl"
    with path.open("w", encoding="utf-8") as stream:
        for row in rows:
            (root / row.name).write_bytes(png(row.number))
            cells = {"path": row.name, "label": row.label, "split": row.split}
            try:
                text = json.dumps({k: v for k, v in cells.items() if v is not None})
            except TypeError as error:
                raise CannotHold(str(error)) from error
            stream.write(f"{text}\n")
    return path


def _arrow(root, rows, columns):
    try:
        columns["label"] = pa.array([row.label for row in rows])
        columns["split"] = pa.array([row.split for row in rows])
    except pa.ArrowException as error:
        raise CannotHold(str(error)) from error
    parquet.write_table(pa.table(columns), root / "list.parquet")
    return root / "list.parquet"


def parquet_paths(root, rows):
    for row in rows:
        (root / row.name).write_bytes(png(row.number))
    return _arrow(root, rows, {"path": [row.name for row in rows]})


def parquet_bytes(root, rows):
    return _arrow(root, rows, {"image": [png(row.number) for row in rows]})


def parquet_struct(root, rows):
    images = [{"bytes": png(row.number), "path": row.name} for row in rows]
    return _arrow(root, rows, {"image": images})


# files beside images


def tar_of(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            makers.add_member(archive, name, data)
    return path


def zip_of(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def _beside(root, rows, ending, write):
    """A WebDataset tar of each split."""
    given = []
    for split in dict.fromkeys(row.split for row in rows):
        name = _written(split) or "images"
        inside = [row for row in rows if row.split == split]
        members = [
            (f"{row.number:04d}{suffix}", data)
            for row in inside
            for suffix, data in ((".png", png(row.number)), (ending, write(row.label)))
            if data is not None
        ]
        given.append(tar_of(root / f"{name}-000.tar", members))
    return given


def cls(root, rows):
    def write(label):
        if label is None or isinstance(label, bytes):
            return label
        return _written(label).encode()

    return _beside(root, rows, ".cls", write)


def txt(root, rows):
    def write(label):
        if label is None or isinstance(label, bytes):
            return label
        return _written(label).encode()

    return _beside(root, rows, ".txt", write)


def json_files(root, rows):
    def write(label):
        try:
            return json.dumps({"label": label}).encode()
        except TypeError as error:
            raise CannotHold(str(error)) from error

    return _beside(root, rows, ".json", write)


# records


def _feature(value):
    """A feature of an Example: (number of the list's kind, its packed values), or bytes."""
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    values = value if isinstance(value, list) else [value]
    if any(isinstance(one, list) for one in values):
        raise CannotHold("a feature is a flat list")
    if all(isinstance(one, float) for one in values) and values:
        return 2, struct.pack(f"<{len(values)}f", *values)
    if all(isinstance(one, int) and -(1 << 63) <= one < 1 << 63 for one in values):
        if any(isinstance(one, bool) for one in values):
            raise CannotHold("a feature has no flags")
        return 3, b"".join(makers.varint(one % (1 << 64)) for one in values)
    raise CannotHold(f"a feature has no {type(values[0]).__name__}")


def tfrecord(root, rows):
    """A file of records of each split; a missing label is a feature that is not there."""
    given = []
    for split in dict.fromkeys(row.split for row in rows):
        records = []
        for row in rows:
            if row.split == split:
                features = {"image": png(row.number), "label": _feature(row.label)}
                present = {name: value for name, value in features.items() if value is not None}
                records.append(makers.encode_example(present))
        path = root / f"{_written(split) or 'images'}.tfrecord"
        given.append(makers.write_records(path, records))
    return given


# arrays


def _labels(rows):
    labels = [row.label for row in rows]
    if any(isinstance(label, Decimal | dict) for label in labels):
        raise CannotHold("an array has no objects but by pickle")
    try:
        return np.array(labels)
    except (ValueError, OverflowError) as error:
        raise CannotHold(str(error)) from error


def _by_split(rows):
    """Return the word for each split, and its rows; no word where there are no splits."""
    return {
        (f"{_written(split)}_" if split else ""): [row for row in rows if row.split == split]
        for split in dict.fromkeys(row.split for row in rows)
    }


def npz(root, rows):
    arrays = {}
    for word, part in _by_split(rows).items():
        arrays |= {
            f"{word}images": stacked(row.number for row in part),
            f"{word}labels": _labels(part),
        }
    np.savez(root / "set.npz", **arrays)
    return root / "set.npz"


def npy(root, rows):
    given = []
    for word, part in _by_split(rows).items():
        given.append(root / f"{word}images.npy")
        np.save(given[-1], stacked(row.number for row in part))
        np.save(root / f"{word}labels.npy", _labels(part))
    return given


def hdf5(root, rows):
    with h5py.File(root / "set.h5", "w") as file:
        for word, part in _by_split(rows).items():
            file[f"{word}images"] = stacked(row.number for row in part)
            labels = _labels(part)
            if labels.dtype.kind == "U":
                labels = [row.label for row in part]
            try:
                file[f"{word}labels"] = labels
            except TypeError as error:
                raise CannotHold(str(error)) from error
    return root / "set.h5"


_IDX_TYPES = {"u1": 0x08, "i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}


def idx(root, rows, *, images="images-idx3-ubyte", labels="labels-idx1-ubyte"):
    for word, part in _by_split(rows).items():
        makers.write_idx(
            root / f"{word.replace('_', '-')}{images}", stacked(row.number for row in part)
        )
        values = _labels(part)
        kind = {"i": ">i4", "f": ">f4"}.get(values.dtype.kind)
        if kind is None or (kind == ">i4" and values.max() > 2**31 - 1):
            raise CannotHold(f"IDX has no {values.dtype}")
        makers.write_idx(
            root / f"{word.replace('_', '-')}{labels}", values, kind=kind, code=_IDX_TYPES[kind]
        )
    return root


VALUES = {
    make.__name__: make
    for make in (
        *(table, tsv, semicolons, json_lines, parquet_paths, parquet_bytes, parquet_struct),
        *(cls, txt, json_files, tfrecord, npz, npy, hdf5, idx),
    )
}
"""Kinds that keep a label as a value."""


# folders of classes in folders of splits

BESIDE = (
    "train/cat/.ipynb_checkpoints/1-checkpoint.png",
    ".git/x.png",
    "train/dog/drawing.SVG",
    "test/README",
)
"""Files of a tree that are no images: two are hidden, two have an unknown ending."""

_ENDINGS = (".png", ".PNG", ".Png")


def tree(rows):
    """Yield paths and contents of a tree: ``train/cat/1.png``, and ``train/4.PNG`` of no class."""
    for row in rows:
        folders = [row.split, row.label] if row.label not in ("", "-1") else [row.split]
        yield "/".join([*folders, f"{row.number}{_ENDINGS[row.number % 3]}"]), png(row.number)
    for name in BESIDE:
        yield name, png(9)


def _put(root, members):
    for name, data in members:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def folder(root, rows):
    return _put(root / "photos", tree(rows))


def wrapped_folder(root, rows):
    _put(root / "download" / "photos", tree(rows))
    return root / "download"


def split_folders(root, rows):
    photos = folder(root, rows)
    return [photos / "train", photos / "test"]


def class_folders(root, rows):
    """As a shell writes ``photos/*/*`` out: folders of classes, and what is beside them."""
    return sorted(folder(root, rows).glob("[!.]*/*"))


def pattern(root, rows):
    return f"{folder(root, rows)}/**/*"


def pattern_of_images(root, rows):
    return f"{folder(root, rows)}/**/*.[pP][nN][gG]"


def pattern_in_braces(root, rows):
    return f"{folder(root, rows)}/{{train,test}}/**"


def files(root, rows):
    photos = folder(root, rows)
    return [photos / name for name, _ in tree(rows) if name not in BESIDE]


def tar(root, rows):
    return tar_of(root / "photos.tar", tree(rows))


def wrapped_tar(root, rows):
    return tar_of(root / "download.tar", ((f"./photos/{n}", data) for n, data in tree(rows)))


def _archives(root, rows, ending, write):
    """Pack the folder of each split by itself, and what is beside them with the first."""
    given = []
    for split in ("train", "test"):
        members = [
            (name.removeprefix(f"{split}/"), data)
            for name, data in tree(rows)
            if name.startswith(f"{split}/") or (split == "train" and "/" in name and name[0] == ".")
        ]
        given.append(write(root / f"{split}{ending}", members))
    return given


def tars_of_splits(root, rows):
    return _archives(root, rows, ".tar", tar_of)


def zipped(root, rows):
    return zip_of(root / "photos.zip", tree(rows))


def wrapped_zip(root, rows):
    return zip_of(root / "download.zip", ((f"photos/{name}", data) for name, data in tree(rows)))


def zips_of_splits(root, rows):
    return _archives(root, rows, ".zip", zip_of)


def _in_memory(root, rows, kind):
    """What a kind writes, behind URLs."""
    import fsspec

    given = kind(root, rows)
    store = fsspec.filesystem("memory")
    for path in root.rglob("*"):
        if path.is_file():
            store.pipe_file(f"/{root.name}{path.as_posix()}", path.read_bytes())
    given = given if isinstance(given, list) else [given]
    return [f"memory://{root.name}{one}" for one in given]


def folder_url(root, rows):
    return _in_memory(root, rows, folder)


def split_urls(root, rows):
    return _in_memory(root, rows, split_folders)


def pattern_url(root, rows):
    return _in_memory(root, rows, pattern)


def table_url(root, rows):
    return _in_memory(root, rows, table)


def tar_url(root, rows):
    return _in_memory(root, rows, tar)


def zip_url(root, rows):
    return _in_memory(root, rows, zipped)


def parquet_url(root, rows):
    return _in_memory(root, rows, parquet_struct)


def tfrecord_url(root, rows):
    return _in_memory(root, rows, tfrecord)


def npy_url(root, rows):
    return _in_memory(root, rows, npy)


def npz_url(root, rows):
    return _in_memory(root, rows, npz)


def hdf5_url(root, rows):
    return _in_memory(root, rows, hdf5)


def idx_url(root, rows):
    return _in_memory(root, rows, idx)


TREES = {
    make.__name__: make
    for make in (
        *(folder, wrapped_folder, split_folders, class_folders, pattern, pattern_of_images),
        *(pattern_in_braces, files, tar, wrapped_tar, tars_of_splits, zipped, wrapped_zip),
        *(zips_of_splits, folder_url, split_urls, pattern_url, tar_url, zip_url),
    )
}
"""Kinds whose folders say what a label and a split is."""


def cls_in_capitals(root, rows):
    return _beside(root, rows, ".CLS", lambda label: label.encode())


def json_in_capitals(root, rows):
    return _beside(root, rows, ".Json", lambda label: json.dumps({"class": label}).encode())


def cls_apart(root, rows):
    """All images first, then all labels."""
    given = cls(root, rows)
    for path in given:
        with tarfile.open(path) as archive:
            members = [(m.name, archive.extractfile(m).read()) for m in archive.getmembers()]
        tar_of(path, sorted(members, key=lambda member: member[0].endswith(".cls")))
    return given


def huggingface(root, rows):
    """Files of splits as ``datasets`` writes them: numbers, and their names in the schema."""
    names = sorted({row.label for row in rows} - {"", "-1"})
    numbers = {"": None, "-1": -1} | {name: i for i, name in enumerate(names)}
    features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    for split in dict.fromkeys(row.split for row in rows):
        part = [row for row in rows if row.split == split]
        columns = {
            "image": pa.array([{"bytes": png(row.number), "path": row.name} for row in part]),
            "label": pa.array([numbers[row.label] for row in part], pa.int64()),
        }
        written = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps(features)})
        parquet.write_table(written, root / f"{split}-00000-of-00001.parquet")
    return root


def tfrecord_of_numbers_and_texts(root, rows):
    """As ImageNet's: a number and the name of the class in each record."""
    numbers = {"": None, "-1": -1, "cat": 1, "dog": 2}
    given = []
    for split in dict.fromkeys(row.split for row in rows):
        records = []
        for row in (row for row in rows if row.split == split):
            features = {
                "image/encoded": png(row.number),
                "image/class/text": _feature(row.label if row.label in ("cat", "dog") else None),
                "image/class/label": _feature(numbers[row.label]),
            }
            present = {name: value for name, value in features.items() if value is not None}
            records.append(makers.encode_example(present))
        given.append(makers.write_records(root / f"{split}-00000-of-00001", records))
    return given


VARIANTS = {
    make.__name__: make
    for make in (
        *(cls_in_capitals, json_in_capitals, cls_apart, huggingface),
        *(tfrecord_of_numbers_and_texts, table_url, parquet_url, tfrecord_url, npy_url, npz_url),
        *(hdf5_url, idx_url),
    )
}
"""Kinds of :data:`VALUES` in other ways, and behind URLs."""
