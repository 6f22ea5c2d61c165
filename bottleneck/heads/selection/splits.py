"""Folds and test rows, decided by the rows' keys.

Where a row lands depends on a keyed hash of its key, never on its position: the order of the
rows does not matter, every backbone of one manifest gets the same split, and leaving a row
out (an image that failed) moves only rows at the border of a fold.
"""

import hashlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bottleneck.errors import HeadError, OptionError

_HASHED_AT_ONCE = 1 << 16
"""Keys whose digests are bytes of Python at a time: there may be a hundred million."""

NO_GROUP = -1
"""Group code of a row that belongs to no group."""


def folds(
    keys: Sequence[str],
    labels: ArrayLike,
    groups: ArrayLike | None = None,
    n_folds: int = 5,
    seed: int = 0,
) -> NDArray[np.int32]:
    """Deal rows into stratified folds that keep groups together.

    Rows without groups: the rows of a class, in hash order, are cut into ``n_folds`` runs
    whose lengths differ by one at most. With groups: the groups, large ones first, go each to
    the fold that keeps the classes' shares most even.

    A class with fewer rows (or groups) than folds is allowed: it occurs in the held-out part
    of as many folds as it has rows.

    Parameters
    ----------
    keys : sequence of str, length n
        Unique keys of the rows.
    labels : array of int, shape (n,)
        Class codes, 0 and above.
    groups : array of int, shape (n,), optional
        Group codes, -1 for none.
    n_folds : int
        Two or more.
    seed : int
        Another seed gives other folds.

    Returns
    -------
    ndarray of int32, shape (n,)
        The fold in which the row is held out.

    Raises
    ------
    OptionError
        For fewer than two folds.
    HeadError
        When a fold would be empty, or would leave a single class to train on.
    """
    if n_folds < 2:
        raise OptionError(f"expected 2 or more folds, got {n_folds}")
    codes = _labels(labels, len(keys))
    hashes = _hashes(keys, b"folds", seed)
    units = _units(groups, len(keys))
    if units is None:
        fold = _deal_rows(hashes, codes, n_folds)
    else:
        fold = _deal_groups(hashes, codes, units, n_folds)
    _check_folds(fold, codes, n_folds)
    return fold


def holdout(
    keys: Sequence[str],
    labels: ArrayLike,
    groups: ArrayLike | None = None,
    fraction: float = 0.2,
    seed: int = 0,
) -> NDArray[np.bool_]:
    """Choose test rows: stratified, whole groups, by the hash of the key.

    In every class (a group counts for its commonest class) rows or groups are taken in hash
    order while that brings the share closer to ``fraction``. A class with two or more of them
    keeps at least one on either side; a class with one keeps it for training.

    Parameters
    ----------
    keys : sequence of str, length n
        Unique keys of the rows.
    labels : array of int, shape (n,)
        Class codes, 0 and above.
    groups : array of int, shape (n,), optional
        Group codes, -1 for none.
    fraction : float
        Share of test rows, between 0 and 1, both excluded.
    seed : int
        Another seed gives other rows.

    Returns
    -------
    ndarray of bool, shape (n,)
        True for test rows.

    Raises
    ------
    OptionError
        For a fraction outside (0, 1).
    HeadError
        For labels that do not fit the keys.
    """
    if not 0 < fraction < 1:
        raise OptionError(f"expected a fraction between 0 and 1, got {fraction:g}")
    n = len(keys)
    codes = _labels(labels, n)
    hashes = _hashes(keys, b"holdout", seed)
    units = _units(groups, n)
    if units is None:
        units = np.arange(n)
    order, sizes, counts = _describe_units(hashes, codes, units)
    stratum = np.asarray(counts.argmax(axis=1)).ravel()
    order = order[np.argsort(stratum[order], kind="stable")]
    taken = np.zeros(len(sizes), np.bool_)
    for members in np.split(order, np.flatnonzero(np.diff(stratum[order])) + 1):
        if len(members) > 1:
            taken[members] = _take(sizes[members], fraction)
    return taken[units]


def _take(sizes: NDArray[np.int64], fraction: float) -> NDArray[np.bool_]:
    """Choose units in the order given until their sizes add up to about the fraction."""
    target = fraction * sizes.sum()
    taken = np.zeros(len(sizes), np.bool_)
    held = 0
    for i, size in enumerate(sizes.tolist()):
        if abs(held + size - target) < abs(held - target):
            taken[i] = True
            held += size
    if not taken.any():
        taken[sizes.argmin()] = True
    elif taken.all():
        taken[sizes.argmin()] = False
    return taken


def _deal_rows(hashes: NDArray[np.uint64], codes: NDArray[np.int64], n: int) -> NDArray[np.int32]:
    fold = np.empty(len(codes), np.int32)
    order = np.lexsort((hashes[:, 1], hashes[:, 0], codes))
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
        rows = order[start:stop]
        # Middles of the ranks, so that short classes spread over all folds; the class moves
        # the first fold on, so that the longer runs do not all fall into the same ones.
        cut = (2 * np.arange(len(rows)) + 1) * n // (2 * len(rows))
        fold[rows] = (cut + codes[rows[0]]) % n
    return fold


