"""Stream a source through a backbone into a feature file, and pick up where a run stopped."""

import resource
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck import backbones
from bottleneck.backbones.spec import Pool
from bottleneck.errors import OptionError, StoreError
from bottleneck.extract.decode import changed_rows, default_workers
from bottleneck.extract.embedder import Embedder, build_embedder
from bottleneck.extract.plan import (
    MaxFailed,
    require_same_manifest,
    require_same_recipe,
    rows_to_do,
)
from bottleneck.extract.progress import Progress, Silent
from bottleneck.images import ResizeRule
from bottleneck.sources import Source, open_source
from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore, Writer, create, failures_path, writer_lock
from bottleneck.store.format import FEATURE_DTYPES

BATCH_SIZE = 32
"""Images per forward pass: on a CPU more brings nothing, and 32 of 224x224 are 5 MB."""


@dataclass(frozen=True)
class ExtractResult:
    """What a run did. ``rows = ok + failed + already_done + pending``.

    Parameters
    ----------
    output : str
        The feature file.
    rows : int
        Rows of the file.
    ok, failed : int
        Rows this run finished, and rows it found to be bad.
    already_done : int
        Rows that were finished, well or badly, before this run.
    pending : int
        Rows still to be computed (after an interrupt or with a limit).
    failed_total : int
        Bad rows of the file, from this run and earlier ones.
    reasons : dict of str to int
        Bad rows of the file by reason.
    too_many_failed : bool
        Whether ``failed_total`` exceeds what was allowed.
    interrupted : bool
        Whether the run was stopped by Ctrl-C.
    seconds : float
        Time this run took, without loading the backbone.
    images_per_second : float
        Images of this run over its time.
    stages : dict of str to float
        Seconds per stage; ``read`` and ``decode`` are summed over the workers.
    backbone : str
        Its name.
    outputs : dict of str to int
        Length of the features of each output.
    peak_rss_mb : float
        Largest resident memory of the process so far, in MB.
    """

    output: str
    rows: int
    ok: int
    failed: int
    already_done: int
    pending: int
    failed_total: int
    reasons: dict[str, int]
    too_many_failed: bool
    interrupted: bool
    seconds: float
    images_per_second: float
    stages: dict[str, float]
    backbone: str
    outputs: dict[str, int]
    peak_rss_mb: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


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
    retry_failed : bool
        Try rows again that failed before.
    refresh : bool
        Read all images and compute those again whose bytes changed since.
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
    path = _prepare_folder(Path(output))
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
        )
        return fill_store(
            source,
            path,
            embedder,
            batch_size=batch_size,
            workers=workers or default_workers(),
            limit=limit,
            overwrite=fresh,
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
    limit: int | None,
    overwrite: bool,
    retry_failed: bool,
    refresh: bool,
    max_failed: MaxFailed,
    progress: Progress,
) -> ExtractResult:
    """Create or continue a feature file. The caller holds the writer lock.

    The parameters are those of :func:`extract`, resolved.
    """
    if overwrite or not path.exists():
        failures_path(path).unlink(missing_ok=True)
        create(
            path,
            manifest=source.manifest,
            recipe=embedder.recipe,
            dims=embedder.dims,
            dtype=embedder.recipe.execution["dtype"],
            replace=path.exists(),
        )
    store = FeatureStore.open(path)
    require_same_manifest(store, source.manifest)
    for note in require_same_recipe(store, embedder.recipe):
        progress.note(note)
    if refresh:
        store = _unflag_changed(source, store, workers, progress)
    rows = rows_to_do(store.status, retry_failed=retry_failed, limit=limit)
    started = time.perf_counter()
    seconds: defaultdict[str, float] = defaultdict(float)
    interrupted = False
    if len(rows):
        progress.begin(len(rows), len(store) - len(rows))
        try:
            interrupted = _stream(
                source,
                store,
                embedder,
                rows,
                batch_size=batch_size,
                workers=workers,
                seconds=seconds,
                progress=progress,
            )
        finally:
            progress.end()
    return _result(
        store,
        rows,
        interrupted=interrupted,
        max_failed=max_failed,
        took=time.perf_counter() - started,
        seconds=seconds,
    )


def _unflag_changed(
    source: Source, store: FeatureStore, workers: int, progress: Progress
) -> FeatureStore:
    done = np.flatnonzero(store.done)
    stale = changed_rows(source, done, store.digests[done], workers)
    if not len(stale):
        return store
    progress.note(f"{len(stale)} images changed since they were computed")
    with Writer(store.path, store.layout) as writer:
        writer.unflag(stale)
    return FeatureStore.open(store.path)


def _stream(
    source: Source,
    store: FeatureStore,
    embedder: Embedder,
    rows: NDArray[np.int64],
    *,
    batch_size: int,
    workers: int,
    seconds: defaultdict[str, float],
    progress: Progress,
) -> bool:
    """Compute and write rows; return whether Ctrl-C stopped it (what was done is committed)."""
    keys = source.manifest.keys
    failed = reported = 0
    with Writer(store.path, store.layout) as writer:
        try:
            for batch in embedder.stream(
                source, rows, batch_size=batch_size, workers=workers, seconds=seconds
            ):
                started = time.perf_counter()
                writer.write(batch.rows, batch.features, batch.digests)
                writer.fail((f.row, keys[f.row], f.status, f.message) for f in batch.failures)
                failed += len(batch.failures)
                seconds["write"] += time.perf_counter() - started
                if writer.committed > reported:
                    reported = writer.committed
                    progress.advance(reported, failed, seconds)
            started = time.perf_counter()
            writer.commit()
            seconds["write"] += time.perf_counter() - started
            progress.advance(writer.committed, failed, seconds)
        except KeyboardInterrupt:
            return True
    return False


def _result(
    store: FeatureStore,
    rows: NDArray[np.int64],
    *,
    interrupted: bool,
    max_failed: MaxFailed,
    took: float,
    seconds: dict[str, float],
) -> ExtractResult:
    after = FeatureStore.open(store.path)
    ok = int(np.count_nonzero(after.status[rows] == RowStatus.DONE))
    pending = int(np.count_nonzero(after.status == RowStatus.PENDING))
    failed = int(np.count_nonzero(after.status[rows] > RowStatus.DONE))
    failed_total = int(np.count_nonzero(after.status > RowStatus.DONE))
    return ExtractResult(
        output=str(store.path),
        rows=len(after),
        ok=ok,
        failed=failed,
        already_done=len(after) - ok - failed - pending,
        pending=pending,
        failed_total=failed_total,
        reasons={s.label: n for s, n in after.counts().items() if s.failed},
        too_many_failed=max_failed.exceeded(failed_total, len(after)),
        interrupted=interrupted,
        seconds=round(took, 3),
        images_per_second=round((ok + failed) / took, 2) if ok + failed else 0.0,
        stages={stage: round(value, 3) for stage, value in seconds.items()},
        backbone=after.recipe.backbone,
        outputs=after.outputs,
        peak_rss_mb=_peak_rss_mb(),
    )


def _peak_rss_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3 / 1.024), 1)


def _prepare_folder(path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {path.parent}: {error.strerror}") from error
    if path.is_dir():
        raise OptionError(f"expected a file name for the output, got the folder {path}")
    return path
