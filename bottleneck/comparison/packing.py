"""What leaves a comparison: a document with names, and a page that is as small as it goes.

Within, images are positions and classes are codes. Documents have keys and names instead. A page
has columns of numbers: a hundred thousand images and a thousand classes are some megabytes so.
Its arrays are little-endian, in base64, and its images are numbered by their place on the page.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.comparison.alignment import Aligned
from bottleneck.comparison.findings import spread_rows
from bottleneck.comparison.projection import SAMPLE_ROWS, principal_axes
from bottleneck.location import readable
from bottleneck.manifest import SPLITS

MOST_IMAGES = 150_000
"""Of a page: more than these are a sample."""

_KEY_BYTES = 3_500_000
_SIMILAR_BYTES = 1_600_000
"""For coordinates by which similar images are found."""

_MOST_AXES = 64
_MOST_CELLS = 20_000
"""Of a confusion matrix, the fullest ones."""

_OF_IMAGES = ("image", "nearest")
_OF_CLASSES = ("label", "predicted", "suggested")
_LISTS = ("images",)

Packed = dict[str, Any]


def with_names(document: Mapping[str, Any], aligned: Aligned) -> dict[str, Any]:
    """Name the images and classes of a comparison's document.

    Parameters
    ----------
    document : mapping
        With ``leaderboard``, ``label_errors``, ``duplicates`` and ``map``.
    aligned : Aligned
        The images.

    Returns
    -------
    dict
        The same with names; ``images`` has the label and the split of each by its key.
    """
    parts = ("leaderboard", "label_errors", "duplicates", "map")
    named = {
        name: _named(value, aligned) if name in parts else value for name, value in document.items()
    }
    named["images"] = {
        readable(aligned.keys[row]): {
            "label": aligned.classes[int(aligned.y[row])],
            "split": SPLITS[int(aligned.splits[row])],
        }
        for row in mentioned(document)
    }
    return named


def mentioned(document: Mapping[str, Any]) -> list[int]:
    """List every image a document speaks of, by its position, the most telling first."""
    wanted: dict[int, None] = {}
    for one in document["duplicates"]["sets"]:
        wanted.update(dict.fromkeys(one["images"]))
    for one in document["duplicates"]["leaked"]:
        wanted.update(dict.fromkeys([one["image"], one["nearest"]]))
    wanted.update(dict.fromkeys(row["image"] for row in document["label_errors"]["rows"]))
    for line in document["leaderboard"]:
        wanted.update(dict.fromkeys(row["image"] for row in line["mistakes"]["rows"]))
    wanted.update(dict.fromkeys(document["map"]["images"]))
    return [*wanted]


def _named(value: Any, aligned: Aligned) -> Any:
    if isinstance(value, list):
        return [_named(item, aligned) for item in value]
    if not isinstance(value, Mapping):
        return value
    return {name: _named_field(name, item, aligned) for name, item in value.items()}


def _named_field(name: str, value: Any, aligned: Aligned) -> Any:
    if name in _LISTS:
        return [readable(aligned.keys[row]) for row in value]
    if name in _OF_IMAGES:
        return readable(aligned.keys[value])
    if name in _OF_CLASSES:
        return aligned.classes[value]
    # Tables of numbers have nothing to name, and are long.
    return value if name in ("confusion", "per_class", "points") else _named(value, aligned)


@dataclass(frozen=True, eq=False)
class Shown:
    """The images of a page.

    Parameters
    ----------
    rows : ndarray of int64
        Their positions among those compared, ascending.
    of : int
        How many were compared.
    """

    rows: NDArray[np.int64]
    of: int

    def positions(self) -> dict[int, int]:
        """Return the place on the page of each image."""
        return {row: i for i, row in enumerate(self.rows.tolist())}


def show(document: Mapping[str, Any], aligned: Aligned) -> Shown:
    """Choose the images of a page: all, or those it speaks of and a sample of the others."""
    n = len(aligned.keys)
    size = sum(map(len, aligned.keys))
    most = min(MOST_IMAGES, max(1, n * _KEY_BYTES // max(size, 1)))
    if n <= most:
        return Shown(np.arange(n), n)
    wanted = mentioned(document)
    others = spread_rows(aligned, document["data"]["seed"], n).tolist()
    chosen = [*dict.fromkeys([*wanted, *others])][: max(most, len(wanted))]
    return Shown(np.sort(np.array(chosen, np.int64)), n)


def pack(
    document: Mapping[str, Any],
    aligned: Aligned,
    shown: Shown,
    locations: Sequence[str | None],
) -> Packed:
    """Return the data of the page of a comparison.

    Parameters
    ----------
    document : mapping
        Of the comparison, images by position and classes by code.
    aligned : Aligned
        The images.
    shown : Shown
        Those of the page.
    locations : sequence of str or None
        Where each of them can be opened from.
    """
    place = np.full(len(aligned.keys), -1, np.int64)
    place[shown.rows] = np.arange(len(shown.rows))
    found = document["duplicates"]
    doubts = document["label_errors"]
    best = document["take"]["entry"] if document["leaderboard"] else None
    features = 0 if best is None else document["leaderboard"][best]["features"]
    return {
        **document,
        "leaderboard": [_line(line, place) for line in document["leaderboard"]],
        "label_errors": {**doubts, "rows": _rows(doubts["rows"], place)},
        "duplicates": {
            **found,
            "sets": [{**one, "images": place[one["images"]].tolist()} for one in found["sets"]],
            "leaked": _rows(found["leaked"], place),
        },
        "map": _map(document["map"], place),
        "images": {
            **_images(aligned, shown, locations),
            "similar": _similar(aligned, shown, features),
        },
    }


def encoded(array: NDArray[Any]) -> str:
    """Write an array's bytes, little-endian, in base64."""
    little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
    return base64.b64encode(little.tobytes()).decode("ascii")


