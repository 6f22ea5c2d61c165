"""Runtimes and precisions side by side: rates end to end, and what a shorter precision costs.

    python benchmarks/runtimes.py                  # rates, float32 TensorFlow against the others
    python benchmarks/runtimes.py --accuracy       # cosines and head accuracy on data/sample

Each runtime lives in a process of its own (Keras fixes its backend once) and they take turns, so
that what else the machine does falls on all of them. Rates are compared pair by pair; read the
ratios, not the rates.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
REFERENCE = ("tensorflow", "float32")
OTHERS = (("openvino", "float32"), ("openvino", "int8"))
MORE = (("jax", "float32"), ("torch", "float32"), ("openvino", "bfloat16"))
SHORTER = (("openvino", "int8"), ("openvino", "bfloat16"), ("tensorflow", "bfloat16"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=["resnet50", "mobilenet_v2"])
    parser.add_argument("--images", type=int, default=64, help="JPEGs of 500 x 375 per turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--all", action="store_true", help="JAX, PyTorch and bfloat16 too")
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--sample", default=str(ROOT / "data" / "sample"))
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(*options.worker)
    elif options.accuracy:
        accuracy(options.sample, (REFERENCE, *SHORTER, *(MORE[:2] if options.all else ())))
    else:
        rates(options, (*OTHERS, *(MORE if options.all else ())))


def rates(options, others):
    from bottleneck.speed import draw_jpegs

    with tempfile.TemporaryDirectory() as folder:
        images = draw_jpegs(Path(folder) / "drawn", options.images)
        for backbone in options.backbones:
            workers = {kind: start(*kind, backbone, images) for kind in (REFERENCE, *others)}
            turns = {kind: [] for kind in workers}
            for _ in range(options.rounds):
                for kind, worker in workers.items():
                    turns[kind].append(ask(worker))
            for worker in workers.values():
                worker.stdin.close()
                worker.wait()
            report(backbone, turns)


def report(backbone, turns):
    print(f"\n{backbone}: images/s end to end, and x float32 TensorFlow (wall; CPU time)")
    for kind, own in turns.items():
        pairs = list(zip(own, turns[REFERENCE], strict=True))
        wall = statistics.median(ours["rate"] / theirs["rate"] for ours, theirs in pairs)
        cpu = statistics.median(theirs["cpu"] / ours["cpu"] for ours, theirs in pairs)
        rate = statistics.median(turn["rate"] for turn in own)
        print(f"  {' '.join(kind):22} {rate:8.1f}   {wall:5.2f}x   {cpu:5.2f}x", flush=True)


def start(runtime, precision, backbone, images):
    return subprocess.Popen(
        [sys.executable, __file__, "--worker", runtime, precision, backbone, str(images)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def ask(worker):
    worker.stdin.write("go\n")
    worker.stdin.flush()
    return json.loads(worker.stdout.readline())


def work(runtime, precision, backbone, images):
    """Compute all images whenever told to; the first time does not count."""
    from bottleneck import backbones
    from bottleneck.cores import available_cores
    from bottleneck.extraction import build_embedder, embed
    from bottleneck.extraction.run import calibration_images
    from bottleneck.sources import open_source

    source = open_source([images])
    spec = backbones.get(backbone)
    embedder = build_embedder(
        backbone=backbone,
        weights="bundled" if spec.bundled else "none",
        runtime=runtime,
        precision=precision,
        calibration=partial(calibration_images, source),
    )
    count = len(source.manifest)
    rows = np.arange(count, dtype=np.int64)
    cores = available_cores()

    def run():
        batches = [rows[i : i + 32] for i in range(0, count, 32)]
        return sum(len(batch.rows) for batch in embed(embedder, source, batches, workers=cores))

    run()
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        assert run() == count
        rate = count / (time.perf_counter() - wall)
        print(json.dumps({"rate": rate, "cpu": time.process_time() - cpu}), flush=True)


def accuracy(sample, kinds):
    """Extract, train a head and judge it, once for each; the first one is the reference."""
    from bottleneck import FeatureStore

    with tempfile.TemporaryDirectory() as folder:
        exact = None
        print("efficientnet_lite0 on the sample: cosine to the first (mean, least), accuracy")
        for runtime, precision in kinds:
            file, head = Path(folder) / f"{runtime}-{precision}.h5", Path(folder) / "head"
            how = ("--runtime", runtime, "--precision", precision)
            command("extract", sample, "-o", file, "-q", *how)
            command("train", file, "-o", head, "-q", "--overwrite")
            judged = json.loads(command("evaluate", head, file, "--json"))
            store = FeatureStore.open(file)
            features = np.array(store.features(), np.float64)
            exact = features if exact is None else exact
            lengths = np.linalg.norm(features, axis=1) * np.linalg.norm(exact, axis=1)
            cosine = (features * exact).sum(1) / lengths
            print(
                f"  {runtime + ' ' + precision:22} {cosine.mean():.6f} {cosine.min():.6f}"
                f"   {judged['accuracy']:.3f}   {store.recipe.execution.get('calibration', '')}",
                flush=True,
            )


def command(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "bottleneck", *map(str, arguments)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return done.stdout


if __name__ == "__main__":
    main()
