"""The forward pass on a CPU: batches in parts, two at a time, beside whole batches.

    python benchmarks/forward.py [--batch-size N] [--runs K] [--backbones a,b]
    python benchmarks/forward.py --folding [--runtime tensorflow|jax|torch]

With ``--folding`` batch normalisation folded into weights, as it is done, beside the same runtime
without that.

Both sides take turns on the same pixels. Printed are medians of images per second, the CPU time
per image, the median of the pairs' ratios, and the least cosine between their features.
"""

import argparse
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np

from bottleneck import backbones
from bottleneck.extraction import build_embedder
from bottleneck.runtimes import precision

IMAGES = 128


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--backbones", default="efficientnet_lite0,mobilenet_v2,resnet50")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--folding", action="store_true")
    parser.add_argument("--runtime", default="tensorflow", help="with --folding")
    options = parser.parse_args()
    for name in options.backbones.split(","):
        compare(name, *(folding if options.folding else in_parts)(name, options), options)


def in_parts(name, options):
    """Return the sides, and the pixels of an image."""
    embedder = build_embedder(backbone=name, weights=weights(name))
    network = embedder.network
    return {
        "whole": lambda batch: network._compute.__self__._compute(batch)[0],
        "parts": lambda batch: network(batch)["avg"],
    }, embedder.input.size


def folding(name, options):
    """Return the same for a network whose normalisations stay, and one as it is extracted with."""
    given = {"backbone": name, "runtime": options.runtime}
    if weights(name) == "bundled":
        given["weights"] = "bundled"
        apart, folded = built(given, folds=False), built(given)
    else:  # random ones, the same for both
        backbone = backbones.load(backbones.get(name), weights="none")
        with TemporaryDirectory() as folder:
            given["weights"] = str(Path(folder) / "random.weights.h5")
            backbone.model.save_weights(given["weights"])
            apart, folded = built(given, folds=False), built(given)
    sides = {"apart": apart.network, "folded": folded.network}
    return {
        side: lambda batch, network=network: network(batch)["avg"]
        for side, network in sides.items()
    }, folded.input.size


def built(given, *, folds=True):
    if folds:
        return build_embedder(**given)
    with patch.object(precision, "folded", lambda keras, network, **options: network):
        return build_embedder(**given)


def weights(name):
    return "bundled" if backbones.get(name).bundled else "none"


def compare(name, sides, size, options):
    shape = options.images, size, size, 3
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    times = {side: [] for side in sides}
    cpu = {side: [] for side in sides}
    features = {side: forward(run, pixels, options.batch_size) for side, run in sides.items()}
    for _ in range(options.runs):
        for side, run in sides.items():
            wall, process = time.perf_counter(), time.process_time()
            forward(run, pixels, options.batch_size)
            times[side].append(time.perf_counter() - wall)
            cpu[side].append(time.process_time() - process)
    before, after = sides
    ratios = [a / b for a, b in zip(times[before], times[after], strict=True)]
    spent = [a / b for a, b in zip(cpu[before], cpu[after], strict=True)]
    print(
        f"{name}, batches of {options.batch_size}: "
        + ", ".join(
            f"{side} {options.images / statistics.median(times[side]):.1f} images/s "
            f"({1e3 * statistics.median(cpu[side]) / options.images:.1f} ms CPU each)"
            for side in sides
        )
        + f"; {statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f}), "
        f"by CPU time {statistics.median(spent):.2f}x; "
        f"least cosine {least_cosine(*features.values()):.7f}",
        flush=True,
    )


def forward(run, pixels, batch):
    return np.concatenate(
        [run(pixels[start : start + batch]) for start in range(0, len(pixels), batch)]
    )


def least_cosine(whole, parts):
    whole, parts = whole.astype(np.float64), parts.astype(np.float64)
    lengths = np.linalg.norm(whole, axis=1) * np.linalg.norm(parts, axis=1)
    return ((whole * parts).sum(axis=1) / lengths).min()


if __name__ == "__main__":
    main()
