"""One door for every kind of weights file; the content decides, never the name."""

import io
import lzma
import mmap
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from bottleneck.errors import WeightsError
from bottleneck.weights import arrays, caffe, hdf5, tensorflow_files
from bottleneck.weights.layout import TAKEN, Weights, damaged

_MOST_COMPRESSED: Final = 64
_SMALL: Final = 1 << 20

_BAD_ZIP: Final = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError),
    *(NotImplementedError, RuntimeError, ValueError, KeyError, OverflowError, struct.error),
)
"""What zipfile raises on bytes that make no sense; RuntimeError where they are encrypted."""


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


def _read_tar(path: Path) -> Weights:
    """Read the checkpoint in an archive, in memory."""
    left = _SMALL + _MOST_COMPRESSED * path.stat().st_size
    members: dict[str, memoryview] = {}
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                left -= member.size + 512
                if left < 0 or member.size < 0:
                    raise damaged(path, f"{member.name}, larger than the archive can hold")
                if member.isfile() and not member.name.endswith(".meta"):
                    file = archive.extractfile(member)
                    members[Path(member.name).name] = memoryview(file.read() if file else b"")
    except (tarfile.TarError, EOFError, zlib.error, ValueError) as error:
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
