"""`bottleneck extract` beside the script most people write, and beside the forward pass alone.

    python benchmarks/extract.py [--images N] [--large N] [--runs K] [--backbones a,b]
                                 [--runtimes tensorflow,openvino] [--kinds processes,threads]
                                 [--folder KEPT]

Sides, each in a process of its own, take turns on the same images with the same network (random
weights where there is no package of pretrained ones):

  ours     bottleneck.extract's engine: decode workers, compiled network, feature file on disk;
           once for every runtime and kind of decode worker; starting the workers is part of it
  keras    keras.utils.image_dataset_from_directory + model.predict, saved with h5py
  forward  our compiled network on pixels in memory: the limit of any decoder, for every runtime
  decode   the CPU time of what a worker does (reading, hashing and decoding), in one thread

Printed are medians, ratios of pairs, and the CPU time of each side (all its processes and
threads), which other work on the machine disturbs less. What the cores allow, if all overlaps as
it should, is 1 / (forward + decode CPU / cores). Before that, the features of all sides on equal
pixels must agree (cosine above 0.9999). The last lines say whether what is claimed of workers
that are processes, over 1,000 images of either size, held here: 1.8 times the script on TensorFlow
and 2.4 times on OpenVINO at 500x375, and 0.95 of what the cores allow at 4000x3000. The default run
takes about 40 minutes; with --folder the images are made once.

Of the large images 64 are different pictures; they come again with other bytes.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
from photographs import write_jpegs

from bottleneck import backbones
from bottleneck.cores import available_cores
from bottleneck.decode import image_digest
from bottleneck.extraction import Silent, build_embedder, fill_store
from bottleneck.extraction.plan import MaxFailed
from bottleneck.images import Geometry, decode
from bottleneck.sources import open_source
from bottleneck.store import writer_lock

BATCH = 32
RUNTIMES = [name for name in ("tensorflow", "openvino") if find_spec(name) is not None]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000, help="of 500x375")
    parser.add_argument("--large", type=int, default=1000, help="of 4000x3000")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--large-runs", type=int, default=3)
    parser.add_argument("--backbones", default="mobilenet_v2,efficientnet_lite0")
    parser.add_argument("--runtimes", default=",".join(RUNTIMES), help="of ours")
    parser.add_argument("--kinds", default="processes", help="decode workers of ours")
    parser.add_argument("--workers", type=int, default=available_cores())
    parser.add_argument("--folder", type=Path, help="keep the images here, to be used again")
    options = parser.parse_args()
    with ExitStack() as stack:
        root = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sets, claims = {}, []
        for count, runs, (width, height), distinct in (
            (options.images, options.runs, (500, 375), None),
            (options.large, options.large_runs, (4000, 3000), 64),
        ):
            folder = root / f"{count}x{width}x{height}"
            if count and not folder.exists():
                write_jpegs(folder, count, width, height, distinct=distinct)
            if count:
                sets[f"{width}x{height}"] = folder, runs
        runtimes = options.runtimes.split(",")
        for name in options.backbones.split(","):
            with ExitStack() as sides:
                ours = {r: sides.enter_context(child(Ours, name, root, r)) for r in runtimes}
                keras = sides.enter_context(child(KerasScript, name, root))
                check(name, next(iter(sets.values()))[0], ours, keras)
                for size, (folder, runs) in sets.items():
                    found = compare(name, size, folder, ours, keras, options, runs)
                    claims += list(claimed(name, size, found))
        for line in claims:
            print(line)


class Ours:
    """Our engine with one runtime."""

    def __init__(self, name, root, runtime):
        self.output = root / f"{runtime}.h5"
        self.embedder = build_embedder(backbone=name, weights=weights(name), runtime=runtime)
        self.size = self.embedder.input.size

    def extract(self, folder, kind, workers):
        self.output.unlink(missing_ok=True)
        source = open_source([str(folder)])
        with writer_lock(self.output):
            result = fill_store(
                source,
                self.output,
                self.embedder,
                batch_size=BATCH,
                workers=workers,
                worker_kind=kind,
                max_failed=MaxFailed.parse("0"),
                progress=Silent(),
            )
        assert result.ok == result.rows
        return result.stages

    def forward(self, pixels, count):
        """The network alone on as many images, from memory."""
        for start in range(0, count, BATCH):
            self.embedder.network(pixels[: min(BATCH, count - start)])

    def features(self, pixels):
        return self.embedder.network(pixels)["avg"]


class KerasScript:
    """The script most people write."""

    def __init__(self, name, root):
        self.output = root / "keras.h5"
        spec = backbones.get(name)
        backbone = backbones.load(spec, weights=weights(name))
        keras = backbones.import_keras()
        self.size = backbone.size
        preprocess, inputs = spec.preprocess, keras.Input((self.size, self.size, 3))
        x = inputs[..., ::-1] if preprocess.channels == "bgr" else inputs
        x = x * np.array(preprocess.scale, np.float32) + np.array(preprocess.offset, np.float32)
        x = keras.layers.GlobalAveragePooling2D()(backbone.model(x))
        self.model, self.keras = keras.Model(inputs, x), keras

    def extract(self, folder):
        data = self.keras.utils.image_dataset_from_directory(
            folder,
            image_size=(self.size, self.size),
            batch_size=BATCH,
            shuffle=False,
            verbose=False,
        )
        features = self.model.predict(data, verbose=0)
        with h5py.File(self.output, "w") as file:
            file["features"] = features

    def features(self, pixels):
        return self.model.predict(pixels.astype(np.float32), verbose=0)


def weights(name):
    return "bundled" if backbones.get(name).bundled else "none"


@contextmanager
def child(side, *args):
    """Build a side in a process of its own; yields what asks it to do something."""
    context = multiprocessing.get_context("spawn")
    connection, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, side, *args), daemon=False)
    process.start()
    theirs.close()

    def ask(what, *details):
        connection.send((what, details))
        return connection.recv()

    yield ask
    connection.close()
    process.join()


def serve(connection, side, *args):
    built = side(*args)
    while True:
        try:
            what, details = connection.recv()
        except EOFError:
            return
        before, started = sum(os.times()[:4]), time.perf_counter()
        found = getattr(built, what)(*details)
        took = time.perf_counter() - started
        connection.send((found, took, sum(os.times()[:4]) - before))


def drawn(folder, count=BATCH):
    """Decode some images at the size all backbones here take."""
    paths = sorted(folder.rglob("*.jpg"))[:count]
    return np.stack([decode(path.read_bytes(), Geometry(224)) for path in paths])


def check(name, folder, ours, keras):
    """Equal pixels must give equal features."""
    pixels = drawn(folder)
    theirs = keras("features", pixels)[0].astype(np.float64)
    for runtime, ask in ours.items():
        found = ask("features", pixels)[0].astype(np.float64)
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(theirs, axis=1)
        cosine = ((found * theirs).sum(axis=1) / lengths).min()
        print(f"{name}, {runtime}: equal pixels, least cosine {cosine:.7f} ({len(pixels)} images)")
        assert cosine > 0.9999


CLAIMS = {
    ("500x375", "tensorflow"): ("times the script", 1.8),
    ("500x375", "openvino"): ("times the script", 2.4),
    ("4000x3000", "tensorflow"): ("of what the cores allow", 0.95),
    ("4000x3000", "openvino"): ("of what the cores allow", 0.95),
}


def claimed(name, size, found):
    """Say of each claim whether it held; ``found`` are medians by runtime and kind of worker."""
    for (runtime, kind), (times, share) in found.items():
        what, least = CLAIMS.get((size, runtime), (None, 0))
        if what is not None and kind == "processes":
            value = times if what == "times the script" else share
            held = "holds" if value >= least else "does NOT hold"
            yield f"{name} {size} {runtime}: {value:.2f} {what}, claimed {least}: {held}"


def compare(name, size, folder, ours, keras, options, runs):
    pixels, paths = drawn(folder), sorted(folder.rglob("*.jpg"))
    count = len(paths)
    sides = {
        (runtime, kind): (ask, "extract", folder, kind, options.workers)
        for runtime, ask in ours.items()
        for kind in options.kinds.split(",")
    }
    sides |= {
        (runtime, "forward"): (ask, "forward", pixels, count) for runtime, ask in ours.items()
    }
    sides["keras", "script"] = (keras, "extract", folder)
    for ask, *task in sides.values():
        if task[0] == "forward":
            ask("forward", pixels, BATCH)
    keras("features", pixels)
    times = {side: [] for side in sides}
    cpu = {side: [] for side in sides}
    decoding, stages = [], {}
    for _ in range(runs):
        for side, (ask, *task) in sides.items():
            stages[side], took, spent = ask(*task)
            times[side].append(took)
            cpu[side].append(1e3 * spent / count)
        decoding.append(decode_alone(paths, 224))
    cores = available_cores()
    print(
        f"{name} {size}, {count} images, medians of {runs}; "
        f"reading, hashing and decoding take {1e3 * statistics.median(decoding) / count:.1f} ms "
        "of CPU each"
    )
    script, found = times["keras", "script"], {}
    for side, took in times.items():
        line = (
            f"  {' '.join(side):22} {count / statistics.median(took):6.1f} images/s, "
            f"{statistics.median(cpu[side]):5.1f} ms CPU each"
        )
        if side[1] in options.kinds.split(","):
            ratios = [theirs / mine for theirs, mine in zip(script, took, strict=True)]
            limits = [
                (forward + decoded / cores) / mine
                for forward, decoded, mine in zip(
                    times[side[0], "forward"], decoding, took, strict=True
                )
            ]
            found[side] = statistics.median(ratios), statistics.median(limits)
            line += (
                f", {statistics.median(ratios):.2f}x keras "
                f"({min(ratios):.2f} to {max(ratios):.2f}), "
                f"{statistics.median(limits):.2f} of what {cores} cores allow"
            )
        print(line, flush=True)
    for side, spent in stages.items():
        if spent:
            told = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in spent.items())
            print(f"  seconds of the last run, {' '.join(side)}: {told}")
    return found


def decode_alone(paths, size):
    """CPU seconds of what a worker does with all images, in one thread, by a sample of 100."""
    chosen = paths[:: max(1, len(paths) // 100)]
    started = time.process_time()
    for path in chosen:
        image = path.read_bytes()
        image_digest(image)
        decode(image, Geometry(size))
    return (time.process_time() - started) * len(paths) / len(chosen)


if __name__ == "__main__":
    main()
