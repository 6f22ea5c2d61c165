"""How fast a backbone is on this machine: alone, and with everything around it."""

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from bottleneck.backbones.catalogue import DEFAULT
from bottleneck.cores import available_cores
from bottleneck.errors import OptionError
from bottleneck.extraction import Embedder, Silent, build_embedder, extract
from bottleneck.extraction.calibration import calibration_images
from bottleneck.extraction.progress import Progress
from bottleneck.runtimes import Padding
from bottleneck.sources import Source, open_source

BATCH_SIZES: Final = (1, 8, 16, 32, 64)
"""Batch sizes that are tried."""

DRAWN_SIZE: Final = (375, 500)
"""Height and width of the pictures that are drawn where none are given, as ImageNet's mean."""


@dataclass(frozen=True)
class BenchResult:
    """What was measured, in images per second.

    Parameters
    ----------
    backbone, runtime, runtime_version, device, precision : str
        What computed.
    size : int
        Side of the network's input, pixels.
    cores : int
        CPU cores this process may use.
    forward : dict of str to float
        The network alone, pixels in memory to features in memory, by batch size.
    batch_size : int
        The smallest within 3% of the fastest of them; the rest was measured with it.
    decoding : float
        What the decode workers deliver with a network that takes no time.
    end_to_end : float
        `bottleneck extract`: image files to a feature file.
    limit : {"network", "decoding"}
        Whichever is slower alone.
    images : int
        Images that were read.
    calibration : dict
        How int8 was calibrated; empty otherwise.
    """

    backbone: str
    runtime: str
    runtime_version: str
    device: str
    precision: str
    size: int
    cores: int
    forward: dict[str, float]
    batch_size: int
    decoding: float
    end_to_end: float
    limit: Literal["network", "decoding"]
    images: int
    calibration: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def bench(
    sources: Sequence[str] = (),
    *,
    backbone: str = DEFAULT,
    weights: str | None = None,
    size: int | None = None,
    precision: str = "float32",
    runtime: str = "auto",
    batch_sizes: Sequence[int] = BATCH_SIZES,
    images: int = 256,
    seconds: float = 2.0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> BenchResult:
    """Measure a backbone.

    Parameters
    ----------
    sources : sequence of str
        Folders, CSV tables, image files. By default JPEGs of 500 x 375 pixels are drawn.
    backbone, weights, size, precision, runtime
        See :func:`~bottleneck.extraction.build.build_embedder`.
    batch_sizes : sequence of int
        Which to try.
    images : int
        At most so many images of the sources are read.
    seconds : float
        How long each batch size is tried, at least; five batches at least.
    workers : int, optional
        What decodes; one per CPU core by default.
    progress : Progress, optional
        Who is told what is being measured.

    Raises
    ------
    OptionError
        For numbers that make no sense.
    BottleneckError
        As :func:`bottleneck.extract`.
    """
    if not batch_sizes or min(batch_sizes) < 1 or images < 1:
        raise OptionError(
            "Expected batch sizes and a number of images of at least 1. "
            f"Received: {[*batch_sizes]} and {images}."
        )
    tell = (progress or Silent()).note
    workers = workers or available_cores()
    with tempfile.TemporaryDirectory() as folder:
        given = [*sources] or [str(draw_jpegs(Path(folder) / "drawn", images))]
        source = open_source(given)
        options: dict[str, Any] = {
            "backbone": backbone,
            "weights": weights,
            "size": size,
            "precision": precision,
            "runtime": runtime,
        }
        tell(f"loading {backbone}")
        embedder = build_embedder(**options, calibration=partial(calibration_images, source))
        forward = {}
        for batch_size in batch_sizes:
            forward[batch_size] = forward_rate(embedder, batch_size, seconds)
            tell(f"network alone, batches of {batch_size}: {forward[batch_size]:.1f} images/s")
        best = max(forward.values())
        chosen = min(count for count, rate in forward.items() if rate >= 0.97 * best)
        count = min(images, len(source.manifest))
        decoding = decode_rate(embedder, source, count, chosen, workers)
        tell(f"decoding alone, {workers} workers: {decoding:.1f} images/s")
        result = extract(
            given,
            Path(folder) / "bench.h5",
            **options,
            batch_size=chosen,
            workers=workers,
            limit=count,
            max_failed="100%",
        )
    return BenchResult(
        backbone=embedder.recipe.backbone,
        runtime=embedder.network.runtime,
        runtime_version=embedder.network.version,
        device=embedder.network.device,
        precision=precision,
        size=embedder.geometry.size,
        cores=available_cores(),
        forward={str(number): round(rate, 2) for number, rate in forward.items()},
        batch_size=chosen,
        decoding=round(decoding, 2),
        end_to_end=result.images_per_second,
        limit="network" if best < decoding else "decoding",
        images=count,
        calibration=embedder.recipe.execution.get("calibration", {}),
    )


def forward_rate(embedder: Embedder, batch_size: int, seconds: float) -> float:
    """Return the images per second of the network alone: the median of its batches."""
    side = embedder.geometry.size
    batch = np.random.default_rng(0).integers(0, 256, (batch_size, side, side, 3), np.uint8)
    if isinstance(embedder.network, Padding):
        embedder.network.forget_shapes()
    embedder.network(batch)  # compiles
    took: list[float] = []
    while len(took) < 5 or sum(took) < seconds:
        started = time.perf_counter()
        embedder.network(batch)
        took.append(time.perf_counter() - started)
    return batch_size / statistics.median(took)


def decode_rate(
    embedder: Embedder, source: Source, count: int, batch_size: int, workers: int
) -> float:
    """Return the images per second of reading and decoding, with a network that does nothing."""
    rows = np.arange(len(source.manifest), dtype=np.int64)[:count]
    batches = [rows[start : start + batch_size] for start in range(0, count, batch_size)]
    idle = replace(embedder, network=_Idle(embedder.network))
    seconds: defaultdict[str, float] = defaultdict(float)
    for _ in idle.stream(source, batches, workers=workers, worker_kind="auto", seconds=seconds):
        pass
    # What all of them were busy for, so that the start of processes does not count.
    return count * workers / (seconds["read"] + seconds["decode"])


class _Idle:
    """Stands in for a network and computes nothing."""

    def __init__(self, network: Any) -> None:
        self.dims = network.dims
        self.runtime, self.version, self.device = network.runtime, network.version, network.device
        self.details: dict[str, Any] = {}

    def __call__(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        return {name: np.zeros((len(batch), dim), np.float32) for name, dim in self.dims.items()}


def draw_jpegs(folder: Path, count: int) -> Path:
    """Draw JPEGs that cost what photographs cost: shapes of all sizes, and noise."""
    from PIL import Image

    folder.mkdir()
    rng = np.random.default_rng(0)
    height, width = DRAWN_SIZE
    for i in range(count):
        layers = [
            np.asarray(
                Image.fromarray(rng.integers(0, 256, (rough, rough, 3), np.uint8)).resize(
                    (width, height), Image.Resampling.BICUBIC
                ),
                np.float32,
            )
            for rough in (4, 16, 64)
        ]
        pixels = np.mean(layers, axis=0) + rng.normal(0, 6, (height, width, 1))
        picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        picture.save(folder / f"{i:05d}.jpg", quality=90)
    return folder
