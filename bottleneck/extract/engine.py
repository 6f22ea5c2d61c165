"""Stream a source through a backbone into a feature file, and pick up where a run stopped."""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck import backbones
from bottleneck.backbones.spec import Pool
from bottleneck.errors import OptionError
from bottleneck.extract.calibration import calibration_images
from bottleneck.extract.decode import changed_rows, default_workers
from bottleneck.extract.embedder import Embedder, build_embedder
from bottleneck.extract.plan import (
    MaxFailed,
    Plan,
    require_same_manifest,
    require_same_recipe,
)
from bottleneck.extract.progress import Progress, Silent
from bottleneck.extract.result import ExtractResult, Tally, summarise
from bottleneck.images import ResizeRule
from bottleneck.output import prepare_output
from bottleneck.sources import Source, open_source
from bottleneck.store import (
    FailedRow,
    FeatureStore,
    Writer,
    create,
    failures_path,
    settle,
    writer_lock,
)
from bottleneck.store.format import FEATURE_DTYPES

BATCH_SIZE = 32
"""Images per forward pass: on a CPU more brings nothing, and 32 of 224x224 are 5 MB."""


def extract(
    sources: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    backbone: str = backbones.DEFAULT,
    weights: str | None = None,
    layers: Sequence[str] = (),
    pool: Pool = "avg",
    size: int | None = None,
    resize: ResizeRule = "crop",
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    precision: str = "float32",
    dtype: str = "float32",
    runtime: str = "auto",
    limit: int | None = None,
    overwrite: bool = False,
    preallocate: bool = True,
    retry_failed: bool = False,
    refresh: bool = False,
    max_failed: str = "10%",
    progress: Progress | None = None,
) -> ExtractResult:
    """Write the features of all images of some sources to a file, or finish such a file.

    Parameters
    ----------
    sources : str, Path or sequence of them
        Folders, CSV tables, image files.
    output : str or Path
        The feature file. If it exists and was begun with the same images and recipe, only the
        rows that are not finished are computed.
    backbone, weights, layers, pool, size, resize, precision, runtime
        See :func:`~bottleneck.extract.embedder.build_embedder`.
    batch_size : int
        Images per forward pass.
    workers : int, optional
        Threads that decode; one per CPU core by default.
    dtype : {"float32", "float16"}
        Type of the features on disk.
    limit : int, optional
        Compute at most this many rows now, spread evenly over the pending ones.
    overwrite : bool
        Begin anew even if the file exists.
    preallocate : bool
        Reserve the disk space of a new file at once.
    retry_failed : bool
        Try rows again that failed before.
    refresh : bool
        Read all images and compute those again whose bytes changed since, finished or failed;
        rows whose image cannot be read now stay as they are.
    max_failed : str
        A number or a percentage of all rows; more failures set ``too_many_failed``.
    progress : Progress, optional
        Who is told how it goes.

    Returns
    -------
    ExtractResult

    Raises
    ------
    BottleneckError
        Of the kind that fits: the sources cannot be listed, the file belongs to other images
        or another recipe, another process writes it, the disk is full, ...
    """
    allowed = MaxFailed.parse(max_failed)
    listed = [sources] if isinstance(sources, str | Path) else [*sources]
    for name, value in {"batch_size": batch_size, "workers": workers, "limit": limit}.items():
        if value is not None and value < 1:
            raise OptionError(f"expected {name} to be at least 1, got {value}")
    if dtype not in FEATURE_DTYPES:
        raise OptionError(f"expected dtype to be {' or '.join(FEATURE_DTYPES)}, got {dtype!r}")
    backbones.get(backbone)  # a misspelt name is told before a million files are listed
    source = open_source([str(given) for given in listed])
    path = prepare_output(output, kind="features", inputs=map(str, listed))
    with writer_lock(path):
        fresh = overwrite or not path.exists()
        if not fresh:
            # Cheap, so before the network is loaded.
            require_same_manifest(FeatureStore.open(path), source.manifest)
        embedder = build_embedder(
            backbone=backbone,
            weights=weights,
            layers=layers,
            pool=pool,
            size=size,
            resize=resize,
            dtype=dtype,
            precision=precision,
            runtime=runtime,
            calibration=partial(calibration_images, source),
        )
        return fill_store(
            source,
            path,
            embedder,
            batch_size=batch_size,
            workers=workers or default_workers(),
            limit=limit,
            overwrite=fresh,
            preallocate=preallocate,
            retry_failed=retry_failed,
            refresh=refresh,
            max_failed=allowed,
            progress=progress or Silent(),
        )


