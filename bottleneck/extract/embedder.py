"""A backbone ready to run, with the recipe that says exactly what it computes."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bottleneck
from bottleneck import backbones, runtimes
from bottleneck.backbones.spec import OutputSpec, Pool
from bottleneck.extract.calibration import CalibrationImages
from bottleneck.extract.decode import DecodedBatch, Failure, decode_stream
from bottleneck.images import DECODER, Geometry, ResizeRule
from bottleneck.recipe import Recipe
from bottleneck.runtimes import CompiledBackbone
from bottleneck.sources import Source
from bottleneck.status import RowStatus
from bottleneck.store.format import FEATURE_DTYPES


@dataclass(frozen=True, eq=False)
class EmbeddedBatch:
    """Features of the rows that could be computed, and why the others could not.

    Parameters
    ----------
    rows : ndarray of int64, shape (n,)
        Row numbers, ascending.
    features : dict of str to ndarray of float32 or float16, shape (n, dim)
        Features of each output, in the recipe's type.
    digests : ndarray of uint8, shape (n, 16)
        Hash of each row's image.
    failures : list of Failure
        The rows that are missing above.
    """

    rows: NDArray[np.int64]
    features: dict[str, NDArray[np.floating[Any]]]
    digests: NDArray[np.uint8]
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True)
class Embedder:
    """Images to features.

    Parameters
    ----------
    recipe : Recipe
        What it computes, and how.
    geometry : Geometry
        Size and resize rule of its input.
    network : CompiledBackbone
        The compiled forward pass.
    """

    recipe: Recipe
    geometry: Geometry
    network: CompiledBackbone

    @property
    def dims(self) -> Mapping[str, int]:
        """Length of the features of each output."""
        return self.network.dims

    def stream(
        self,
        source: Source,
        batches: Iterable[NDArray[np.int64]],
        *,
        workers: int,
        seconds: defaultdict[str, float] | None = None,
    ) -> Iterator[EmbeddedBatch]:
        """Compute features of some rows of a source, in order.

        Parameters
        ----------
        source : Source
            Where the images are.
        batches : iterable of ndarray of int64
            Row numbers of each forward pass, ascending.
        workers : int
            Threads that decode ahead.
        seconds : defaultdict of float, optional
            Receives the time spent in ``read``, ``decode`` (summed over threads), ``forward``
            and ``wait`` (for decoded images).
        """
        spent = defaultdict[str, float](float) if seconds is None else seconds
        decoded = decode_stream(source, self.geometry, batches, workers)
        while True:
            started = time.perf_counter()
            batch = next(decoded, None)
            spent["wait"] += time.perf_counter() - started
            if batch is None:
                return
            for stage, took in batch.seconds.items():
                spent[stage] += took
            started = time.perf_counter()
            embedded = self._forward(batch)
            spent["forward"] += time.perf_counter() - started
            yield embedded

    def _forward(self, batch: DecodedBatch) -> EmbeddedBatch:
        dtype = FEATURE_DTYPES[self.recipe.execution["dtype"]]
        if not len(batch.rows):
            empty = {name: np.empty((0, dim), dtype) for name, dim in self.dims.items()}
            return EmbeddedBatch(batch.rows, empty, batch.digests, batch.failures)
        with np.errstate(over="ignore"):  # found below, row by row
            features = {
                name: block.astype(dtype, copy=False)
                for name, block in self.network(batch.pixels).items()
            }
        finite = np.logical_and.reduce(
            [np.isfinite(block).all(axis=1) for block in features.values()]
        )
        if finite.all():
            return EmbeddedBatch(batch.rows, features, batch.digests, batch.failures)
        message = f"a feature is NaN, infinite or too large for {dtype.name}"
        lost = [
            Failure(int(batch.rows[i]), RowStatus.NON_FINITE, message, batch.digests[i])
            for i in np.flatnonzero(~finite)
        ]
        return EmbeddedBatch(
            batch.rows[finite],
            {name: block[finite] for name, block in features.items()},
            batch.digests[finite],
            [*batch.failures, *lost],
        )


def build_embedder(
    *,
    backbone: str = backbones.DEFAULT,
    weights: str | None = None,
    layers: Sequence[str] = (),
    pool: Pool = "avg",
    size: int | None = None,
    resize: ResizeRule = "crop",
    dtype: str = "float32",
    precision: str = "float32",
    runtime: str = "auto",
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
    resize : {"crop", "squash", "pad"}
        How images are brought to that size.
    dtype : {"float32", "float16"}
        Type of stored features, for the recipe.
    precision : str
        Precision class of the arithmetic.
    runtime : str
        How the network is compiled.
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
        calibration=calibration,
    )


def rebuild_embedder(
    recipe: Recipe, *, owner: str, weights: str | None = None, runtime: str = "auto"
) -> Embedder:
    """Load and compile exactly what a recipe says.

    Only int8 is not computed again: its calibration belongs to the images it was made with. The
    same network in float32 takes its place, which is another precision class, and noted as such.

    Parameters
    ----------
    recipe : Recipe
        The recipe of existing features.
    owner : str
        What the recipe belongs to, for messages.
    weights : str, optional
        Where the weights are now, if not where the recipe found them.
    runtime : str
        How the network is compiled; need not be what it was.

    Raises
    ------
    RecipeMismatchError
        When this installation would compute something else, naming both values.
    """
    identity = recipe.identity
    precision = recipe.execution["precision"]
    embedder = _assemble(
        backbone=identity["backbone"],
        weights=weights or recipe.execution["weights"],
        outputs=[OutputSpec(o["layer"], o["pool"]) for o in identity["outputs"].values()],
        size=identity["image"]["size"],
        resize=identity["image"]["resize"]["rule"],
        dtype=recipe.execution["dtype"],
        precision="float32" if precision == "int8" else precision,
        runtime=runtime,
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
    resize: ResizeRule,
    dtype: str,
    precision: str,
    runtime: str,
    calibration: CalibrationImages | None,
) -> Embedder:
    spec = backbones.get(backbone)
    framework = runtimes.choose(precision) if runtime == "auto" else runtime
    compiler = runtimes.get(framework, precision)
    loaded = backbones.load(spec, weights=weights, size=size, backend=framework)
    geometry = Geometry(size=loaded.size, resize=resize)
    more: dict[str, Any] = {}
    if precision == "int8" and calibration is not None:
        more["calibration"] = calibration(geometry)
    network = compiler.compile(loaded, outputs, precision=precision, **more)
    identity: dict[str, Any] = {
        "backbone": spec.name,
        "weights_sha256": loaded.weights.sha256,
        "outputs": {
            output.name: {"layer": output.layer, "pool": output.pool} for output in outputs
        },
        "image": geometry.recipe(),
        "preprocess": _jsonable(asdict(spec.preprocess)),
        "views": None,
    }
    execution: dict[str, Any] = {
        "runtime": network.runtime,
        "runtime_version": network.version,
        "device": network.device,
        "precision": precision,
        "dtype": dtype,
        "decoder": DECODER,
        "weights": loaded.weights.source,
        "bottleneck": bottleneck.__version__,
        **getattr(network, "details", {}),
    }
    return Embedder(Recipe(identity, execution), geometry, network)


def _jsonable(value: dict[str, Any]) -> dict[str, Any]:
    return {key: list(item) if isinstance(item, tuple) else item for key, item in value.items()}
