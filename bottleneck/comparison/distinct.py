"""The different rows of features, centred and of length 1, read block by block."""

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.rows import FloatArray, Rows

BLOCK = 1024
"""Rows read at a time."""


class Distinct:
    """Rows of equal features as one; what all have in common is taken off.

    Parameters
    ----------
    rows : Rows, shape (n, d)

    Attributes
    ----------
    shape : tuple of int
        How many different rows, m, and features.
    first : ndarray of int64, shape (m,)
        The first row of each, ascending.
    of : ndarray of int64, shape (n,)
        Which of them each row is.
    rank : ndarray of int64, shape (m,)
        Their order by a hash of the features: no matter which came first, as good as random.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        digests = _digests(rows)
        _, first, inverse = np.unique(digests, axis=0, return_index=True, return_inverse=True)
        self.rank = np.argsort(first)
        self.first = first[self.rank]
        place = np.empty_like(self.rank)
        place[self.rank] = np.arange(len(first))
        self.of = place[inverse.ravel()]
        self.shape = (len(first), rows.shape[1])
        self._mean = np.zeros(rows.shape[1])
        for _, block in self._read(0):
            self._mean += block.sum(axis=0, dtype=np.float64) / len(first)

    def blocks(self, start: int = 0) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield runs of the different rows, from one of them on, and these rows."""
        for run, block in self._read(start):
            unit = (block - self._mean).astype(np.float32)
            length = np.linalg.norm(unit, axis=1, keepdims=True)
            unit /= np.where(length > 0, length, 1)
            yield run, unit

    def _read(self, start: int) -> Iterator[tuple[slice, FloatArray]]:
        scratch: dict[str, FloatArray] = {}
        for begin in range(start, len(self.first), BLOCK):
            chosen = self.first[begin : begin + BLOCK]
            block = np.empty((len(chosen), self.shape[1]), self._rows.dtype)
            # Any number of others may lie between them: these are read in runs too.
            for at in range(int(chosen[0]), int(chosen[-1]) + 1, BLOCK):
                stop = min(at + BLOCK, self._rows.shape[0])
                here = np.flatnonzero((chosen >= at) & (chosen < stop))
                if len(here):
                    block[here] = self._rows.read(at, stop, scratch)[chosen[here] - at]
            yield slice(begin, begin + len(chosen)), block


def _digests(rows: Rows) -> NDArray[np.uint8]:
    digests = np.empty((rows.shape[0], 16), np.uint8)
    scratch: dict[str, FloatArray] = {}
    for start in range(0, len(digests), BLOCK):
        # Adding zero: -0 and 0 are the same number in other bytes.
        block = rows.read(start, min(start + BLOCK, len(digests)), scratch) + 0
        for i, row in enumerate(block):
            digest = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
            digests[start + i] = np.frombuffer(digest, np.uint8)
    return digests
