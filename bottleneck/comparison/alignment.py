"""Feature files side by side: the rows that all of them have, under one set of labels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ManifestError, OptionError
from bottleneck.heads.rows import Rows, rows_of
from bottleneck.manifest import SPLITS, UNLABELLED, Manifest, natural_key, torn_groups
from bottleneck.sources.corrections import excluded_rows
from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore
from bottleneck.store.outdated import outdated_note

_HINT = "Extract all files from the same images, with the same labels, splits and groups."


@dataclass(frozen=True, eq=False)
class Features:
    """One output of one file: what a backbone (or a layer of it) makes of the images.

    Parameters
    ----------
    name : str
        Short and unique in the comparison.
    store : FeatureStore
        The file.
    output : str
        Name of the output.
    rows : ndarray of int64, shape (n,)
        Row in the file of each row compared.
    """

    name: str
    store: FeatureStore
    output: str
    rows: NDArray[np.int64]

    def __repr__(self) -> str:
        return f"<Features {self.name} {len(self.rows)}x{self.dim}>"

    @property
    def dim(self) -> int:
        """Length of a feature."""
        return self.store.outputs[self.output]

    def take(self, chosen: NDArray[np.int64]) -> Rows:
        """Read some of the compared rows, by their position, block by block."""
        return rows_of(self.store, self.output, self.rows[chosen])


@dataclass(frozen=True, eq=False)
class Aligned:
    """The images that are compared, in the order of the first file.

    Parameters
    ----------
    features : tuple of Features
        What is compared.
    keys : list of str, length n
        Keys of the rows.
    y : ndarray of int64, shape (n,)
        Index into ``classes``.
    classes : tuple of str
        Class names.
    splits : ndarray of uint8, shape (n,)
        Index into :data:`~bottleneck.manifest.SPLITS`.
    groups : ndarray of int32, shape (n,)
        Group codes, -1 for none.
    digests : ndarray of uint8, shape (n, 16)
        Hash of each row's image, zeros where unknown.
    total : int
        Images listed.
    left_out : dict of str to int
        Images left out of everything, by reason: failed in one file or more, not extracted
        yet in one or more, without a label, excluded by a table.
    notes : tuple of str
        What is odd about the files.
    """

    features: tuple[Features, ...]
    keys: list[str]
    y: NDArray[np.int64]
    classes: tuple[str, ...]
    splits: NDArray[np.uint8]
    groups: NDArray[np.int32]
    digests: NDArray[np.uint8]
    total: int
    left_out: dict[str, int]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Aligned {len(self.y)} of {self.total} images, {len(self.features)} features>"

    def of_split(self, name: str) -> NDArray[np.int64]:
        """Return the positions of the rows of a split."""
        return np.flatnonzero(self.splits == SPLITS.index(name))


def align(
    paths: Sequence[str | Path], outputs: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Aligned:
    """Open files and find the rows they share.

    Files are joined by key, so the order of their rows does not matter. A row that failed or
    is pending in any of them is left out for all: a backbone must not gain by skipping what
    is hard.

    Parameters
    ----------
    paths : sequence of str or Path
        One or more feature files.
    outputs : sequence of str
        Names of the outputs to compare; all of every file by default.
    exclude : sequence of str
        Tables of images to leave out, see :mod:`bottleneck.sources.corrections`.

    Raises
    ------
    OptionError
        For no file, one named twice, or an output that no file has.
    ManifestError
        When the files list different images, labels, splits or groups; names the difference.
    """
    if not paths:
        raise OptionError("expected one or more feature files to compare, got none")
    resolved = [Path(path).resolve() for path in paths]
    for path, count in Counter(resolved).items():
        if count > 1:
            raise OptionError(f"expected different files, got {path} {count} times")
    stores = [FeatureStore.open(path) for path in paths]
    orders = [_order(stores[0], store) for store in stores]
    first = stores[0].manifest
    status = np.stack([store.status[order] for store, order in zip(stores, orders, strict=True)])
    pending = (status == RowStatus.PENDING).any(axis=0)
    failed = (status > RowStatus.DONE).any(axis=0)
    unlabelled = first.labels == UNLABELLED
    excluded = excluded_rows(exclude, first, stores[0].location)
    kept = np.flatnonzero(~(pending | failed | unlabelled | excluded))
    if not len(kept):
        raise ManifestError(
            f"expected labelled images with features in all of {len(stores)} files, found none "
            f"({failed.sum()} failed, {pending.sum()} pending, {unlabelled.sum()} unlabelled)",
            hint="Only class labels are compared; for targets, `bottleneck train --target` on each "
            "file."
            if first.targets
            else None,
        )
    digests, notes = _digests(stores, [order[kept] for order in orders])
    told = filter(None, [*map(outdated_note, stores), torn_groups(first)])
    return Aligned(
        features=_features(stores, [order[kept] for order in orders], outputs),
        keys=[first.keys[int(row)] for row in kept],
        y=first.labels[kept].astype(np.int64),
        classes=first.classes,
        splits=first.splits[kept],
        groups=first.groups[kept],
        digests=digests,
        total=len(first),
        left_out={
            "failed": int(failed.sum()),
            "pending": int((pending & ~failed).sum()),
            "unlabelled": int((unlabelled & ~failed & ~pending).sum()),
            **(
                {"excluded": int((excluded & ~failed & ~pending & ~unlabelled).sum())}
                if exclude
                else {}
            ),
        },
        notes=(*told, *notes),
    )


def _order(first: FeatureStore, other: FeatureStore) -> NDArray[np.int64]:
    """Return the row of ``other`` for each row of ``first``, or refuse."""
    if first.manifest_sha256 == other.manifest_sha256:
        return np.arange(len(first), dtype=np.int64)
    row_of = {key: row for row, key in enumerate(other.keys)}
    order = np.fromiter((row_of.get(key, -1) for key in first.keys), np.int64, len(first))
    missing = np.flatnonzero(order < 0)
    if len(missing) or len(other) != len(first):
        known = set(first.keys)
        more = [key for key in other.keys if key not in known]
        parts = [
            f"{len(keys)} images only in {path}, first {keys[0]!r}"
            for path, keys in (
                (first.location, [first.keys[int(row)] for row in missing]),
                (other.location, more),
            )
            if keys
        ]
        raise ManifestError(
            f"{first.location} and {other.location} list different images: {'; '.join(parts)}",
            hint=_HINT,
        )
    _require_same_labels(first, other, order)
    return order


def _require_same_labels(
    first: FeatureStore, other: FeatureStore, order: NDArray[np.int64]
) -> None:
    ours, theirs = _columns(first.manifest), _columns(other.manifest)
    for name, (codes, names) in ours.items():
        their_codes, their_names = theirs[name]
        # By name: two lists may number the same names otherwise.
        number = {text: code for code, text in enumerate(names)}
        translate = np.array([number.get(text, -2) for text in their_names] + [-1], np.int64)
        differs = np.flatnonzero(codes != translate[their_codes[order]])
        if len(differs):
            row = int(differs[0])
            here, there = codes[row], their_codes[order[row]]
            raise ManifestError(
                f"the {name}s of {len(differs)} images differ: {first.keys[row]!r} is "
                f"{_quoted(names, here)} in {first.location}, {_quoted(their_names, there)} "
                f"in {other.location}",
                hint=_HINT,
            )


def _columns(manifest: Manifest) -> dict[str, tuple[NDArray[np.int64], list[str]]]:
    return {
        "label": (manifest.labels.astype(np.int64), list(manifest.classes)),
        "split": (manifest.splits.astype(np.int64), list(SPLITS)),
        "group": (manifest.groups.astype(np.int64), list(manifest.group_names)),
    }


def _quoted(names: list[str], code: int) -> str:
    return repr(names[code]) if code >= 0 and names[code] else "without"


def _features(
    stores: Sequence[FeatureStore], rows: Sequence[NDArray[np.int64]], wanted: Sequence[str]
) -> tuple[Features, ...]:
    chosen = [
        (store, output, numbers)
        for store, numbers in zip(stores, rows, strict=True)
        for output in sorted(store.outputs, key=natural_key)
        if not wanted or output in wanted
    ]
    unknown = set(wanted) - {output for _, output, _ in chosen}
    if unknown:
        known = sorted({name for store in stores for name in store.outputs}, key=natural_key)
        raise OptionError(
            f"no file has an output named {', '.join(map(repr, sorted(unknown)))}",
            hint=f"There are: {', '.join(known)}",
        )
    if wanted:  # in the order asked for, file by file
        chosen.sort(key=lambda one: wanted.index(one[1]))
        chosen.sort(key=lambda one: stores.index(one[0]))
    several = Counter(store.path for store, _, _ in chosen)
    backbones = Counter(store.recipe.backbone for store in {id(s): s for s in stores}.values())
    found = []
    for store, output, numbers in chosen:
        # Two files of one backbone (other sizes, other weights) are told apart by their names.
        name = store.recipe.backbone
        name = name if backbones[name] == 1 else store.path.stem
        if several[store.path] > 1:
            name = output if len(stores) == 1 else f"{name}/{output}"
        found.append(Features(name, store, output, numbers))
    names = Counter(one.name for one in found)
    return tuple(
        one
        if names[one.name] == 1
        else Features(f"{one.store.location}/{one.output}", one.store, one.output, one.rows)
        for one in found
    )


def _digests(
    stores: Sequence[FeatureStore], rows: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Take the digests of the first file that has any; note images that are not the same."""
    chosen: NDArray[np.uint8] | None = None
    notes = []
    for store, numbers in zip(stores, rows, strict=True):
        digests = np.asarray(store.digests)[numbers]
        if not digests.any():
            continue
        if chosen is None:
            chosen = digests
        elif changed := int((digests != chosen).any(axis=1).sum()):
            notes.append(
                f"{changed} images were changed between the extractions of {stores[0].location} "
                f"and {store.location}: extract again with --refresh"
            )
    return np.zeros((len(rows[0]), 16), np.uint8) if chosen is None else chosen, tuple(notes)
