"""`bottleneck extract` beside the script most people write, and beside the forward pass alone.

    python benchmarks/extract.py [--images N] [--large N] [--runs K] [--backbones a,b]

Four sides, taken in turn in one process on the same images with the same network (random weights
where there is no package of pretrained ones):

  ours     bottleneck.extract's engine: decode workers, frozen graph, feature file on disk
  keras    keras.utils.image_dataset_from_directory + model.predict, saved with h5py
  forward  our compiled network on pixels in memory: the limit of any decoder
  decode   the CPU time of decoding, from our own workers

Printed are medians and ratios of pairs, and the CPU time of each side (all its processes and
threads), which other work on the machine disturbs less. What the cores allow, if all overlaps as
it should, is 1 / (forward + decode CPU / cores). Before that, the features of both on equal
pixels must agree (cosine above 0.9999).
"""

import argparse
import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
from photographs import write_jpegs

from bottleneck import backbones
from bottleneck.decode import default_workers
from bottleneck.extract import Silent, build_embedder, fill_store
from bottleneck.extract.plan import MaxFailed
from bottleneck.images import Geometry, decode
from bottleneck.sources import open_source
from bottleneck.store import writer_lock

BATCH = 32


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000, help="of 500x375")
    parser.add_argument("--large", type=int, default=200, help="of 4000x3000")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--backbones", default="efficientnet_lite0,mobilenet_v2,resnet50")
    parser.add_argument("--kinds", default="processes,threads", help="decode workers to compare")
    parser.add_argument("--workers", type=int, default=default_workers())
    parser.add_argument("--folder", type=Path, help="keep the images here, to be used again")
    options = parser.parse_args()
    with ExitStack() as stack:
        root = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sets = {}
        for count, (width, height) in (
            (options.images, (500, 375)),
            (options.large, (4000, 3000)),
        ):
            folder = root / f"{count}x{width}x{height}"
            if count and not folder.exists():
                write_jpegs(folder, count, width, height)
            if count:
                sets[f"{width}x{height}"] = folder
        for name in options.backbones.split(","):
            sides = Sides(name, options.workers, root)
            sides.check(next(iter(sets.values())))
            for size, folder in sets.items():
                compare(sides, size, folder, options)


class Sides:
    """The same network on every side."""

    def __init__(self, name, workers, root):
        spec = backbones.get(name)
        weights = "bundled" if spec.bundled else "none"
        self.name, self.workers, self.root = name, workers, root
        self.embedder = build_embedder(backbone=name, weights=weights)
        self.backbone = backbones.load(spec, weights=weights)
        keras = backbones.import_keras()
        preprocess, inputs = spec.preprocess, keras.Input((self.size, self.size, 3))
        x = inputs[..., ::-1] if preprocess.channels == "bgr" else inputs
        x = x * np.array(preprocess.scale, np.float32) + np.array(preprocess.offset, np.float32)
        x = keras.layers.GlobalAveragePooling2D()(self.backbone.model(x))
        self.model, self._keras = keras.Model(inputs, x), keras

    @property
    def size(self):
        return self.embedder.geometry.size

    def check(self, folder):
        """Equal pixels must give equal features."""
        paths = sorted(folder.rglob("*.jpg"))[:BATCH]
        pixels = np.stack([decode(path.read_bytes(), Geometry(self.size)) for path in paths])
        ours = self.embedder.network(pixels)["avg"].astype(np.float64)
        theirs = self.model.predict(pixels.astype(np.float32), verbose=0).astype(np.float64)
        lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        cosine = ((ours * theirs).sum(axis=1) / lengths).min()
        print(f"{self.name}: equal pixels, least cosine {cosine:.7f} ({len(paths)} images)")
        assert cosine > 0.9999

    def ours(self, folder, kind):
        """Return seconds and the document of the run; workers' start is part of it."""
        output = self.root / "ours.h5"
        output.unlink(missing_ok=True)
        started = time.perf_counter()
        source = open_source([str(folder)])
        with writer_lock(output):
            result = fill_store(
                source,
                output,
                self.embedder,
                batch_size=BATCH,
                workers=self.workers,
                worker_kind=kind,
                max_failed=MaxFailed.parse("0"),
                progress=Silent(),
            )
        assert result.ok == result.rows
        return time.perf_counter() - started, result

    def keras(self, folder):
        """The script most people write."""
        started = time.perf_counter()
        data = self._keras.utils.image_dataset_from_directory(
            folder,
            image_size=(self.size, self.size),
            batch_size=BATCH,
            shuffle=False,
            verbose=False,
        )
        features = self.model.predict(data, verbose=0)
        with h5py.File(self.root / "theirs.h5", "w") as file:
            file["features"] = features
        return time.perf_counter() - started

    def forward(self, pixels, count):
        """The network alone on as many images, from memory."""
        started = time.perf_counter()
        for start in range(0, count, BATCH):
            self.embedder.network(pixels[: min(BATCH, count - start)])
        return time.perf_counter() - started