def _rows(rows: list[dict[str, Any]], place: NDArray[np.int64]) -> list[dict[str, Any]]:
    return [
        {
            name: int(place[value]) if name in _OF_IMAGES else _short(value)
            for name, value in row.items()
        }
        for row in rows
    ]


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _line(line: Mapping[str, Any], place: NDArray[np.int64]) -> Packed:
    per_class = line["per_class"]
    said = line["mistakes"]
    return {
        **{name: value for name, value in line.items() if name not in ("cv", "chosen_by_fold")},
        "per_class": {
            name: [_short(one[name]) for one in per_class]
            for name in ("precision", "recall", "f1", "support")
        },
        "confusion": _cells(np.asarray(line["confusion"])),
        "mistakes": {**said, "rows": _rows(said["rows"], place)},
    }


def _cells(confusion: NDArray[np.int64]) -> Packed:
    """Keep the cells that are not zero: of too many the fullest ones, and the diagonal."""
    true, said = np.nonzero(confusion)
    counts = confusion[true, said]
    order = np.lexsort((-counts, true != said))[: _MOST_CELLS + len(confusion)]
    kept = np.sort(order)
    cells = np.stack([true[kept], said[kept], counts[kept]], axis=1).astype(np.uint32)
    return {"cells": encoded(cells), "left_out": len(counts) - len(kept)}


def _map(found: Mapping[str, Any], place: NDArray[np.int64]) -> Packed:
    return {
        "images": encoded(place[found["images"]].astype(np.uint32)),
        "maps": [
            {**one, "points": encoded((np.array(one["points"]) * 65535).astype(np.uint16))}
            for one in found["maps"]
        ],
    }


def _images(aligned: Aligned, shown: Shown, locations: Sequence[str | None]) -> Packed:
    """Return keys (folders apart from names), labels, splits, and where the files are."""
    keys = [readable(aligned.keys[row]) for row in shown.rows.tolist()]
    folders: dict[str, int] = {}
    names, of = [], []
    for key in keys:
        folder, slash, name = key.rpartition("/")
        of.append(folders.setdefault(folder + slash, len(folders)))
        names.append(name)
    roots: dict[str, int] = {}
    root_of = np.full(len(keys), -1, np.int32)
    for i, (key, location) in enumerate(zip(keys, locations, strict=True)):
        if location is not None and location.endswith(key):
            root_of[i] = roots.setdefault(location.removesuffix(key), len(roots))
    return {
        "of": shown.of,
        "folders": [*folders],
        "names": names,
        "folder": encoded(np.array(of, np.uint32)),
        "label": encoded(aligned.y[shown.rows].astype(np.uint32)),
        "split": encoded(aligned.splits[shown.rows]),
        "roots": [*roots],
        "root": encoded(root_of),
    }


def _similar(aligned: Aligned, shown: Shown, features: int) -> Packed:
    """Return coordinates of the images along the directions in which features vary most."""
    own = aligned.features[features]
    count = int(np.clip(_SIMILAR_BYTES // len(shown.rows), 8, _MOST_AXES))
    sample = np.sort(spread_rows(aligned, 0, SAMPLE_ROWS))
    axes = principal_axes(own.take(sample), count)
    along = axes.project(own.take(shown.rows))
    scale = np.abs(along).max(axis=0)
    codes = np.round(along / np.where(scale > 0, scale, 1) * 127).astype(np.int8)
    return {
        "features": own.name,
        "share": float(sum(axes.shares)),
        "axes": count,
        "scale": [float(f"{value / 127:.5g}") for value in scale],
        "codes": encoded(codes),
    }
