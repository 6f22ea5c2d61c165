"""How many rows have which status."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import StoreError
from bottleneck.status import RowStatus

_BLOCK_ROWS = 1 << 20


def count_status(status: NDArray[np.uint8], path: Path) -> dict[RowStatus, int]:
    """Count rows by status, commonest first.

    Parameters
    ----------
    status : ndarray of uint8, shape (n,)
        Codes.
    path : Path
        Their file, for the error.

    Raises
    ------
    StoreError
        For a code this version does not know.
    """
    counted = np.zeros(256, np.int64)
    for start in range(0, len(status), _BLOCK_ROWS):  # bincount makes eight bytes of each
        counted += np.bincount(status[start : start + _BLOCK_ROWS], minlength=256)
    found = sorted(np.flatnonzero(counted).tolist(), key=lambda code: -counted[code])
    unknown = [code for code in found if code > max(RowStatus)]
    if unknown:
        raise StoreError(
            f"{path}: {counted[unknown].sum()} rows have a status this version does not know: "
            f"{', '.join(map(str, unknown))}",
            hint="`bottleneck verify --fix` sets them to be computed again; "
            "or update the package: pip install --upgrade bottleneck-features",
        )
    return {RowStatus(code): int(counted[code]) for code in found}
