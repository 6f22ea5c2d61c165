"""Join feature files of one recipe: shards of one list of images, or different lists."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ManifestError, OptionError, RecipeMismatchError, StoreError
from bottleneck.manifest import Manifest, concatenate
from bottleneck.status import RowStatus
from bottleneck.store import system
from bottleneck.store.creation import create
from bottleneck.store.format import row_checksums
from bottleneck.store.outdated import require_one_decoding
from bottleneck.store.reader import FeatureStore
from bottleneck.store.writer import FailedRow, Writer, settle
from bottleneck.writing import prepare_output

_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class MergeResult:
    """What a merge did.

    Parameters
    ----------
    output : str
        The file.
    rows : int
        Its rows.
    copied : int
        Finished rows copied now.
    failed : int
        Rows that no input finished and at least one gave a reason for, copied now.
    already_done : int
        Rows the output had before.
    pending : int
        Rows that no input has.
    damaged : int
        Finished rows of inputs that were left out because their checksum does not match.
    changed : int
        Rows that two inputs computed from different bytes; the first input's was kept.
    notes : tuple of str
        Differences of execution between the inputs.
    """

    output: str
    rows: int
    copied: int
    failed: int
    already_done: int
    pending: int
    damaged: int
    changed: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def merge(
    inputs: Sequence[str | Path], output: str | Path, *, concatenate_lists: bool = False
) -> MergeResult:
    """Copy the finished rows of several files into one. Run again, it resumes.

    Without ``concatenate_lists`` all inputs list the same images, and each may have finished
    others of them; where several have a row, the first one's is kept, and a finished row wins
    over a failed one. With it, their lists are joined one behind the other.

    Parameters
    ----------
    inputs : sequence of str or Path
        Feature files of one recipe, precision class and type.
    output : str or Path
        The joined file; made if it is not there.
    concatenate_lists : bool
        Join the lists of images.

    Raises
    ------
    RecipeMismatchError
        When recipes differ, naming both values.
    StoreError
        When the lists of images differ (or, joined, have a key in common), a file cannot be
        read, or the output cannot be written.
    """
    if not inputs:
        raise OptionError("expected feature files to merge, got none")
    stores = [FeatureStore.open(path) for path in inputs]
    for store in stores:
        store.require_own()
    notes = [note for store in stores[1:] for note in _require_same_recipe(stores[0], store)]
    manifest = _joined_manifest(stores) if concatenate_lists else _common_manifest(stores)
    starts = [0] * len(stores)
    if concatenate_lists:
        starts = [0, *accumulate(len(store) for store in stores)][:-1]
    path = prepare_output(output, kind="features", inputs=inputs)
    target, tally = _copied(path, stores, starts, manifest)
    status = FeatureStore.open(path).status
    return MergeResult(
        output=str(path),
        rows=len(status),
        copied=tally.copied,
        failed=tally.failed,
        already_done=int(np.count_nonzero(target.status)),
        pending=int(np.count_nonzero(status == RowStatus.PENDING)),
        damaged=tally.damaged,
        changed=_count_changed(stores) if not concatenate_lists else 0,
        notes=tuple(dict.fromkeys(notes)),
    )


def copy_with(store: FeatureStore, manifest: Manifest, output: str | Path) -> Path:
    """Copy a file's rows under a manifest that says something else of the same images.

    Parameters
    ----------
    store : FeatureStore
        The file.
    manifest : Manifest
        The same keys in the same order.
    output : str or Path
        The new file; run again after a kill, the copy is resumed.
    """
    store.require_own()
    path = prepare_output(output, kind="features", inputs=[store.path])
    _copied(path, [store], [0], manifest)
    return path


def _copied(
    path: Path, stores: Sequence[FeatureStore], starts: Sequence[int], manifest: Manifest
) -> "tuple[FeatureStore, _Tally]":
    """Make a file of that list, or continue it; return it as it was, and what was copied."""
    with system.writer_lock(path):
        if not path.exists():
            create(
                path,
                manifest=manifest,
                recipe=stores[0].recipe,
                dims=stores[0].outputs,
                dtype=stores[0].dtype.name,
            )
        target = FeatureStore.open(path)
        _require_same_recipe(target, stores[0])
        if (target.manifest_sha256, target.targets_sha256) != (
            manifest.sha256,
            manifest.targets.sha256,
        ):
            raise StoreError(
                f"{path} exists and lists other images: "
                f"{manifest.describe_difference(target.manifest)}",
                hint="Give another output.",
            )
        settle(path, target.layout)
        tally = _fill(target, stores, starts)
    return target, tally


@dataclass
class _Tally:
    copied: int = 0
    failed: int = 0
    damaged: int = 0


def _fill(target: FeatureStore, stores: Sequence[FeatureStore], starts: Sequence[int]) -> _Tally:
    """Copy what the target lacks; finished rows of all inputs first, then reasons of failures."""
    tally = _Tally()
    status = target.status.copy()
    with Writer(target.path, target.layout) as writer:
        for store, start in zip(stores, starts, strict=True):
            mine = status[start : start + len(store)]
            for rows in _blocks(len(store)):
                lacking = rows[
                    (store.status[rows] == RowStatus.DONE) & (mine[rows] != RowStatus.DONE)
                ]
                failed = lacking[mine[lacking] > RowStatus.DONE]
                if len(failed):
                    writer.unflag(failed + start)
                tally.copied += _copy(store, writer, lacking, start, mine)
                tally.damaged += int(np.count_nonzero(mine[lacking] != RowStatus.DONE))
        for store, start in zip(stores, starts, strict=True):
            mine = status[start : start + len(store)]
            for rows in _blocks(len(store)):
                codes = store.status[rows]
                known = (codes > RowStatus.DONE) & (codes <= max(RowStatus))
                failed = rows[known & (mine[rows] == RowStatus.PENDING)]
                writer.fail(_reasons(store, failed, start))
                mine[failed] = store.status[failed]
                tally.failed += len(failed)
    return tally


def _reasons(store: FeatureStore, rows: NDArray[np.int64], start: int) -> Iterator[FailedRow]:
    for row in rows.tolist():
        reason = RowStatus(store.status[row])
        said = f"as in {store.path.name}"
        yield FailedRow(row + start, store.keys[row], reason, said, store.digests[row])


def _copy(
    store: FeatureStore,
    writer: Writer,
    rows: NDArray[np.int64],
    start: int,
    status: NDArray[np.uint8],
) -> int:
    """Copy the rows whose checksums match and mark them in ``status``; return how many."""
    if not len(rows):
        return 0
    features = {name: np.asarray(store.features(name)[rows]) for name in store.outputs}
    intact = np.ones(len(rows), bool)
    for name, block in features.items():
        stored = store.checksums(name)[rows]
        intact &= row_checksums(block) == stored
    good = rows[intact]
    if len(good):
        kept = {name: block[intact] for name, block in features.items()}
        writer.write(good + start, kept, np.asarray(store.digests[good]))
        status[good] = RowStatus.DONE
    return len(good)


def _blocks(n_rows: int) -> Iterator[NDArray[np.int64]]:
    return (
        np.arange(start, min(start + _BLOCK_ROWS, n_rows))
        for start in range(0, n_rows, _BLOCK_ROWS)
    )


def _require_same_recipe(ours: FeatureStore, theirs: FeatureStore) -> list[str]:
    """Refuse another identity, type or set of outputs; return what is worth a note."""
    ours.recipe.require_same_identity(
        theirs.recipe,
        ours=ours.location,
        theirs=theirs.location,
        hint="Only features of one recipe can be merged.",
    )
    if ours.dtype != theirs.dtype:
        raise RecipeMismatchError(
            f"{ours.location} holds {ours.dtype.name}, {theirs.location} holds {theirs.dtype.name}",
            hint="Extract one of them again with the other's --dtype.",
        )
    require_one_decoding(ours, theirs.recipe)
    require_one_decoding(theirs, ours.recipe)
    return [
        f"{theirs.location} was made with another {difference.field}: "
        f"{difference.theirs} instead of {difference.ours}"
        for difference in ours.recipe.execution_differences(theirs.recipe)
    ]


def _common_manifest(stores: Sequence[FeatureStore]) -> Manifest:
    first = stores[0]
    for store in stores[1:]:
        ours = (store.manifest_sha256, store.targets_sha256)
        if ours != (first.manifest_sha256, first.targets_sha256):
            raise StoreError(
                f"{store.location} lists other images than {first.location}: "
                f"{store.manifest.describe_difference(first.manifest)}",
                hint="To put different lists one behind the other, say --concatenate.",
            )
    return first.manifest


def _joined_manifest(stores: Sequence[FeatureStore]) -> Manifest:
    try:
        return concatenate([store.manifest for store in stores], [""] * len(stores))
    except ManifestError as error:
        raise StoreError(
            f"the lists cannot be put one behind the other: {error.message}", hint=error.hint
        ) from error


def _count_changed(stores: Sequence[FeatureStore]) -> int:
    """Count rows that two inputs computed from different bytes."""
    count = 0
    for rows in _blocks(len(stores[0])):
        changed = np.zeros(len(rows), bool)
        first, seen = np.array(stores[0].digests[rows]), stores[0].status[rows] == RowStatus.DONE
        for store in stores[1:]:
            done, digests = store.status[rows] == RowStatus.DONE, store.digests[rows]
            changed |= seen & done & (first != digests).any(axis=1)
            new = done & ~seen
            first[new] = digests[new]
            seen = seen | done
        count += int(np.count_nonzero(changed))
    return count
