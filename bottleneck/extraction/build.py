"""From options, or from a recipe, to a backbone that is ready to run."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import bottleneck
from bottleneck import backbones, runtimes
from bottleneck.backbones.spec import OutputSpec, Pool
from bottleneck.extraction.calibration import CalibrationImages
from bottleneck.extraction.embedder import Embedder
from bottleneck.extraction.network import NetworkOrder, on_devices
from bottleneck.images import DECODER, ResizeRule, views_recipe
from bottleneck.recipe import Recipe
from bottleneck.runtimes.place import gpu_index


def build_embedder(
    *,
    backbone: str = backbones.DEFAULT,
    weights: str | None = None,
    layers: Sequence[str] = (),
    pool: Pool = "avg",
    size: int | None = None,
    resize: ResizeRule | None = None,
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
        Name in the catalogue.
    weights : str, optional
        ``bundled``, ``imagenet``, ``none`` or a path; the best at hand by default.
    layers : sequence of str
        Layers whose maps are pooled; the last map by default.
    pool : {"avg", "max", "avgmax", "gem", "none"}
        How maps become vectors.
    size : int, optional
        Side of the input in pixels; the backbone's own by default.
    resize : {"crop", "squash", "pad"}, optional
        How images are brought to that size; the backbone's own rule by default.
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
    if precision == "int8" or (precision == "tf32" and "NVIDIA" not in runtimes.gpu_makers()):
        precision = "float32"
    if runtime == "auto":
        runtime = runtimes.choose(
            precision, before=recipe.execution.get("runtime"), devices=devices
        )
    embedder = _assemble(
        backbone=identity["backbone"],
        weights=weights or recipe.execution["weights"],
        outputs=[OutputSpec(o["layer"], o["pool"]) for o in identity["outputs"].values()],
        size=identity["image"]["size"],
        resize=identity["image"]["resize"]["rule"],
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
    size: int | None,
    resize: ResizeRule | None,
    dtype: str,
    precision: str,
    runtime: str,
    views: dict[str, Any] | None,
    devices: Sequence[str],
    calibration: CalibrationImages | None,
) -> Embedder:
    spec = backbones.get(backbone)
    order = NetworkOrder(
        backbone=spec.name,
        weights=weights,
        size=size,
        outputs=tuple(outputs),
        precision=precision,
        runtime=(runtimes.choose(precision, devices=devices) if runtime == "auto" else runtime),
        device=devices[0] if devices else None,
    )
    if len(devices) > 1 or any(gpu_index(device) for device in devices):
        # A GPU other than the first has a process that sees no other: frameworks put weights on
        # the first they see.
        network, side, origin = on_devices(order, devices)
    else:
        network, side, origin = order(
            None if calibration is None else lambda size: calibration(spec.geometry(size, resize))
        )
    geometry = spec.geometry(side, resize)
    identity: dict[str, Any] = {
        "backbone": spec.name,
        "weights_sha256": origin.sha256,
        "outputs": {
            output.name: {"layer": output.layer, "pool": output.pool} for output in outputs
        },
        "image": geometry.recipe(),
        "preprocess": _jsonable(asdict(spec.preprocess)),
        "views": views,
    }
    execution: dict[str, Any] = {
        "runtime": network.runtime,
        "runtime_version": network.version,
        "device": network.device,
        "precision": precision,
        "dtype": dtype,
        "decoder": DECODER,
        "weights": origin.source,
        "bottleneck": bottleneck.__version__,
        **network.details,
    }
    return Embedder(Recipe(identity, execution), geometry, network)


def _jsonable(value: dict[str, Any]) -> dict[str, Any]:
    return {key: list(item) if isinstance(item, tuple) else item for key, item in value.items()}
