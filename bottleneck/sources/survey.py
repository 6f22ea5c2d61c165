"""What a source holds, told before the first image is computed."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bottleneck.location import readable
from bottleneck.manifest import SPLITS, UNLABELLED, Manifest, split_code, torn_groups
from bottleneck.sources.base import Listing, Source
from bottleneck.sources.rules import CONTAINER_ENDINGS
from bottleneck.targets import MISSING

_FIRST_CLASSES = 6
"""Classes named with their counts; of more only the smallest is named as well."""

_TABLES = [
    f".{ending}"
    for kind in ("CSV", "JSON lines", "Parquet")
    for ending in CONTAINER_ENDINGS[kind]
    if ending != "txt"  # more often a readme
]
"""Endings of tables, one of which may name the classes of the images beside it."""

_LIKE_SPLITS = {"dev", "eval", "holdout", "unlabeled", "unlabelled"}
"""Folder names of data sets that are no classes, beside those that are read as splits."""


@dataclass(frozen=True)
class Survey:
    """What a source was found to hold.

    Parameters
    ----------
    name : str
        The source.
    images : int
        Rows.
    classes : mapping of str to int
        Images of each class, in the order of the class codes.
    unlabelled : int
        Images without a class.
    splits : mapping of str to int
        Images of each split; without any where the source has no splits.
    groups : int
        Groups of rows that belong together.
    targets : mapping of str to int
        Images that have a value, by target.
    listing : Listing
        What was left out, by ending and by reason.
    first : tuple of dict
        The first rows: key, label, split, group.
    warnings : tuple of str
        What is rarely meant.
    """

    name: str
    images: int
    classes: Mapping[str, int]
    unlabelled: int
    splits: Mapping[str, int]
    groups: int
    targets: Mapping[str, int]
    listing: Listing
    first: tuple[dict[str, str | None], ...]
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, source: Source, rows: int = 10) -> Self:
        """Count what a source's manifest lists.

        Parameters
        ----------
        source : Source
            The source.
        rows : int
            How many of the first rows to show.
        """
        manifest = source.manifest
        counts = np.bincount(manifest.labels + 1, minlength=len(manifest.classes) + 1)
        codes = np.bincount(manifest.splits, minlength=len(SPLITS))
        names = [*zip(("no split", *SPLITS[1:]), codes.tolist(), strict=True)]
        targets = manifest.targets
        return cls(
            name=source.name,
            images=len(manifest),
            classes=dict(zip(manifest.classes, counts[1:].tolist(), strict=True)),
            unlabelled=int(counts[0]),
            splits={name: n for name, n in names if n} if manifest.splits.any() else {},
            groups=len(manifest.group_names),
            targets={
                name: int(np.count_nonzero(_known(targets.columns([name]))))
                for name in targets.names
            },
            listing=source.listing,
            first=tuple(_row(manifest, row) for row in range(min(rows, len(manifest)))),
            warnings=tuple(map(readable, _warnings(manifest, counts[1:].tolist(), source.listing))),
        )

    def lines(self) -> list[str]:
        """Write it for people."""
        told = [f"{self.name}: {self.images} images"]
        if self.classes:
            told.append(f"{_count(len(self.classes), 'class', 'classes')}{_some(self.classes)}")
            if self.unlabelled:
                told.append(f"without a class: {self.unlabelled}")
        else:
            told.append("no classes: features can be computed, a head needs them")
        if self.splits:
            told.append(f"splits: {_each(self.splits)}")
        if self.groups:
            told.append(f"{_count(self.groups, 'group', 'groups')} of images that stay together")
        if self.targets:
            told.append(f"targets, with the images that have a value{_some(self.targets)}")
        return [readable(line) for line in told + self.listing.lines()]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        fields = asdict(self)
        listing = fields.pop("listing")
        classes = {readable(name): count for name, count in self.classes.items()}
        return {**fields, "classes": classes, "left_out": listing}


def _known(column: NDArray[Any]) -> NDArray[np.bool_]:
    known: NDArray[np.bool_]
    known = column != MISSING if column.dtype == np.uint8 else ~np.isnan(column)
    return known


def _row(manifest: Manifest, row: int) -> dict[str, str | None]:
    label, group = int(manifest.labels[row]), int(manifest.groups[row])
    return {
        "key": readable(manifest.keys[row]),
        "label": None if label == UNLABELLED else readable(manifest.classes[label]),
        "split": SPLITS[manifest.splits[row]] or None,
        "group": None if group == UNLABELLED else readable(manifest.group_names[group]),
    }


def _some(counts: Mapping[str, int]) -> str:
    """Write the first counts, and the smallest where there are more."""
    names, sizes = [*counts], {*counts.values()}
    if len(names) <= _FIRST_CLASSES:
        return f": {_each(counts)}"
    first = names[: _FIRST_CLASSES - 1]
    if len(sizes) == 1:
        return f", {sizes.pop()} images each: {', '.join(first)}, ..."
    smallest = min(names, key=counts.__getitem__)
    told = _each({name: counts[name] for name in first})
    return f": {told}, ...; the smallest is {smallest} with {counts[smallest]}"


def _each(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _count(n: int, one: str, more: str) -> str:
    return f"{n} {one if n == 1 else more}"


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _plainly(name: str) -> str:
    return _composed(name).strip().casefold()


def _warnings(manifest: Manifest, counts: Sequence[int], listing: Listing) -> list[str]:
    found = []
    classes = manifest.classes
    tables = [ending for ending in _TABLES if ending in listing.endings]
    if not classes and tables:
        found.append(
            f"there is a {' and a '.join(tables)} beside the images: if it names their classes, "
            "give the table as the source"
        )
    splits = [c for c in classes if split_code(c) is not None or c.lower() in _LIKE_SPLITS]
    if splits:
        found.append(
            f"read as {'a class' if len(splits) == 1 else 'classes'}, though called like a split: "
            f"{', '.join(splits)}; splits are the folders at the top, train/CLASS/IMAGE, and all "
            "of those are train, val or test"
        )
    if len(classes) == 1:
        found.append(
            f"only one class, {classes[0]}: a head needs two; is each class a folder of its own?"
        )
    single = [name for name, count in zip(classes, counts, strict=True) if count == 1]
    if len(classes) > 1 and single:
        found.append(
            f"{_count(len(single), 'class has', 'classes have')} a single image "
            f"({', '.join(single[:3])}{', ...' if len(single) > 3 else ''}): nothing is left to "
            "judge by"
        )
    spellings: dict[str, list[str]] = {}
    for name in classes:
        spellings.setdefault(_plainly(name), []).append(name)
    for same in (names for names in spellings.values() if len(names) > 1):
        accents = len({*map(_composed, same)}) < len(same)
        told = " and ".join(map(ascii if accents else repr, same))
        how = "how accents are written" if accents else "case or spaces"
        found.append(f"the classes {told} differ only in {how}")
    if torn := torn_groups(manifest):
        found.append(torn)
    train = SPLITS.index("train")
    if (manifest.splits == train).any():
        learnt = np.unique(manifest.labels[manifest.splits == train])
        tested = np.unique(manifest.labels[manifest.splits == SPLITS.index("test")])
        unseen = [classes[i] for i in np.setdiff1d(tested, learnt).tolist() if i != UNLABELLED]
        if unseen:
            found.append(
                f"{_count(len(unseen), 'class has', 'classes have')} test images but none to "
                f"train on: {', '.join(unseen[:5])}{', ...' if len(unseen) > 5 else ''}"
            )
    return found
