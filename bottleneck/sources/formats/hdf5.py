"""Pixel arrays in HDF5 files."""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ImageError, SourceError
from bottleneck.exhaustion import raise_if_exhausted
from bottleneck.location import is_url
from bottleneck.sources.arrays import (
    ArraySource,
    LabelledArray,
    choose_images,
    is_called_images,
    labels_beside,
    open_arrays,
    unused_arrays,
)
from bottleneck.sources.layout import split_of_name
from bottleneck.sources.random_access import Blob, BlobFile
from bottleneck.sources.shards import Shard
from bottleneck.status import RowStatus

_CHUNK_CACHE = 32 << 20
"""Bytes of unpacked chunks kept per file: neighbours of an image are often in its chunk."""


class Hdf5File:
    """A file that is opened when it is needed, once per process.

    Parameters
    ----------
    blob : Blob
        Its bytes.
    """

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._prepare()

    def __repr__(self) -> str:
        return f"<Hdf5File {self._blob.name}>"

    def __getstate__(self) -> dict[str, Any]:
        return {"_blob": self._blob}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()

    def _prepare(self) -> None:
        self._lock = threading.Lock()
        self._opened: tuple[int, Any] | None = None

    @property
    def name(self) -> str:
        """Path or URL."""
        return self._blob.name

    def row(self, dataset: str, row: int) -> NDArray[Any]:
        """Return a row of a dataset.

        Raises
        ------
        ImageError
            ``MISSING`` or ``UNREADABLE``.
        """
        with self._lock:
            self._blob.check()
            try:
                return np.asarray(self._open()[dataset][row])
            except (OSError, KeyError, ValueError) as error:
                raise_if_exhausted(error)
                self._blob.read(0, 1)  # raises when there is no file any more
                raise ImageError(
                    RowStatus.UNREADABLE, f"{self.name}::{dataset}, row {row}: {error}"
                ) from error

    def load(self, dataset: str) -> NDArray[Any]:
        """Return a whole dataset.

        Raises
        ------
        SourceError
            When it cannot be read: damaged, or packed by a filter that is not installed.
        """
        with self._lock:
            try:
                return np.asarray(self._open()[dataset][()])
            except OSError as error:
                raise SourceError(
                    f"{self.name}::{dataset} cannot be read: {error}",
                    hint="If a filter is missing: pip install hdf5plugin, or h5repack the file.",
                ) from error
            finally:
                self._close()

    def datasets(self) -> tuple[dict[str, tuple[tuple[int, ...], np.dtype[Any]]], list[str]]:
        """Return shape and type of each dataset, and the names of links that lead nowhere.

        Raises
        ------
        SourceError
            When HDF5 cannot open the file, or it holds features and no images.
        """
        found: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        lost: list[str] = []
        with self._lock:
            try:
                file = self._open()
                if "recipe" in file.attrs and "features" in file:
                    raise SourceError(
                        f"{self.name} is a feature file, expected images",
                        hint="bottleneck info shows what it is; train and export read it.",
                    )
                for name, item in _datasets(file):
                    if item is None:
                        lost.append(name)
                    elif item.shape is not None:
                        found[name] = (item.shape, item.dtype)
                self._close()  # opened again by the one who reads
            except SourceError:
                self._close()
                raise
            except OSError as error:
                raise SourceError(f"{self.name} is not a readable HDF5 file: {error}") from error
        return found, lost

    def distinct(self, names: Sequence[str]) -> list[str]:
        """Return the first name of each dataset: links give it several.

        Raises
        ------
        SourceError
            When one is put together from files of which one is missing: HDF5 would give zeros.
        """
        found: dict[tuple[int, int], str] = {}
        with self._lock:
            for name in names:
                dataset = self._open()[name]
                for path in _parts(dataset):
                    if not Path(self.name).parent.joinpath(path).exists() and path != ".":
                        self._close()
                        raise SourceError(
                            f"{self.name}::{name} is put together from several files, and there "
                            f"is no {path}",
                            hint="Put it beside; HDF5 would give zeros for its images.",
                        )
                info = h5py.h5o.get_info(dataset.id)
                found.setdefault((info.fileno, info.addr), name)
            self._close()
        return list(found.values())

    def stamp(self) -> str:
        """Return the stamp of the file."""
        return self._blob.stamp()

    def _close(self) -> None:
        if self._opened is not None:
            self._opened[1].close()
        self._opened = None

    def _open(self) -> Any:
        # A handle of HDF5 does not survive a fork.
        if self._opened is None or self._opened[0] != os.getpid():
            place = BlobFile(self._blob) if is_url(self.name) else self.name
            self._opened = (os.getpid(), h5py.File(place, "r", rdcc_nbytes=_CHUNK_CACHE))
        return self._opened[1]


