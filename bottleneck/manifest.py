"""The manifest: which images, in which order, with which label, split and group.

A row's number is its position in the manifest and never changes.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ManifestError
from bottleneck.fingerprint import canonical_json, fingerprint_parts
from bottleneck.packed import PackedStrings
from bottleneck.targets import Targets, join

SPLITS = ("", "train", "val", "test")
"""Names of the splits; the position is the code stored per row, 0 for none."""

_SPLIT_NAMES = {
    "": 0,
    "train": 1,
    "training": 1,
    "val": 2,
    "valid": 2,
    "validation": 2,
    "test": 3,
    "testing": 3,
}

_AROUND_SPLIT = re.compile(r"[ _.-]?(set|data|images|imgs|split)?[ _.-]?((19|20)\d\d)?")
"""What data sets put behind a split's name: ``training_set``, ``val-images``, ``train2017``."""

UNLABELLED = -1
"""Label code of a row without a label; also the group code of a row without a group."""

_DIGITS = re.compile("[0-9]+")


def split_code(name: str) -> int | None:
    """Return the code of a split's name, None if it is none.

    ``train``, ``val``, ``test`` and their usual synonyms, also as ``training_set`` or ``val2017``.
    """
    name = name.strip().lower()
    if name in _SPLIT_NAMES:
        return _SPLIT_NAMES[name]
    word = re.match(r"[a-z]+?(?=[ _.-]|set|data|im|split|\d|$)", name)
    if word and word.group() in _SPLIT_NAMES and _AROUND_SPLIT.fullmatch(name, word.end()):
        return _SPLIT_NAMES[word.group()]
    return None


def natural_key(text: str) -> str:
    """Return a string that sorts as people count: ``img2`` before ``img10``, folder by folder.

    Numbers are compared by their length, then their digits; leading zeros do not count.
    """

    def number(match: re.Match[str]) -> str:
        digits = match.group().lstrip("0")
        return f"0{chr(len(digits))}{digits}"

    return _DIGITS.sub(number, text.replace("/", "\0"))


def natural_sort(texts: list[str]) -> None:
    """Sort in place in natural order; equal numbers with different zeros keep a stable order."""
    texts.sort()
    texts.sort(key=natural_key)


def natural_order(names: PackedStrings) -> NDArray[np.int64] | None:
    """Return the permutation that sorts names naturally; None where they are sorted already.

    Sorts bytes in an array, which takes a third of the memory of sorting strings.
    """
    before = (b"", b"")
    longest, is_sorted = 0, True
    for name in names:
        now = _sort_bytes(name)
        is_sorted = is_sorted and now >= before
        longest, before = max(longest, len(now[0])), now
    if is_sorted:
        return None
    if longest > _LONGEST_IN_ARRAY:
        pairs = [_sort_bytes(name) for name in names]
        return np.array(sorted(range(len(pairs)), key=pairs.__getitem__), np.int64)
    keys = np.fromiter((_sort_bytes(name)[0] for name in names), f"S{longest}", count=len(names))
    order = np.argsort(keys, kind="stable")
    # Equal numbers with different zeros, the few there are, by their text.
    equal = keys[order[1:]] == keys[order[:-1]]
    starts = np.flatnonzero(equal & ~np.concatenate([[False], equal[:-1]]))
    for start in starts.tolist():
        stop = start + 1
        while stop <= len(equal) and equal[stop - 1]:
            stop += 1
        order[start:stop] = sorted(order[start:stop].tolist(), key=names.__getitem__)
    return order


_LONGEST_IN_ARRAY = 120
"""Bytes; every row of the array is as long as the longest name."""


def _sort_bytes(name: str) -> tuple[bytes, bytes]:
    return natural_key(name).encode("utf-8", "surrogateescape"), name.encode(
        "utf-8", "surrogateescape"
    )


