"""The recipe: everything that decides a feature's value, as data.

It has two parts. The **identity** says what is computed (backbone, weights, layers, pooling,
input size, resize and colour rules, preprocessing). The **execution** says how and where
(runtime, precision class, dtype on disk, device, versions). Features of different identities
are never mixed; differences of execution are noted.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bottleneck.errors import RecipeMismatchError
from bottleneck.fingerprint import canonical_json, fingerprint

_MISSING = "(absent)"

_WHERE_ABSENT = {"image.decoder": "pillow"}
"""What a field stands for where a recipe leaves it out."""


@dataclass(frozen=True)
class Difference:
    """One field that two recipes disagree on."""

    field: str
    ours: Any
    theirs: Any

    def __str__(self) -> str:
        return f"{self.field}: {_show(self.ours)} here, {_show(self.theirs)} there"


def _show(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True)
class Recipe:
    """How features were, or shall be, made.

    Parameters
    ----------
    identity : mapping
        JSON values that decide what is computed.
    execution : mapping
        JSON values that say how; ``precision`` and ``dtype`` must agree to resume a file.
    """

    identity: Mapping[str, Any]
    execution: Mapping[str, Any]

    @property
    def identity_sha256(self) -> str:
        """Fingerprint of the identity part, 64 hex digits."""
        return fingerprint(self.identity)

    @property
    def backbone(self) -> str:
        """Name of the backbone."""
        return str(self.identity["backbone"])

    def to_json(self) -> str:
        """Serialise to canonical JSON."""
        return canonical_json({"identity": self.identity, "execution": self.execution})

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Read what :meth:`to_json` wrote."""
        value = json.loads(text)
        return cls(identity=value["identity"], execution=value["execution"])

    def identity_differences(self, other: "Recipe") -> list[Difference]:
        """List the identity fields in which this recipe (ours) and ``other`` (theirs) disagree."""
        return list(_differences(self.identity, other.identity))

    def execution_differences(self, other: "Recipe") -> list[Difference]:
        """List the execution fields in which this recipe (ours) and ``other`` (theirs) disagree.

        What an admission test measured plays no part: it varies, and older ones measured less.
        Nor does the version of the decoding: it matters to rows of some formats only
        (:mod:`bottleneck.store.outdated`).
        """
        found = _differences(self.execution, other.execution)
        apart = ("network.admission", "decoding")
        return [one for one in found if not one.field.startswith(apart)]

    def require_same_identity(self, other: "Recipe", *, ours: str, theirs: str, hint: str) -> None:
        """Refuse another identity, naming both values of every field that differs.

        Parameters
        ----------
        other : Recipe
            What must be computed alike.
        ours, theirs : str
            What the two recipes belong to, for the message.
        hint : str
            What to do about a difference.

        Raises
        ------
        RecipeMismatchError
            When any identity field differs.
        """
        differences = self.identity_differences(other)
        if differences:
            raise RecipeMismatchError(mismatch_message(ours, theirs, differences), hint=hint)


def mismatch_message(ours: str, theirs: str, differences: list[Difference]) -> str:
    """Say what two recipes disagree on, a line per field with both values."""
    lines = [f"{ours} and {theirs} were made by different recipes:"]
    lines += [
        f"  {d.field}: {_show(d.ours)} ({ours}), {_show(d.theirs)} ({theirs})" for d in differences
    ]
    return "\n".join(lines)


def _differences(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str = ""
) -> Iterator[Difference]:
    for key in sorted({*ours, *theirs}):
        absent = _WHERE_ABSENT.get(f"{prefix}{key}", _MISSING)
        left, right = ours.get(key, absent), theirs.get(key, absent)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            yield from _differences(left, right, f"{prefix}{key}.")
        elif left != right:
            yield Difference(f"{prefix}{key}", left, right)
