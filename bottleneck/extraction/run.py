"""The engine from the outside: sources and options in, feature files out."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import bottleneck
from bottleneck import backbones, runtimes
from bottleneck.backbones.declared import DeclaredInput
from bottleneck.backbones.network import PARTIAL, Map, Network, OutputSpec, Pool
from bottleneck.cores import available_cores
from bottleneck.declare import listed
from bottleneck.decode import Job, decode_stream, open_decoder
from bottleneck.decode.workers import Watch
from bottleneck.errors import ManifestError, OptionError, RuntimeUnavailableError
from bottleneck.extraction.embedder import Embedder, NetworkOrder, on_devices
from bottleneck.extraction.engine import fill_stores
from bottleneck.extraction.forward import batch_size_for
from bottleneck.extraction.plan import MaxFailed, Part
from bottleneck.extraction.result import ExtractResult, log_run
from bottleneck.images import (
    PILLOW,
    DecoderName,
    Geometry,
    ImageSize,
    ResizeRule,
    parse_size,
    require_decoder,
)
from bottleneck.items import KINDS, ItemInput, input_of
from bottleneck.options import ExtractOptions, RecipeOptions
from bottleneck.progress import Progress
from bottleneck.recipe import Recipe
from bottleneck.runtimes.protocol import gpu_index
from bottleneck.sources import Source, Survey
from bottleneck.store import FeatureStore, writer_lock
from bottleneck.writing import prepare_output

COUNT: Final = 320
"""Four in five calibrate, the rest judges: more changed the cosine by less than it varies."""

_BATCH: Final = 16

CalibrationImages = Callable[[ItemInput], NDArray[Any]]
"""From a network's input to decoded items, shape (n, *shape of an item)."""


