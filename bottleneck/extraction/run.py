"""The engine from the outside: sources and options in, feature files out."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from bottleneck import backbones, runtimes
from bottleneck.cores import available_cores
from bottleneck.declare import listed
from bottleneck.decode.watch import Watch
from bottleneck.errors import OptionError
from bottleneck.extraction.build import build_embedder
from bottleneck.extraction.calibration import calibration_images
from bottleneck.extraction.embedder import Embedder
from bottleneck.extraction.engine import fill_stores
from bottleneck.extraction.forward import best_batch_size
from bottleneck.extraction.plan import MaxFailed, Part
from bottleneck.extraction.result import ExtractResult
from bottleneck.extraction.run_log import log_run
from bottleneck.options import ExtractOptions
from bottleneck.progress import Progress
from bottleneck.sources import Source, Survey, open_source
from bottleneck.store import FeatureStore, writer_lock
from bottleneck.writing import prepare_output

_PLACE = "{backbone}"


def extract_many(options: ExtractOptions) -> list[ExtractResult]:
    """Write a feature file for each of several backbones; every image is decoded once.

    A JPEG is decoded at the scale the largest input needs; a smaller one may so be drawn from
    more pixels than in a run of its own.

    Returns
    -------
    list of ExtractResult
        One per backbone, in their order.

    Raises
    ------
    BottleneckError
        Of the kind that fits: the sources cannot be listed, a file belongs to other images
        or another recipe, another process writes it, the disk is full, ...
    """
    progress, output = options.progress, options.output
    if not output:
        raise OptionError(
            "expected a feature file to write, got no output",
            hint="Name it: -o, --output FILE.h5 (in Python output=).",
        )
    allowed = MaxFailed.parse(str(options.max_failed))
    part = Part.parse(options.part, options.ranges)
    # Misspelt names first: listing takes longer.
    found = [backbones.find(name) for name in listed(options.backbone)]
    texts = _outputs(str(output), [one.file_name for one in found])
    source = open_source(listed(options.sources), listed(options.targets), options.choice())
    olds = [FeatureStore.open(path) for path in listed(options.reuse)]
    inputs = options.paths("reads", "images")
    paths = [prepare_output(text, kind="features", inputs=inputs) for text in texts]
    watch = Watch(
        options.timeout, lambda row: source.manifest.keys[row // options.views], progress.note
    )
    survey = Survey.of(source, rows=0)
    for line in survey.lines():
        progress.stage(line)
    for warning in survey.warnings:
        progress.note(warning)
    with ExitStack() as stack:
        for path in sorted(paths):
            stack.enter_context(writer_lock(path))

        def load(begun: Sequence[FeatureStore]) -> list[tuple[Embedder, int]]:
            runtime, loaded = _runtime(options, begun or olds), []
            for name in listed(options.backbone):
                embedder = _embedder(options, name, runtime, source)
                stack.callback(embedder.close)
                loaded.append((embedder, _batch_size(options, embedder, progress)))
            idle = loaded[0][0].unused_gpu(listed(options.devices))
            if idle:
                progress.note(idle)
            return loaded

        results = fill_stores(
            source,
            paths,
            load,
            workers=options.workers or available_cores(),
            worker_kind=options.worker_kind,
            watch=watch,
            views=options.views,
            reuse=olds,
            part=part,
            limit=options.limit,
            overwrite=options.overwrite,
            preallocate=options.preallocate,
            retry_failed=options.retry_failed,
            refresh=options.refresh,
            max_failed=allowed,
            progress=progress,
        )
    for result in results:
        log_run(options, result)
    return results


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


def _embedder(options: ExtractOptions, backbone: str, runtime: str, source: Source) -> Embedder:
    of = backbones.find(backbone).provider.FORMS
    if options.runtime == "auto" and runtime != "auto":
        # That of the files to continue, which may be of networks of other forms.
        runtime = runtime if not {*runtimes.forms(runtime)}.isdisjoint(of) else "auto"
    return build_embedder(
        backbone=backbone,
        weights=None if options.weights is None else str(options.weights),
        layers=listed(options.layers),
        pool=options.pool,
        size=options.size,
        resize=options.resize,
        preprocess=options.preprocess,
        dtype=options.dtype,
        precision=options.precision,
        runtime=runtime,
        views=options.views,
        devices=listed(options.devices),
        calibration=partial(calibration_images, source),
    )


def _batch_size(options: ExtractOptions, embedder: Embedder, progress: Progress) -> int:
    if options.batch_size != "auto":
        return options.batch_size
    return best_batch_size(
        embedder.network,
        embedder.geometry.size,
        lambda message: progress.note(f"{embedder.recipe.backbone}: {message}"),
    )
