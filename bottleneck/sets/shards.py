"""The shards of a set, each opened when it is asked for: on the disk, or by blocks."""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import DamagedStoreError, StoreError
from bottleneck.manifest import Manifest
from bottleneck.recipe import Recipe
from bottleneck.sets.blocks import CachedFile
from bottleneck.sets.cache import BlockCache, shared_cache
from bottleneck.sets.description import SetInfo, published
from bottleneck.sets.parts import read_part
from bottleneck.sets.place import Place
from bottleneck.store import FeatureStore
from bottleneck.store.contents import (
    Contents,
    LazyRows,
    damage_explained,
    manifest_in,
    read_attributes,
)
from bottleneck.store.format import TARGETS_SHA256, Extent, read_layout

_MOST_OPEN: Final = 128
"""Shards kept open: each costs a mapping of its file."""

_MOVE_DAMAGED: Final = "Move it away and run extract --set again: its range is computed anew."

_MOVE: Final = "It is no shard of this set: move it away, and run extract --set again."


class Shards:
    """The shards of a set as they were listed: those published later are not seen.

    Parameters
    ----------
    place : Place
        Where the set is.
    info : SetInfo
        What it is.
    """

    def __init__(self, place: Place, info: SetInfo) -> None:
        self.place = place
        self.info = info
        self.newest = published(place, info)
        self._open: OrderedDict[int, FeatureStore] = OrderedDict()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Shards {self.place.name} {len(self.newest)} of {self.info.n_ranges}>"

    def __len__(self) -> int:
        return self.info.n_ranges

    def __reduce__(self) -> tuple[Any, ...]:
        # Listed again where it arrives; shards that are open stay behind.
        return (Shards, (self.place, self.info))

    def store(self, number: int) -> FeatureStore | None:
        """Open the newest shard of a range; None where there is none yet.

        Raises
        ------
        StoreError
            When it is damaged, or of another recipe or of other rows.
        """
        version = self.newest.get(number)
        if version is None:
            return None
        with self._lock:
            if number in self._open:
                self._open.move_to_end(number)
                return self._open[number]
        opened = self.fresh(number, shared_cache())
        with self._lock:
            self._open[number] = opened
            while len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        return opened

    def manifest(self, number: int) -> Manifest:
        """Read the manifest of a range, whether it has a shard or not."""
        return read_part(self.place, self.info, number)[0]

    def fresh(self, number: int, cache: BlockCache) -> FeatureStore:
        """Open the newest shard of a range that has one, anew.

        Parameters
        ----------
        number : int
            The range.
        cache : BlockCache
            Where blocks of it are kept, if it is behind a URL.

        Raises
        ------
        StoreError
            See :meth:`store`.
        """
        name = self.info.shard(number, self.newest[number])
        path, url = self.place.local(name), f"{self.place.name}/{name}"
        try:
            if path is not None:
                opened = FeatureStore.open(path)
            else:
                file = CachedFile(self.place, name, cache, self.info.id)
                opened = FeatureStore(_remote_contents(file, url), {}, url)
        except DamagedStoreError as error:
            raise StoreError(error.message, hint=_MOVE_DAMAGED) from error
        require_of_set(opened, self.info, number)
        return opened


def require_of_set(store: FeatureStore, info: SetInfo, number: int) -> None:
    """Refuse a shard that is not of these rows, this recipe, this type or these images.

    Raises
    ------
    RecipeMismatchError, StoreError
    """
    start, stop = info.range(number)
    info.recipe.require_same_identity(
        store.recipe, ours="the set", theirs=store.location, hint="Move the shard away."
    )
    found = (len(store), store.outputs, store.dtype.name)
    if found != (stop - start, dict(info.outputs), info.dtype):
        raise StoreError(
            f"expected {stop - start} rows of {dict(info.outputs)} {info.dtype} in "
            f"{store.location}, "
            f"got {found[0]} of {found[1]} {found[2]}",
            hint=_MOVE,
        )
    # The fingerprint of a part is that of its manifest, and then that of its targets.
    if not info.parts[number].startswith(store.manifest_sha256):
        raise StoreError(
            f"expected the images of rows {start} to {stop - 1} of the set in {store.location}, "
            "got "
            f"others (manifest {store.manifest_sha256[:8]}, expected {info.parts[number][:8]})",
            hint=_MOVE,
        )


class _RemoteRows(LazyRows):
    """Rows of an extent of a file behind a URL, read like an array."""

    def __init__(self, file: CachedFile, extent: Extent) -> None:
        self._file, self._extent = file, extent
        self.shape = (extent.n_rows, *extent.row_shape)
        self.dtype = extent.dtype

    def __repr__(self) -> str:
        return f"<RemoteRows {self._file!r} {self.shape} {self.dtype}>"

    def _picked(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        picked = np.empty((len(rows), *self.shape[1:]), self.dtype)
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        # Runs of neighbours, so that each block is read about once.
        cuts = np.flatnonzero(np.diff(ordered) > 1) + 1
        for part in np.split(np.arange(len(ordered)), cuts) if len(ordered) else ():
            first, last = int(ordered[part[0]]), int(ordered[part[-1]])
            picked[order[part]] = self._run(first, last + 1)[ordered[part] - first]
        return picked

    def _run(self, start: int, stop: int) -> NDArray[Any]:
        size = self._extent.row_bytes
        data = self._file.read_at(self._extent.offset + start * size, (stop - start) * size)
        return np.frombuffer(data, self.dtype).reshape((stop - start, *self.shape[1:]))


def _remote_contents(file: CachedFile, url: str) -> Contents:
    """Read what a shard behind a URL holds; its rows are fetched when they are read."""
    path = Path(url)
    with damage_explained(path), h5py.File(file, "r") as opened:
        attributes = read_attributes(opened, path)
        layout = read_layout(opened, file.size)
    return Contents(
        path=path,
        creator=attributes["creator"],
        recipe=Recipe.from_json(attributes["recipe"]),
        identity_sha256=attributes["identity_sha256"],
        manifest_sha256=attributes["manifest_sha256"],
        features={name: _RemoteRows(file, extent) for name, extent in layout.features.items()},
        read_status=lambda: _RemoteRows(file, layout.status)[:],
        read_manifest=lambda: _manifest_of(file, path),
        read_digests=lambda: _RemoteRows(file, layout.digest)[:],
        read_checksums=lambda output: _RemoteRows(file, layout.crc32[output])[:],
        layout=None,
        why_read_only="it is in an object store",
        targets_sha256=attributes.get(TARGETS_SHA256, ""),
    )


def _manifest_of(file: CachedFile, path: Path) -> Manifest:
    with damage_explained(path), h5py.File(file, "r") as opened:
        return manifest_in(opened)
