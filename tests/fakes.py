"""Small stand-ins, so that most tests need no TensorFlow: a NumPy backbone, files to order."""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from bottleneck.extraction import Embedder
from bottleneck.images import Geometry
from bottleneck.recipe import Recipe
from bottleneck.runtimes import Pending
from bottleneck.runtimes.step import CompiledStep, Parts


@dataclass
class MeanBackbone:
    """A "network" whose features can be computed by hand: mean and spread of each channel."""

    dims: dict = field(default_factory=lambda: {"mean": 3, "spread": 3})
    runtime: str = "numpy"
    version: str = "0"
    device: str = "cpu"
    seconds_per_batch: float = 0.0
    batches: list = field(default_factory=list)
    details: dict = field(default_factory=dict)

    def __call__(self, batch):
        assert batch.dtype == np.uint8
        self.batches.append(len(batch))
        time.sleep(self.seconds_per_batch)
        flat = batch.reshape(len(batch), -1, 3).astype(np.float64)
        return {
            "mean": flat.mean(axis=1).astype(np.float32),
            "spread": flat.std(axis=1).astype(np.float32),
        }


class LateBackbone(MeanBackbone):
    """The same on a device of its own: it computes when results are asked for, in order."""

    in_flight = 3

    def submit(self, batch):
        pixels = batch.copy()
        return Pending(pixels, lambda: self(pixels))


class ThreadClock(threading.local):
    """A clock of each thread, which goes on only where it sleeps: no busy machine changes it."""

    now = 0.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        time.sleep(seconds / 10)  # so that others come in between
        self.now += seconds


def sleeping(milliseconds, clock, *, threads, most):
    """A network that takes so long per image, computed in parts by threads as on a CPU."""

    def compute(images):
        clock.sleep(1e-3 * milliseconds * len(images))
        return list(MeanBackbone()(images).values())

    parts = Parts(compute, threads=threads, most=most)
    return CompiledStep(
        parts.start,
        fetch=parts.gather,
        runtime="numpy",
        version="1",
        device="cpu",
        dims={"mean": 3, "spread": 3},
        given=Geometry(16),
        in_flight=2,
        busy=lambda: parts.busy_seconds,
    )


def fake_recipe(identity=(), execution=()):
    return Recipe(
        {"backbone": "fake", **dict(identity)},
        {"precision": "float32", "dtype": "float32", "runtime": "numpy", **dict(execution)},
    )


def fake_embedder(network=None, *, size=16, identity=(), execution=()):
    return Embedder(
        fake_recipe({"size": size, **dict(identity)}, execution),
        Geometry(size=size),
        network or MeanBackbone(),
    )


def write_png(path, pixels):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path
