"""The feature file beside plain NumPy, and at the size of 100 million rows.

    python benchmarks/store.py [--rows N] [--runs K] [--folder DIR] [--skip-scale]

Reads the same rows from a feature file and from an .npy file, alternating, and prints medians
and ratios. The scale part makes a sparse file of 414 GB that takes 2.5 GB on the disk.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bottleneck.extraction.plan import Plan
from bottleneck.extraction.result import peak_rss_mb
from bottleneck.manifest import Manifest
from bottleneck.packed import PackedStrings
from bottleneck.recipe import Recipe
from bottleneck.store import FeatureStore, Writer, create, writer_lock
from bottleneck.store.verify import verify

DIM = 1280
BLOCK = 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--skip-scale", action="store_true")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        PARTS[options.part](options.folder)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        reading(Path(folder), options.rows, options.runs)
        if not options.skip_scale:
            for part in PARTS:
                command = [sys.executable, __file__, "--part", part, "--folder", folder]
                subprocess.run(command, check=True)


def recipe(dtype):
    return Recipe({"backbone": "benchmark"}, {"dtype": dtype, "precision": "float32"})


def reading(folder, n, runs):
    rng = np.random.default_rng(0)
    manifest = Manifest.build([f"image_{i}.jpg" for i in range(n)])
    store_path, npy_path = folder / "x.h5", folder / "x.npy"
    create(store_path, manifest=manifest, recipe=recipe("float32"), dims={"avg": DIM})
    npy = np.lib.format.open_memmap(npy_path, "w+", np.float32, (n, DIM))
    started = time.perf_counter()
    with writer_lock(store_path), Writer(store_path, FeatureStore.open(store_path).layout) as out:
        for start in range(0, n, BLOCK):
            rows = np.arange(start, min(start + BLOCK, n))
            block = rng.random((len(rows), DIM), np.float32)
            npy[rows] = block
            out.write(rows, {"avg": block}, np.zeros((len(rows), 16), np.uint8))
    npy.flush()
    print(
        f"{n} rows x {DIM} float32, {n * DIM * 4 / 1e6:.0f} MB; written with checksums in "
        f"{time.perf_counter() - started:.1f} s"
    )

    def sequential(open_array):
        array, total = open_array(), 0.0
        for start in range(0, n, BLOCK):
            total += float(np.asarray(array[start : start + BLOCK]).sum())
        return total

    picks = [np.sort(rng.choice(n, 256, replace=False)) for _ in range(runs)]

    def random_rows(open_array, which):
        return float(np.asarray(open_array()[picks[which]]).sum())

    ours = lambda: FeatureStore.open(store_path).features()  # noqa: E731
    theirs = lambda: np.load(npy_path, mmap_mode="r")  # noqa: E731
    assert sequential(ours) == sequential(theirs)  # also fills the page cache for both
    compare(
        "sequential, blocks of 1024 rows",
        "np.load(mmap_mode='r')",
        runs,
        lambda _: sequential(ours),
        lambda _: sequential(theirs),
    )
    opened = ours(), theirs()
    compare(
        "256 random rows, opened before",
        "np.memmap",
        runs,
        lambda i: random_rows(lambda: opened[0], i),
        lambda i: random_rows(lambda: opened[1], i),
    )
    compare(
        "256 random rows, opening included",
        "np.load(mmap_mode='r')",
        runs,
        lambda i: random_rows(ours, i),
        lambda i: random_rows(theirs, i),
    )
    started = time.perf_counter()
    assert verify(store_path).ok
    print(f"verify: {n * DIM * 4 / 1e9 / (time.perf_counter() - started):.2f} GB/s")


def compare(what, peer, runs, ours, theirs):
    times = {"ours": [], "theirs": []}
    for i in range(runs):
        for name, function in (("ours", ours), ("theirs", theirs)):
            started = time.perf_counter()
            function(i)
            times[name].append(time.perf_counter() - started)
    us, them = (statistics.median(values) for values in times.values())
    print(
        f"{what}: {us * 1e3:.2f} ms, {peer} {them * 1e3:.2f} ms: "
        f"speed {them / us:.2f} of theirs, time {us / them:.2f}x (medians of {runs})"
    )


def scale_create(folder):
    n = 100_000_000
    digits = np.empty((n, 8), np.uint8)
    numbers = np.arange(n, dtype=np.uint32)
    for place in range(7, -1, -1):
        digits[:, place] = numbers % 10 + ord("0")
        numbers //= 10
    keys = PackedStrings(digits.reshape(-1), np.arange(n + 1, dtype=np.uint64) * np.uint64(8))
    none = np.full(n, -1, np.int32)
    manifest = Manifest(keys=keys, labels=none, splits=np.zeros(n, np.uint8), groups=none)
    path = folder / "large.h5"
    started = time.perf_counter()
    create(
        path,
        manifest=manifest,
        recipe=recipe("float16"),
        dims={"avg": 2048},
        dtype="float16",
        preallocate=False,
    )
    facts = path.stat()
    print(
        f"create 100,000,000 x 2048 float16: {time.perf_counter() - started:.1f} s, "
        f"{facts.st_size / 1e9:.0f} GB of which {facts.st_blocks * 512 / 1e9:.1f} on the disk"
    )


def scale_plan(folder):
    started = time.perf_counter()
    plan = Plan(FeatureStore.open(folder / "large.h5").status)
    rows = sum(len(batch) for batch in plan.batches(64))
    took = time.perf_counter() - started
    print(f"plan {rows:,} rows: {took:.1f} s, peak memory {peak_rss_mb():.0f} MB")


def scale_keys(folder):
    n = 10_000_000
    started = time.perf_counter()
    manifest = Manifest.build([f"folder_{i % 1000}/image_{i}.jpg" for i in range(n)])
    built = time.perf_counter()
    create(folder / "keys.h5", manifest=manifest, recipe=recipe("float32"), dims={"avg": 1})
    print(
        f"10,000,000 keys: {built - started:.1f} s to pack, "
        f"{time.perf_counter() - built:.1f} s to write"
    )


PARTS = {"create": scale_create, "plan": scale_plan, "keys": scale_keys}

if __name__ == "__main__":
    main()
