"""What tar and zip share: the order of their members, labels and splits."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ManifestError
from bottleneck.manifest import Manifest, natural_order
from bottleneck.packed import PackedStrings
from bottleneck.sources.choice import AS_FOUND, Choice
from bottleneck.sources.endings import ENDINGS_HINT
from bottleneck.sources.layout import find_layout
from bottleneck.sources.shards import Shard


def sort_members(
    names: PackedStrings, counts: Sequence[int]
) -> tuple[PackedStrings, NDArray[np.int64] | None]:
    """Put the members of each archive in natural order.

    Parameters
    ----------
    names : PackedStrings, length n
        Paths, archive by archive.
    counts : sequence of int
        Images of each archive.

    Returns
    -------
    names : PackedStrings
        Sorted.
    order : ndarray of int64, shape (n,), or None
        Where each was; None when nothing moved.
    """
    pieces, moved, start = [], False, 0
    for count in counts:
        whole = start == 0 and count == len(names)
        order = natural_order(names if whole else names[start : start + count])
        moved |= order is not None
        pieces.append(start + (np.arange(count) if order is None else order))
        start += count
    if not moved:
        return names, None
    together = np.concatenate(pieces)
    return PackedStrings.pack(names[row] for row in together.tolist()), together


def sorted_rows(odd: Mapping[int, str], order: NDArray[np.int64] | None) -> dict[int, str]:
    """Return what is said of single rows, by their number after they were sorted."""
    if not odd or order is None:
        return dict(odd)
    return {new: odd[old] for new, old in enumerate(order.tolist()) if old in odd}


def archive_manifest(
    name: str,
    shards: Sequence[Shard],
    counts: Sequence[int],
    names: PackedStrings,
    labels: Iterable[str | None] | None,
    *,
    choice: Choice = AS_FOUND,
) -> Manifest:
    """Make the manifest of archives: keys are the members' paths behind their archive's name.

    Parameters
    ----------
    name : str
        The source, for messages.
    shards, counts : sequence
        The archives, and the images in each.
    names : PackedStrings, length n
        Paths of the images in their archives.
    labels : iterable of str or None, optional
        What members beside them say; without any, folders tell the class.
    choice : Choice
        What names the class, whatever those say.

    Raises
    ------
    ManifestError
        When there is no image, or two of one archive have the same path.
    """
    if not len(names):
        raise ManifestError(
            f"expected images in {name}, found none",
            hint=ENDINGS_HINT,
        )
    layout = find_layout(names, name, choice)

    def of_shards() -> Iterator[Shard]:
        for shard, count in zip(shards, counts, strict=True):
            for _ in range(count):
                yield shard

    keys = names
    if any(shard.prefix for shard in shards):
        pairs = zip(of_shards(), names, strict=True)
        keys = PackedStrings.pack(shard.prefix + path for shard, path in pairs)
    splits: Iterator[str] = (
        (layout.split(path) if layout.has_splits else "") or shard.split
        for shard, path in zip(of_shards(), names, strict=True)
    )
    if labels is None or choice.decides:
        labels = map(layout.label, names)
    try:
        return Manifest.build(keys, labels, splits)
    except ManifestError as error:
        raise ManifestError(f"{name}: {error.message}", hint=error.hint) from error
