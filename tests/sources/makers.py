"""One small set of images, written as every kind of source by libraries that are not ours.

Each maker takes an empty folder and the samples and returns a :class:`Case`: what is given to
``open_source`` and what must come out.
"""

import csv
import gzip
import io
import json
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

SAMPLE = Path(__file__).parents[2] / "data" / "sample"


@dataclass(frozen=True)
class Sample:
    split: str
    label: str
    number: int
    data: bytes

    @property
    def path(self):
        return f"{self.split}/{self.label}/{self.number}.png"

    @property
    def pixels(self):
        return np.asarray(Image.open(io.BytesIO(self.data)))


def load_samples():
    """Two images of three classes for training, one for the test; numbered to show the order."""
    samples = []
    for split, numbers in (("test", (3,)), ("train", (9, 10))):
        for label in ("bag", "coat", "shirt"):
            files = sorted((SAMPLE / split / label).iterdir())
            samples += [
                Sample(split, label, number, files[i].read_bytes())
                for i, number in enumerate(numbers)
            ]
    return samples


@dataclass
class Case:
    given: list
    keys: list
    contents: list
    labels: list
    splits: list
    files: list = field(default_factory=list)
    """What the images are in; taken away by one test, touched by another."""
    elsewhere: bool = True
    """Whether another process can read it."""
    repeats: int = 20
    """How often threads read each row."""
    keeps: bool = False
    """Whether what was read once may still be served when the image is gone."""
    remove: Callable | None = None
    change: Callable | None = None

    def take_away(self):
        if self.remove:
            self.remove()
        for file in self.files:
            file.unlink()

    def alter(self):
        if self.change:
            self.change()
        else:
            data = self.files[-1].read_bytes()
            self.files[-1].write_bytes(data + b"\0")


def _case(given, samples, keys, files, *, pixels=False, splits=True, **more):
    return Case(
        given=[str(one) for one in given],
        keys=list(keys),
        contents=[s.pixels if pixels else s.data for s in samples],
        labels=[s.label for s in samples],
        splits=[s.split if splits else "" for s in samples],
        files=list(files),
        **more,
    )


def write_folder(root, samples):
    paths = []
    for sample in samples:
        path = root / sample.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sample.data)
        paths.append(path)
    return paths


def folder(root, samples):
    files = write_folder(root / "set", samples)
    return _case([root / "set"], samples, [s.path for s in samples], files)


def flat(root, samples):
    files = []
    for i, sample in enumerate(samples):
        files.append(root / f"{i + 8}.png")
        files[-1].write_bytes(sample.data)
    case = _case([root], samples, [file.name for file in files], files, splits=False)
    case.labels = [None] * len(samples)
    return case


def single_files(root, samples):
    case = flat(root, samples)
    case.given = [str(file) for file in case.files]
    case.keys = case.given
    return case


def pattern(root, samples):
    files = write_folder(root / "set", samples)
    (root / "set" / "train" / "notes.txt").write_text("no image")
    return _case([root / "set" / "**" / "*.png"], samples, [s.path for s in samples], files)