@dataclass(frozen=True, eq=False, repr=False)
class Manifest:
    """An ordered, immutable list of images.

    Parameters
    ----------
    keys : PackedStrings, length n
        Unique name of each row: the POSIX path relative to its source.
    labels : ndarray of int32, shape (n,)
        Index into ``classes``, -1 for unlabelled rows.
    classes : tuple of str
        Sorted class names.
    splits : ndarray of uint8, shape (n,)
        Index into :data:`SPLITS`.
    groups : ndarray of int32, shape (n,)
        Index into ``group_names``, -1 for none; rows of one group are never separated.
    group_names : PackedStrings
        Names of the groups.
    targets : Targets
        Numbers and labels beside the class.
    """

    keys: PackedStrings
    labels: NDArray[np.int32]
    classes: tuple[str, ...] = ()
    splits: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    groups: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    group_names: PackedStrings = field(default_factory=lambda: PackedStrings.pack(()))
    targets: Targets = field(default_factory=Targets)

    @classmethod
    def build(
        cls,
        keys: Sequence[str],
        labels: Iterable[str | None] | None = None,
        splits: Iterable[str] | None = None,
        groups: Iterable[str | None] | None = None,
    ) -> "Manifest":
        """Make a manifest from plain strings, in the order given.

        Parameters
        ----------
        keys : sequence of str
            One unique key per row; :class:`PackedStrings` are taken as they are.
        labels, groups : iterable of str or None, optional
            None or the empty string stands for none.
        splits : iterable of str, optional
            ``train``, ``val`` or ``test`` (or a usual synonym), empty for none.

        Raises
        ------
        ManifestError
            For duplicate keys, an unknown split name, or no rows at all.
        """
        n = len(keys)
        if n == 0:
            raise ManifestError("expected at least one image, found none")
        _refuse_duplicates(keys)
        label_codes, classes = _encode(labels, n)
        order = sorted(range(len(classes)), key=classes.__getitem__)
        rank = np.zeros(len(classes) + 1, np.int32)
        rank[order] = np.arange(len(classes))
        rank[-1] = UNLABELLED
        group_codes, group_names = _encode(groups, n)
        return cls(
            keys=keys if isinstance(keys, PackedStrings) else PackedStrings.pack(keys),
            labels=rank[label_codes],
            classes=tuple(classes[i] for i in order),
            splits=_encode_splits(splits, n),
            groups=group_codes,
            group_names=PackedStrings.pack(group_names),
        )

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        n_labelled = int(np.count_nonzero(self.labels != UNLABELLED))
        counts = np.bincount(self.splits, minlength=len(SPLITS))
        splits = ", ".join(
            f"{name} {count}" for name, count in zip(SPLITS[1:], counts[1:], strict=True) if count
        )
        return (
            f"<Manifest {len(self)} images, {n_labelled} labelled, {len(self.classes)} classes"
            f"{', ' + splits if splits else ''}>"
        )

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of the manifest, 64 hex digits; targets have one of their own."""
        arrays = (
            self.keys.blob,
            self.keys.offsets,
            self.labels,
            self.splits,
            self.groups,
            self.group_names.blob,
            self.group_names.offsets,
        )
        parts: list[bytes | memoryview] = [np.ascontiguousarray(a).data.cast("B") for a in arrays]
        parts.append(canonical_json(self.classes).encode("utf-8", "surrogateescape"))
        return fingerprint_parts(parts)

    def describe_difference(self, other: "Manifest") -> str:
        """Say in one sentence how this manifest (now) differs from ``other`` (the file's)."""
        if len(self) != len(other):
            return f"{len(self)} images now, {len(other)} in the file"
        if self.keys != other.keys:
            row = next(i for i in range(len(self)) if self.keys[i] != other.keys[i])
            return f"row {row} is {self.keys[row]!r} now, {other.keys[row]!r} in the file"
        if self.classes != other.classes:
            changed = sorted({*self.classes} ^ {*other.classes})
            return f"the classes differ: {', '.join(map(repr, changed[:5]))}"
        for name in ("labels", "splits", "groups"):
            ours, theirs = getattr(self, name), getattr(other, name)
            changed_rows = np.flatnonzero(ours != theirs)
            if len(changed_rows):
                first = self.keys[int(changed_rows[0])]
                return f"the {name} of {len(changed_rows)} rows differ, first {first!r}"
        if self.group_names == other.group_names:
            return "the targets differ"
        return "the group names differ"


def torn_groups(manifest: Manifest) -> str | None:
    """Say which groups have rows to train on and rows to test by; None where none has.

    No fold parts a group, but splits are taken as they are given.
    """
    grouped = manifest.groups >= 0
    learnt, tested = (
        np.unique(manifest.groups[grouped & (manifest.splits == SPLITS.index(name))])
        for name in ("train", "test")
    )
    torn = np.intersect1d(learnt, tested)
    if not len(torn):
        return None
    many = "1 group has" if len(torn) == 1 else f"{len(torn)} groups have"
    return (
        f"{many} images to train on and images to test by, first "
        f"{manifest.group_names[int(torn[0])]!r}: scores of the test are better than of new groups"
    )


def concatenate(manifests: Sequence[Manifest], prefixes: Sequence[str]) -> Manifest:
    """Join manifests in order, putting each one's prefix before its keys.

    Raises
    ------
    ManifestError
        When two rows end up with the same key.
    """
    parts = list(zip(manifests, prefixes, strict=True))
    joined = Manifest.build(
        [prefix + key for manifest, prefix in parts for key in manifest.keys],
        [
            manifest.classes[code] if code >= 0 else None
            for manifest in manifests
            for code in manifest.labels
        ],
        [SPLITS[code] for manifest in manifests for code in manifest.splits],
        [
            prefix + manifest.group_names[int(code)] if code >= 0 else None
            for manifest, prefix in parts
            for code in manifest.groups
        ],
    )
    targets = join([manifest.targets for manifest in manifests], list(map(len, manifests)))
    return replace(joined, targets=targets)


def _refuse_duplicates(keys: Sequence[str]) -> None:
    # Hashes first: a set of a million strings would take as much memory again.
    hashes = np.fromiter(map(hash, keys), np.int64, count=len(keys))
    hashes.sort()
    if not np.any(hashes[1:] == hashes[:-1]):
        return
    seen: set[str] = set()
    for row, key in enumerate(keys):
        if key in seen:
            raise ManifestError(
                f"expected unique keys, got {key!r} a second time in row {row}",
                hint="Every image may appear once; remove the repeated entry.",
            )
        seen.add(key)


def _encode(names: Iterable[str | None] | None, n: int) -> tuple[NDArray[np.int32], list[str]]:
    """Give each distinct name a code in order of appearance; None and '' become -1."""
    if names is None:
        return np.full(n, UNLABELLED, np.int32), []
    codes: dict[str, int] = {}
    encoded = np.fromiter(
        (codes.setdefault(name, len(codes)) if name else UNLABELLED for name in names),
        np.int32,
        count=n,
    )
    return encoded, list(codes)


def _encode_splits(splits: Iterable[str] | None, n: int) -> NDArray[np.uint8]:
    if splits is None:
        return np.zeros(n, np.uint8)

    def code(name: str) -> int:
        known = split_code(name)
        if known is None:
            raise ManifestError(
                f"expected a split of train, val or test, got {name!r}",
                hint="Leave the split empty for rows that belong to none.",
            )
        return known

    return np.fromiter((code(name) for name in splits), np.uint8, count=n)
