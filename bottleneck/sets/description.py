"""What a set is: its rows, its recipe, and which shard holds which rows."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Self

import bottleneck
from bottleneck.errors import StoreError
from bottleneck.fingerprint import fingerprint_parts
from bottleneck.location import SET_FILE
from bottleneck.recipe import Recipe
from bottleneck.sets.place import Place, place_of

FORMAT: Final = "bottleneck set"
FORMAT_VERSION: Final = 1

ROWS: Final = 1 << 18
"""Rows of a shard by default: 512 MiB of 1024 float16 features."""

SHARDS: Final = "shards"
PARTS: Final = "parts"
FAILURES: Final = "failures"
LEASES: Final = "leases"

_RESTORE: Final = (
    "Restore it from a copy; or remove it and plan the set again as it was: shards of the same "
    "images and recipe stay."
)

_PAGE: Final = 960
"""Shards listed at a time: an object store gives a thousand names, corrections among them."""

_ID = re.compile(r"[0-9a-f]{32}")
"""It names folders on the disks of those who read the set: of a stranger's, it must be no path."""

_SHARD = re.compile(r"(\d{12})-(\d{12})(?:@([1-9]\d*))?\.h5")


@dataclass(frozen=True)
class SetInfo:
    """What ``set.json`` says; nothing of it ever changes but what is sealed.

    Parameters
    ----------
    id : str
        Made up when the set was planned: names what is kept of it elsewhere.
    recipe : Recipe
        How its features are made.
    rows, rows_per_shard : int
        Range ``k`` is the rows ``k * rows_per_shard`` and following, and a shard of its own.
    outputs : mapping of str to int
        Length of the features of each output.
    classes : tuple of str
        Names of the classes of all parts, sorted.
    parts : tuple of str
        Fingerprint of the manifest of each range.
    item : str
        ``image`` or ``sound``.
    sealed : mapping of str to str
        SHA-256 of every shard, once all are there; see :func:`bottleneck.sets.sealing.seal`.
    """

    id: str
    recipe: Recipe
    rows: int
    rows_per_shard: int
    outputs: Mapping[str, int]
    classes: tuple[str, ...]
    parts: tuple[str, ...]
    item: str = "image"
    sealed: Mapping[str, str] = field(default_factory=dict)

    @property
    def dtype(self) -> str:
        """Type of the features on disk."""
        return str(self.recipe.execution["dtype"])

    @property
    def manifest_sha256(self) -> str:
        """Fingerprint over those of the parts, in order."""
        return fingerprint_parts(part.encode() for part in self.parts)

    @property
    def n_ranges(self) -> int:
        """How many ranges, and so shards, there are."""
        return -(-self.rows // self.rows_per_shard)

    def range(self, number: int) -> tuple[int, int]:
        """Return the first row of a range and the one behind its last."""
        if not 0 <= number < self.n_ranges:
            raise IndexError(f"expected a range below {self.n_ranges}, got {number}")
        start = number * self.rows_per_shard
        return start, min(start + self.rows_per_shard, self.rows)

    def stem(self, number: int, version: int = 1) -> str:
        """Return the name of a range's shard without its ending; corrections have a version."""
        start, stop = self.range(number)
        return f"{start:012d}-{stop:012d}" + (f"@{version}" if version > 1 else "")

    def shard(self, number: int, version: int = 1) -> str:
        """Return the name of a range's shard in the set."""
        return f"{SHARDS}/{self.stem(number, version)}.h5"

    def part(self, number: int) -> str:
        """Return the name of the manifest of a range."""
        return f"{PARTS}/{self.stem(number)}.npz"

    def to_json(self) -> str:
        """Serialise to what ``set.json`` holds."""
        value = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "creator": f"bottleneck {bottleneck.__version__}",
            **{one.name: getattr(self, one.name) for one in fields(self)},
            "recipe": json.loads(self.recipe.to_json()),
            "identity_sha256": self.recipe.identity_sha256,
            "manifest_sha256": self.manifest_sha256,
        }
        return json.dumps(value, sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: bytes, name: str) -> Self:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        StoreError
            When it is something else, of a newer version, or damaged.
        """
        try:
            value: dict[str, Any] = json.loads(text)
            if value.get("format") != FORMAT:
                raise StoreError(f"expected a set, got {value.get('format')!r} in {name}")
            if value["format_version"] != FORMAT_VERSION:
                raise StoreError(
                    f"{name} has format version {value['format_version']}, this program reads "
                    f"{FORMAT_VERSION}",
                    hint="Update the package: pip install --upgrade bottleneck-features",
                )
            info = cls(
                id=value["id"],
                recipe=Recipe(**value["recipe"]),
                rows=int(value["rows"]),
                rows_per_shard=int(value["rows_per_shard"]),
                outputs=dict(value["outputs"]),
                classes=tuple(value["classes"]),
                parts=tuple(value["parts"]),
                item=value["item"],
                sealed=dict(value["sealed"]),
            )
            sound = (
                value["manifest_sha256"] == info.manifest_sha256
                and value["identity_sha256"] == info.recipe.identity_sha256
                and len(info.parts) == info.n_ranges
                and _ID.fullmatch(info.id) is not None
            )
        except (AttributeError, LookupError, TypeError, ValueError, ZeroDivisionError) as error:
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"{name} is damaged: {error}", hint=_RESTORE) from error
        if not sound:
            raise StoreError(f"{name} is not what its fingerprints say", hint=_RESTORE)
        return info


def read_info(location: str | Path) -> tuple[Place, SetInfo]:
    """Open a set: where it is, and what its ``set.json`` says.

    Raises
    ------
    StoreError
        When there is none, or it is damaged.
    """
    place = place_of(location)
    text = place.read(SET_FILE)
    if text is None:
        raise StoreError(
            f"there is no set at {place.name}",
            hint="A set is what `bottleneck plan SOURCES -o PHOTOS.set` makes.",
        )
    return place, SetInfo.from_json(text, f"{place.name}/{SET_FILE}")


def published(place: Place, info: SetInfo) -> dict[int, int]:
    """List which ranges have a shard, and the newest version of each.

    Raises
    ------
    StoreError
        For a shard of rows that are no range of the set.
    """
    found: dict[int, int] = {}
    cuts = [info.stem(number) for number in range(_PAGE, info.n_ranges, _PAGE)]
    for name in place.names(SHARDS, cuts):
        match = _SHARD.fullmatch(name)
        if match is None:
            continue
        number, version = int(match[1]) // info.rows_per_shard, int(match[3] or 1)
        if number >= info.n_ranges or info.shard(number, version) != f"{SHARDS}/{name}":
            raise StoreError(
                f"{place.name}/{SHARDS}/{name} holds rows that are no range of the set",
                hint=f"Ranges are of {info.rows_per_shard} rows; move the file away.",
            )
        found[number] = max(version, found.get(number, 0))
    return found
