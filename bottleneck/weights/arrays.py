"""``.npz`` and ``.safetensors``: tensors called ``layer/role``."""

import json
import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.exhaustion import raise_if_exhausted
from bottleneck.npy import load_arrays
from bottleneck.weights.keras_rules import role_of
from bottleneck.weights.layout import MAX_LAYERS, Layer, Weights, damaged

_DTYPES: Final = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}

_MOST_COMPRESSED: Final = 64

_ERRORS: Final = (
    *(ValueError, KeyError, TypeError, EOFError, OverflowError, MemoryError, SyntaxError),
    *(NotImplementedError, RuntimeError, OSError, struct.error, tokenize.TokenError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""What NumPy and zipfile raise on bytes that make no sense."""


def read_npz(path: Path) -> Weights:
    """Read an ``.npz``; pickled objects in it are refused.

    Raises
    ------
    WeightsError
    """
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(member.file_size for member in archive.infolist())
        if claimed > (1 << 20) + _MOST_COMPRESSED * path.stat().st_size:
            raise damaged(path, f"{claimed} bytes claimed, more than it holds")
        return _weights(path, "npz", load_arrays(path))
    except (
        ValueError,
        KeyError,
        EOFError,
        zipfile.BadZipFile,
        OverflowError,
        MemoryError,
    ) as error:
        raise_if_exhausted(error)
        raise damaged(path, f"a damaged .npz ({error})") from error


def looks_like_safetensors(data: memoryview) -> bool:
    """Tell by the length in front and the brace behind it."""
    return len(data) > 9 and data[8] == ord("{") and int.from_bytes(data[:8], "little") < len(data)


def read_safetensors(path: Path, data: memoryview) -> Weights:
    """Read a ``.safetensors``.

    Raises
    ------
    WeightsError
    """
    length = int.from_bytes(data[:8], "little")
    body = data[8 + length :]
    try:
        header = json.loads(bytes(data[8 : 8 + length]))
        found = {}
        for name, facts in header.items():
            if name == "__metadata__":
                continue
            dtype, sides = np.dtype(_DTYPES[facts["dtype"]]), [int(n) for n in facts["shape"]]
            start, end = (int(n) for n in facts["data_offsets"])
            fits = 0 <= start <= end <= len(body) and all(n >= 0 for n in sides)
            if not fits or math.prod(sides) * dtype.itemsize != end - start:
                raise ValueError(f"{name} of shape {sides} at {start}")
            found[name] = np.frombuffer(body[start:end], dtype).reshape(sides)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(path, f"a damaged .safetensors ({error})") from error
    return _weights(path, "safetensors", found)


def _weights(path: Path, format_: str, found: dict[str, NDArray[Any]]) -> Weights:
    if len(found) > MAX_LAYERS:
        raise damaged(path, f"{len(found)} tensors")
    layers: dict[str, dict[str, NDArray[Any]]] = {}
    for name, value in found.items():
        separator = "/" if "/" in name else "."
        layer, _, last = name.rpartition(separator)
        layers.setdefault(layer, {})[role_of(last, layer)] = value
    return Weights(
        path,
        format_,
        format_,
        None,
        tuple(Layer(name, tensors) for name, tensors in layers.items()),
        listed=tuple(layers),
    )
