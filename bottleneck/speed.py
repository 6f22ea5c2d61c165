"""How fast a backbone is on this machine: alone, and with everything around it."""

import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from bottleneck import backbones
from bottleneck.cores import available_cores
from bottleneck.declare import listed
from bottleneck.errors import DeviceMemoryError, OptionError
from bottleneck.extraction import Embedder, build_embedder, embed, extract_many
from bottleneck.extraction.forward import pass_seconds
from bottleneck.extraction.run import calibration_images
from bottleneck.images import PILLOW, Geometry, ImageSize, parse_size
from bottleneck.items import KINDS
from bottleneck.options import BenchOptions, ExtractOptions
from bottleneck.runtimes import Padding
from bottleneck.sources import AS_FOUND, Source, listed_once

BATCH_SIZES: Final = (1, 8, 16, 32, 64)
"""What is tried on a CPU; beyond, nothing gets faster."""

LARGER: Final = (128, 256, 512)
"""What is tried besides on GPUs."""

DRAWN_SIZE: Final = (375, 500)
"""Height and width of the pictures that are drawn where none are given, as ImageNet's mean."""


@dataclass(frozen=True)
class BenchResult:
    """What was measured, in images per second.

    Parameters
    ----------
    backbone, runtime, runtime_version, device, precision : str
        What computed.
    size : int or (int, int)
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
    size: ImageSize
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


def measure(options: BenchOptions) -> BenchResult:
    """Measure a backbone: alone, the decoding alone, and both together.

    Raises
    ------
    OptionError
        For an empty list of batch sizes.
    BottleneckError
        As :func:`bottleneck.extract`.
    """
    sizes = options.batch_sizes
    if isinstance(sizes, int) or (sizes is not None and not sizes):
        raise OptionError(f"expected batch sizes to try, got {sizes}")
    seconds, images = options.seconds, options.images
    tell = options.progress.note
    workers = options.workers or available_cores()
    with tempfile.TemporaryDirectory() as folder, listed_once(), ExitStack() as stack:
        item = backbones.item_of([options.backbone])
        given = [*listed(options.sources)]
        if not given and item != "image":
            raise OptionError(f"expected a source of {item}s to bench {options.backbone} with")
        given = given or [str(draw_jpegs(Path(folder) / "drawn", images))]
        choice = options.choice() if options.sources else AS_FOUND
        source = backbones.list_items(item, given, choice=choice)
        network: dict[str, Any] = {
            "backbone": options.backbone,
            "weights": None if options.weights is None else str(options.weights),
            "size": parse_size(options.size),
            "preprocess": options.preprocess,
            "precision": options.precision,
            "runtime": options.runtime,
            "devices": listed(options.devices),
            "decoder": options.decoder,
        }
        tell(f"loading {options.backbone}")
        embedder = build_embedder(**network, calibration=partial(calibration_images, source))
        stack.callback(embedder.close)
        for note in embedder.notes:
            tell(note)
        larger = () if embedder.network.device == "cpu" else LARGER
        forward = {}
        for batch_size in sorted(sizes or (*BATCH_SIZES, *larger)):
            try:
                forward[batch_size] = forward_rate(embedder, batch_size, seconds)
            except DeviceMemoryError as error:
                if not forward:
                    raise
                tell(error.message)
                break
            tell(f"network alone, batches of {batch_size}: {forward[batch_size]:.1f} images/s")
        _forget_shapes(embedder)  # with the memory that the largest has taken
        best = max(forward.values())
        chosen = min(count for count, rate in forward.items() if rate >= 0.97 * best)
        count = min(images, len(source.manifest))
        decoding = decode_rate(embedder, source, count, chosen, workers)
        tell(f"decoding alone, {workers} workers: {decoding:.1f} images/s")
        (result,) = extract_many(
            ExtractOptions(
                given,
                Path(folder) / "bench.h5",
                **network,
                batch_size=chosen,
                workers=workers,
                limit=count,
                max_failed="100%",
            )
        )
    wanted = embedder.input
    return BenchResult(
        backbone=embedder.recipe.backbone,
        runtime=embedder.network.runtime,
        runtime_version=embedder.network.version,
        device=embedder.network.device,
        precision=options.precision,
        size=wanted.size if isinstance(wanted, Geometry) else wanted.shape[:2],
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
    """Return the images per second of the network alone, fed as a run feeds it."""
    given = embedder.input
    batch = np.resize(KINDS[given.item].trial(given), (batch_size, *given.shape))
    _forget_shapes(embedder)
    return batch_size / pass_seconds(embedder.network, batch, seconds=seconds)


def _forget_shapes(embedder: Embedder) -> None:
    if isinstance(embedder.network, Padding):
        embedder.network.forget_shapes()


def decode_rate(
    embedder: Embedder, source: Source, count: int, batch_size: int, workers: int
) -> float:
    """Return the images per second of reading and decoding, with a network that does nothing."""
    rows = np.arange(len(source.manifest), dtype=np.int64)[:count]
    batches = [rows[start : start + batch_size] for start in range(0, count, batch_size)]
    idle = replace(embedder, network=_Idle(embedder.network))
    seconds: defaultdict[str, float] = defaultdict(float)
    ends = [
        time.perf_counter()
        for _ in embed(idle, source, batches, workers=workers, worker_kind="auto", seconds=seconds)
    ]
    given = embedder.input
    if isinstance(given, Geometry) and given.decoder != PILLOW and len(ends) > 1:
        # One thread, or the device, draws for all of them.
        return (count - len(batches[0])) / (ends[-1] - ends[0])
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
