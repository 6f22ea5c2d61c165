"""Finished rows for training loops of other frameworks: which rows, and how they are read.

What PyTorch and TensorFlow see of it is in :mod:`bottleneck.store.torch_dataset` and
:mod:`bottleneck.store.tf_dataset`, so that each is imported by who uses it.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import OptionError, StoreError

if TYPE_CHECKING:
    from bottleneck.store.reader import FeatureStore


@dataclass(eq=False, repr=False)
class Items:
    """Rows of a feature file by position, read from the file when they are asked for.

    It travels to another process as the file's path and the rows' numbers. There, and after a
    fork, the file is opened anew: a handle of HDF5 may not be shared.

    Parameters
    ----------
    store : FeatureStore
        The file.
    output : str
        Which output.
    rows : ndarray of int64, shape (n,)
        Numbers of the rows.
    y : ndarray, shape (n,) or (n, targets), or None
        Class codes or targets; None for features alone.
    """

    store: "FeatureStore"
    output: str
    rows: NDArray[np.int64]
    y: NDArray[Any] | None
    _process: int = field(default_factory=os.getpid)
    _opened_as: tuple[str, str] = ("", "")

    def __post_init__(self) -> None:
        self._opened_as = _fingerprints(self.store)

    def __len__(self) -> int:
        return len(self.rows)

    def features(self, positions: Any) -> NDArray[np.floating[Any]]:
        """Read the features at some positions, shape (m, dim), as they are in the file."""
        return np.array(self._opened().features(self.output)[self.rows[positions]])

    def key(self, position: int) -> str:
        """Return the key of the row at a position."""
        return str(self._opened().keys[int(self.rows[position])])

    def blocks(self, size: int) -> Iterator[tuple[slice, NDArray[np.floating[Any]]]]:
        """Read all rows in order, ``size`` at a time: which positions, and their features."""
        for start in range(0, len(self), size):
            block = slice(start, min(start + size, len(self)))
            yield block, self.features(block)

    def _opened(self) -> "FeatureStore":
        if self._process != os.getpid():
            again, arguments = self.store.__reduce__()
            store = again(*arguments)
            if _fingerprints(store) != self._opened_as:
                raise StoreError(
                    f"expected {store.location} to be the file that was opened before, got "
                    "another one",
                    hint="It was replaced meanwhile: make the data set again.",
                )
            self.store, self._process = store, os.getpid()
        return self.store

    def __getstate__(self) -> dict[str, Any]:
        # Where it arrives is another process, whatever its number.
        return {**vars(self), "_process": -1}


def _fingerprints(store: "FeatureStore") -> tuple[str, str]:
    return store.manifest_sha256, store.identity_sha256


def choose_items(
    store: "FeatureStore",
    split: str | None,
    output: str | None,
    targets: Sequence[str],
    labels: bool,
) -> Items:
    """Choose finished rows of a split: with a label, with all ``targets``, or all of them.

    Raises
    ------
    OptionError
        When labels are asked for and no row has one.
    """
    name = store.output_name(output)
    if not labels:
        if targets:
            raise OptionError("expected no targets beside labels=False")
        return Items(store, name, np.flatnonzero(store.select(split) & store.done), None)
    chosen = store.choose(split, targets)
    if not len(chosen.rows):
        raise OptionError(
            f"expected finished rows with a label in {store.location}, found none",
            hint="labels=False gives the features of all finished rows, targets=[...] numbers.",
        )
    y = chosen.y.astype(np.int64) if chosen.y.ndim == 1 else chosen.y
    return Items(store, name, chosen.rows, y)
