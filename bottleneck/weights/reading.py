"""One door for every kind of weights file; the content decides, never the name.

Known releases of weights: which file is which, by the MD5 of its bytes.

From the histories of fchollet/deep-learning-models and keras-applications, and from Keras 3.15.
Two releases may share a file's name; none shares its hash.
"""

import gzip
import hashlib
import io
import lzma
import mmap
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

from bottleneck.errors import WeightsError
from bottleneck.weights import arrays, caffe, hdf5, tensorflow_files
from bottleneck.weights.layout import TAKEN, Weights, damaged


@dataclass(frozen=True)
class Release:
    """One published file.

    Parameters
    ----------
    label : str
        Who released it.
    file : str
        Its published name.
    backbone : str
        The network of ours that it belongs to.
    """

    label: str
    file: str
    backbone: str


def _pair(
    label: str, stem: str, backbone: str, hashes: tuple[str, str], order: str = "tf"
) -> dict[str, Release]:
    name = f"{stem}_weights_{order}_dim_ordering_{order}_kernels"
    return {
        hashes[0]: Release(label, f"{name}.h5", backbone),
        hashes[1]: Release(label, f"{name}_notop.h5", backbone),
    }


_MODELS: Final = "fchollet/deep-learning-models"

RELEASES: Final[dict[str, Release]] = {
    **_pair(
        f"{_MODELS} v0.1",
        "vgg16",
        "vgg16",
        ("64373286793e3c8b2b4e3219cbf3544b", "6d6bbae143d832006294945121d1f1fc"),
    ),
    **_pair(
        f"{_MODELS} v0.1",
        "vgg19",
        "vgg19",
        ("cbe5617147190e668d6c5d5026f83318", "253f8cb515780f3b799900260a226db6"),
    ),
    **_pair(
        f"{_MODELS} v0.2",
        "resnet50",
        "resnet50_v02",
        ("a7b3fe01876f51b976af0dea6bc144eb", "a268eb855778b3df3c7506639542a6af"),
    ),
    **_pair(
        f"{_MODELS} v0.2",
        "resnet50",
        "resnet50_v02",
        ("1c1f8f5b0c8ee28fe9d950625a230e1c", "f64f049c92468c9affcd44b0976cdafe"),
        "th",
    ),
    **_pair(
        "keras-applications",
        "resnet50",
        "resnet50",
        ("2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626"),
    ),
    **_pair(
        f"{_MODELS} v0.2",
        "inception_v3",
        "inception_v3_v02",
        ("fe114b3ff2ea4bf891e9353d1bbfb32f", "2f3609166de1d967d1a481094754f691"),
    ),
    **_pair(
        f"{_MODELS} v0.2",
        "inception_v3",
        "inception_v3_v02",
        ("b3baf3070cc4bf476d43a2ea61b0ca5f", "79aaa90ab4372b4593ba3df64e142f05"),
        "th",
    ),
    **_pair(
        f"{_MODELS} v0.5",
        "inception_v3",
        "inception_v3",
        ("9a0d58056eeedaa3f26cb7ebd46da564", "bcbd6486424b2319ff4ef7d526e38f63"),
    ),
    **_pair(
        f"{_MODELS} v0.4",
        "xception",
        "xception",
        ("0a58e3b7378bc2990ea3b43d5981f1f6", "b0042744bf5b25fce3cb969f33bebb97"),
    ),
    **_pair(
        f"{_MODELS} v0.7",
        "inception_resnet_v2",
        "inception_resnet_v2",
        ("e693bd0210a403b3192acc6073ad2e96", "d19885ff4a710c122648d3b5c3b684e4"),
    ),
    **{
        md5: Release(
            label,
            f"densenet{depth}_weights_tf_dim_ordering_tf_kernels_notop.h5",
            f"densenet{depth}",
        )
        for label, depth, md5 in (
            (f"{_MODELS} v0.8", 121, "4912a53fbd2a69346e7f2c0b5ec8c6d3"),
            (f"{_MODELS} v0.8", 169, "50662582284e4cf834ce40ab4dfa58c6"),
            (f"{_MODELS} v0.8", 201, "1c2de60ee40562448dbac34a0737e798"),
            ("keras-applications", 121, "30ee3e1110167f948a6b9946edeeb738"),
            ("keras-applications", 169, "b8c4d4c20dd625c148057b9ff1c1176b"),
            ("keras-applications", 201, "c13680b51ded0fb44dff2d8f86ac8bb1"),
        )
    },
}