def _parts(dataset: Any) -> set[str]:
    """Return the files that a virtual dataset is put together from."""
    return {part.file_name for part in dataset.virtual_sources()} if dataset.is_virtual else set()


def _datasets(group: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield names and datasets as they can be called: through links too, of any kind.

    For a link that leads nowhere there is None.

    ``visititems`` of h5py passes over soft and external links.
    """
    for name in group:
        try:
            item = group[name]
        except (KeyError, OSError):
            yield name, None
            continue
        if isinstance(item, h5py.Dataset):
            yield name, item
        elif isinstance(item, h5py.Group) and item not in (group, *above):
            for inner, dataset in _datasets(item, (group, *above)):
                yield f"{name}/{inner}", dataset


class PixelDataset:
    """A dataset of which single rows are read; see :class:`bottleneck.sources.arrays.PixelRows`."""

    def __init__(
        self, file: Hdf5File, dataset: str, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.name = f"{file.name}::{dataset}"
        self.shape = shape
        self.dtype = dtype
        self._file = file
        self._dataset = dataset

    def read(self, row: int) -> NDArray[Any]:
        """Return a row in the machine's byte order."""
        pixels = self._file.row(self._dataset, row)
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)

    def load(self) -> NDArray[Any]:
        """Return the whole dataset."""
        return self._file.load(self._dataset)

    def stamp(self) -> str:
        """Return the stamp of the file."""
        return self._file.stamp()


def open_hdf5(name: str, shards: Sequence[Shard], part: str = "") -> ArraySource:
    """Open the datasets of images in HDF5 files, with the labels that are beside them.

    Parameters
    ----------
    name : str
        What was given.
    shards : sequence of Shard
        The files.
    part : str
        ``IMAGES`` or ``IMAGES,LABELS``: names of datasets, where they do not tell.

    Raises
    ------
    SourceError
        When a file cannot be opened, or has no dataset of pixels.
    ManifestError
        When the labels do not fit.
    """
    found = []
    unused: list[str] = []
    for shard in shards:
        file = Hdf5File(shard.blob)
        datasets, lost = file.datasets()
        images, _, labels = part.partition(",")
        for wanted in filter(None, (images, labels)):
            if wanted not in datasets:
                raise SourceError(
                    f"{file.name} has no dataset {wanted!r}",
                    hint=f"It has: {', '.join(datasets) or 'none'}",
                )
        if not images:
            _refuse_lost(file.name, lost, datasets)
        chosen = file.distinct([images] if images else choose_images(datasets, file.name))
        pairs = {key: labels or labels_beside(key, datasets) for key in chosen}
        unused += unused_arrays(datasets, [*pairs, *pairs.values()])
        for key, beside in pairs.items():
            found.append(
                LabelledArray(
                    images=PixelDataset(file, key, *datasets[key]),
                    labels=PixelDataset(file, beside, *datasets[beside]) if beside else None,
                    prefix=f"{shard.prefix}{key}/",
                    split=split_of_name(key) or shard.split,
                    classes=_enum_names(datasets[beside][1]) if beside else {},
                )
            )
    return open_arrays(name, found, unused)


def _enum_names(dtype: np.dtype[Any]) -> dict[str, str]:
    """Return the names that an HDF5 enumeration has for its numbers; none for other types."""
    return {str(value): name for name, value in (h5py.check_enum_dtype(dtype) or {}).items()}


def _refuse_lost(
    file: str, lost: Sequence[str], datasets: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]
) -> None:
    """Refuse a file whose images or labels are links that lead nowhere."""
    meant = next((one for one in lost if is_called_images(one)), None)
    meant = meant or next(filter(None, (labels_beside(key, lost) for key in datasets)), None)
    if meant:
        raise SourceError(
            f"{file}: {meant!r} is a link to what is not there",
            hint="Put the file that it leads to where it was, or name the arrays that are meant: "
            f"{file}::IMAGES,LABELS",
        )
