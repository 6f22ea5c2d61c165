"""The engine from the outside: sources and options in, feature files out."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Literal

from bottleneck import backbones, runtimes
from bottleneck.backbones.spec import Pool
from bottleneck.cores import available_cores
from bottleneck.decode import open_decoder
from bottleneck.decode.stream import WorkerKind
from bottleneck.decode.watch import TIMEOUT_SECONDS, Watch
from bottleneck.errors import OptionError
from bottleneck.extraction.build import build_embedder
from bottleneck.extraction.calibration import calibration_images
from bottleneck.extraction.embedder import Embedder
from bottleneck.extraction.engine import fill_stores
from bottleneck.extraction.forward import best_batch_size
from bottleneck.extraction.options import BATCH_SIZE, ExtractOptions
from bottleneck.extraction.plan import MaxFailed, require_same_manifest
from bottleneck.extraction.progress import Progress, Silent
from bottleneck.extraction.result import ExtractResult
from bottleneck.extraction.views import viewed
from bottleneck.images import ResizeRule
from bottleneck.sources import open_source
from bottleneck.store import FeatureStore, writer_lock
from bottleneck.writing import prepare_output

_PLACE = "{backbone}"


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
    views: int = 1,
    batch_size: int | Literal["auto"] = BATCH_SIZE,
    workers: int | None = None,
    worker_kind: WorkerKind = "auto",
    timeout: float = TIMEOUT_SECONDS,
    precision: str = "float32",
    dtype: str = "float32",
    runtime: str = "auto",
    devices: Sequence[str] = (),
    reuse: Sequence[str | Path] = (),
    limit: int | None = None,
    targets: Sequence[str] = (),
    overwrite: bool = False,
    preallocate: bool = True,
    retry_failed: bool = False,
    refresh: bool = False,
    max_failed: str = "10%",
    progress: Progress | None = None,
) -> ExtractResult:
    """Write the features of all images of some sources to a file, or finish such a file.

    Identical images are computed once.

    Parameters
    ----------
    sources : str, Path or sequence of them
        Folders, tables, image files, archives, arrays, URLs: docs/sources.md.
    output : str or Path
        The feature file. If it exists and was begun with the same images and recipe, only the
        rows that are not finished are computed.
    backbone, weights, layers, pool, size, resize, precision, runtime
        See :func:`~bottleneck.extraction.build.build_embedder`.
    devices : sequence of str
        What computes the network: ``cpu``, ``gpu`` or ``gpu:N``; several take batches in turn,
        each in a process of its own. By default the first GPU, else the CPU.
    views : int
        Rows per image: the plain picture, and random parts of it, some mirrored, which follow
        from the image's hash.
    batch_size : int or "auto"
        Images per forward pass; ``auto`` measures which number is fastest here.
    workers : int, optional
        Processes or threads that decode; one per CPU core by default.
    worker_kind : {"auto", "processes", "threads"}
        A crash or a hang of the decoder in a process costs one image, in a thread the run.
        ``auto``: processes, and threads where the source cannot be handed to a process.
    timeout : float
        Seconds after which an image has failed that is still being read or decoded by a process.
    dtype : {"float32", "float16"}
        Type of the features on disk.
    reuse : sequence of str or Path
        Older files of the same recipe: features of equal images are taken from them.
    limit : int, optional
        Compute at most this many rows now, spread evenly over the pending ones.
    targets : sequence of str
        Columns of the tables to keep as targets, for ``train --target``.
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
    options = ExtractOptions(
        weights=weights,
        layers=tuple(layers),
        pool=pool,
        size=size,
        resize=resize,
        views=views,
        batch_size=batch_size,
        workers=workers,
        worker_kind=worker_kind,
        timeout=timeout,
        precision=precision,
        dtype=dtype,
        runtime=runtime,
        devices=tuple(devices),
        reuse=tuple(map(str, reuse)),
        limit=limit,
        targets=tuple(targets),
        overwrite=overwrite,
        preallocate=preallocate,
        retry_failed=retry_failed,
        refresh=refresh,
        max_failed=max_failed,
    )
    (result,) = extract_many(sources, output, [backbone], options, progress)
    return result


