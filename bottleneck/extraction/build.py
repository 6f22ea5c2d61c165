"""From options, or from a recipe, to a backbone that is ready to run."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import bottleneck
from bottleneck import backbones, runtimes
from bottleneck.backbones.declared import DeclaredInput
from bottleneck.backbones.spec import OutputSpec, Pool
from bottleneck.extraction.calibration import CalibrationImages
from bottleneck.extraction.embedder import Embedder
from bottleneck.extraction.network import NetworkOrder, on_devices
from bottleneck.images import DECODER, Geometry, ImageSize, ResizeRule, views_recipe
from bottleneck.recipe import Recipe
from bottleneck.runtimes.place import gpu_index


def build_embedder(
    *,
    backbone: str = backbones.DEFAULT,
    weights: str | None = None,
    layers: Sequence[str] = (),
    pool: Pool | None = None,
    size: ImageSize | None = None,
    resize: ResizeRule | None = None,
    preprocess: str | None = None,
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
    outputs = [OutputSpec(layer, pool) for layer in layers] or [OutputSpec(None, pool)]
    return _assemble(
        backbone=backbone,
        weights=weights,
        outputs=outputs,
        size=size,
        declared=None if preprocess is None else DeclaredInput.parse(preprocess),
        resize=resize,
        dtype=dtype,
        precision=precision,
        runtime=runtime,
        views=views_recipe(views),
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
    """
    identity, precision = recipe.identity, recipe.execution["precision"]
    geometry = Geometry.from_recipe(identity["image"])
    forms = backbones.find(identity["backbone"]).provider.FORMS
    if precision == "int8" or (precision == "tf32" and "NVIDIA" not in runtimes.gpu_makers()):
        precision = "float32"
    if runtime == "auto":
        runtime = runtimes.choose(
            precision, before=recipe.execution.get("runtime"), devices=devices, of=forms
        )
    embedder = _assemble(
        backbone=identity["backbone"],
        weights=weights or recipe.execution["weights"],
        outputs=[OutputSpec(o["layer"], o["pool"]) for o in identity["outputs"].values()],
        size=geometry.size,
        declared=DeclaredInput.from_identity(identity),
        resize=None,
        dtype=recipe.execution["dtype"],
        precision=precision,
        runtime=runtime,
        views=identity["views"],
        devices=devices,
        calibration=None,
    )
    embedder.recipe.require_same_identity(
        recipe,
        ours="this installation",
        theirs=owner,
        hint="Features are only comparable when every line above agrees; "
        "weights from another place are given with --weights.",
    )
    return embedder


def _assemble(
    *,
    backbone: str,
    weights: str | None,
    outputs: Sequence[OutputSpec],
    size: ImageSize | None,
    declared: DeclaredInput | None,
    resize: ResizeRule | None,
    dtype: str,
    precision: str,
    runtime: str,
    views: dict[str, Any] | None,
    devices: Sequence[str],
    calibration: CalibrationImages | None,
) -> Embedder:
    found = backbones.find(backbone)
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
        network, side, compiled = on_devices(order, devices)
    else:
        network, side, compiled = order(
            None
            if calibration is None
            else lambda loaded: calibration(loaded.spec.geometry(loaded.size, resize))
        )
    loaded = compiled.network
    geometry = loaded.spec.geometry(side, resize)
    identity: dict[str, Any] = {
        "backbone": found.name,
        "weights_sha256": loaded.weights.sha256,
        "outputs": {
            output.name: {"layer": output.layer, "pool": output.pool} for output in compiled.outputs
        },
        "image": geometry.recipe(),
        "preprocess": _jsonable(asdict(loaded.spec.preprocess)),
        "views": views,
    }
    if loaded.facts:
        identity["network"] = dict(loaded.facts)
    execution: dict[str, Any] = {
        "runtime": network.runtime,
        "runtime_version": network.version,
        "device": network.device,
        "precision": precision,
        "dtype": dtype,
        "decoder": DECODER,
        "weights": loaded.weights.source,
        "bottleneck": bottleneck.__version__,
        **network.details,
    }
    if not loaded.tested:
        execution["network"] = {**loaded.details, "admission": compiled.admission}
    return Embedder(Recipe(identity, execution), geometry, network)


def _jsonable(value: dict[str, Any]) -> dict[str, Any]:
    return {key: list(item) if isinstance(item, tuple) else item for key, item in value.items()}
