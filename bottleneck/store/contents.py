"""What our own file holds, read through HDF5: attributes, manifest, and where its rows are."""

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import BottleneckError, DamagedStoreError, StoreError
from bottleneck.exhaustion import raise_if_exhausted
from bottleneck.manifest import Manifest
from bottleneck.packed import PackedStrings
from bottleneck.recipe import Recipe
from bottleneck.store.format import (
    CRC32,
    DIGEST,
    FEATURES,
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    STATUS,
    TARGETS_SHA256,
    Extent,
    Layout,
    NotLiveError,
    read_layout,
)
from bottleneck.targets import Targets


@contextlib.contextmanager
def damage_explained(path: Path) -> Iterator[None]:
    """Turn whatever comes of reading metadata that does not hold together into a StoreError.

    What a flipped bit makes of HDF5's objects is of every kind: a dataset where a group was, a
    type of no meaning, a shape beyond all memory.
    """
    try:
        yield
    except BottleneckError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise_if_exhausted(error)
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> DamagedStoreError:
    """Make the error for a file whose inside does not hold together."""
    return DamagedStoreError(
        f"{path} is damaged: {str(error) or type(error).__name__}",
        hint="`bottleneck rescue` saves its sound rows; or restore it from a copy.",
    )


Selection = int | np.integer[Any] | slice | NDArray[np.integer[Any]] | NDArray[np.bool_]

_BLOCK_BYTES = 4 << 20
"""Bytes read at once when rows are picked: a few chunks, so that each is unpacked once."""


