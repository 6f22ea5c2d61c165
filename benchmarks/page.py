"""The page of a comparison with very many images and classes: its size, and how fast it opens.

    python benchmarks/page.py [--images N] [--classes K] [--heads H] [--runs R] [--folder DIR]

Features, predictions and images are synthetic; the leaderboard, the maps, the thumbnails and the
page are made as `bottleneck compare` makes them. Prints the size of the page, and medians of the
time to first contentful paint and until all is drawn, in a headless Chromium without a GPU.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from bottleneck.comparison.alignment import align
from bottleneck.comparison.findings import duplicate_sets, find_twins, make_maps, mistakes
from bottleneck.comparison.leaderboard import cost_of, make_contender, rank
from bottleneck.comparison.out_of_fold import Predictions, make_protocol
from bottleneck.comparison.packing import mentioned
from bottleneck.comparison.study import Comparison, features_line
from bottleneck.comparison.take import choose, majority
from bottleneck.manifest import Manifest
from bottleneck.recipe import Recipe
from bottleneck.store import FeatureStore, Writer, create, writer_lock

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from browser import Browser, find_chromium

DIM = 128
HEADS = ("logreg", "ridge", "knn")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--heads", type=int, default=3, choices=(1, 2, 3))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        page = make_page(Path(folder), options.images, options.classes, HEADS[: options.heads])
        open_page(page, Path(folder), options.runs)


def make_page(folder, n, k, heads):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, k, n)
    path = write_features(folder, truth, k, rng)
    aligned = align([path])
    protocol = make_protocol(aligned)
    costs = [cost_of(one) for one in aligned.features]
    contenders = [
        make_contender(aligned, protocol, i, head, predictions(aligned, protocol, head, rng))
        for i in range(len(aligned.features))
        for head in heads
    ]
    ranked = rank(contenders, aligned, protocol, costs, resamples=200)
    doubted = rng.choice(n, 200, replace=False)
    document = {
        "bottleneck": "benchmark",
        "created": "2026-01-01T00:00:00",
        "command": "benchmarks/page.py",
        "level": 0.95,
        "alpha": 0.05,
        "resamples": 200,
        "data": {
            "images": n, "compared": n, "left_out": {}, "classes": list(aligned.classes),
            "per_class": np.bincount(aligned.y, minlength=k).tolist(),
            "train": len(protocol.train), "judged": len(protocol.judged), "validation": 0,
            "groups": 0, "estimate": protocol.kind, "folds": 5, "seed": 0, "notes": [],
            "baseline": majority(aligned, protocol),
        },
        "take": choose([line for _, line in ranked], aligned.features, costs, 0),
        "heads": list(heads),
        "features": [
            {**features_line(one), "cost": cost.to_json()}
            for one, cost in zip(aligned.features, costs, strict=True)
        ],
        "leaderboard": [
            {**line, "mistakes": mistakes(aligned, protocol, one)} for one, line in ranked
        ],
        "curves": [],
        "label_errors": {
            "likely": len(doubted),
            "by": "chance",
            "rows": [
                {"image": int(i), "suggested": int((aligned.y[i] + 1) % k),
                 "given_probability": 0.1, "suggested_probability": 0.8, "likely": True}
                for i in doubted
            ],
        },
        "duplicates": duplicate_sets(aligned, find_twins(aligned, 0.9999)),
        "map": make_maps(aligned, aligned.features, range(len(aligned.features)), "pca", 0),
        "seconds": 0.0,
    }  # fmt: skip
    write_images(folder / "images", [aligned.keys[i] for i in mentioned(document)[:4500]], rng)
    comparison = Comparison(document, aligned, (str(folder / "images"),))
    started = time.perf_counter()
    made = comparison.write_html(folder / "page.html")
    print(
        f"{n:,} images, {k:,} classes, {len(ranked)} entries: {made['bytes'] / 1e6:.2f} MB, "
        f"{made['thumbnails']:,} thumbnails, written in {time.perf_counter() - started:.1f} s"
    )
    return folder / "page.html"


def write_features(folder, truth, k, rng):
    n, width = len(truth), len(str(k - 1))
    names = [f"class_{code:0{width}d}" for code in range(k)]
    keys = [f"{names[code]}/img_{i:08d}.jpg" for i, code in enumerate(truth)]
    splits = ["test" if i % 5 == 0 else "train" for i in range(n)]
    manifest = Manifest.build(keys, [names[code] for code in truth], splits)
    outputs = {"block_5.avg": DIM, "block_6.avg": DIM, "avg": DIM}
    recipe = Recipe(
        {"backbone": "synthetic"}, {"precision": "float32", "dtype": "float32", "device": "cpu"}
    )
    path = folder / "features.h5"
    create(path, manifest=manifest, recipe=recipe, dims=outputs, dtype="float32")
    centres = rng.normal(size=(k, DIM)).astype(np.float32)
    with writer_lock(path), Writer(path, FeatureStore.open(path).layout) as writer:
        for start in range(0, n, 8192):
            rows = np.arange(start, min(start + 8192, n))
            X = {
                name: centres[truth[rows]] + rng.normal(size=(len(rows), DIM)).astype(np.float32)
                for name in outputs
            }
            writer.write(rows, X, rng.integers(0, 256, (len(rows), 16), np.uint8))
    return path


def predictions(aligned, protocol, head, rng):
    truth, k = aligned.y[protocol.judged], len(aligned.classes)
    scores = rng.random((len(truth), k), np.float32).astype(np.float64)
    right = rng.random(len(truth)) < 0.75
    scores[np.flatnonzero(right), truth[right]] = 1.5

    class Final:
        best, cv, notes, seconds = {"C": 1.0}, (), (), 1.0

    shares = None if head == "ridge" else scores / scores.sum(axis=1, keepdims=True)
    return Predictions(scores.argmax(axis=1), shares, scores, Final(), ({"C": 1.0},), 1.0)


def write_images(folder, keys, rng):
    for key in keys:
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
        fine = np.asarray(coarse.resize((160, 120), Image.Resampling.BICUBIC)).astype(np.int16)
        pixels = np.clip(fine + rng.normal(0, 6, fine.shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / key, quality=85)


def open_page(page, folder, runs):
    program = find_chromium()
    if program is None:
        print("no Chromium: apt-get install chromium, or set CHROMIUM to one")
        return
    browser = Browser(program, folder / "profile")
    painted, drawn = [], []
    try:
        for _ in range(runs):
            browser.open(page, width=1366)
            painted.append(
                browser.run(
                    "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN"
                )
            )
            drawn.append(browser.run("performance.timing.domContentLoadedEventEnd"
                                     " - performance.timing.navigationStart"))  # fmt: skip
        assert browser.console == [], browser.console
    finally:
        browser.close()
    print(
        f"first paint {statistics.median(painted) / 1000:.2f} s, "
        f"all drawn {statistics.median(drawn) / 1000:.2f} s (medians of {runs})"
    )


if __name__ == "__main__":
    main()
