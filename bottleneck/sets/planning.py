"""Plan a set: write the parts of its manifest, and then what it is."""

import itertools
import tempfile
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ManifestError, OptionError, StoreError
from bottleneck.location import SET_FILE
from bottleneck.manifest import UNLABELLED, Manifest
from bottleneck.recipe import Recipe
from bottleneck.sets.description import FAILURES, LEASES, PARTS, ROWS, SHARDS, SetInfo, read_info
from bottleneck.sets.parts import pack_part, part_sha256, stacked, unpack_part
from bottleneck.sets.place import Place
from bottleneck.sources.streaming import Block, Segment, cut

_AT_ONCE: Final = 4
"""Parts that are packed and sent at the same time; each takes some 50 MB."""

Part = tuple[Manifest, list[Segment]]


def write_set(
    place: Place,
    blocks: Iterable[Block],
    *,
    recipe: Recipe,
    outputs: Mapping[str, int],
    rows_per_shard: int = ROWS,
    item: str = "image",
    tell: Callable[[int], None] = lambda rows: None,
) -> SetInfo:
    """Write the manifest of a set in parts, and its ``set.json`` last: until then there is no set.

    No more than a few parts are in memory at any time, and the names of all classes.

    Parameters
    ----------
    place : Place
        Where the set is to be.
    blocks : iterable of Block
        Its rows in order; see :func:`bottleneck.sources.streaming.stream_blocks`.
    recipe : Recipe
        How its features will be made.
    outputs : mapping of str to int
        Length of the features of each output.
    rows_per_shard : int
        Rows of a range, for ever.
    item : str
        What the rows are: ``image`` or ``sound``.
    tell : callable
        Is told now and then how many rows were listed.

    Returns
    -------
    SetInfo
        Of a set that was there already too, if it is the very same; parts that it lacks are
        written again.

    Raises
    ------
    ManifestError
        When there is no row.
    StoreError
        When another set is there.
    """
    if rows_per_shard < 1:
        raise OptionError(f"expected at least 1 row in a shard, got {rows_per_shard}")
    require_room_for_set(place)
    there = place.read(SET_FILE)
    old = None if there is None else SetInfo.from_json(there, f"{place.name}/{SET_FILE}")
    kept = set() if old is None else {f"{PARTS}/{part}" for part in place.names(PARTS)}
    vocabulary: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="bottleneck-plan-") as name:
        scratch = Path(name)
        rows = 0
        n_parts = 0
        # The codes of classes are known when all of the list is.
        for manifest, segments in _parts(blocks, rows_per_shard, vocabulary):
            (scratch / str(n_parts)).write_bytes(pack_part(manifest, segments, level=0))
            n_parts, rows = n_parts + 1, rows + len(manifest)
            tell(rows)
        if not rows:
            raise ManifestError(f"expected at least one {item}, found none")
        classes = tuple(sorted(vocabulary))
        position = {name: code for code, name in enumerate(classes)}
        rank = np.array([*(position[name] for name in vocabulary), UNLABELLED], np.int32)
        info = SetInfo(
            id=uuid.uuid4().hex,
            recipe=recipe,
            rows=rows,
            rows_per_shard=rows_per_shard,
            outputs=dict(outputs),
            classes=classes,
            parts=("",) * n_parts,
            item=item,
        )

        def write(number: int) -> str:
            path = scratch / str(number)
            manifest, segments = unpack_part(path.read_bytes(), ())
            path.unlink()
            manifest = replace(manifest, labels=rank[manifest.labels], classes=classes)
            sha256, part = part_sha256(manifest), info.part(number)
            lost = old is not None and part not in kept and number < old.n_ranges
            if old is None or (lost and (old.part(number), old.parts[number]) == (part, sha256)):
                place.replace(part, pack_part(manifest, segments))
            return sha256

        info = replace(info, parts=tuple(_in_order(write, n_parts)))
    if old is None:
        if place.create(SET_FILE, info.to_json().encode()):
            return info
        old = read_info(place.name)[1]  # another process was quicker
    return _same(info, old, place)


def require_room_for_set(place: Place) -> None:
    """Refuse a folder of other things, which a set would hide: it is read as a set then.

    Raises
    ------
    OptionError
    """
    file = place.local(SET_FILE)
    if file is None or not file.parent.is_dir():
        return
    ours = {SET_FILE, PARTS, SHARDS, FAILURES, LEASES}
    others = sorted(one.name for one in file.parent.iterdir() if one.name[0] != ".")
    if not file.exists() and (strange := [name for name in others if name not in ours]):
        raise OptionError(
            f"expected a new folder for the set, got {place.name} with {', '.join(strange[:3])}"
            f"{', ...' if len(strange) > 3 else ''}",
            hint="A set is a folder of its own: -o PHOTOS.set",
        )


def _parts(
    blocks: Iterable[Block], rows_per_shard: int, vocabulary: dict[str, int]
) -> Iterator[Part]:
    """Cut and join blocks to parts of so many rows; labels become codes of the vocabulary."""
    held: list[Block] = []
    count = 0
    for listed, segment in blocks:
        codes = [vocabulary.setdefault(name, len(vocabulary)) for name in listed.classes]
        labels: NDArray[np.int32] = np.array([*codes, UNLABELLED], np.int32)[listed.labels]
        manifest = replace(listed, labels=labels, classes=())
        start = 0
        while start < len(manifest):
            stop = min(len(manifest), start + rows_per_shard - count)
            piece = replace(segment, rows=stop - start, first=segment.first + start)
            held.append((cut(manifest, start, stop), piece))
            count += stop - start
            start = stop
            if count == rows_per_shard:
                yield _joined(held)
                held, count = [], 0
    if held:
        yield _joined(held)


def _joined(held: list[Block]) -> Part:
    return stacked([one for one, _ in held], ()), _merged([segment for _, segment in held])


def _merged(segments: list[Segment]) -> list[Segment]:
    """Make one of segments that go on where the one before ends."""
    merged = segments[:1]
    for one in segments[1:]:
        last = merged[-1]
        if one == replace(last, rows=one.rows, first=last.first + last.rows):
            merged[-1] = replace(last, rows=last.rows + one.rows)
        else:
            merged.append(one)
    return merged


def _in_order(action: Callable[[int], str], count: int) -> Iterator[str]:
    """Do something for every number, a few at the same time; yield what it gives, in order."""
    with ThreadPoolExecutor(_AT_ONCE) as executor:
        numbers = iter(range(count))
        waiting: deque[Future[str]] = deque(
            executor.submit(action, number) for number in itertools.islice(numbers, _AT_ONCE)
        )
        while waiting:
            yield waiting.popleft().result()
            for number in itertools.islice(numbers, 1):
                waiting.append(executor.submit(action, number))


def _same(info: SetInfo, old: SetInfo, place: Place) -> SetInfo:
    """Accept the set that is there if it is of the same images and recipe; refuse it otherwise."""
    old.recipe.require_same_identity(
        info.recipe, ours=place.name, theirs="this plan", hint="Give another -o."
    )
    ours = (old.rows, old.rows_per_shard, old.classes, old.parts, old.dtype)
    if ours != (info.rows, info.rows_per_shard, info.classes, info.parts, info.dtype):
        raise StoreError(
            f"{place.name} is there already, with {old.rows} rows in shards of "
            f"{old.rows_per_shard} ({old.dtype}); now there are {info.rows} rows in shards of "
            f"{info.rows_per_shard} ({info.dtype}), or other images or labels",
            hint="A set never changes: give another -o; extract --reuse takes features over.",
        )
    return old