def csv_table(root, samples):
    files = write_folder(root / "set", samples)
    with (root / "list.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "label", "split", "price"])
        table.writerows([f"set/{s.path}", s.label, s.split, "7"] for s in samples)
    return _case([root / "list.csv"], samples, [f"set/{s.path}" for s in samples], files)


def parquet_table(root, samples):
    files = write_folder(root / "set", samples)
    table = pa.table(
        {
            "price": [7.0] * len(samples),
            "path": [f"./set/{s.path}" for s in samples],
            "label": pa.array([s.label for s in samples]).dictionary_encode(),
            "split": [s.split for s in samples],
        }
    )
    parquet.write_table(table, root / "list.parquet")
    return _case([root / "list.parquet"], samples, [f"set/{s.path}" for s in samples], files)


def add_member(archive, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def tar(root, samples):
    """A packed folder, in the order in which a file system might give it."""
    write_folder(root / "set", samples)
    with tarfile.open(root / "set.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        for sample in reversed(samples):
            archive.add(root / "set" / sample.path, f"./set/{sample.path}")
    keys = [f"set/{s.path}" for s in samples]
    return _case([root / "set.tar"], samples, keys, [root / "set.tar"])


def webdataset(root, samples):
    """Shards of samples with their class in a member beside them: three ways to say it."""
    files, keys = [], []
    for split in ("test", "train"):
        for shard in range(2):
            files.append(root / f"wds-{split}-{shard:03d}.tar")
            with tarfile.open(files[-1], "w", format=tarfile.USTAR_FORMAT) as archive:
                for i, sample in enumerate([s for s in samples if s.split == split][shard::2]):
                    add_member(archive, f"{i:04d}.png", sample.data)
                    if i % 2:
                        add_member(archive, f"{i:04d}.cls", sample.label.encode())
                        add_member(archive, f"{i:04d}.json", b'{"label": "not this"}')
                    else:
                        text = json.dumps({"label": sample.label, "n": i})
                        add_member(archive, f"{i:04d}.json", text.encode())
                    keys.append((sample, f"wds-{split}-{shard:03d}/{i:04d}.png"))
    given = root / "wds-{test,train}-{000..001}.tar"
    return _case([given], [s for s, _ in keys], [key for _, key in keys], files)


def zipped(root, samples):
    with zipfile.ZipFile(root / "set.zip", "w") as archive:
        for i, sample in enumerate(reversed(samples)):
            method = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)[i % 3]
            archive.writestr(sample.path, sample.data, compress_type=method)
        archive.writestr("__MACOSX/train/._9.png", b"not an image")
    return _case([root / "set.zip"], samples, [s.path for s in samples], [root / "set.zip"])


def _by_split(samples):
    return {name: [s for s in samples if s.split == name] for name in ("test", "train")}


def _stack(samples):
    return np.stack([s.pixels for s in samples])


def npz(root, samples):
    parts = _by_split(samples)
    np.savez_compressed(
        root / "set.npz",
        x_test=_stack(parts["test"]),
        y_test=np.array([s.label for s in parts["test"]]),
        x_train=_stack(parts["train"]),
        y_train=np.array([[s.label] for s in parts["train"]]),
    )
    keys = [f"x_{name}/{i}" for name in parts for i in range(len(parts[name]))]
    return _case([root / "set.npz"], samples, keys, [root / "set.npz"], pixels=True)


def npy(root, samples):
    files = []
    for name, part in _by_split(samples).items():
        np.save(root / f"{name}_images.npy", _stack(part))
        np.save(root / f"{name}_labels.npy", np.array([s.label for s in part]))
        files.append(root / f"{name}_images.npy")
    keys = [f"{s.split}_images/{i}" for part in _by_split(samples).values()
            for i, s in enumerate(part)]  # fmt: skip
    return _case([root / "*_images.npy"], samples, keys, files, pixels=True)


def hdf5(root, samples):
    with h5py.File(root / "set.h5", "w") as file:
        for name, part in _by_split(samples).items():
            group = file.create_group(name)
            group.create_dataset("images", data=_stack(part), chunks=(2, 28, 28), compression=4)
            group["labels"] = [s.label for s in part]
        file["weights"] = np.zeros((4, 4))
    keys = [f"{s.split}/images/{i}" for part in _by_split(samples).values()
            for i, s in enumerate(part)]  # fmt: skip
    return _case([root / "set.h5"], samples, keys, [root / "set.h5"], pixels=True)


def write_idx(path, array, *, kind="u1", code=0x08):
    array = np.asarray(array, kind)
    head = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    data = head + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def idx(root, samples):
    classes = sorted({s.label for s in samples})
    files, keys = [], []
    for (split, part), name, ending in zip(
        _by_split(samples).items(), ("t10k", "train"), (".gz", ""), strict=True
    ):
        files.append(write_idx(root / f"{name}-images-idx3-ubyte{ending}", _stack(part)))
        write_idx(root / f"{name}-labels-idx1-ubyte{ending}",
                  [classes.index(s.label) for s in part])  # fmt: skip
        keys += [f"{name}/{i}" for i in range(len(part))]
        assert {s.split for s in part} == {split}
    case = _case([root], samples, keys, files, pixels=True)
    case.labels = [str(classes.index(s.label)) for s in samples]
    return case


def huggingface(root, samples):
    """As ``datasets`` writes it: a struct of bytes and path, and class names in the schema."""
    classes = ["coat", "bag", "shirt"]
    info = {
        "info": {
            "features": {
                "image": {"_type": "Image"},
                "label": {"names": classes, "_type": "ClassLabel"},
            }
        }
    }
    schema = pa.schema(
        {
            "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
            "label": pa.int64(),
        },
        metadata={"huggingface": json.dumps(info)},
    )
    files, keys = [], []
    for split, part in _by_split(samples).items():
        rows = [
            {"image": {"bytes": s.data, "path": f"{s.label}_{s.number}.png"},
             "label": classes.index(s.label)} for s in part
        ]  # fmt: skip
        name = f"{split}-00000-of-00001"
        files.append(root / f"{name}.parquet")
        parquet.write_table(pa.Table.from_pylist(rows, schema=schema), files[-1], row_group_size=2)
        keys += [f"{name}/{s.label}_{s.number}.png" for s in part]
    return _case([root], samples, keys, files)


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def encode_example(features):
    """Serialise an Example by hand: {name: bytes, int, or (kind, packed values)}."""

    def field_(number, data):
        return varint(number << 3 | 2) + varint(len(data)) + data

    entries = b""
    for name, value in features.items():
        if isinstance(value, bytes):
            feature = field_(1, field_(1, value))
        elif isinstance(value, tuple):
            feature = field_(value[0], field_(1, value[1]))
        else:
            feature = field_(3, field_(1, varint(value)))
        entries += field_(1, field_(1, name.encode()) + field_(2, feature))
    return field_(1, entries)


def slow_crc32c(data):
    """Bit by bit, as RFC 3720 defines it."""
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def write_records(path, records):
    def masked(data):
        crc = slow_crc32c(data)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    with path.open("wb") as stream:
        for record in records:
            length = struct.pack("<Q", len(record))
            stream.write(length + masked(length) + record + masked(record))
    return path


def tfrecord(root, samples):
    files, keys = [], []
    for split, part in _by_split(samples).items():
        files.append(root / f"{split}-00000-of-00001")
        write_records(
            files[-1],
            (
                encode_example(
                    {
                        "image/height": 28,
                        "image/encoded": s.data,
                        "image/class/label": 1 + ord(s.label[0]),
                        "image/class/text": s.label.encode(),
                        "image/filename": f"{s.label}_{s.number}.png".encode(),
                    }
                )
                for s in part
            ),
        )
        keys += [f"{split}-00000-of-00001/{s.label}_{s.number}.png" for s in part]
    return _case([root / "*-00000-of-00001"], samples, keys, files)


def several(root, samples):
    """A zip and a folder behind one another."""
    (root / "a").mkdir()
    first, second = zipped(root / "a", samples[:4]), folder(root, samples[4:])
    keys = [f"set.zip/{key}" for key in first.keys] + [f"set/{key}" for key in second.keys]
    return _case([*first.given, *second.given], samples, keys, first.files + second.files)


LOCAL = {
    make.__name__: make
    for make in (
        *(folder, flat, single_files, pattern, csv_table, parquet_table, tar, webdataset, zipped),
        *(npz, npy, hdf5, idx, huggingface, tfrecord, several),
    )
}


def send(case, root, base, put, remove):
    """Let a case made in a folder be read from a store: ``put(name, data)``."""
    prefix = f"{root}{os.sep}"
    beside = [path for path in root.iterdir() if path.is_file()]
    names = [path.relative_to(root).as_posix() for path in dict.fromkeys([*beside, *case.files])]
    for name in names:
        put(name, (root / name).read_bytes())
    case.given = [f"{base}/{f'{one}/'.removeprefix(prefix)}".rstrip("/") for one in case.given]
    inside = [file.relative_to(root).as_posix() for file in case.files]
    case.files = []
    case.repeats = 4
    # Files that are read in large pieces; on a disk it costs nothing to see that one is gone.
    case.keeps = inside[0].endswith((".h5", ".npz", ".parquet"))
    case.remove = lambda: [remove(name) for name in inside]
    case.change = lambda: put(inside[-1], (root / inside[-1]).read_bytes() + b"\0")
    return case
