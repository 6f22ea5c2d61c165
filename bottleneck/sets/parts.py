"""The manifest of a set in parts: one for each range of rows, so that nobody holds all keys."""

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import StoreError
from bottleneck.exhaustion import raise_if_exhausted
from bottleneck.manifest import UNLABELLED, Manifest
from bottleneck.npy import load_arrays
from bottleneck.packed import PackedStrings
from bottleneck.sets.description import SetInfo
from bottleneck.sets.place import Place
from bottleneck.sources.streaming import Segment
from bottleneck.targets import Targets, join

_LEVEL: Final = 1
"""Of the compression: keys shrink several times by the quickest there is."""


def pack_part(manifest: Manifest, segments: Sequence[Segment], *, level: int = _LEVEL) -> bytes:
    """Write a part: its rows, and where their bytes are. Level 0 does not compress."""
    arrays: dict[str, NDArray[Any]] = {
        "key_bytes": manifest.keys.blob,
        "key_offsets": manifest.keys.offsets,
        "label": manifest.labels,
        "split": manifest.splits,
        "group": manifest.groups,
        "group_name_bytes": manifest.group_names.blob,
        "group_name_offsets": manifest.group_names.offsets,
        "segments": _text([asdict(one) for one in segments]),
    }
    targets = manifest.targets
    if targets:
        arrays |= {
            "target_names": _text([targets.number_names, targets.flag_names]),
            "target_number": targets.numbers,
            "target_flag": targets.flags,
        }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compresslevel=level) as archive:
        for name, values in arrays.items():
            # A date of its own would make two writes of the same part differ.
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
            entry._compresslevel = level  # type: ignore[attr-defined]  # public from 3.13 on
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(values), allow_pickle=False)
    return stream.getvalue()


def _text(value: Any) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def unpack_part(data: bytes, classes: tuple[str, ...]) -> tuple[Manifest, list[Segment]]:
    """Read what :func:`pack_part` wrote; the classes are those of the set."""
    found = load_arrays(io.BytesIO(data))
    targets = Targets()
    if "target_names" in found:
        numbers, flags = json.loads(found["target_names"].tobytes())
        targets = Targets(
            tuple(numbers), tuple(flags), found["target_number"], found["target_flag"]
        )
    manifest = Manifest(
        keys=PackedStrings(found["key_bytes"], found["key_offsets"]),
        labels=found["label"],
        classes=classes,
        splits=found["split"],
        groups=found["group"],
        group_names=PackedStrings(found["group_name_bytes"], found["group_name_offsets"]),
        targets=targets,
    )
    segments = [
        Segment(**{**one, "sources": tuple(one["sources"])})
        for one in json.loads(found["segments"].tobytes())
    ]
    return manifest, segments


def stacked(manifests: Sequence[Manifest], classes: tuple[str, ...]) -> Manifest:
    """Put manifests of the same classes one behind the other, without making strings of keys."""
    codes: dict[str, int] = {}
    groups = []
    for one in manifests:
        # The last is where the code -1 points, of rows without a group.
        ours = [codes.setdefault(name, len(codes)) for name in one.group_names] + [UNLABELLED]
        groups.append(np.array(ours, np.int32)[one.groups])
    return Manifest(
        keys=joined_strings([one.keys for one in manifests]),
        labels=np.concatenate([one.labels for one in manifests]),
        classes=classes,
        splits=np.concatenate([one.splits for one in manifests]),
        groups=np.concatenate(groups),
        group_names=PackedStrings.pack(codes),
        targets=join([one.targets for one in manifests], [len(one.labels) for one in manifests]),
    )


def joined_strings(strings: Sequence[PackedStrings]) -> PackedStrings:
    """Put strings one behind the other."""
    starts = np.cumsum([0, *(len(one.blob) for one in strings)]).astype(np.uint64)
    offsets = [one.offsets[:-1] + start for one, start in zip(strings, starts, strict=False)]
    return PackedStrings(
        np.concatenate([one.blob for one in strings]), np.concatenate([*offsets, starts[-1:]])
    )


def part_sha256(manifest: Manifest) -> str:
    """Return the fingerprint of a part: of its manifest, and of its targets where it has any."""
    return f"{manifest.sha256}{manifest.targets.sha256 if manifest.targets else ''}"


def read_part(place: Place, info: SetInfo, number: int) -> tuple[Manifest, list[Segment]]:
    """Read the part of a range, and check it.

    Raises
    ------
    StoreError
        When it is missing or damaged.
    """
    name = info.part(number)
    data = place.read(name)
    if data is None:
        raise StoreError(
            f"{place.name} lacks its part {name}", hint="Restore it, or plan the set again."
        )
    try:
        manifest, segments = unpack_part(data, info.classes)
        sound = part_sha256(manifest) == info.parts[number]
    except Exception as error:  # a flipped bit of a zip file makes errors of any kind
        raise_if_exhausted(error)
        raise StoreError(
            f"{place.name}/{name} is damaged: {error}",
            hint="Restore it from a copy, or remove it and plan the set again.",
        ) from error
    if not sound:
        raise StoreError(
            f"{place.name}/{name} is not what its fingerprint says",
            hint="Restore it from a copy, or remove it and plan the set again.",
        )
    return manifest, segments