class Array2D(Protocol):
    """What features are: a memory map, or something that is read like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and length."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, selection: Any, /) -> Any: ...


class LazyRows(ABC):
    """Rows that are read when they are asked for, like an array of all of them.

    A subclass sets ``shape`` and ``dtype``, and reads runs of rows and picked rows.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)

    def __getitem__(self, selection: Selection) -> NDArray[Any]:
        """Return rows as a new array: by number, by slice, by row numbers or by mask."""
        if isinstance(selection, int | np.integer):
            row = range(len(self))[selection]
            return np.asarray(self._run(row, row + 1)[0])
        if isinstance(selection, slice) and selection.step in (None, 1):
            start, stop, _ = selection.indices(len(self))
            return self._run(start, max(start, stop))
        rows = np.asarray(selection)
        if isinstance(selection, slice) or rows.dtype == bool:
            return self._picked(np.arange(len(self))[selection])
        if len(rows) and rows.dtype.kind not in "iu":
            raise IndexError(f"expected row numbers or a mask, got {rows.dtype}")
        # Not all row numbers, where a few of very many are picked.
        wrong = rows[(rows < -len(self)) | (rows >= len(self))]
        if len(wrong):
            raise IndexError(f"expected rows below {len(self)}, got {wrong[0]}")
        return self._picked(np.where(rows < 0, rows + len(self), rows).astype(np.int64))

    @abstractmethod
    def _run(self, start: int, stop: int) -> NDArray[Any]:
        """Read rows that follow one another."""

    @abstractmethod
    def _picked(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read rows in any order, some perhaps twice."""


class DatasetRows(LazyRows):
    """A dataset of an HDF5 file, compressed or chunked in any way.

    Rows are read in slices and picked in memory; HDF5's own selection of single rows is some
    twenty times slower.

    Parameters
    ----------
    path : Path
        The file.
    dataset : str
        Name of the dataset in it, two-dimensional.
    """

    def __init__(self, path: Path, dataset: str) -> None:
        self._path = path
        self._name = dataset
        with h5py.File(path, "r") as file, damage_explained(path):
            self.shape = file[dataset].shape
            self.dtype = file[dataset].dtype

    def __repr__(self) -> str:
        return f"<DatasetRows {self._path}:{self._name} {self.shape} {self.dtype}>"

    def _run(self, start: int, stop: int) -> NDArray[Any]:
        with h5py.File(self._path, "r") as file, damage_explained(self._path):
            return np.asarray(file[self._name][start:stop])

    def _picked(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        with h5py.File(self._path, "r") as file, damage_explained(self._path):
            return self._pick(file[self._name], rows)

    def _pick(self, dataset: h5py.Dataset, rows: NDArray[np.int64]) -> NDArray[Any]:
        picked = np.empty((len(rows), *self.shape[1:]), self.dtype)
        row_bytes = max(1, self.dtype.itemsize * int(np.prod(self.shape[1:])))
        block = max(1, _BLOCK_BYTES // row_bytes)
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        if not len(rows):
            return picked
        for start in range(int(ordered[0]), int(ordered[-1]) + 1, block):
            low, high = np.searchsorted(ordered, (start, start + block))
            if low < high:
                # Only as far as rows are wanted.
                first, last = int(ordered[low]), int(ordered[high - 1])
                picked[order[low:high]] = dataset[first : last + 1][ordered[low:high] - first]
        return picked


class StackedRows(LazyRows):
    """Several arrays of equal length per row, one behind the other.

    Parameters
    ----------
    parts : sequence of ndarray, shape (n_i, dim)
        The arrays, usually memory maps.

    Raises
    ------
    StoreError
        When one has rows of another length: NumPy would repeat a single number.
    """

    def __init__(self, parts: Sequence[NDArray[Any]]) -> None:
        for number, part in enumerate(parts):
            if part.ndim != 2 or part.shape[1:] != parts[0].shape[1:] or part.dtype.kind != "f":
                raise StoreError(
                    f"expected parts of shape (rows, {', '.join(map(str, parts[0].shape[1:]))}) "
                    f"and a float type, got {part.dtype} {part.shape} in part {number}",
                    hint="All parts must come from one network.",
                )
        self._parts = tuple(parts)
        self._ends = np.cumsum([len(part) for part in parts])
        self.shape = (int(self._ends[-1]), *parts[0].shape[1:])
        self.dtype = np.result_type(*parts)

    def __repr__(self) -> str:
        return f"<StackedRows {self.shape} {self.dtype} in {len(self._parts)} parts>"

    def _run(self, start: int, stop: int) -> NDArray[Any]:
        return self._picked(np.arange(start, stop))

    def _picked(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        picked = np.empty((len(rows), *self.shape[1:]), self.dtype)
        which = np.searchsorted(self._ends, rows, side="right")
        for i, part in enumerate(self._parts):
            here = which == i
            if here.any():
                start = int(self._ends[i]) - len(part)
                picked[here] = part[rows[here] - start]
        return picked


_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Contents:
    """A set of features with everything that belongs to it, wherever it is kept.

    Parameters
    ----------
    path : Path
        What was opened.
    creator : str
        Program and version that made it.
    recipe : Recipe
        How the features were made, as far as it is known.
    identity_sha256, manifest_sha256 : str
        Fingerprints as stored.
    features : mapping of str to array, shape (n, dim)
        Features of each output.
    read_status : callable
        Row status: uint8, shape (n,). Of a file, the snapshot that was taken when it was opened.
    read_manifest : callable
        Reads the manifest, which may be large.
    read_digests : callable
        Reads the hash of every row's image: uint8, shape (n, 16).
    read_checksums : callable
        Reads the CRC-32 of every row of an output: uint32, shape (n,).
    layout : Layout or None
        Where the rows lie, if they can be written in place.
    why_read_only : str
        Why they cannot.
    foreign : bool
        Whether another program wrote it: there are no checksums then, and no failures.
    targets_sha256 : str
        Fingerprint of the targets as stored; empty where there are none.
    """

    path: Path
    creator: str
    recipe: Recipe
    identity_sha256: str
    manifest_sha256: str
    features: Mapping[str, Array2D]
    read_status: Callable[[], NDArray[np.uint8]]
    read_manifest: Callable[[], Manifest]
    read_digests: Callable[[], NDArray[np.uint8]]
    read_checksums: Callable[[str], NDArray[np.uint32]]
    layout: Layout | None
    why_read_only: str = ""
    foreign: bool = False
    targets_sha256: str = ""


def read_contents(path: Path) -> Contents:
    """Read a feature file of ours: live, or a compressed copy.

    Raises
    ------
    StoreError
        When there is no such file, it is no feature file, it is of a newer format version, or
        it is damaged.
    """
    with open_hdf5(path) as file, damage_explained(path):
        attributes = read_attributes(file, path)
        recipe = Recipe.from_json(attributes["recipe"])
        layout, why = _layout_if_live(file)
        features: dict[str, Array2D] = (
            {name: extent.map(path) for name, extent in layout.features.items()}
            if layout
            else {name: DatasetRows(path, f"{FEATURES}/{name}") for name in file[FEATURES]}
        )
        status = np.array(layout.status.map(path)) if layout else file[STATUS][()]
        opened = os.fstat(file.id.get_vfd_handle())

    def of_this_file(value: _T) -> _T:
        """Pass on what was read by name, if the name still is that of the file we opened."""
        try:
            same = os.path.samestat(path.stat(), opened)
        except OSError:
            same = False
        if not same:
            raise StoreError(
                f"{path} was replaced or removed since it was opened", hint="Open it again."
            )
        return value

    return Contents(
        path=path,
        creator=attributes["creator"],
        recipe=recipe,
        identity_sha256=attributes["identity_sha256"],
        manifest_sha256=attributes["manifest_sha256"],
        features=of_this_file(features),
        read_status=lambda: status,
        read_manifest=lambda: of_this_file(read_manifest(path)),
        read_digests=lambda: of_this_file(
            _read_column(path, DIGEST, layout.digest if layout else None)
        ),
        read_checksums=lambda output: of_this_file(
            _read_column(path, f"{CRC32}/{output}", layout.crc32[output] if layout else None)
        ),
        layout=layout,
        why_read_only=why,
        targets_sha256=attributes.get(TARGETS_SHA256, ""),
    )


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of a feature file.

    Raises
    ------
    StoreError
        When it is damaged.
    """
    with open_hdf5(path) as file, damage_explained(path):
        return manifest_in(file)


def manifest_in(file: h5py.File) -> Manifest:
    """Read the manifest of an open feature file."""
    group = file[MANIFEST]
    return Manifest(
        keys=_read_strings(group, "key"),
        labels=group["label"][()],
        classes=tuple(_read_strings(group, "class")),
        splits=group["split"][()],
        groups=group["group"][()],
        group_names=_read_strings(group, "group_name"),
        targets=_read_targets(group),
    )


def _read_targets(group: h5py.Group) -> Targets:
    if "target_number" not in group:
        return Targets()
    return Targets(
        tuple(_read_strings(group, "target_number_name")),
        tuple(_read_strings(group, "target_flag_name")),
        group["target_number"][()],
        group["target_flag"][()],
    )


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading, or say what it is instead.

    Raises
    ------
    StoreError
    """
    try:
        # No chunk cache: while a writer is at work a cached chunk would be stale.
        return h5py.File(path, "r", rdcc_nbytes=0)
    except FileNotFoundError as error:
        raise StoreError(f"there is no file {path}") from error
    except OSError as error:
        if path.is_dir():
            raise StoreError(f"expected a feature file, got the folder {path}") from error
        if isinstance(error, PermissionError):
            raise StoreError(f"cannot read {path}: {error.strerror}") from error
        if isinstance(error, BlockingIOError):
            raise StoreError(f"{path} is open for writing in another program") from error
        raise_if_exhausted(error)
        raise DamagedStoreError(
            f"{path} is not a readable HDF5 file: {error}",
            hint="If it was a feature file, `bottleneck rescue` may save its rows.",
        ) from error


def _layout_if_live(file: h5py.File) -> tuple[Layout | None, str]:
    try:
        return read_layout(file), ""
    except NotLiveError as error:
        return None, error.message


def _read_column(path: Path, name: str, extent: Extent | None) -> NDArray[Any]:
    with damage_explained(path):
        return extent.map(path) if extent else np.asarray(DatasetRows(path, name))


def read_attributes(file: h5py.File, path: Path) -> dict[str, Any]:
    """Read the attributes of a feature file of this format version.

    Raises
    ------
    StoreError
        When it is something else, of another version, or damaged.
    """
    with damage_explained(path):
        attributes = {
            name: value.decode("utf-8") if isinstance(value, bytes) else value
            for name, value in file.attrs.items()
        }
    if attributes.get("format") != FORMAT:
        raise StoreError(
            f"expected a feature file (attribute format = {FORMAT!r}), "
            f"got {attributes.get('format', 'no such attribute')!r} in {path}",
            hint="Features of other programs are found in a dataset called features, feats or "
            "embeddings; others in Python: FeatureStore.open(path, features='name').",
        )
    with damage_explained(path):
        version = int(attributes["format_version"])
    if version != FORMAT_VERSION:
        raise StoreError(
            f"{path} has format version {version}, this program reads {FORMAT_VERSION}",
            hint="Update the package: pip install --upgrade bottleneck-features",
        )
    missing = {"creator", "recipe", "identity_sha256", "manifest_sha256"} - attributes.keys()
    if missing:
        raise damaged(path, KeyError(", ".join(sorted(missing))))
    return attributes


def _read_strings(group: h5py.Group, name: str) -> PackedStrings:
    strings = PackedStrings(group[f"{name}_bytes"][()], group[f"{name}_offsets"][()])
    ends = strings.offsets
    whole = len(ends) and ends[0] == 0 and ends[-1] == len(strings.blob)
    if not whole or np.any(ends[1:] < ends[:-1]):
        raise ValueError(f"the offsets of {group.name}/{name} do not fit its bytes")
    return strings