def release_of(path: Path) -> Release | None:
    """Recognise a published file by its content, whatever it is called now."""
    if not path.is_file():
        return None
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return RELEASES.get(digest.hexdigest())


_MOST_COMPRESSED: Final = 64
_SMALL: Final = 1 << 20

_BAD_ZIP: Final = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError),
    *(NotImplementedError, RuntimeError, ValueError, KeyError, OverflowError, struct.error),
)
"""What zipfile raises on bytes that make no sense; RuntimeError where they are encrypted."""


_BAD_TAR: Final = (
    *(tarfile.TarError, zlib.error, EOFError, ValueError, OverflowError, struct.error),
    *(IndexError, KeyError, TypeError),
)
"""What tarfile raises on bytes that make no sense; OverflowError for sizes beyond any file's."""


def is_weights(source: str | Path) -> bool:
    """Tell whether there is something at a path that could be weights."""
    path = Path(source)
    return path.is_file() or path.is_dir() or _index(path).is_file()


def is_certainly_weights(path: Path) -> bool:
    """Tell by the content that a file is weights and nothing else of ours."""
    if not path.is_file():
        return is_weights(path)
    data = _mapped(path)
    if bytes(data[:8]) == hdf5.MAGIC:
        return hdf5.is_keras(path)
    if bytes(data[:2]) == b"PK":
        return _zip_holds_weights(path)
    return any(fits(path, data) for fits, _ in _KINDS)


def _zip_holds_weights(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except _BAD_ZIP:
        return False
    kerass = any(name.endswith(".weights.h5") for name in names)
    return kerass or (bool(names) and all(name.endswith(".npy") for name in names))


def read(path: Path) -> Weights:
    """Read a weights file of any kind, a checkpoint's folder or its prefix.

    Raises
    ------
    WeightsError
        When it is damaged, or of a kind that is not known.
    """
    if path.is_dir():
        return _read_bundle(_newest(path), path)
    if not path.exists() and _index(path).is_file():
        return _read_bundle(_index(path), path)
    data = _mapped(path)
    for fits, read_kind in _KINDS:
        if fits(path, data):
            return read_kind(path, data)
    raise WeightsError(
        f"{path}: expected weights, got neither HDF5 that can be read nor another known kind",
        hint=f"It takes {TAKEN}",
    )


def _mapped(path: Path) -> memoryview:
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                return memoryview(b"")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{path}: expected a weights file, which cannot be read: {error}"
        ) from error


def _index(path: Path) -> Path:
    return path.with_name(f"{path.name}.index")


def _newest(folder: Path) -> Path:
    """Find a folder's checkpoint; where its ``checkpoint`` file points elsewhere, by its name."""
    note = folder / "checkpoint"
    if note.is_file() and note.stat().st_size < _SMALL:
        told = re.search(r'^model_checkpoint_path:\s*"([^"]*)"', note.read_text("utf-8", "replace"))
        if told:
            name = told[1].replace("\\", "/").rpartition("/")[2]
            index = folder / f"{name}.index"
            if index.is_file():
                return index
    found = sorted(folder.glob("*.index")) or sorted(folder.glob(".index"))
    if len(found) == 1:
        return found[0]
    raise WeightsError(
        f"{folder}: expected a folder with one checkpoint, got {len(found)} .index files",
        hint="Name one by its prefix, the path without .index." if found else f"It takes {TAKEN}",
    )


def _read_bundle(index: Path, path: Path) -> Weights:
    shards: dict[int, memoryview] = {}

    def shard(number: int, count: int) -> memoryview:
        if number not in shards:
            name = index.name.removesuffix(".index")
            shards[number] = _mapped(index.with_name(f"{name}.data-{number:05d}-of-{count:05d}"))
        return shards[number]

    return tensorflow_files.read_checkpoint(path, _mapped(index), shard)


def _read_zip(path: Path) -> Weights:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            inner = next((name for name in names if name.endswith(".weights.h5")), None)
            if inner is None and any(name.endswith(".npy") for name in names):
                return arrays.read_npz(path)
            if inner is None:
                raise WeightsError(
                    f"{path}: expected weights, got a zip without any",
                    hint=f"It takes {TAKEN}",
                )
            with archive.open(inner) as member:
                data = _bounded(member, path)
    except _BAD_ZIP as error:
        if isinstance(error, WeightsError):
            raise
        raise damaged(path, f"a damaged archive ({error})") from error
    return hdf5.read_hdf5(path, io.BytesIO(data))


