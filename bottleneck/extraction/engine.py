"""Stream a source through backbones into feature files, and pick up where a run stopped."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.decode import Decoder, changed_rows, open_decoder
from bottleneck.decode.slot import MAX_WANTS
from bottleneck.decode.stream import Batch, WorkerKind
from bottleneck.decode.workers import Watch
from bottleneck.errors import OptionError
from bottleneck.extraction.embedder import EmbeddedBatch, Embedder
from bottleneck.extraction.inference import Consumer, infer
from bottleneck.extraction.plan import (
    WHOLE,
    MaxFailed,
    Part,
    Plan,
    require_same_manifest,
    require_same_recipe,
    waiting,
)
from bottleneck.extraction.result import ExtractResult, RunTally, summarise
from bottleneck.extraction.reuse import FeatureCache, OldFile, OwnRows, matching, require_matches
from bottleneck.manifest import SPLITS, Manifest
from bottleneck.progress import Progress
from bottleneck.sources import Source
from bottleneck.status import RowStatus
from bottleneck.store import FailedRow, FeatureStore, Writer, create, failures_path, settle


def viewed(manifest: Manifest, views: int) -> Manifest:
    """Give every image a row per view: ``a.jpg#0``, ``a.jpg#1``, ...

    The views of an image share its label, targets and split, and its group; an image without one
    becomes a group of its own, so that folds and holdouts keep its views together.

    Parameters
    ----------
    manifest : Manifest
        A row per image.
    views : int
        Views per image; 1 changes nothing.
    """
    if views == 1:
        return manifest
    rows = list(chain.from_iterable([row] * views for row in range(len(manifest))))
    listed = Manifest.build(
        [f"{key}#{view}" for key in manifest.keys for view in range(views)],
        (_label(manifest, row) for row in rows),
        (SPLITS[manifest.splits[row]] for row in rows),
        (_group(manifest, row) for row in rows),
    )
    return replace(listed, targets=manifest.targets.take(np.array(rows)))


def _label(manifest: Manifest, row: int) -> str | None:
    code = int(manifest.labels[row])
    return manifest.classes[code] if code >= 0 else None


def _group(manifest: Manifest, row: int) -> str:
    code = int(manifest.groups[row])
    return manifest.group_names[code] if code >= 0 else manifest.keys[row]


Load = Callable[[Sequence[FeatureStore]], Sequence[tuple[Embedder, int]]]
"""From the files that are to be continued to what computes each output, and images per pass."""


@dataclass(frozen=True, eq=False)
class _Target:
    """A feature file that is being filled.

    Parameters
    ----------
    store : FeatureStore
        The file as it was when the run began.
    consumer : Consumer
        What computes its rows, or knows them.
    tally : RunTally
        What was done so far.
    seconds : defaultdict of float
        Time of its stages.
    """

    store: FeatureStore
    consumer: Consumer
    seconds: defaultdict[str, float]
    tally: RunTally = field(default_factory=RunTally)


def fill_store(
    source: Source, path: Path, embedder: Embedder, *, batch_size: int, **options: Any
) -> ExtractResult:
    """Create or continue one feature file; see :func:`fill_stores`."""
    (result,) = fill_stores(source, [path], lambda begun: [(embedder, batch_size)], **options)
    return result


def fill_stores(
    source: Source,
    paths: Sequence[Path],
    load: Load,
    *,
    workers: int,
    max_failed: MaxFailed,
    progress: Progress,
    worker_kind: WorkerKind = "threads",
    watch: Watch | None = None,
    views: int = 1,
    reuse: Sequence[FeatureStore] = (),
    part: Part = WHOLE,
    limit: int | None = None,
    overwrite: bool = False,
    preallocate: bool = True,
    retry_failed: bool = False,
    refresh: bool = False,
) -> list[ExtractResult]:
    """Create or continue feature files in one pass. The caller holds the writer locks.

    Rows that any of the files lacks are read and decoded once, and each file gets what it lacks.

    Parameters
    ----------
    source : Source
        The images.
    paths : sequence of Path
        The files.
    load : callable
        Loads what computes each of them; called when the files to be continued were found to
        list these images, while decode workers start.
    watch : Watch, optional
        Time-out of an image, and who is told of stalls.
    reuse : sequence of FeatureStore
        Older files to take features from.
    part : Part
        The images that are done here; rows of others stay as they are.
    workers, worker_kind, max_failed, progress, views, limit, overwrite, preallocate
        See :func:`bottleneck.extract`.
    retry_failed, refresh
        See :func:`bottleneck.extract`.
    """
    if len(paths) > MAX_WANTS:
        raise OptionError(f"expected at most {MAX_WANTS} backbones at once, got {len(paths)}")
    manifest = viewed(source.manifest, views)
    mine = part.rows(len(source.manifest), views)
    begun = [FeatureStore.open(path) for path in paths if not overwrite and path.exists()]
    for store in begun:
        store.require_own()
        require_same_manifest(store, manifest)  # cheap, so before networks are loaded
    with ExitStack() as stack:

        def start() -> Decoder:
            decoder = open_decoder(source, workers=workers, kind=worker_kind, watch=watch)
            stack.callback(decoder.close)
            return decoder

        waits = len(begun) < len(paths) or not all(store.complete for store in begun)
        # Processes start while networks are loaded.
        decoder = start() if waits else None
        loaded = load(begun)
        require_matches([*reuse], [embedder.recipe for embedder, _ in loaded])
        targets = []
        for path, (embedder, at_most) in zip(paths, loaded, strict=True):
            store = _opened(
                path,
                embedder,
                manifest,
                start_over=overwrite or not path.exists(),
                preallocate=preallocate,
                progress=progress,
            )
            if refresh:
                store = _reset_changed(source, store, mine, progress, workers=workers, views=views)
            if retry_failed:
                store = _reset(store, np.flatnonzero(mine & (store.status > RowStatus.DONE)))
            old = matching([*reuse], embedder.recipe)
            own = OwnRows(store.path, store.layout, views)
            own.add_finished(store.done)
            cache = FeatureCache(OldFile.read(old, views) if old else None, own, views)
            seconds = defaultdict[str, float](float)
            consumer = Consumer(
                embedder, cache, at_most=at_most, note=progress.note, seconds=seconds
            )
            targets.append(_Target(store, consumer, seconds))
        lacks = mine & np.logical_or.reduce([waiting(t.store.status) for t in targets])
        plan = Plan(np.where(lacks, 0, 1).astype(np.uint8), limit=limit)
        started = time.perf_counter()
        shared: defaultdict[str, float] = defaultdict(float)
        if len(plan):
            progress.begin(len(plan), int(np.count_nonzero(mine & ~lacks)))
            largest = min(max(size for _, size in loaded), len(plan))
            inferred = infer(
                decoder or start(),
                [target.consumer for target in targets],
                _with_wants(plan.batches(largest, workers), targets),
                largest=largest,
                views=views,
                seconds=shared,
            )
            try:
                with closing(inferred):
                    _write(inferred, targets, manifest.keys, shared, progress)
            except KeyboardInterrupt:
                # What was computed is in the files; the summary says how far it came.
                for target in targets:
                    target.tally.interrupted = True
            finally:
                progress.end()
        took = time.perf_counter() - started
    return [
        summarise(
            target.store,
            target.tally,
            mine,
            computed=target.consumer.computed,
            forward_seconds=target.consumer.forward_seconds,
            max_failed=max_failed,
            took=took,
            seconds={**shared, **target.seconds},
            workers=workers,
        )
        for target in targets
    ]


def _opened(
    path: Path,
    embedder: Embedder,
    manifest: Manifest,
    *,
    start_over: bool,
    preallocate: bool,
    progress: Progress,
) -> FeatureStore:
    """Open the file to continue, or make it."""
    if start_over or not path.exists():
        create(
            path,
            manifest=manifest,
            recipe=embedder.recipe,
            dims=embedder.dims,
            dtype=embedder.recipe.execution["dtype"],
            replace=path.exists(),
            preallocate=preallocate,
        )
        failures_path(path).unlink(missing_ok=True)
    store = FeatureStore.open(path)
    require_same_manifest(store, manifest)
    for note in require_same_recipe(store, embedder.recipe):
        progress.note(note)
    settle(store.path, store.layout)
    store.counts()  # a status of no meaning is told before any work
    return store


def _reset_changed(
    source: Source,
    store: FeatureStore,
    mine: NDArray[np.bool_],
    progress: Progress,
    *,
    workers: int,
    views: int,
) -> FeatureStore:
    """Make rows pending whose image changed, before they are overwritten."""
    rows = np.flatnonzero(mine & np.not_equal(store.status, RowStatus.PENDING))
    changed, unreadable = changed_rows(source, rows, store.digests[rows], workers, views)
    kept = np.count_nonzero(store.done[unreadable])
    if kept:
        progress.note(f"{kept} images cannot be read now; their finished rows are kept")
    if not len(changed):
        return store
    progress.note(f"{len(changed)} images changed since they were computed")
    return _reset(store, changed)


def _reset(store: FeatureStore, rows: NDArray[np.int64]) -> FeatureStore:
    """Make rows pending, durably, before they are written again; return the file as it is then."""
    if not len(rows):
        return store
    with Writer(store.path, store.layout) as writer:
        writer.unflag(rows)
    return FeatureStore.open(store.path)


def _with_wants(
    batches: Iterator[NDArray[np.int64]], targets: Sequence[_Target]
) -> Iterator[Batch]:
    """Say for the rows of each batch which files lack them."""
    for rows in batches:
        wanted = np.zeros(len(rows), np.uint32)
        for w, target in enumerate(targets):
            lacks = waiting(target.store.status[rows])
            wanted |= lacks.astype(np.uint32) << np.uint32(w)
        yield rows, wanted


def _write(
    inferred: Iterator[tuple[int, EmbeddedBatch, int]],
    targets: Sequence[_Target],
    keys: Sequence[str],
    shared: defaultdict[str, float],
    progress: Progress,
) -> None:
    """Write rows as they are computed; after Ctrl-C what was done is committed."""
    streamed = reported = failed = 0

    def interrupt() -> None:
        for target in targets:
            target.tally.interrupted = True

    def report() -> None:
        # A row counts once it is durable in every file.
        nonlocal reported
        pairs = zip(targets, writers, strict=True)
        finished = streamed - max(t.tally.done - writer.committed for t, writer in pairs)
        if finished > reported:
            reported = finished
            progress.advance(reported, failed, _together(shared, targets))

    with ExitStack() as stack:
        writers = [
            # The devices compute while rows are made durable.
            stack.enter_context(Writer(t.store.path, t.store.layout, background=True))
            for t in targets
        ]
        try:
            for w, batch, finished in inferred:
                target, writer = targets[w], writers[w]
                started = time.perf_counter()
                writer.write(batch.rows, batch.features, batch.digests)
                writer.fail(
                    FailedRow(f.row, keys[f.row], f.status, f.message, f.digest)
                    for f in batch.failures
                )
                target.consumer.cache.remember(batch.rows, batch.digests)
                target.tally.add(batch)
                target.seconds["write"] += time.perf_counter() - started
                if finished:
                    streamed += finished
                    failed = max(target.tally.failed for target in targets)
                    report()
        except KeyboardInterrupt:
            interrupt()
        for target, writer in zip(targets, writers, strict=True):
            started = time.perf_counter()
            try:
                writer.commit()
            except KeyboardInterrupt:
                interrupt()
                writer.commit()
            target.seconds["write"] += time.perf_counter() - started
    report()


def _together(
    shared: defaultdict[str, float], targets: Sequence[_Target]
) -> defaultdict[str, float]:
    """Add up the time of all stages."""
    total = defaultdict[str, float](float, shared)
    for target in targets:
        for stage, took in target.seconds.items():
            total[stage] += took
    return total
