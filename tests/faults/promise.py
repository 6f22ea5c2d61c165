"""The promise, checked: the file opens, done rows are right, what was told is not lost."""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from faults.shim import Call, Op
from faults.world import Truth, World

from bottleneck.errors import BottleneckError
from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore


class Promise:
    """What must hold for a feature file of a world at every moment."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._truths = [world.truth(0), world.truth(1)]
        self._changing = np.array([world.changes(row) for row in range(world.rows)])

    def told(self, calls: Sequence[Call], before: Path) -> np.ndarray | None:
        """Which rows somebody was told to be finished: bool (rows,), None before the file was.

        Parameters
        ----------
        calls : sequence of Call
            The log so far; its notes say which jobs began, and what was told when.
        before : Path
            The file as it was at first, if it was there.
        """
        told = None
        if before.exists():
            with h5py.File(before) as file:
                told = file["status"][()] > 0
        for call in calls:
            if call.op != Op.NOTE:
                continue
            kind, content = call.data[:1], call.data[1:]
            if kind == b"S":
                flagged = np.frombuffer(content, np.uint8) > 0
                told = flagged if told is None else told | flagged
            elif told is not None and content == b"refresh":
                told = told & ~self._changing  # these may be taken back
            elif told is not None and content == b"replace":
                told = np.zeros_like(told)
        return told

    def broken(
        self,
        path: Path,
        *,
        told: np.ndarray | None = None,
        versions: Sequence[int] = (0,),
        complete: bool = False,
        live: bool = False,
    ) -> list[str]:
        """List every way in which a file breaks the promise.

        Parameters
        ----------
        path : Path
            The feature file.
        told : ndarray of bool, shape (rows,), optional
            Rows that must be flagged; None if the file need not exist.
        versions : sequence of int
            Versions of the images that a row may show.
        complete : bool
            Whether all rows must be flagged.
        live : bool
            Whether a writer is at work, so that two looks may differ.
        """
        if not path.exists():
            return [] if told is None and not complete else ["the file is gone"]
        try:
            read = _read_plainly(path, self._truths[0])
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            return [f"plain h5py cannot read it: {type(error).__name__}: {error}"]
        try:
            store = FeatureStore.open(path)
            manifest = store.manifest
        except BottleneckError as error:
            return [f"FeatureStore cannot read it: {error}"]
        problems = []
        if manifest.sha256 != self._world.manifest.sha256:
            problems.append("the manifest is another one")
        seen = Truth(
            status=store.status,
            features={name: np.asarray(store.features(name)) for name in store.outputs},
            crc32={name: np.asarray(store.checksums(name)) for name in store.outputs},
            digest=np.asarray(store.digests),
        )
        if not live and not _same(seen, read):
            problems.append("FeatureStore and h5py read other values")
        flagged = read.status > 0
        for reader, found in {"h5py": read, "FeatureStore": seen}.items():
            right = np.zeros(len(store), bool)
            for version in versions:
                right |= self._agrees(found, self._truths[version])
            wrong = np.flatnonzero((found.status > 0) & ~right)
            if len(wrong):
                problems.append(f"rows {wrong.tolist()} are flagged and wrong ({reader})")
        expected = np.ones_like(flagged) if complete else told
        if expected is not None:
            lost = np.flatnonzero(expected & ~flagged)
            if len(lost):
                problems.append(f"rows {lost.tolist()} are lost")
        return problems

    @staticmethod
    def _agrees(read: Truth, truth: Truth) -> np.ndarray:
        same = np.all(read.digest == truth.digest, axis=1)
        for name, block in truth.features.items():
            same &= np.all(read.features[name] == block, axis=1)
            same &= read.crc32[name] == truth.crc32[name]
        failed = truth.status != RowStatus.DONE
        agrees: np.ndarray = (read.status == truth.status) & (same | failed)
        return agrees


def _same(one: Truth, other: Truth) -> bool:
    return (
        np.array_equal(one.status, other.status)
        and np.array_equal(one.digest, other.digest)
        and all(np.array_equal(block, other.features[n]) for n, block in one.features.items())
        and all(np.array_equal(block, other.crc32[n]) for n, block in one.crc32.items())
    )


def _read_plainly(path: Path, like: Truth) -> Truth:
    with h5py.File(path, "r", rdcc_nbytes=0) as file:  # the status first: a writer may be at work
        return Truth(
            status=file["status"][()],
            features={name: file["features"][name][()] for name in like.features},
            crc32={name: file["crc32"][name][()] for name in like.crc32},
            digest=file["digest"][()],
        )