def calibration_images(source: Source, given: ItemInput, *, count: int = COUNT) -> NDArray[Any]:
    """Decode images of a source, evenly spread over its rows; always the same ones.

    Parameters
    ----------
    source : Source
    given : ItemInput
        What they become.
    count : int
        At most so many; images that cannot be decoded are left out.

    Returns
    -------
    ndarray, shape (n, *shape of an item)

    Raises
    ------
    ManifestError
        When none of them can be decoded.
    """
    rows = len(source.manifest)
    chosen = np.unique(np.arange(min(count, rows)) * rows // min(count, rows))
    parts = [chosen[start : start + _BATCH] for start in range(0, len(chosen), _BATCH)]
    # By the decode workers, since an image that crashes or hangs a decoder may be among them.
    slots = decode_stream(
        open_decoder(source, workers=available_cores()),
        Job.simple(given, _BATCH),
        ((part, np.ones(len(part), np.uint32)) for part in parts),
    )
    images = [slot.images(0).copy() for slot in slots]
    if not sum(map(len, images)):
        raise ManifestError(
            f"{source.name}: expected images to calibrate int8 with, got {len(chosen)} that"
            " cannot be decoded"
        )
    return np.concatenate(images)


def build_embedder(
    *,
    backbone: str = backbones.DEFAULT,
    weights: str | None = None,
    layers: Sequence[str] = (),
    pool: Pool | None = None,
    size: ImageSize | None = None,
    resize: ResizeRule | None = None,
    preprocess: str | None = None,
    decoder: DecoderName = "pillow",
    dtype: str = "float32",
    precision: str = "float32",
    runtime: str = "auto",
    views: int = 1,
    devices: Sequence[str] = (),
    calibration: CalibrationImages | None = None,
) -> Embedder:
    """Load a backbone and compile it.

    Parameters
    ----------
    backbone : str
        A name of the catalogue, or ``PROVIDER:NAME``.
    weights : str, optional
        ``bundled``, ``imagenet``, ``none`` or a path; the best at hand by default.
    layers : sequence of str
        Layers that are pooled; the network's own output by default.
    pool : Pool, optional
        How what they give becomes a vector; see :class:`bottleneck.backbones.OutputSpec`.
    size : int or (int, int), optional
        Size of the input in pixels; the backbone's own by default.
    resize : {"crop", "squash", "pad"}, optional
        How images are brought to that size; the backbone's own rule by default.
    preprocess : str, optional
        What the network wants of its input, where its file does not say; see
        :meth:`bottleneck.backbones.DeclaredInput.parse`.
    decoder : {"pillow", "torchvision", "nvjpeg", "nvimgcodec"}
        What decodes JPEGs; see :mod:`bottleneck.images.decoders`.
    dtype : {"float32", "float16"}
        Type of stored features, for the recipe.
    precision : str
        Precision class of the arithmetic.
    runtime : str
        How the network is compiled.
    views : int
        Views per image that a file of these features holds.
    devices : sequence of str
        What computes: ``cpu``, ``gpu`` or ``gpu:N``; several have a process each, and the
        embedder is to be closed. By default the first GPU, else the CPU.
    calibration : callable, optional
        Brings the images that int8 is calibrated with.
    """
    own = backbones.find(backbone).own
    layers = layers or (own.layers if own is not None else ())
    outputs = [OutputSpec(layer, pool) for layer in layers] or [OutputSpec(None, pool)]
    return _assemble(
        backbone=backbone,
        weights=weights,
        outputs=outputs,
        size=size,
        declared=None if preprocess is None else DeclaredInput.parse(preprocess),
        resize=resize,
        decoder=decoder,
        dtype=dtype,
        precision=precision,
        runtime=runtime,
        views=views,
        devices=devices,
        calibration=calibration,
    )


def rebuild_embedder(
    recipe: Recipe,
    *,
    owner: str,
    weights: str | None = None,
    runtime: str = "auto",
    devices: Sequence[str] = (),
) -> Embedder:
    """Load and compile exactly what a recipe says.

    Only int8 is not computed again: its calibration belongs to the images it was made with; nor
    is TF32 without a GPU. The same network in float32 takes its place, which is another precision
    class, and noted as such.

    Parameters
    ----------
    recipe : Recipe
        The recipe of existing features.
    owner : str
        What the recipe belongs to, for messages.
    weights : str, optional
        Where the weights are now, if not where the recipe found them.
    runtime : str
        How the network is compiled; need not be what it was. ``auto``: as it was, where that
        can be had.
    devices : sequence of str
        What computes; see :func:`build_embedder`.

    Raises
    ------
    RecipeMismatchError
        When this installation would compute something else, naming both values.
    RuntimeUnavailableError
        When it lacks the decoder that the recipe names.
    """
    identity, precision = recipe.identity, recipe.execution["precision"]
    before = input_of(identity)
    decoder = before.decoder if isinstance(before, Geometry) else PILLOW
    try:
        require_decoder(decoder)
    except RuntimeUnavailableError as error:
        raise RuntimeUnavailableError(
            f"{owner} is of images that {decoder} has decoded: {error.message}", hint=error.hint
        ) from error
    # A network in two files was found where its weights need not be.
    backbone = recipe.execution.get("network", {}).get("found", identity["backbone"])
    forms = backbones.find(backbone).provider.FORMS
    if precision == "int8" or (precision == "tf32" and "NVIDIA" not in runtimes.gpu_makers()):
        precision = "float32"
    if runtime == "auto":
        runtime = runtimes.choose(
            precision, before=recipe.execution.get("runtime"), devices=devices, of=forms
        )
    embedder = _assemble(
        backbone=backbone,
        weights=weights or recipe.execution["weights"],
        outputs=[OutputSpec(o["layer"], o["pool"]) for o in identity["outputs"].values()],
        size=before.size if isinstance(before, Geometry) else None,
        declared=DeclaredInput.from_identity(identity),
        resize=None,
        decoder=decoder,
        dtype=recipe.execution["dtype"],
        precision=precision,
        runtime=runtime,
        views=(identity["views"] or {"count": 1})["count"],
        devices=devices,
        calibration=None,
    )
    _require_same(embedder.recipe, recipe, owner)
    return embedder


def rebuild_network(
    recipe: Recipe, *, owner: str, weights: str | None = None, backend: str
) -> tuple[Network, tuple[OutputSpec, ...], ItemInput]:
    """Load exactly the network that a recipe says, to build on: nothing is compiled.

    Parameters
    ----------
    recipe : Recipe
        The recipe of existing features.
    owner : str
        What the recipe belongs to, for messages.
    weights : str, optional
        Where the weights are now, if not where the recipe found them.
    backend : str
        What Keras has to compute with, where it is a Keras network.

    Returns
    -------
    network : Network
    outputs : tuple of OutputSpec
        What the recipe takes from it.
    given : ItemInput
        What items become for it.

    Raises
    ------
    RecipeMismatchError
        When this installation has another network, naming both values.
    """
    identity = recipe.identity
    given = input_of(identity)
    loaded = backbones.load(
        identity["backbone"],
        weights=weights or recipe.execution["weights"],
        size=given.size if isinstance(given, Geometry) else None,
        declared=DeclaredInput.from_identity(identity),
        backend=backend if "keras" in backbones.find(identity["backbone"]).provider.FORMS else None,
    )
    wanted = [OutputSpec(o["layer"], o["pool"]) for o in identity["outputs"].values()]
    outputs = tuple(output for output, _ in loaded.taken(wanted))
    views = (identity["views"] or {"count": 1})["count"]
    found = _identity(identity["backbone"], loaded, outputs, given, views)
    _require_same(Recipe(found, recipe.execution), recipe, owner)
    return loaded, outputs, given


def _require_same(ours: Recipe, recipe: Recipe, owner: str) -> None:
    ours.require_same_identity(
        recipe,
        ours="this installation",
        theirs=owner,
        hint="Features are only comparable when every line above agrees; "
        "weights from another place are given with --weights.",
    )


def _assemble(
    *,
    backbone: str,
    weights: str | None,
    outputs: Sequence[OutputSpec],
    size: ImageSize | None,
    declared: DeclaredInput | None,
    resize: ResizeRule | None,
    decoder: DecoderName,
    dtype: str,
    precision: str,
    runtime: str,
    views: int,
    devices: Sequence[str],
    calibration: CalibrationImages | None,
) -> Embedder:
    require_decoder(decoder)
    if decoder != PILLOW and views > 1:
        raise OptionError(
            f"expected one view with the decoder {decoder}, got {views}: it draws whole pictures",
            hint=f"--decoder {PILLOW} draws views.",
        )
    found = backbones.find(backbone)

    def input_for(loaded: Network) -> ItemInput:
        given = loaded.spec.input(loaded.size, resize)
        if decoder == PILLOW:
            return given
        if isinstance(given, Geometry):
            return replace(given, decoder=decoder)
        raise OptionError(
            f"expected no --decoder for {backbone}, a network of {given.item}s, got {decoder}"
        )

    if runtime == "auto":
        runtime = runtimes.choose(precision, devices=devices, of=found.provider.FORMS)
    order = NetworkOrder(
        backbone=backbone,
        weights=weights,
        size=size,
        declared=declared,
        outputs=tuple(outputs),
        precision=precision,
        runtime=runtime,
        device=devices[0] if devices else None,
    )
    if len(devices) > 1 or any(gpu_index(device) for device in devices):
        # A GPU other than the first has a process that sees no other: frameworks put weights on
        # the first they see.
        network, given, compiled = on_devices(order, devices)
    else:
        network, given, compiled = order(
            None if calibration is None else lambda loaded: calibration(input_for(loaded))
        )
    loaded = compiled.network
    given = input_for(loaded)
    # The width of a network of the catalogue may be known only now, from its file.
    name = found.name if ":" in found.name else loaded.spec.name
    identity = _identity(name, loaded, compiled.outputs, given, views)
    execution: dict[str, Any] = {
        "runtime": network.runtime,
        "runtime_version": network.version,
        "device": network.device,
        "precision": precision,
        "dtype": dtype,
        "decoder": KINDS[given.item].decoder(given),
        "decoding": KINDS[given.item].decoding,
        "weights": loaded.weights.source,
        "bottleneck": bottleneck.__version__,
        **network.details,
    }
    maps = {
        output.name: [shape.height, shape.width, shape.channels]
        for output, shape in zip(compiled.outputs, compiled.shapes, strict=True)
        if output.pool == "none" and isinstance(shape, Map)
    }
    if maps:
        execution["maps"] = maps
    if not loaded.tested:
        execution["network"] = {**loaded.details, "admission": compiled.admission}
    idle = runtimes.unused_gpu(network.runtime, network.version, network.device, devices)
    notes = () if idle is None else (idle,)
    return Embedder(Recipe(identity, execution), given, network, notes)


def _identity(
    name: str,
    network: Network,
    outputs: Sequence[OutputSpec],
    given: ItemInput,
    views: int,
) -> dict[str, Any]:
    kind = KINDS[given.item]
    identity: dict[str, Any] = {
        "backbone": name,
        "weights_sha256": network.weights.sha256,
        "outputs": {
            output.name: {"layer": output.layer, "pool": output.pool} for output in outputs
        },
        kind.name: given.recipe(),
        "preprocess": _jsonable(asdict(network.spec.preprocess)),
        "views": kind.views_recipe(views),
    }
    if network.facts:
        identity["network"] = dict(network.facts)
    return identity


def _jsonable(value: dict[str, Any]) -> dict[str, Any]:
    return {key: list(item) if isinstance(item, tuple) else item for key, item in value.items()}


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
    if not options.sources:
        raise OptionError("expected images to extract features of, got none")
    allowed = MaxFailed.parse(str(options.max_failed))
    part = Part.parse(options.part, options.ranges)
    # Misspelt names first: listing takes longer.
    names = [
        backbones.name_with_width(name, options.alpha, options.depth_multiplier)
        for name in listed(options.backbone)
    ]
    found = [backbones.find(name) for name in names]
    texts = _outputs(str(output), [one.file_name for one in found])
    source = backbones.list_items(
        backbones.item_of(listed(options.backbone)),
        listed(options.sources),
        listed(options.targets),
        options.choice(),
    )
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
    sizes: list[int] = []
    with ExitStack() as stack:
        for path in sorted(paths):
            stack.enter_context(writer_lock(path))

        def load(begun: Sequence[FeatureStore]) -> list[tuple[Embedder, int]]:
            loaded: list[tuple[Embedder, int]] = []
            for name in names:
                embedder = embedder_of(options, name, begun or olds, source)
                stack.callback(embedder.close)
                sizes.append(batch_size_of(options, embedder, progress))
                loaded.append((embedder, sizes[-1]))
            for note in loaded[0][0].notes:
                progress.note(note)
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
    for result, size in zip(results, sizes, strict=True):
        log_run(options, result, size)
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


def runtime_of(options: RecipeOptions, backbone: str, begun: Sequence[FeatureStore]) -> str:
    """Name the runtime: with ``auto`` that of the files to continue or to take rows from.

    Raises
    ------
    OptionError
        When they were computed by several that Keras would have to run on: a process has one.
    """
    found = backbones.find(backbone)
    of = found.provider.FORMS
    used: dict[str, list[FeatureStore]] = {}
    for store in begun:
        name = str(store.recipe.execution.get("runtime"))
        # Files to continue may be of networks of other forms.
        if name in runtimes.RUNTIMES and not {*runtimes.forms(name)}.isdisjoint(of):
            used.setdefault(name, []).append(store)
    names = list(used)
    if options.runtime != "auto" or not names:
        return options.runtime
    if "keras" not in of:
        own = [n for n in names if any(s.recipe.backbone == found.name for s in used[n])]
        names = (own or names)[:1]
    if len(names) > 1:
        told = ", ".join(f"{used[name][-1].path} by {name}" for name in names)
        raise OptionError(
            f"expected files that one runtime computed, got {told}",
            hint="Finish them one by one, or say with --runtime which is to compute the rest.",
        )
    # Another precision than the file's is refused later, with both named.
    able = options.precision in runtimes.precisions(names[0])
    return names[0] if able else options.runtime


def embedder_of(
    options: RecipeOptions, backbone: str, begun: Sequence[FeatureStore], source: Source | None
) -> Embedder:
    """Load what computes a file of these options; ``begun`` are those to continue.

    int8 is calibrated with images of ``source``.
    """
    weights = None if options.weights is None else str(options.weights)
    if options.partial:
        if weights is None:
            raise OptionError("expected a file with --partial, got no --weights")
        weights = f"{PARTIAL}{weights}"
    embedder = build_embedder(
        backbone=backbone,
        weights=weights,
        layers=listed(options.layers),
        pool=options.pool,
        size=parse_size(options.size),
        resize=options.resize,
        preprocess=options.preprocess,
        decoder=options.decoder,
        dtype=options.dtype,
        precision=options.precision,
        runtime=runtime_of(options, backbone, begun),
        views=options.views,
        devices=listed(options.devices),
        calibration=None if source is None else partial(calibration_images, source),
    )
    found = embedder.recipe.execution.get("network", {}).get("partial")
    if found is not None:
        options.progress.note(
            f"{len(found['filled'])} layers are of {options.weights}, {len(found['random'])} are"
            f" random: {', '.join(found['random'])}"
        )
        options.progress.note(f"of the file are left over: {', '.join(found['left_over']) or '-'}")
    return embedder


def batch_size_of(options: ExtractOptions, embedder: Embedder, progress: Progress) -> int:
    """Say how many images a pass takes; measures where that is asked for."""
    return batch_size_for(
        options.batch_size,
        embedder.network,
        embedder.input,
        lambda message: progress.note(f"{embedder.recipe.backbone}: {message}"),
    )