def _bounded(file: IO[bytes], path: Path) -> bytes:
    """Read a member, but no more than a file of this length can hold."""
    most = _SMALL + _MOST_COMPRESSED * path.stat().st_size
    data = file.read(most + 1)
    if len(data) > most:
        raise damaged(path, f"a member of more than {most} bytes, more than it holds")
    return data


class _Bounded:
    """A stream that ends in an error where there is more than a file of its length can hold."""

    def __init__(self, file: Any, most: int) -> None:
        self._file = file
        self._left = most

    def read(self, size: int) -> bytes:
        data: bytes = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("more than a file of this length can hold")
        return data


def _read_tar(path: Path) -> Weights:
    """Read the checkpoint in an archive, in memory."""
    left = _SMALL + _MOST_COMPRESSED * path.stat().st_size
    members: dict[str, memoryview] = {}
    packed = bytes(_mapped(path)[:2]) == b"\x1f\x8b"
    try:
        with (
            (gzip.open if packed else open)(path, "rb") as stream,
            tarfile.open(fileobj=cast(Any, _Bounded(stream, left)), mode="r|") as archive,
        ):
            for member in archive:
                left -= member.size + 512
                if left < 0 or member.size < 0:
                    raise damaged(path, f"{member.name}, larger than the archive can hold")
                if member.isfile() and not member.name.endswith(".meta"):
                    file = archive.extractfile(member)
                    members[Path(member.name).name] = memoryview(file.read() if file else b"")
    except _BAD_TAR as error:
        raise damaged(path, f"a damaged archive ({error})") from error
    except OSError as error:
        if isinstance(error, WeightsError):
            raise
        raise damaged(path, f"a damaged archive ({error})") from error
    tables = {name: data for name, data in members.items() if tensorflow_files.is_table(data)}
    if len(tables) != 1:
        raise WeightsError(
            f"{path}: expected an archive with one checkpoint, got {len(tables)} of them",
            hint=f"It takes {TAKEN}",
        )
    ((name, table),) = tables.items()
    if not name.endswith(".index"):
        return tensorflow_files.read_checkpoint(path, table, None)
    stem = name.removesuffix(".index")

    def shard(number: int, count: int) -> memoryview:
        wanted = f"{stem}.data-{number:05d}-of-{count:05d}"
        if wanted not in members:
            raise ValueError(f"no {wanted} beside {name}")
        return members[wanted]

    return tensorflow_files.read_checkpoint(path, table, shard)


def _read_table(path: Path, data: memoryview) -> Weights:
    if path.suffix == ".index":
        return _read_bundle(path, path)
    return tensorflow_files.read_checkpoint(path, data, None)


def _index_beside(path: Path) -> Path | None:
    """Find the table of a checkpoint of which one data file was named."""
    match = re.fullmatch(r"(.*)\.data-\d{5}-of-\d{5}", path.name)
    index = path.with_name(f"{match[1]}.index") if match else None
    return index if index is not None and index.is_file() else None


def _is_tar(data: memoryview) -> bool:
    return bytes(data[:2]) == b"\x1f\x8b" or bytes(data[257:262]) == b"ustar"


def _is_message(data: memoryview) -> bool:
    return len(data) > 2 and (data[0] in {0x0A, 0x12} or bytes(data[:2]) == b"\xa2\x06")


_KINDS: Final[
    tuple[
        tuple[Callable[[Path, memoryview], bool], Callable[[Path, memoryview], Weights]],
        ...,
    ]
] = (
    (lambda _, data: bytes(data[:8]) == hdf5.MAGIC, lambda path, _: hdf5.read_hdf5(path)),
    (lambda _, data: bytes(data[:2]) == b"PK", lambda path, _: _read_zip(path)),
    (lambda _, data: _is_tar(data), lambda path, _: _read_tar(path)),
    (lambda _, data: tensorflow_files.is_table(data), _read_table),
    (
        lambda path, _: _index_beside(path) is not None,
        lambda path, _: _read_bundle(_index_beside(path) or path, path),
    ),
    (lambda _, data: arrays.looks_like_safetensors(data), arrays.read_safetensors),
    (
        lambda _, data: _is_message(data) and tensorflow_files.looks_like_graph(data),
        tensorflow_files.read_graph,
    ),
    (lambda _, data: _is_message(data), caffe.read_caffe),
)
"""How each kind of file is told, in this order, and read."""
