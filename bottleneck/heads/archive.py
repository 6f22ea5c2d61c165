"""The head's file: a zip of ``head.json``, which people can read, and plain ``.npy`` arrays.

No pickle anywhere and nothing that could build an object: the weights are numbers.
"""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import HeadError
from bottleneck.heads.rows import BLOCK_ROWS
from bottleneck.npy import load_array
from bottleneck.writing import written_whole

FORMAT = "bottleneck-head"
CLASSES_VERSION, TARGETS_VERSION = 2, 3
"""Raised when a reader of the current version would misread or refuse the file.

1 held a scikit-learn pipeline as skops objects; it was never released and is refused. 3 is 2
with a task other than classes, which a reader of 2 does not look at: heads of classes stay 2.
"""

_DESCRIPTION = "head.json"
_ESTIMATOR = "estimator.skops"

# The earliest date a zip can hold: the same head gives the same bytes on every day.
_DATE = (1980, 1, 1, 0, 0, 0)

# What zipfile, json and NumPy raise for content that is not theirs.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    AttributeError,
    ImportError,
    RuntimeError,
    EOFError,
)


def write_head(
    path: Path,
    description: Mapping[str, Any],
    arrays: Mapping[str, Any],
    estimator: bytes | None = None,
) -> None:
    """Write a head's file atomically: the name holds the old file or the whole new one.

    Parameters
    ----------
    path : Path
        Where to; an existing file is replaced.
    description : mapping
        JSON values; ``format`` and ``version``, which follows from ``task``, are added.
    arrays : mapping of str to ndarray or Rows
        The weights, by name; each becomes an ``.npy`` member.
    estimator : bytes, optional
        What skops wrote of a classifier that is more than its weights.

    Raises
    ------
    HeadError
        When the folder cannot be written to.
    """
    of_classes = description.get("task", "classes") == "classes"
    version = CLASSES_VERSION if of_classes else TARGETS_VERSION
    header = {"format": FORMAT, "version": version, **description}
    text = json.dumps(header, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        with written_whole(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            _add(archive, _DESCRIPTION, text.encode("utf-8", "surrogateescape"))
            for name, array in arrays.items():
                _add_array(archive, name, array)
            if estimator is not None:
                _add(archive, _ESTIMATOR, estimator)
    except OSError as error:
        raise HeadError(
            f"cannot write the head to {path}: {error.strerror or error}",
            hint="The folder must exist and be writable.",
        ) from error


def read_head(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]], bytes | None]:
    """Read what :func:`write_head` wrote: description, arrays, and the estimator's bytes.

    Raises
    ------
    HeadError
        For a file that is missing, damaged, not a head or of another format version.
    """
    with _explained(path), zipfile.ZipFile(path) as archive:
        if _DESCRIPTION not in archive.namelist():
            raise _not_a_head(path)
        description = json.loads(archive.read(_DESCRIPTION).decode("utf-8", "surrogateescape"))
        if not isinstance(description, dict) or description.get("format") != FORMAT:
            raise _not_a_head(path)
        version = description.get("version")
        if version not in (CLASSES_VERSION, TARGETS_VERSION):
            raise HeadError(
                f"expected a head of format version {CLASSES_VERSION} or {TARGETS_VERSION}, "
                f"got {version!r} in {path}",
                hint="It is from before the first release: train it again."
                if version == 1
                else "Update the package: pip install --upgrade bottleneck-features",
            )
        arrays = {
            name.removesuffix(".npy"): load_array(io.BytesIO(archive.read(name)))
            for name in archive.namelist()
            if name.endswith(".npy")
        }
        whole = archive.read(_ESTIMATOR) if _ESTIMATOR in archive.namelist() else None
        return description, arrays, whole


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except HeadError:
        raise
    except FileNotFoundError as error:
        raise HeadError(
            f"there is no head at {path}", hint="`bottleneck train` writes one."
        ) from error
    except OSError as error:
        raise HeadError(f"cannot read the head {path}: {error.strerror or error}") from error
    except _DAMAGE as error:
        raise HeadError(
            f"{path} is not a head, or is damaged: {type(error).__name__}: {error}",
            hint="Copy it again, or train it again with `bottleneck train`.",
        ) from error


def _not_a_head(path: Path) -> HeadError:
    return HeadError(
        f"expected a head written by `bottleneck train`, got another kind of file: {path}"
    )


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)


def _add_array(archive: zipfile.ZipFile, name: str, array: Any) -> None:
    """Write an array as NumPy does; rows that lie in a file some thousand at a time."""
    if isinstance(array, np.ndarray):
        member = io.BytesIO()
        np.save(member, np.ascontiguousarray(array), allow_pickle=False)
        _add(archive, f"{name}.npy", member.getvalue())
        return
    entry = zipfile.ZipInfo(f"{name}.npy", _DATE)
    entry.external_attr = 0o644 << 16
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    with archive.open(entry, "w", force_zip64=True) as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        scratch: dict[str, NDArray[Any]] = {}
        for start in range(0, array.shape[0], BLOCK_ROWS):
            stop = min(start + BLOCK_ROWS, array.shape[0])
            stream.write(np.ascontiguousarray(array.read(start, stop, scratch)).tobytes())


def damaged(path: Path, what: str) -> HeadError:
    """Return the error for a head's file that contradicts itself."""
    return HeadError(f"the head {path} is damaged: {what}", hint="Train it again.")
