"""Read tensors from a torch file of the legacy format, without torch and without trust.

Such a file is five pickles one after another (a magic number, a protocol number, facts about
the machine, the tensors' descriptions, the storages' keys) and then, for each key, an element
count (int64) and the raw bytes. Pickle can name any function to call, so the unpickler here
knows only the few names such a file needs; any other name is refused and never imported.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import WeightsError
from bottleneck.exhaustion import raise_if_exhausted

MAGIC: Final = 0x1950A86A20F9469CFC6C
PROTOCOL: Final = 1001

_STORAGES: Final[dict[str, str]] = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    length: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _MalformedError(ValueError):
    """The file is not what it should be; the message becomes part of a WeightsError."""


def load(path: Path) -> dict[str, NDArray[Any]]:
    """Read a state dict: a file holding one mapping from names to tensors.

    Parameters
    ----------
    path : Path
        A ``.pth`` file in torch's legacy format (before 1.6, not a zip archive).

    Returns
    -------
    dict of str to ndarray
        Copies, in the file's order.

    Raises
    ------
    WeightsError
        When the file is missing, damaged, of another format, or names anything but tensors.
    """
    try:
        with path.open("rb") as stream:
            return _read(stream, path.stat().st_size)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:
        # A damaged pickle raises nearly anything: KeyError, UnicodeDecodeError, IndexError...
        raise_if_exhausted(error)
        said = str(error) or type(error).__name__
        raise WeightsError(
            f"{path}: expected tensors in torch's legacy file format, got {said}",
            hint="Install the package that brought the file again.",
        ) from error


def _read(stream: BinaryIO, size: int) -> dict[str, NDArray[Any]]:
    if _unpickle(stream) != MAGIC:
        raise _MalformedError("a pickle without torch's magic number")
    protocol = _unpickle(stream)
    if protocol != PROTOCOL:
        raise _MalformedError(f"protocol {protocol!r}, not {PROTOCOL}")
    machine = _unpickle(stream)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise _MalformedError("tensors that are not little-endian")
    described = _unpickle(stream)
    if not isinstance(described, dict):
        raise _MalformedError(f"a {type(described).__name__}, not a mapping of names to tensors")
    tensors: dict[str, _Tensor] = {}
    for name, value in described.items():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            raise _MalformedError(f"an entry {name!r} that is not a tensor")
        tensors[name] = value
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    data = {}
    for key in _unpickle(stream):
        if key not in storages:
            raise _MalformedError(f"a storage {key!r} that no tensor uses")
        data[key] = _read_storage(stream, storages[key], size)
    return {name: _view(tensor, data) for name, tensor in tensors.items()}


def _read_storage(stream: BinaryIO, storage: _Storage, size: int) -> NDArray[Any]:
    length = int.from_bytes(stream.read(8), "little", signed=True)
    nbytes = length * np.dtype(storage.dtype).itemsize
    if length != storage.length or nbytes > size - stream.tell():
        raise _MalformedError(
            f"storage {storage.key!r} with {length} elements, {storage.length} announced,"
            f" {size - stream.tell()} bytes left (truncated?)"
        )
    return np.frombuffer(stream.read(nbytes), dtype=storage.dtype)


def _view(tensor: _Tensor, data: dict[str, NDArray[Any]]) -> NDArray[Any]:
    if tensor.storage.key not in data:
        raise _MalformedError(f"no bytes for storage {tensor.storage.key!r}")
    flat = data[tensor.storage.key]
    if len(tensor.shape) != len(tensor.strides) or min((0, *tensor.shape, *tensor.strides)) < 0:
        raise _MalformedError(f"a tensor of shape {tensor.shape} with strides {tensor.strides}")
    last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    if prod(tensor.shape) and not 0 <= tensor.offset <= tensor.offset + last < len(flat):
        raise _MalformedError(f"a tensor of shape {tensor.shape} outside its storage")
    itemsize = flat.dtype.itemsize
    view = np.lib.stride_tricks.as_strided(
        flat[tensor.offset :], tensor.shape, [step * itemsize for step in tensor.strides]
    )
    return view.copy()


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise _MalformedError("a tensor without a storage")
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


_ALLOWED: Final[dict[tuple[str, str], Callable[..., Any]]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
}


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) not in _ALLOWED:
            raise _MalformedError(f"a pickle that asks for {module}.{name}, which is refused")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise _MalformedError("a reference that is not to a storage")
        _, dtype, key, _device, length, *_view_metadata = pid
        if dtype not in _STORAGES.values():
            raise _MalformedError(f"a storage of unknown type {dtype!r}")
        return _Storage(str(key), dtype, int(length))


def _unpickle(stream: BinaryIO) -> Any:
    return _Restricted(stream).load()