def compare(sides, size, folder, options):
    kinds = options.kinds.split(",")
    paths = sorted(folder.rglob("*.jpg"))
    pixels = np.stack([decode(path.read_bytes(), Geometry(sides.size)) for path in paths[:BATCH]])
    count = len(paths)
    sides.forward(pixels, BATCH)
    sides.model.predict(pixels.astype(np.float32), verbose=0)
    times = {side: [] for side in (*kinds, "keras", "forward", "decode")}
    cpu = {side: [] for side in (*kinds, "keras", "forward")}
    for _ in range(options.runs):
        for kind in kinds:
            before = cpu_seconds()
            took, result = sides.ours(folder, kind)
            times[kind].append(took)
            cpu[kind].append(cpu_seconds() - before)
        times["decode"].append(decode_alone(paths, sides.size))
        for side, run in (
            ("forward", lambda: sides.forward(pixels, count)),
            ("keras", lambda: sides.keras(folder)),
        ):
            before = cpu_seconds()
            times[side].append(run())
            cpu[side].append(cpu_seconds() - before)
    rates = {side: count / statistics.median(found) for side, found in times.items()}
    cores = len(os.sched_getaffinity(0))
    print(f"{sides.name} {size}, {count} images, medians of {options.runs}, images per second:")
    print("  " + ", ".join(f"{side} {rate:.1f}" for side, rate in rates.items()))
    spent = {side: 1e3 * statistics.median(found) / count for side, found in cpu.items()}
    print("  CPU ms per image: " + ", ".join(f"{s} {ms:.1f}" for s, ms in spent.items()))
    for kind in kinds:
        ratios = [theirs / ours for theirs, ours in zip(times["keras"], times[kind], strict=True)]
        limits = [
            (forward + decoding / cores) / ours
            for forward, decoding, ours in zip(
                times["forward"], times["decode"], times[kind], strict=True
            )
        ]
        print(
            f"  {kind}: {statistics.median(ratios):.2f}x keras "
            f"({min(ratios):.2f} to {max(ratios):.2f}), "
            f"{statistics.median(limits):.2f} of what {cores} cores allow"
        )
    stages = ", ".join(f"{stage} {took:.1f}" for stage, took in result.stages.items())
    print(f"  seconds of the last run ({kinds[-1]}): {stages}; limit: {result.limit}")


def cpu_seconds():
    """CPU seconds of this process and of children that have ended."""
    return sum(os.times()[:4])


def decode_alone(paths, size):
    """CPU seconds of reading and decoding all images, in one thread, by a sample of 100."""
    chosen = paths[:: max(1, len(paths) // 100)]
    started = time.process_time()
    for path in chosen:
        decode(path.read_bytes(), Geometry(size))
    return (time.process_time() - started) * len(paths) / len(chosen)


if __name__ == "__main__":
    main()
