"""Stream a source through backbones into feature files, and pick up where a run stopped."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.decode import (
    Decoder,
    Job,
    Slot,
    changed_rows,
    decode_stream,
    open_decoder,
)
from bottleneck.decode.job import MAX_WANTS
from bottleneck.decode.stream import Batch, WorkerKind
from bottleneck.decode.watch import Watch
from bottleneck.errors import OptionError
from bottleneck.extraction.embedder import Embedder, timed
from bottleneck.extraction.forward import lagging
from bottleneck.extraction.known import OldFile, matching, require_matches
from bottleneck.extraction.plan import (
    MaxFailed,
    Plan,
    require_same_manifest,
    require_same_recipe,
    waiting,
)
from bottleneck.extraction.result import ExtractResult, summarise
from bottleneck.extraction.target import Begun, Target
from bottleneck.extraction.views import viewed
from bottleneck.manifest import Manifest
from bottleneck.progress import Progress
from bottleneck.sources import Source
from bottleneck.status import RowStatus
from bottleneck.store import (
    FailedRow,
    FeatureStore,
    Writer,
    create,
    failures_path,
    settle,
)


def fill_store(source: Source, path: Path, embedder: Embedder, **options: Any) -> ExtractResult:
    """Create or continue one feature file; see :func:`fill_stores`."""
    (result,) = fill_stores(source, [(path, embedder)], **options)
    return result


def fill_stores(
    source: Source,
    outputs: Sequence[tuple[Path, Embedder]],
    *,
    batch_size: int | Sequence[int],
    workers: int,
    max_failed: MaxFailed,
    progress: Progress,
    worker_kind: WorkerKind = "threads",
    decoder: Decoder | None = None,
    watch: Watch | None = None,
    views: int = 1,
    reuse: Sequence[FeatureStore] = (),
    limit: int | None = None,
    overwrite: bool | Sequence[bool] = False,
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
    outputs : sequence of (Path, Embedder)
        Each file and what computes its rows.
    batch_size : int or sequence of int
        Images per forward pass, of each embedder.
    decoder : Decoder, optional
        Workers that were started before; by default they are started when there is work.
    watch : Watch, optional
        Time-out of an image, and who is told of stalls, for workers that are started here.
    reuse : sequence of FeatureStore
        Older files to take features from.
    workers, worker_kind, max_failed, progress, views, limit, overwrite, preallocate
        See :func:`bottleneck.extract`.
    retry_failed, refresh
        See :func:`bottleneck.extract`.
    """
    sizes = [batch_size] * len(outputs) if isinstance(batch_size, int) else [*batch_size]
    fresh = [overwrite] * len(outputs) if isinstance(overwrite, bool) else [*overwrite]
    if len(outputs) > MAX_WANTS:
        raise OptionError(f"expected at most {MAX_WANTS} backbones at once, got {len(outputs)}")
    with ExitStack() as stack:
        if decoder is not None:
            stack.callback(decoder.close)
        manifest = viewed(source.manifest, views)
        require_matches([*reuse], [embedder.recipe for _, embedder in outputs])
        targets = []
        for (path, embedder), size, anew in zip(outputs, sizes, fresh, strict=True):
            store = _opened(
                path,
                embedder,
                manifest,
                anew=anew,
                preallocate=preallocate,
                progress=progress,
            )
            if refresh:
                store = _reset_changed(source, store, workers, views, progress)
            if retry_failed:
                store = _reset(store, np.flatnonzero(store.status > RowStatus.DONE))
            old = matching([*reuse], embedder.recipe)
            targets.append(
                Target(
                    store,
                    embedder,
                    old=OldFile.read(old, views) if old else None,
                    views=views,
                    at_most=size,
                    note=progress.note,
                )
            )
        lacks = np.logical_or.reduce([waiting(t.store.status) for t in targets])
        plan = Plan(np.where(lacks, 0, 1).astype(np.uint8), limit=limit)
        started = time.perf_counter()
        shared: defaultdict[str, float] = defaultdict(float)
        if len(plan):
            for target in targets:
                target.expect(min(max(sizes), len(plan)))
            progress.begin(len(plan), len(lacks) - int(np.count_nonzero(lacks)))
            try:
                geometries = tuple(dict.fromkeys(embedder.geometry for _, embedder in outputs))
                job = Job(
                    geometries,
                    tuple(t.want(geometries.index(t.embedder.geometry)) for t in targets),
                    max(sizes),
                    views,
                )
                decoder = decoder or open_decoder(
                    source, workers=workers, kind=worker_kind, watch=watch
                )
                batches = _with_wants(plan.batches(job.batch_size, workers), targets)
                slots = decode_stream(decoder, job, batches)
                with closing(slots):
                    _stream(
                        slots,
                        job,
                        targets,
                        keys=manifest.keys,
                        shared=shared,
                        progress=progress,
                    )
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
            computed=target.computed,
            forward_seconds=target.forward_seconds,
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
    anew: bool,
    preallocate: bool,
    progress: Progress,
) -> FeatureStore:
    """Open the file to continue, or make it."""
    if anew or not path.exists():
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
    source: Source, store: FeatureStore, workers: int, views: int, progress: Progress
) -> FeatureStore:
    """Make rows pending whose image changed, before they are overwritten."""
    rows = np.flatnonzero(store.status)
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


def _with_wants(batches: Iterator[NDArray[np.int64]], targets: Sequence[Target]) -> Iterator[Batch]:
    """Say for the rows of each batch which files lack them."""
    for rows in batches:
        wanted = np.zeros(len(rows), np.uint32)
        for w, target in enumerate(targets):
            lacks = waiting(target.store.status[rows])
            wanted |= lacks.astype(np.uint32) << np.uint32(w)
        yield rows, wanted


def _stream(
    slots: Iterator[Slot],
    job: Job,
    targets: Sequence[Target],
    *,
    keys: Sequence[str],
    shared: defaultdict[str, float],
    progress: Progress,
) -> None:
    """Compute and write rows; after Ctrl-C what was done is committed."""
    streamed = reported = failed = 0

    def begun() -> Iterator[tuple[int, Begun, int]]:
        # A slot is used again as soon as the next one is asked for.
        for slot in timed(slots, shared):
            for w, target in enumerate(targets):
                last = slot.count if w == len(targets) - 1 else 0
                yield w, target.begin(slot, w, job.wants[w].geometry), last

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
        writers = [stack.enter_context(Writer(t.store.path, t.store.layout)) for t in targets]
        try:
            beyond = max(target.in_flight for target in targets) - 1
            for w, part, finished in lagging(begun(), beyond * len(targets)):
                target, writer = targets[w], writers[w]
                batch = target.finish(part)
                started = time.perf_counter()
                writer.write(batch.rows, batch.features, batch.digests)
                writer.fail(
                    FailedRow(f.row, keys[f.row], f.status, f.message, f.digest)
                    for f in batch.failures
                )
                target.remember(batch)
                target.tally.ok += len(batch.rows)
                target.tally.failed += len(batch.failures)
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
    shared: defaultdict[str, float], targets: Sequence[Target]
) -> defaultdict[str, float]:
    """Add up the time of all stages."""
    total = defaultdict[str, float](float, shared)
    for target in targets:
        for stage, took in target.seconds.items():
            total[stage] += took
    return total
