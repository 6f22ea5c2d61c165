"""Check a feature file against its own checksums, and set bad rows to be computed again."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.status import RowStatus
from bottleneck.store import system
from bottleneck.store.layout import Layout
from bottleneck.store.reader import FeatureStore
from bottleneck.store.writer import Writer

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
        match, failed ones that hold finished features, unknown codes.
    problems : tuple of str
        What is wrong with the rest of the file, which cannot be computed again.
    fixed : bool
        Whether the bad rows were set to pending.
    """

    path: str
    rows: int
    checked: int
    bad_rows: tuple[int, ...]
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
            "problems": list(self.problems),
            "fixed": self.fixed,
        }


def verify(path: str | Path, *, fix: bool = False) -> VerifyReport:
    """Check a feature file: layout, fingerprints, status codes, the checksum of every done row.

    Parameters
    ----------
    path : str or Path
        A live feature file.
    fix : bool
        Set bad rows to pending, so that the next ``extract`` computes them again.

    Raises
    ------
    StoreError
        When the file cannot be opened at all, or with ``fix`` another process writes it.
    """
    path = Path(path)
    if not fix:
        return _check(path)
    with system.writer_lock(path):
        report = _check(path)
        if report.bad_rows:
            with Writer(path, FeatureStore.open(path).layout) as writer:
                writer.unflag(np.array(report.bad_rows, np.int64))
        return VerifyReport(
            path=report.path,
            rows=report.rows,
            checked=report.checked,
            bad_rows=report.bad_rows,
            problems=report.problems,
            fixed=True,
        )


def _check(path: Path) -> VerifyReport:
    store = FeatureStore.open(path)
    layout = store.layout
    status = store.status
    problems = []
    if store.recipe.identity_sha256 != store.identity_sha256:
        problems.append("the recipe is not what its fingerprint says")
    if store.manifest.sha256 != store.manifest_sha256:
        problems.append("the manifest (keys, labels, splits) is not what its fingerprint says")
    bad = [status > max(RowStatus)]
    done, failed = status == RowStatus.DONE, status > RowStatus.DONE
    for start in range(0, len(status), _block_rows(layout)):
        rows = slice(start, start + _block_rows(layout))
        intact = _intact(layout, path, rows, done[rows] | failed[rows])
        bad[0][rows] |= (done[rows] & ~intact) | (failed[rows] & intact)
    return VerifyReport(
        path=str(path),
        rows=len(status),
        checked=int(np.count_nonzero(done)),
        bad_rows=tuple(np.flatnonzero(bad[0]).tolist()),
        problems=tuple(problems),
    )


def _block_rows(layout: Layout) -> int:
    widest = max(extent.row_bytes for extent in layout.features.values())
    return max(1, _BLOCK_BYTES // widest)


def _intact(
    layout: Layout, path: Path, rows: slice, wanted: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Tell which of the wanted rows hold features that all match their checksums."""
    intact = wanted.copy()
    for name, extent in layout.features.items():
        features = extent.map(path)[rows]
        stored = layout.crc32[name].map(path)[rows]
        for i in np.flatnonzero(intact):
            intact[i] = zlib.crc32(features[i]) == stored[i]
    return intact
