"""The head's file: a zip of ``head.json`` for people and ``estimator.skops`` for scikit-learn.

No pickle anywhere: skops rebuilds an estimator from a description and arrays, and only from
types it trusts.
"""

import io
import json
import os
import secrets
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bottleneck.errors import HeadError

FORMAT = "bottleneck-head"
VERSION = 1
"""Raised when a reader of the current version would misread or refuse the file."""

_DESCRIPTION = "head.json"
_ESTIMATOR = "estimator.skops"

# The earliest date a zip can hold: the same head gives the same bytes on every day.
_DATE = (1980, 1, 1, 0, 0, 0)

# What zipfile, json and skops raise for content that is not theirs.
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


def write_head(path: Path, description: Mapping[str, Any], estimator: Any) -> None:
    """Write a head's file atomically: the name holds the old file or the whole new one.

    Parameters
    ----------
    path : Path
        Where to; an existing file is replaced.
    description : mapping
        JSON values; ``format`` and ``version`` are added.
    estimator : object
        A fitted scikit-learn estimator.

    Raises
    ------
    HeadError
        When the folder cannot be written to, or skops cannot describe the estimator.
    """
    import skops.io

    header = {"format": FORMAT, "version": VERSION, **description}
    text = json.dumps(header, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        body = _renumber(skops.io.dumps(estimator))
    except TypeError as error:
        raise HeadError(f"cannot save {type(estimator).__name__}: {error}") from error
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        _add(archive, _DESCRIPTION, text.encode("utf-8", "surrogateescape"))
        _add(archive, _ESTIMATOR, body)
    try:
        _replace(path, buffer.getvalue())
    except OSError as error:
        raise HeadError(
            f"cannot write the head to {path}: {error.strerror or error}",
            hint="The folder must exist and be writable.",
        ) from error


def read_head(path: Path) -> tuple[dict[str, Any], Any]:
    """Read what :func:`write_head` wrote: the description and the estimator.

    Raises
    ------
    HeadError
        For a file that is missing, damaged, not a head, of a newer format, or that holds
        types which are not trusted; those are named and not loaded.
    """
    with _explained(path), zipfile.ZipFile(path) as archive:
        if _DESCRIPTION not in archive.namelist():
            raise _not_a_head(path)
        description = json.loads(archive.read(_DESCRIPTION).decode("utf-8", "surrogateescape"))
        if not isinstance(description, dict) or description.get("format") != FORMAT:
            raise _not_a_head(path)
        version = description.get("version")
        if version != VERSION:
            raise HeadError(
                f"expected a head of format version {VERSION}, got {version!r} in {path}",
                hint="Update the package: pip install --upgrade bottleneck-features",
            )
        return description, _load_estimator(archive.read(_ESTIMATOR), path)


def _load_estimator(body: bytes, path: Path) -> Any:
    import skops.io
    from sklearn.exceptions import InconsistentVersionWarning

    untrusted = skops.io.get_untrusted_types(data=body)
    if untrusted:
        raise HeadError(
            f"{path} holds types that are not trusted and were not loaded: {', '.join(untrusted)}",
            hint="A head trained by this package never does; do not use this file.",
        )
    with warnings.catch_warnings():
        # The versions are in the description; Head says so when they differ.
        warnings.simplefilter("ignore", InconsistentVersionWarning)
        return skops.io.loads(body)


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


def _renumber(body: bytes) -> bytes:
    """Replace the memory addresses in skops's bytes by running numbers.

    skops names objects and their arrays by ``id()``, which differs from process to process.
    """
    numbers: dict[int, int] = {}
    names: dict[str, str] = {}

    def walk(node: Any) -> Any:
        if isinstance(node, list):
            return [walk(child) for child in node]
        if not isinstance(node, dict):
            return node
        renamed = {key: walk(child) for key, child in node.items()}
        if isinstance(node.get("__id__"), int):
            renamed["__id__"] = numbers.setdefault(node["__id__"], len(numbers) + 1)
        if node.get("file") in members:
            renamed["file"] = names.setdefault(node["file"], f"{len(names) + 1}.npy")
        return renamed

    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(body)) as source, zipfile.ZipFile(buffer, "w") as target:
        members = {name for name in source.namelist() if name.endswith(".npy")}
        schema = walk(json.loads(source.read("schema.json")))
        for old, new in names.items():
            _add(target, new, source.read(old))
        for name in source.namelist():
            if name not in names and name != "schema.json":
                _add(target, name, source.read(name))
        _add(target, "schema.json", json.dumps(schema, indent=1).encode())
    return buffer.getvalue()


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