def extract_many(
    sources: str | Path | Sequence[str | Path],
    output: str | Path,
    names: Sequence[str],
    options: ExtractOptions | None = None,
    progress: Progress | None = None,
) -> list[ExtractResult]:
    """Write a feature file for each of several backbones; every image is decoded once.

    A JPEG is decoded at the scale the largest input needs; a smaller one may so be drawn from
    more pixels than in a run of its own.

    Parameters
    ----------
    sources, progress
        As for :func:`extract`.
    output : str or Path
        The feature files; ``{backbone}`` in it stands for the name of each.
    names : sequence of str
        Backbones.
    options : ExtractOptions, optional
        As the options of :func:`extract`.

    Returns
    -------
    list of ExtractResult
        One per backbone, in their order.
    """
    options = options or ExtractOptions()
    progress = progress or Silent()
    allowed = MaxFailed.parse(options.max_failed)
    listed = [str(s) for s in ([sources] if isinstance(sources, str | Path) else sources)]
    specs = [backbones.get(name) for name in names]  # misspelt names first: listing takes longer
    texts = _outputs(str(output), [spec.name for spec in specs])
    source = open_source(listed, options.targets)
    olds = [FeatureStore.open(path) for path in options.reuse]
    inputs = [*listed, *options.reuse]
    paths = [prepare_output(text, kind="features", inputs=inputs) for text in texts]
    workers = options.workers or available_cores()
    watch = Watch(
        options.timeout, lambda row: source.manifest.keys[row // options.views], progress.note
    )
    with ExitStack() as stack:
        for path in sorted(paths):
            stack.enter_context(writer_lock(path))
        fresh = [options.overwrite or not path.exists() for path in paths]
        manifest = viewed(source.manifest, options.views)
        stores = [
            FeatureStore.open(path) for path, anew in zip(paths, fresh, strict=True) if not anew
        ]
        for store in stores:
            require_same_manifest(store, manifest)  # cheap, so before networks are loaded
        decoder = None
        if len(stores) < len(paths) or not all(store.complete for store in stores):
            # Processes start while networks are loaded.
            decoder = open_decoder(source, workers=workers, kind=options.worker_kind, watch=watch)
            stack.callback(decoder.close)
        runtime = _runtime(options, stores or olds)
        embedders = []
        for spec in specs:
            embedder = build_embedder(
                backbone=spec.name,
                weights=options.weights,
                layers=options.layers,
                pool=options.pool,
                size=options.size,
                resize=options.resize,
                dtype=options.dtype,
                precision=options.precision,
                runtime=runtime,
                views=options.views,
                devices=options.devices,
                calibration=partial(calibration_images, source),
            )
            stack.callback(embedder.close)
            embedders.append(embedder)
        return fill_stores(
            source,
            list(zip(paths, embedders, strict=True)),
            batch_size=[_batch_size(options, embedder, progress) for embedder in embedders],
            workers=workers,
            worker_kind=options.worker_kind,
            decoder=decoder,
            watch=watch,
            views=options.views,
            reuse=olds,
            limit=options.limit,
            overwrite=fresh,
            preallocate=options.preallocate,
            retry_failed=options.retry_failed,
            refresh=options.refresh,
            max_failed=allowed,
            progress=progress,
        )


def _outputs(output: str, names: Sequence[str]) -> list[str]:
    """Name a file for each backbone."""
    texts = [output.replace(_PLACE, name) for name in names]
    if len(set(names)) < len(names):
        raise OptionError(f"expected different backbones, got {', '.join(names)}")
    if len(set(texts)) < len(texts):
        raise OptionError(
            f"expected {_PLACE} in the output for {len(names)} backbones, got {output}",
            hint=f"For example: -o 'features_{_PLACE}.h5'",
        )
    return texts


def _runtime(options: ExtractOptions, begun: Sequence[FeatureStore]) -> str:
    """Name the runtime: with ``auto`` that of the files to continue or to take rows from.

    Raises
    ------
    OptionError
        When they were computed by several: a process has only one.
    """
    used = {str(store.recipe.execution.get("runtime")): store for store in begun}
    names = [name for name in used if name in runtimes.RUNTIMES]
    if options.runtime != "auto" or not names:
        return options.runtime
    if len(names) > 1:
        told = ", ".join(f"{used[name].path} by {name}" for name in names)
        raise OptionError(
            f"expected files that one runtime computed, got {told}",
            hint="Finish them one by one, or say with --runtime which is to compute the rest.",
        )
    # Another precision than the file's is refused later, with both named.
    able = options.precision in runtimes.precisions(names[0])
    return names[0] if able else options.runtime


def _batch_size(options: ExtractOptions, embedder: Embedder, progress: Progress) -> int:
    if options.batch_size != "auto":
        return options.batch_size
    return best_batch_size(
        embedder.network,
        embedder.geometry.size,
        lambda message: progress.note(f"{embedder.recipe.backbone}: {message}"),
    )
