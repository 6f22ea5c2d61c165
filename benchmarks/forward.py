"""The forward pass on a CPU: batches in parts, two at a time, beside whole batches.

    python benchmarks/forward.py [--batch-size N] [--runs K] [--backbones a,b]

Both sides take turns on the same pixels. Printed are medians of images per second, the CPU time
per image, the median of the pairs' ratios, and the least cosine between their features.
"""

import argparse
import statistics
import time

import numpy as np

from bottleneck import backbones
from bottleneck.extraction import build_embedder

IMAGES = 128


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--backbones", default="efficientnet_lite0,mobilenet_v2,resnet50")
    options = parser.parse_args()
    for name in options.backbones.split(","):
        weights = "bundled" if backbones.get(name).bundled else "none"
        embedder = build_embedder(backbone=name, weights=weights)
        compare(name, embedder, options)


def compare(name, embedder, options):
    network, size = embedder.network, embedder.input.size
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, size, size, 3), np.uint8)
    sides = {
        "whole": lambda batch: network._compute.__self__._compute(batch)[0],
        "parts": lambda batch: network(batch)["avg"],
    }
    times = {side: [] for side in sides}
    cpu = {side: [] for side in sides}
    features = {side: forward(run, pixels, options.batch_size) for side, run in sides.items()}
    for _ in range(options.runs):
        for side, run in sides.items():
            wall, process = time.perf_counter(), time.process_time()
            forward(run, pixels, options.batch_size)
            times[side].append(time.perf_counter() - wall)
            cpu[side].append(time.process_time() - process)
    ratios = [whole / parts for whole, parts in zip(times["whole"], times["parts"], strict=True)]
    print(
        f"{name}, batches of {options.batch_size}: "
        + ", ".join(
            f"{side} {IMAGES / statistics.median(times[side]):.1f} images/s "
            f"({1e3 * statistics.median(cpu[side]) / IMAGES:.1f} ms CPU each)"
            for side in sides
        )
        + f"; {statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f}); "
        f"least cosine {least_cosine(**features):.7f}",
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
