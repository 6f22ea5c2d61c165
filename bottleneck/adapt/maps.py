"""What the frozen part of a network gives for every image and view, once or in every epoch.

Layers that are not trained give the same in every epoch. Where the disk has room, they are computed
once for each view, in batches that do not depend on the order of training; where it has not, they
are computed again as the images stream by. Either way the same numbers come in the same order
after a restart.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.decode import Failure, Job, decode_stream, open_decoder
from bottleneck.decode.slot import Want
from bottleneck.images import Geometry
from bottleneck.progress import Progress
from bottleneck.sources import Source
from bottleneck.status import RowStatus

BATCH: Final = 32
"""Images of a forward pass through the frozen part."""

MOST_BYTES: Final = 16 << 30
"""Of maps on disk, and at most half of what is free there."""

Lower = Callable[[NDArray[np.uint8]], NDArray[Any]]
"""From pixels to what the frozen part gives; pixels themselves where nothing is frozen."""


class Maps:
    """Maps of the images of a source, by row and view.

    Parameters
    ----------
    source : Source
    geometry : Geometry
        How images become pixels.
    lower : callable
        The frozen part.
    shape, dtype : tuple of int, dtype
        Of one map.
    views : int
        Views of each image; 0 is the plain one.
    workers : int
        Decode workers.
    folder : Path
        Where maps are kept meanwhile, and what is made of them; made here, removed by
        :meth:`close`.
    progress : Progress
    failed : dict, optional
        Rows that failed before, with the reason; those that fail here are added.
    """

    def __init__(
        self,
        source: Source,
        geometry: Geometry,
        lower: Lower,
        shape: tuple[int, ...],
        dtype: Any,
        *,
        views: int,
        workers: int,
        folder: Path,
        progress: Progress,
        failed: dict[int, str] | None = None,
    ) -> None:
        self._source, self._geometry, self._lower = source, geometry, lower
        self._shape, self._dtype = tuple(shape), np.dtype(dtype)
        self._views, self._workers, self.folder = views, workers, folder
        self._progress = progress
        self._kept: dict[int, NDArray[Any]] = {}
        self._done: dict[int, NDArray[np.bool_]] = {}
        self.failed: dict[int, str] = {} if failed is None else failed
        each = int(np.prod(self._shape)) * self._dtype.itemsize
        folder.mkdir(parents=True, exist_ok=True)
        room = min(MOST_BYTES, shutil.disk_usage(folder).free // 2)
        self.stored = each * len(source) * views <= room

    def __repr__(self) -> str:
        where = "stored" if self.stored else "streamed"
        return f"<Maps {self._shape} of {len(self._source)} images, {where}>"

    def batches(
        self, rows: NDArray[np.int64], view: int, size: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """Yield rows and their maps, so many at a time, in the order given.

        Images that cannot be decoded are missing; :attr:`failed` says why. Within a batch rows
        ascend.
        """
        parts = [np.sort(rows[start : start + size]) for start in range(0, len(rows), size)]
        if not self.stored:
            yield from self._streamed(parts, view, size)
            return
        self._store(rows, view)
        kept = self._kept[view]
        for part in parts:
            good = part[[int(row) not in self.failed for row in part]]
            if len(good):
                yield good, np.asarray(kept[good])

    def close(self) -> None:
        """Remove what was kept."""
        self._kept.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _store(self, rows: NDArray[np.int64], view: int) -> None:
        """Compute the maps of a view that are not there yet, in ascending order."""
        if view not in self._kept:
            path = self.folder / f"view{view}.maps"
            # Sparse: rows that are never asked for take no room.
            self._kept[view] = np.memmap(
                path, self._dtype, "w+", shape=(len(self._source), *self._shape)
            )
            self._done[view] = np.zeros(len(self._source), bool)
        done = self._done[view]
        wanted = np.sort(rows)
        missing = wanted[~done[wanted]]
        parts = [missing[start : start + BATCH] for start in range(0, len(missing), BATCH)]
        count = 0
        for good, maps in self._streamed(parts, view, BATCH):
            self._kept[view][good] = maps
            count += len(good)
            self._progress.working(f"view {view}: {count} of {len(missing)} images")
        done[missing] = True

    def _streamed(
        self, parts: Sequence[NDArray[np.int64]], view: int, size: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        if not parts:
            return
        decoder = open_decoder(self._source, workers=self._workers)
        job = Job((self._geometry,), (Want(0),), size, self._views)
        wanted = ((part * self._views + view, np.ones(len(part), np.uint32)) for part in parts)
        with closing(decode_stream(decoder, job, wanted)) as slots:
            for slot in slots:
                self._note(slot.failures())
                good = slot.status[: slot.count] == RowStatus.DONE
                rows = slot.rows[: slot.count][good] // self._views
                if len(rows):
                    yield rows, self._lower(slot.images(0).copy())

    def _note(self, failures: Iterator[tuple[int, Failure]]) -> None:
        for _, failure in failures:
            row = failure.row // self._views
            if row not in self.failed:
                self.failed[row] = f"{failure.status.label}: {failure.message}"
