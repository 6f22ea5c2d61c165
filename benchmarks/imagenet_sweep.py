"""45 strengths of logistic regression at ImageNet's size: time per pass, memory, extrapolated.

    python -m benchmarks.imagenet_sweep make FOLDER [--rows 1281167] [--features 1024]
    python -m benchmarks.imagenet_sweep passes FOLDER [--passes 2]
    python -m benchmarks.imagenet_sweep count FOLDER [--sample 25]
    python -m benchmarks.imagenet_sweep sweep FOLDER --engine keras

``make`` writes synthetic float16 features of 1,000 classes as shards (2.6 GB). ``passes`` goes
through all of them: what a sweep does over and over. ``count`` runs the whole sweep, every strength
to scikit-learn's rule (no component of the gradient above 1e-4), on all rows of some classes only,
so that there are as many rows of each as there are, and counts its passes. Those times the time of
a pass of all rows is the extrapolation: how many passes a thousand classes take, or other features,
is not known from these. ``sweep`` runs all strengths on all rows, which a GPU does in the time a
CPU takes for a few passes (``--engine keras``, on the framework that ``KERAS_BACKEND`` names).

Each step is a process of its own, so that memory is that step's. ``--on ray`` is the same work on
more machines: time per pass falls with the cores that share it, passes do not.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np

from bottleneck.cores import available_cores
from bottleneck.heads.rows import ArrayRows, FileRows, ShardedRows
from bottleneck.heads.solver.engine import SOFTMAX
from bottleneck.heads.solver.engines import engine_named, engine_note
from bottleneck.heads.solver.lockstep import estimated_curvature, solve
from bottleneck.heads.solver.objective import Problem, StackedObjective
from bottleneck.heads.solver.row_pass import passes
from bottleneck.heads.solver.scaling import Weighting, standardise
from bottleneck.heads.solver.sweep import MAX_ITER
from bottleneck.heads.solver.swept import TOLERANCE

STRENGTHS = np.logspace(-6, 5, 45)
"""A quarter of a decade apart."""

SHARD = 1 << 18
APART = 0.12
"""Distance of class means, in deviations of a feature: about 75% of rows are told apart."""


def make(folder, rows, features, classes):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    means = APART * rng.normal(size=(classes, features)).astype(np.float32)
    y = rng.integers(0, classes, rows)
    started = time.perf_counter()
    for number, start in enumerate(range(0, rows, SHARD)):
        stop = min(start + SHARD, rows)
        with (folder / f"{number}.f16").open("wb") as file:
            for at in range(start, stop, 8192):
                codes = y[at : min(at + 8192, stop)]
                block = rng.standard_normal((len(codes), features), np.float32) + means[codes]
                file.write(block.astype(np.float16).tobytes())
    np.save(folder / "y.npy", y)
    about = {"rows": rows, "features": features, "classes": classes}
    (folder / "about.json").write_text(json.dumps(about))
    print(f"{rows} x {features} float16, {classes} classes: {time.perf_counter() - started:.0f} s")


def opened(folder):
    about = json.loads((folder / "about.json").read_text())
    n, d = about["rows"], about["features"]
    shards = {
        number: FileRows(
            folder / f"{number}.f16", 0, (min(SHARD, n - start), d), np.dtype(np.float16)
        )
        for number, start in enumerate(range(0, n, SHARD))
    }
    return ShardedRows(shards), np.load(folder / "y.npy"), about["classes"]


def stacked(run, y, classes):
    weighting = Weighting(y, np.ones((1, len(y)), bool))
    started = time.perf_counter()
    scaling = standardise(run, weighting)
    print(f"standardised in {time.perf_counter() - started:.1f} s, one pass")
    return StackedObjective(run, SOFTMAX, classes, weighting, scaling)


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def time_passes(folder, count, engine):
    rows, y, classes = opened(folder)
    with passes(rows, engine=engine_named(engine)) as run:
        stack = stacked(run, y, classes)
        rng = np.random.default_rng(1)
        weights = 1e-3 * rng.normal(size=(1, classes, rows.shape[1] + 1))
        n, d = rows.shape
        for _ in range(count):
            before, cpu = time.perf_counter(), time.process_time()
            stack.evaluate([Problem(0, 1 / n)], weights)
            wall, cpu = time.perf_counter() - before, time.process_time() - cpu
            print(
                f"a pass of {n} rows: {wall:.1f} s wall, {cpu:.1f} s CPU, "
                f"{4e-9 * n * d * classes / cpu:.0f} GFLOP/s a core, {available_cores()} cores"
            )
    print(f"peak memory {peak():.0f} MB")


def count_passes(folder, classes, engine):
    """Sweep over the rows of so many classes; of all of them if None."""
    rows, y, every = opened(folder)
    if classes is None:
        classes = every
    else:
        scratch, blocks = {}, []
        for start in range(0, rows.shape[0], 8192):
            stop = min(start + 8192, rows.shape[0])
            block = rows.read(start, stop, scratch)[y[start:stop] < classes]
            blocks.append(block.astype(np.float16))
        rows, y = ArrayRows(np.concatenate(blocks)), y[y < classes]
    with passes(rows, engine=engine_named(engine)) as run:
        stack = stacked(run, y, classes)
        curvature = estimated_curvature(stack)
        total = float(stack.weighting.totals[0])
        path = [Problem(0, 1 / (float(value) * total)) for value in STRENGTHS]
        before, cpu, first = time.perf_counter(), time.process_time(), run.count
        (found,) = solve(
            stack,
            [path],
            tolerance=TOLERANCE,
            gap=np.inf,
            max_iter=MAX_ITER,
            curvature=curvature,
        )
        wall, cpu = time.perf_counter() - before, time.process_time() - cpu
        made = run.count - first
        note = "".join(engine_note(run)) or "fitted with NumPy"
    for value, one in zip(STRENGTHS, found, strict=True):
        print(
            f"C={value:.3g}: {one.passes} passes, gradient {one.gradient_norm:.1e}, "
            f"objective {one.objective:.6f}{'' if one.converged else ', NOT CONVERGED'}"
        )
    print(note)
    print(
        f"{len(STRENGTHS)} strengths on {len(y)} rows of {classes} classes: {made} passes, "
        f"{wall:.0f} s wall, {cpu:.0f} s CPU, {cpu / made:.2f} s a pass"
    )
    print(f"peak memory {peak():.0f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=["make", "passes", "count", "sweep"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_281_167)
    parser.add_argument("--features", type=int, default=1024)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--sample", type=int, default=25)
    parser.add_argument("--engine", choices=["numpy", "keras"], default="numpy")
    given = parser.parse_args()
    if given.step == "make":
        make(given.folder, given.rows, given.features, given.classes)
    elif given.step == "passes":
        time_passes(given.folder, given.passes, given.engine)
    else:
        count_passes(given.folder, given.sample if given.step == "count" else None, given.engine)


if __name__ == "__main__":
    main()
