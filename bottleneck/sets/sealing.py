"""Look after a set: whether its shards are sound, and, once all are there, what they are."""

import json
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from bottleneck.errors import BottleneckError, StoreError
from bottleneck.location import SET_FILE
from bottleneck.sets.cache import BlockCache
from bottleneck.sets.description import LEASES, SHARDS, published, read_info
from bottleneck.sets.place import sha256_of
from bottleneck.sets.shards import Shards
from bottleneck.sets.view import open_shards
from bottleneck.store.verify import VerifyReport, check

_AT_ONCE: Final = 4

_LEFT_SECONDS: Final = 3600
"""A copy of a shard that was half-written so long ago is of a worker that was killed."""


@dataclass(frozen=True)
class Sealed:
    """What was sealed.

    Parameters
    ----------
    set : str
        Where it is.
    shards : int
        How many it has, all of them.
    corrections : int
        Of how many a correction counts.
    failed : int
        Rows that have a reason instead of features.
    """

    set: str
    shards: int
    corrections: int
    failed: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def seal(location: str | Path) -> Sealed:
    """Write the SHA-256 of every shard into ``set.json``, and remove what killed workers left.

    Their leases; and in a folder the copies of shards that they were publishing.

    Raises
    ------
    StoreError
        When a range has no shard yet.
    """
    place, info = read_info(location)
    newest = published(place, info)
    missing = sorted({*range(info.n_ranges)} - newest.keys())
    if missing:
        raise StoreError(
            f"expected a set with all its shards, {len(missing)} of {info.n_ranges} are missing in "
            f"{place.name}, the first is range {missing[0]}",
            hint=f"bottleneck extract --set {place.name}",
        )
    names = [info.shard(number, newest[number]) for number in range(info.n_ranges)]
    with ThreadPoolExecutor(_AT_ONCE) as executor:
        found = executor.map(lambda name: sha256_of(place, name), names)
        sums = dict(zip(names, found, strict=True))
    shards = Shards(place, info)
    failed = sum(int(np.count_nonzero(store.status > 1)) for _, store in _all(shards))
    place.replace(SET_FILE, replace(info, sealed=sums).to_json().encode())
    for name in place.names(LEASES):
        place.remove(f"{LEASES}/{name}")
    folder = place.local(SHARDS)
    for copy in () if folder is None else folder.glob(".*.tmp"):
        with suppress(OSError):  # gone, or of another user
            if time.time() - copy.stat().st_mtime > _LEFT_SECONDS:
                copy.unlink()
    corrections = sum(version > 1 for version in newest.values())
    return Sealed(place.name, len(names), corrections, failed)


def _all(shards: Shards) -> Iterator[tuple[int, Any]]:
    for number in sorted(shards.newest):
        yield number, shards.store(number)


def verify_set(location: str | Path) -> VerifyReport:
    """Check every shard of a set as :func:`bottleneck.store.verify.verify` checks a file.

    And against its part of the manifest, and its checksum where the set is sealed. Row numbers are
    those of the set. A shard that is missing is not wrong, unless the set is sealed: then it was
    there. A part that is missing is, since its range cannot be computed.
    """
    shards = open_shards(location)
    info = shards.info
    checked = 0
    rows: list[int] = []
    keys: list[str] = []
    problems: list[str] = []
    if info.sealed:
        there = {f"{SHARDS}/{name}" for name in shards.place.names(SHARDS)}
        problems += [
            f"{name} is missing: it was there when the set was sealed"
            for name in sorted(info.sealed.keys() - there)
        ]
    for number in range(len(shards)):
        if number not in shards.newest:
            try:
                shards.manifest(number)
            except BottleneckError as error:
                problems.append(error.message)
            continue
        name = info.shard(number, shards.newest[number])
        try:
            if info.sealed and name not in info.sealed:
                problems.append(f"{name} was published after the set was sealed: seal it again")
            elif info.sealed and sha256_of(shards.place, name) != info.sealed[name]:
                problems.append(f"{name} is not what it was when the set was sealed")
            # Not by blocks that were fetched before: what lies there now is checked.
            with tempfile.TemporaryDirectory(prefix="bottleneck-verify-") as folder:
                store = shards.fresh(number, BlockCache(Path(folder)))
                found = check(store)
                same = store.manifest.sha256 == shards.manifest(number).sha256
        except BottleneckError as error:
            problems.append(f"{name}: {error.message}")
            continue
        checked += found.checked
        rows += [info.range(number)[0] + row for row in found.bad_rows]
        keys += found.bad_keys
        problems += [f"{name}: {problem}" for problem in found.problems]
        if not same:
            problems.append(f"{name} lists other images than its part of the set")
    return VerifyReport(
        path=shards.place.name,
        rows=info.rows,
        checked=checked,
        bad_rows=tuple(rows),
        bad_keys=tuple(keys),
        problems=tuple(problems),
    )


def failure_texts(shards: Shards, number: int) -> Iterator[dict[str, Any]]:
    """Yield what was said of the failed rows of a range, with their numbers in the set."""
    version = shards.newest.get(number, 1)
    text = shards.place.read(f"failures/{shards.info.stem(number, version)}.jsonl")
    for line in (text or b"").splitlines():
        if line.strip():
            record = json.loads(line)
            yield {**record, "row": record["row"] + shards.info.range(number)[0]}
