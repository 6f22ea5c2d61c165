"""Check a feature file against its own checksums, and set bad rows to be computed again."""

import contextlib
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import StoreError
from bottleneck.location import readable
from bottleneck.status import RowStatus
from bottleneck.store import system
from bottleneck.store.reader import FeatureStore
from bottleneck.store.writer import Writer, settle

_BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class VerifyReport:
    """What was found.

    Parameters
    ----------
    path : str
        The file.
    rows : int
        Rows of the file.
    checked : int
        Finished rows whose checksums were compared.
    bad_rows : tuple of int
        Rows that are not what their status says: finished ones whose checksum does not
        match or that hold NaN or infinity, failed ones that hold finished features, unknown codes.
    bad_keys : tuple of str
        The images of these rows.
    problems : tuple of str
        What is wrong with the rest of the file, which cannot be computed again.
    fixed : bool
        Whether the bad rows were set to pending.
    """

    path: str
    rows: int
    checked: int
    bad_rows: tuple[int, ...]
    bad_keys: tuple[str, ...]
    problems: tuple[str, ...]
    fixed: bool = False

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong (any more)."""
        return not self.problems and (self.fixed or not self.bad_rows)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            "file": self.path,
            "ok": self.ok,
            "rows": self.rows,
            "checked": self.checked,
            "bad_rows": list(self.bad_rows),
            "bad_keys": [readable(key) for key in self.bad_keys],
            "problems": list(self.problems),
            "fixed": self.fixed,
        }


def verify(path: str | Path, *, fix: bool = False) -> VerifyReport:
    """Check a feature file: layout, fingerprints, status codes, the checksum of every done row.

    Parameters
    ----------
    path : str or Path
        A feature file; with ``fix`` a live one.
    fix : bool
        Set bad rows to pending, so that the next ``extract`` computes them again.

    Raises
    ------
    StoreError
        When the file cannot be opened at all, or with ``fix`` another process writes it.
    """
    path = Path(path).resolve()
    if not fix:
        return check(FeatureStore.open(path))
    with system.writer_lock(path):
        layout = FeatureStore.open(path).layout
        settle(path, layout)
        report = check(FeatureStore.open(path))
        if report.bad_rows:
            with Writer(path, layout) as writer:
                writer.unflag(np.array(report.bad_rows, np.int64))
        return replace(report, fixed=True)


def check(store: FeatureStore) -> VerifyReport:
    """Check an open store; see :func:`verify`."""
    store.require_own()
    problems = []
    if store.recipe.identity_sha256 != store.identity_sha256:
        problems.append("the recipe is not what its fingerprint says")
    if store.manifest.sha256 != store.manifest_sha256:
        problems.append("the manifest (keys, labels, splits) is not what its fingerprint says")
    if store.manifest.targets.sha256 != store.targets_sha256:
        problems.append("the targets are not what their fingerprint says")
    bad: list[int] = []
    checked = 0
    step = _block_rows(store)
    with store.path.open("rb") if store.live else contextlib.nullcontext() as stream:
        for start in range(0, len(store), step):
            status = store.status[start : start + step]
            done, failed = status == RowStatus.DONE, status > RowStatus.DONE
            intact = _intact(store, stream, start, done | failed)
            wrong = (done & ~intact) | (failed & intact) | (status > max(RowStatus))
            bad += (start + np.flatnonzero(wrong)).tolist()
            checked += int(np.count_nonzero(done))
    return VerifyReport(
        path=store.location,
        rows=len(store),
        checked=checked,
        bad_rows=tuple(bad),
        bad_keys=tuple(store.keys[row] for row in bad),
        problems=tuple(problems),
    )


def _block_rows(store: FeatureStore) -> int:
    return max(1, _BLOCK_BYTES // (max(store.outputs.values()) * store.dtype.itemsize))


def _intact(
    store: FeatureStore, stream: IO[bytes] | None, start: int, wanted: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Tell which of the wanted rows hold finite features that all match their checksums."""
    intact = wanted.copy()
    if not wanted.any():
        return intact
    stop = start + len(wanted)
    for name in store.outputs:
        if stream is not None:
            extent = store.layout.features[name]
            try:
                features = extent.read(stream.fileno(), start, stop)
            except OSError as error:
                raise StoreError(
                    f"cannot read rows {start} to {stop - 1} of {store.location}: {error.strerror}",
                    hint="The disk fails: `bottleneck rescue` saves what can still be read.",
                ) from error
        else:
            features = store.features(name)[start:stop]
        intact &= np.isfinite(features).all(axis=1)
        stored = store.checksums(name)[start:stop]
        for i in np.flatnonzero(intact):
            intact[i] = zlib.crc32(features[i]) == stored[i]
    return intact