def fill_store(
    source: Source,
    path: Path,
    embedder: Embedder,
    *,
    batch_size: int,
    workers: int,
    max_failed: MaxFailed,
    progress: Progress,
    limit: int | None = None,
    overwrite: bool = False,
    preallocate: bool = True,
    retry_failed: bool = False,
    refresh: bool = False,
) -> ExtractResult:
    """Create or continue a feature file. The caller holds the writer lock.

    The parameters are those of :func:`extract`, resolved.
    """
    if overwrite or not path.exists():
        create(
            path,
            manifest=source.manifest,
            recipe=embedder.recipe,
            dims=embedder.dims,
            dtype=embedder.recipe.execution["dtype"],
            replace=path.exists(),
            preallocate=preallocate,
        )
        failures_path(path).unlink(missing_ok=True)
    store = FeatureStore.open(path)
    require_same_manifest(store, source.manifest)
    for note in require_same_recipe(store, embedder.recipe):
        progress.note(note)
    settle(store.path, store.layout)
    if refresh:
        store = _reset_changed(source, store, workers, progress)
    plan = Plan(store.status, retry_failed=retry_failed, limit=limit)
    started = time.perf_counter()
    seconds: defaultdict[str, float] = defaultdict(float)
    tally = Tally()
    if len(plan):
        progress.begin(len(plan), int(np.count_nonzero(store.status)))
        try:
            batches = plan.batches(batch_size)
            _stream(
                source,
                store,
                embedder,
                batches,
                workers=workers,
                tally=tally,
                seconds=seconds,
                progress=progress,
            )
        finally:
            progress.end()
    took = time.perf_counter() - started
    return summarise(store.path, tally, max_failed=max_failed, took=took, seconds=seconds)


def _reset_changed(
    source: Source, store: FeatureStore, workers: int, progress: Progress
) -> FeatureStore:
    """Make rows pending whose image changed, before they are overwritten."""
    rows = np.flatnonzero(store.status)
    changed, unreadable = changed_rows(source, rows, store.digests[rows], workers)
    kept = np.count_nonzero(store.done[unreadable])
    if kept:
        progress.note(f"{kept} images cannot be read now; their finished rows are kept")
    if not len(changed):
        return store
    progress.note(f"{len(changed)} images changed since they were computed")
    with Writer(store.path, store.layout) as writer:
        writer.unflag(changed)
    return FeatureStore.open(store.path)


def _stream(
    source: Source,
    store: FeatureStore,
    embedder: Embedder,
    batches: Iterable[NDArray[np.int64]],
    *,
    workers: int,
    tally: Tally,
    seconds: defaultdict[str, float],
    progress: Progress,
) -> None:
    """Compute and write rows; after Ctrl-C what was done is committed."""
    keys = source.manifest.keys
    reported = 0
    with Writer(store.path, store.layout) as writer:
        try:
            for batch in embedder.stream(source, batches, workers=workers, seconds=seconds):
                started = time.perf_counter()
                writer.write(batch.rows, batch.features, batch.digests)
                writer.fail(
                    FailedRow(f.row, keys[f.row], f.status, f.message, f.digest)
                    for f in batch.failures
                )
                tally.ok += len(batch.rows)
                tally.failed += len(batch.failures)
                seconds["write"] += time.perf_counter() - started
                if writer.committed > reported:
                    reported = writer.committed
                    progress.advance(reported, tally.failed, seconds)
            started = time.perf_counter()
            writer.commit()
            seconds["write"] += time.perf_counter() - started
        except KeyboardInterrupt:
            tally.interrupted = True
    if writer.committed > reported:
        progress.advance(writer.committed, tally.failed, seconds)