def _deal_groups(
    hashes: NDArray[np.uint64], codes: NDArray[np.int64], units: NDArray[np.intp], n: int
) -> NDArray[np.int32]:
    order, sizes, counts = _describe_units(hashes, codes, units)
    totals = np.asarray(counts.sum(axis=0)).ravel()
    held = np.zeros((n, counts.shape[1]))
    rows = np.zeros(n, np.int64)
    fold = np.empty(len(sizes), np.int32)
    for unit in order[np.argsort(-sizes[order], kind="stable")]:
        inside = slice(*counts.indptr[unit : unit + 2])
        present, gain = counts.indices[inside], counts.data[inside]
        # What the sum over classes of squared shares grows by: least where they are rarest.
        growth = (gain * (2 * held[:, present] + gain) / totals[present] ** 2).sum(axis=1)
        chosen = np.lexsort((rows, growth))[0]
        held[chosen, present] += gain
        rows[chosen] += sizes[unit]
        fold[unit] = chosen
    return fold[units]


def _describe_units(
    hashes: NDArray[np.uint64], codes: NDArray[np.int64], units: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.int64], Any]:
    """Return the units in hash order, their sizes, and their rows per class (sparse).

    A unit's hash is the least of its rows': it does not depend on how groups are numbered.
    """
    from scipy.sparse import csr_array

    by_hash = np.lexsort((hashes[:, 1], hashes[:, 0]))
    _, first = np.unique(units[by_hash], return_index=True)
    order = units[by_hash][np.sort(first)]
    sizes = np.bincount(units, minlength=len(order)).astype(np.int64)
    classes, compact = np.unique(codes, return_inverse=True)
    ones = np.ones(len(units))
    return order, sizes, csr_array((ones, (units, compact)), shape=(len(sizes), len(classes)))


def shuffled_ranks(keys: Sequence[str], seed: int = 0) -> NDArray[np.int64]:
    """Return each row's place in an order that only its key and the seed decide, shape (n,)."""
    hashes = _hashes(keys, b"order", seed)
    ranks = np.empty(len(keys), np.int64)
    ranks[np.lexsort((hashes[:, 1], hashes[:, 0]))] = np.arange(len(keys))
    return ranks


def first_of_each_class(
    keys: Sequence[str],
    y: NDArray[np.int64],
    among: NDArray[np.bool_],
    count_of: Callable[[int], int],
    *,
    seed: int,
) -> NDArray[np.bool_]:
    """Take the first rows of each class in an order that keys and seed decide.

    Parameters
    ----------
    keys : sequence of str
        Key of each row.
    y : ndarray of int64, shape (n,)
        Class codes.
    among : ndarray of bool, shape (n,)
        Rows to take from.
    count_of : callable
        How many rows to take of a class that has so many.
    seed : int
        Of the order.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    ranks = shuffled_ranks(keys, seed)
    taken = np.zeros(len(y), bool)
    for code in np.unique(y[among]):
        rows = np.flatnonzero(among & (y == code))
        taken[rows[np.argsort(ranks[rows], kind="stable")[: count_of(len(rows))]]] = True
    return taken


def _hashes(keys: Sequence[str], purpose: bytes, seed: int) -> NDArray[np.uint64]:
    """Hash keys to 128 bits, shape (n, 2); purpose and seed are part of the hash."""
    base = hashlib.blake2b(digest_size=16, person=purpose, key=str(seed).encode())
    hashes = np.empty((len(keys), 2), np.uint64)
    walk = iter(keys)
    for start in range(0, len(keys), _HASHED_AT_ONCE):
        digests = bytearray()
        for key in itertools.islice(walk, _HASHED_AT_ONCE):
            digest = base.copy()
            digest.update(key.encode("utf-8", "surrogateescape"))
            digests += digest.digest()
        block = np.frombuffer(digests, ">u8").reshape(-1, 2)
        hashes[start : start + len(block)] = block
    return hashes


def _labels(labels: ArrayLike, n: int) -> NDArray[np.int64]:
    codes = np.asarray(labels, np.int64)
    if codes.shape != (n,):
        raise HeadError(f"expected one label for each of {n} keys, got shape {codes.shape}")
    if n == 0:
        raise HeadError("expected labelled rows, got none")
    if codes.min() < 0:
        raise HeadError(
            f"expected labelled rows only, got {np.count_nonzero(codes < 0)} without a label"
        )
    return codes


def _units(groups: ArrayLike | None, n: int) -> NDArray[np.intp] | None:
    """Number what must stay together, None when every row stands alone."""
    if groups is None:
        return None
    codes = np.asarray(groups, np.int64)
    if codes.shape != (n,):
        raise HeadError(f"expected one group for each of {n} keys, got shape {codes.shape}")
    alone = codes < 0
    if alone.all():
        return None
    own = np.where(alone, codes.max(initial=0) + 1 + np.arange(n), codes)
    names, units = np.unique(own, return_inverse=True)
    return None if len(names) == n else units


def _check_folds(fold: NDArray[np.int32], codes: NDArray[np.int64], n_folds: int) -> None:
    hint = "Use fewer folds, or give rows with more images (or groups) per class."
    filled = len(np.unique(fold))
    if filled < n_folds:
        raise HeadError(
            f"expected rows or groups for {n_folds} folds, got too few: {n_folds - filled}"
            " would be empty",
            hint=hint,
        )
    if len(np.unique(codes)) == 1:
        return
    for i in range(n_folds):
        if len(np.unique(codes[fold != i])) < 2:
            raise HeadError(
                f"expected two or more classes to train on in every one of {n_folds} folds,"
                f" fold {i + 1} would leave one",
                hint=hint,
            )
