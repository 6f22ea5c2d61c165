"""What the engine itself costs, beside devices that are none.

    python benchmarks/engine.py [--images N] [--batch-sizes A,B]

``main process``: its CPU time per image where a forward pass is free, from small JPEGs that worker
processes decode, and the memory it shares with them. ``sleeping device``: the share of its rate
that extraction reaches beside a device of 10,000 images/s that sleeps, where each commit takes
0.3 s and every image is decoded already.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from bottleneck.decode.slot import Job, Slot, slot_bytes
from bottleneck.extraction import Embedder, Silent, engine, fill_store
from bottleneck.extraction.plan import MaxFailed
from bottleneck.images import Geometry
from bottleneck.recipe import Recipe
from bottleneck.runtimes.step import CompiledStep
from bottleneck.sources import PixelSource, open_source
from bottleneck.store import system

RATE, COMMIT_SECONDS, DIM = 10_000, 0.3, 2048
WORKERS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=12_000)
    parser.add_argument("--batch-sizes", default="32,256,512")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = small_jpegs(Path(folder) / "jpegs", options.images)
        for batch in map(int, options.batch_sizes.split(",")):
            main_process(source, Path(folder), batch)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        sleeping_device(Path(folder), 10 * options.images)


def small_jpegs(folder, count):
    folder.mkdir()
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(pixels).resize((96, 96)).save(folder / f"{i:06}.jpg", quality=60)
    return open_source([str(folder)])


def embedder(size, dim, compute, fetch):
    step = CompiledStep(
        compute, runtime="none", version="0", device="gpu:0", dims={"avg": dim},
        given=Geometry(size), fetch=fetch, in_flight=2,
    )  # fmt: skip
    recipe = Recipe({"backbone": "none"}, {"dtype": "float32"})
    return Embedder(recipe, Geometry(size), step)


def fill(source, folder, built, batch, **options):
    path = Path(tempfile.mkdtemp(dir=folder)) / "x.h5"
    started = time.process_time()
    result = fill_store(
        source, path, built, batch_size=batch, workers=WORKERS,
        max_failed=MaxFailed.parse("0"), progress=Silent(), **options,
    )  # fmt: skip
    return time.process_time() - started, result


def main_process(source, folder, batch):
    built = embedder(224, 256, len, lambda count: [np.zeros((count, 256), np.float32)])
    begin, few = fill(source, folder, built, batch, worker_kind="processes", limit=2 * batch)
    took, whole = fill(source, folder, built, batch, worker_kind="processes")
    each = 1e6 * (took - begin) / (whole.ok - few.ok)
    job = Job((built.input,), batch_size=batch, held=2)
    shared = {workers: job.slots(workers) * slot_bytes(job) / 2**20 for workers in (2, 16, 64)}
    listed = ", ".join(f"{mb:.0f} MiB with {workers}" for workers, mb in shared.items())
    print(f"main process, batch {batch}: {each:.1f} us of CPU per image; workers share {listed}")


def sleeping_device(folder, count, batch=256):
    features = np.random.default_rng(0).normal(size=(batch, DIM)).astype(np.float32)
    busy_until = [0.0]

    def compute(images):
        busy_until[0] = max(busy_until[0], time.monotonic()) + len(images) / RATE
        return len(images), busy_until[0]

    def fetch(begun):
        time.sleep(max(0.0, begun[1] - time.monotonic()))
        return [features[: begun[0]]]

    engine.open_decoder = lambda *args, **more: Decoded()
    system.sync_data = lambda descriptor: time.sleep(COMMIT_SECONDS / 2)  # two in each commit
    source = PixelSource([np.zeros((2, 2), np.uint8)] * count)
    _, result = fill(source, folder, embedder(32, DIM, compute, fetch), batch)
    print(
        f"sleeping device, {count} images: {result.images_per_second:.0f} images/s, "
        f"{result.images_per_second / RATE:.3f} of its rate"
    )


class Decoded:
    """A decoder that has decoded every image already: what is left is the engine."""

    kind, workers = "threads", 1

    def begin(self, job):
        size = slot_bytes(job)
        memory = bytearray(8 * size)
        return [Slot(memory, i * size, job) for i in range(8)]

    def submit(self, slot):
        pass

    def wait(self, slot):
        count = slot.count
        slot.digests[:count].view("<i8")[:, 0] = 1 + slot.rows[:count]  # no image is another
        slot.status[:count], slot.drawn[:count] = 1, 1

    def close(self):
        pass


if __name__ == "__main__":
    main()
