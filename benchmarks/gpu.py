"""Everything this project says of GPUs, measured in one run of under seven minutes.

    python benchmarks/gpu.py [--seconds 400] [--runtimes torch,jax] [--only forward,oom]
    python benchmarks/gpu.py --dry-run        # on a CPU: tiny sizes, that every stage works

Each stage is a process of its own, since Keras has one framework per process and a stage that runs
out of memory or time costs no other. What does not fit into --seconds any more is named in
``skipped``. The last line is one JSON document; rates are images per second.

  machine     what there is: cores, the GPU, what each framework sees of it, what ``auto`` takes
  networks    per network and precision: cosine of the features to float32 on the CPU, and the
              network alone in batches of 256, with as many on their way as in a run; then by the
              size of batches
  end_to_end  the engine to a feature file: from images that are decoded already, beside the network
              alone; and from JPEGs, beside the lesser of decoding and the network
  decode      how decoding grows with the workers
  decoders    what each --decoder delivers, alone and to a network: images of many sizes; how many
              it left to Pillow, and how far its pixels and their features are from Pillow's
  oom         a batch too large for the memory: it is halved, it is told, and every row is right
  heads       ``train --engine keras`` beside the NumPy engine: seconds, and the same strength
  processes   two processes on one GPU beside one
  sweep       45 strengths of logistic regression at ImageNet's size (imagenet_sweep.py), every one
              to scikit-learn's rule

Weights are random, but for EfficientNet-Lite0 where its package is installed. The ViT is timm's,
where that is installed.
"""

import argparse
import json
import mmap
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

STAGES = [  # most valuable first: name, whether for each runtime, seconds at most
    ("machine", False, 30),
    ("networks", True, 90),
    ("end_to_end", True, 50),
    ("oom", True, 30),
    ("heads", True, 40),
    ("decode", False, 30),
    ("decoders", False, 60),
    ("sweep", False, 120),
    ("processes", True, 40),
]
VIT = "vit_small_patch16_224"
NETWORKS = ("resnet50", "efficientnet_lite0", f"timm:{VIT}")
BATCH = 256
PRECISIONS = ("float16", "bfloat16", "tf32", "float32")
GPU_ONLY = {True: ("tf32", "float16"), False: ()}
FAST = {True: "float32", False: "float16"}
"""What `end_to_end` computes in, in a dry run and not."""
FRACTION = {"jax": ("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.025")}
"""How a framework is told before it starts to have little memory, for `oom`."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=400)
    parser.add_argument("--runtimes", default="torch,jax", help="first the most interesting one")
    parser.add_argument("--only", default="", help="stages, with commas")
    parser.add_argument("--networks", default=",".join(NETWORKS), help="for the stage of that name")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, tiny sizes")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--runtime", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        globals()[options.stage](options)
    else:
        run_all(options)


def run_all(options):
    started, found, skipped = time.monotonic(), {}, []
    wanted = options.only.split(",") if options.only else [name for name, _, _ in STAGES]
    for name, each, most in STAGES:
        for runtime in options.runtimes.split(",") if each else [None]:
            label = f"{name} {runtime}" if runtime else name
            left = options.seconds - (time.monotonic() - started)
            if name not in wanted:
                continue
            if left < 10:
                skipped.append(label)
                continue
            limit = options.seconds if options.dry_run else most
            found[label] = run_stage(options, name, runtime, min(limit, left))
            told = json.dumps(found[label])
            print(f"{time.monotonic() - started:4.0f} s  {label}: {told}", file=sys.stderr)
    took = round(time.monotonic() - started)
    print(json.dumps({"stages": found, "skipped": skipped, "seconds": took}))


def run_stage(options, name, runtime, most):
    """Run a stage in a process; what it had found when its time was up counts."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if runtime:
        environment["KERAS_BACKEND"] = runtime
    if name == "oom" and runtime in FRACTION:
        environment |= [FRACTION[runtime]]
    arguments = ["--stage", name, "--seconds", str(most)]
    arguments += ["--runtime", str(runtime), "--runtimes", options.runtimes]
    arguments += ["--networks", options.networks]
    arguments += ["--dry-run"] * options.dry_run
    # Into files: a pipe would be open as long as a process that the stage started.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        program = subprocess.Popen(
            [sys.executable, __file__, *arguments], env=environment, stdout=output, stderr=errors
        )
        try:
            program.wait(timeout=most)
            ended = None
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
            ended = "its time was up"
        output.seek(0)
        errors.seek(0)
        said = output.read()
        if ended is None and program.returncode:
            ended = " ".join(errors.read().strip().splitlines()[-3:]) or "?"
    found = {}
    for line in said.splitlines():
        with suppress(ValueError):
            found |= json.loads(line)
    return found | ({"failed": ended[-500:]} if ended else {})


def tell(**values):
    print(json.dumps(values))


def embedder(options, backbone=None, precision="float32", devices=None, weights="none"):
    from bottleneck import backbones
    from bottleneck.extraction import build_embedder

    name = backbone or ("efficientnet_lite0" if options.dry_run else NETWORKS[0])
    if ":" not in name and backbones.weights_at_hand(backbones.get(name)) == "bundled":
        weights = None
    return build_embedder(
        backbone=name,
        weights=weights,
        size=64 if options.dry_run else None,
        precision=precision,
        runtime=options.runtime,
        devices=devices or ["cpu" if options.dry_run else "gpu:0"],
    )


def noise(count, size):
    """Images that differ in brightness, so that no row can be taken for another."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
    return (pixels * np.linspace(0.1, 1, count)[:, None, None, None]).astype(np.uint8)


def cosine(a, b):
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a.astype(np.float64) * b).sum(axis=1) / lengths).min())


def machine(options):
    from bottleneck import runtimes
    from bottleneck.cores import available_cores

    versions = {}
    for name in ("bottleneck-features", "torch", "jax", "tensorflow", "keras", "numpy", "pillow"):
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    tell(cores=available_cores(), makers=runtimes.gpu_makers(), versions=versions)
    tell(auto=runtimes.choose(), sees={n: runtimes.sees_gpu(n) for n in runtimes.installed()})
    with suppress(OSError, subprocess.CalledProcessError):
        query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
        tell(gpu=subprocess.check_output(query, text=True).splitlines())


def networks(options):
    from bottleneck import runtimes
    from bottleneck.speed import forward_rate

    few, batch = (2, 4) if options.dry_run else (8, BATCH)
    pixels = noise(batch, 64 if options.dry_run else 224)
    wanted = NETWORKS[1:2] if options.dry_run else options.networks.split(",")
    known = [one for one in PRECISIONS if one in runtimes.precisions(options.runtime)]
    with tempfile.TemporaryDirectory() as folder:
        for name in wanted:
            weights = "none"
            if ":" in name:
                if options.runtime != "torch":
                    continue
                weights = vit_weights(Path(folder))
            exact = embedder(options, name, devices=["cpu"], weights=weights)
            expected = exact.network(pixels[:few])["avg"]
            for one in known:
                if one in GPU_ONLY[options.dry_run]:
                    continue
                built = embedder(options, name, one, weights=weights)
                apart = 1 - cosine(built.network(pixels)["avg"][:few], expected)
                found = round(rate(forward_rate, built, batch, options))
                tell(**{f"{name} {one}": {"1 - cosine": float(f"{apart:.1e}"), "images/s": found}})
    if options.dry_run or NETWORKS[0] in wanted:
        built = embedder(options, precision=FAST[options.dry_run])
        for size in (8,) if options.dry_run else (32, 64, 128, 512, 1024):
            found = round(rate(forward_rate, built, size, options))
            tell(**{f"{built.recipe.backbone} {FAST[options.dry_run]}, batches of {size}": found})


def vit_weights(folder):
    """Save random weights of a ViT: a network is admitted only if it is the same each time."""
    import timm
    from safetensors.torch import save_file

    file = folder / "vit.safetensors"
    save_file(timm.create_model(VIT, pretrained=False).state_dict(), file)
    return file


def rate(measure, built, size, options):
    return measure(built, size, 0.05 if options.dry_run else 1.5)


def end_to_end(options):
    from bottleneck.cores import available_cores
    from bottleneck.extraction import Silent, engine, fill_store
    from bottleneck.extraction.plan import MaxFailed
    from bottleneck.sources import PixelSource, open_source
    from bottleneck.speed import decode_rate, forward_rate

    batch = 8 if options.dry_run else BATCH
    built = embedder(options, precision=FAST[options.dry_run])
    alone = rate(forward_rate, built, batch, options)
    tell(alone=round(alone, 1), batch=batch)
    workers = available_cores()

    def extract(source, count, kind):
        """Return the rate without the start: of what a long run does beyond a short one."""
        took = []
        for rows in (count // 5 // batch * batch, count):
            with tempfile.TemporaryDirectory() as folder:
                started = time.perf_counter()
                result = fill_store(
                    source, Path(folder) / "x.h5", built, batch_size=batch, workers=workers,
                    worker_kind=kind, limit=rows, max_failed=MaxFailed.parse("0"),
                    progress=Silent(),
                )  # fmt: skip
                took.append((rows, time.perf_counter() - started))
            assert result.ok == rows
        (few, short), (many, long) = took
        per_image = {stage: 1e6 * spent / many for stage, spent in result.stages.items()}
        found = (many - few) / (long - short)
        return found, {stage: round(us, 1) for stage, us in per_image.items()}

    count = 80 if options.dry_run else int(min(5 * alone, 100_000)) // batch * batch
    opened, made = engine.open_decoder, Decoded(built.input, batch)
    engine.open_decoder = lambda *arguments, **more: made
    row = noise(1, 1)[0]
    found, stages = extract(PixelSource([row] * count), count, "threads")
    engine.open_decoder = opened
    tell(decoded={"rate": found, "of alone": found / alone, "us per image": stages})
    with tempfile.TemporaryDirectory() as folder:
        count = 40 if options.dry_run else 30_000
        source = open_source([str(jpegs(Path(folder), count))])
        few = min(4000, count)
        decoding = decode_rate(built, source, few, 32, workers)
        found, stages = extract(source, count, "processes")
        least = min(alone, decoding)
        tell(jpegs={"rate": found, "decoding": decoding, "of the lesser": found / least,
                    "us per image": stages})  # fmt: skip


def jpegs(folder, count, drawn=64, of_many_sizes=False):
    """Make many different files of few pictures: a comment makes the bytes of each its own.

    They are of 500 x 375 pixels, or of 300 to 640 a side.
    """
    from PIL import Image

    from bottleneck.speed import draw_jpegs

    pictures, rng = [], np.random.default_rng(1)
    for file in sorted(draw_jpegs(folder / "drawn", min(drawn, count)).iterdir()):
        if of_many_sizes:
            sides = tuple(rng.integers(300, 641, 2).tolist())
            with Image.open(file) as image:
                image.resize(sides, Image.Resampling.BILINEAR).save(file, "JPEG", quality=90)
        pictures.append(file.read_bytes())
    (folder / "jpegs").mkdir()
    for i in range(count):
        comment = b"\xff\xfe\x00\x0a" + f"{i:08d}".encode()
        picture = pictures[i % len(pictures)]
        (folder / "jpegs" / f"{i:06d}.jpg").write_bytes(picture[:2] + comment + picture[2:])
    return folder / "jpegs"


class Decoded:
    """A decoder that has decoded every image already: what is left is the engine."""

    kind, workers = "threads", 1

    def __init__(self, given, batch, count=8):
        from bottleneck.decode import Job
        from bottleneck.decode.slot import Slot, slot_bytes

        job = Job.simple(given, batch)
        size = slot_bytes(job)
        memory = mmap.mmap(-1, count * size)
        self.slots = [Slot(memory, i * size, job) for i in range(count)]
        for slot in self.slots:
            slot.pixels[0][:] = noise(batch, slot.pixels[0].shape[1])

    def begin(self, job):
        return self.slots

    def submit(self, slot):
        pass

    def wait(self, slot):
        count = slot.count
        slot.digests[:count].view("<i8")[:, 0] = 1 + slot.rows[:count]  # no image is another
        slot.status[:count], slot.drawn[:count] = 1, 1

    def close(self):
        pass


def decode(options):
    from types import SimpleNamespace

    from bottleneck.cores import available_cores
    from bottleneck.extraction import Embedder
    from bottleneck.images import Geometry
    from bottleneck.recipe import Recipe
    from bottleneck.sources import open_source
    from bottleneck.speed import decode_rate

    network = SimpleNamespace(dims={"avg": 1}, runtime="none", version="0", device="cpu")
    recipe = Recipe({"backbone": "none"}, {"dtype": "float32"})
    built = Embedder(recipe, Geometry(size=224), network)
    cores = available_cores()
    with tempfile.TemporaryDirectory() as folder:
        count = 24 if options.dry_run else 2000
        source = open_source([str(jpegs(Path(folder), count))])
        for workers in sorted({1, 2, cores // 2, cores} - {0}, reverse=True):
            some = min(count, max(16, 250 * workers))
            tell(**{f"{workers} workers": round(decode_rate(built, source, some, 32, workers), 1)})


def decoders(options):
    from bottleneck import BottleneckError
    from bottleneck.extraction import Silent, fill_store
    from bottleneck.extraction.plan import MaxFailed
    from bottleneck.images import Geometry, require_decoder
    from bottleneck.images.decoders.registry import NAMES
    from bottleneck.sources import open_source

    options.runtime = "torch"
    count, batch = (24, 8) if options.dry_run else (4096, BATCH)
    with tempfile.TemporaryDirectory() as folder:
        source = open_source([str(jpegs(Path(folder), count, of_many_sizes=True))])
        built, exact = None, None
        try:
            built = embedder(options, "efficientnet_lite0", FAST[options.dry_run])
            tell(device=built.network.device)
        except BottleneckError as error:
            tell(network=f"none: {error.message}")
        for name in NAMES:
            try:
                require_decoder(name)
            except BottleneckError as error:
                tell(**{name: error.message})
                continue
            given = decoding(built, name).input if built else Geometry(224, decoder=name)
            device = built.network.device if built else "cpu"
            found, pixels = decoded_by(given, source, count, batch, device)
            exact = pixels if exact is None else exact
            apart = np.abs(pixels.astype(np.float32) - exact)
            found |= {"pixels apart, mean": float(apart.mean()), "most": float(apart.max())}
            if built:
                ours, theirs = (built.network(one)["avg"] for one in (pixels, exact))
                found["1 - cosine"] = 1 - cosine(ours, theirs)
                result = fill_store(
                    source, Path(folder) / f"{name}.h5", decoding(built, name), batch_size=batch,
                    workers=len(os.sched_getaffinity(0)), worker_kind="processes",
                    max_failed=MaxFailed.parse("0"), progress=Silent(),
                )  # fmt: skip
                found["end to end"] = result.images_per_second
            tell(**{name: found})


def decoding(built, name):
    """The same network behind another decoder."""
    from dataclasses import replace

    return replace(built, input=replace(built.input, decoder=name))


def decoded_by(given, source, count, batch, device):
    """Decode everything: rates and counts, and the pixels of the first images."""
    from bottleneck.cores import available_cores
    from bottleneck.decode import Job, decode_stream, open_decoder
    from bottleneck.decode.slot import DRAW, Want

    job = Job((given,), (Want(0),), batch, device=device)
    rows = np.arange(count)
    parts = [rows[i : i + batch] for i in range(0, count, batch)]
    wanted = ((part, np.ones(len(part), np.uint32)) for part in parts)
    opened = open_decoder(source, workers=available_cores(), kind="processes")
    others = done = 0
    first, ends, seconds = [], [], 0.0
    for slot in decode_stream(opened, job, wanted):
        assert (slot.status[: slot.count] == 1).all()
        others += sum(slot.todo[position] != DRAW for position, _, _ in slot.handed())
        if len(first) * batch < 64:
            first.append(slot.images(0)[:64].copy())
        ends.append((time.perf_counter(), done := done + slot.count))
        seconds += slot.seconds.sum()
    # Without the start of the workers and what is decoded ahead of the first batch.
    (begun, before), (ended, all_of_them) = ends[len(ends) // 4], ends[-1]
    found = {
        "rate": round((all_of_them - before) / (ended - begun), 1),
        "by pillow": count - int(others),
        "us of all threads per image": round(1e6 * seconds / count, 1),
    }
    return found, np.concatenate(first)[:64]


def oom(options):
    from bottleneck.extraction.forward import Forward, lagging

    batch = 16 if options.dry_run else 512
    if options.runtime == "torch" and not options.dry_run:
        import torch

        torch.cuda.set_per_process_memory_fraction(0.025)
    elif options.runtime not in FRACTION and not options.dry_run:
        tell(left_out=f"{options.runtime} cannot be given little memory here")
        return
    built = embedder(options)
    network = Small(built.network) if options.dry_run else built.network
    pixels, notes = noise(3 * batch, built.input.size), []
    passes = Forward(network, np.dtype(np.float32), note=notes.append)
    seconds = defaultdict(float)
    parts = [pixels[i : i + batch] for i in range(0, len(pixels), batch)]
    begun = (passes.start(part, seconds) for part in parts)
    found = [finish()[0]["avg"] for finish in lagging(begun, passes.in_flight - 1)]
    found = np.concatenate(found)
    few = np.arange(0, len(pixels), max(1, batch // 8))
    exact = np.concatenate([network(pixels[i : i + 1])["avg"] for i in few])
    far = np.abs(found[few] - exact).max(axis=1) / np.abs(exact).max(axis=1)
    tell(told=notes, checked=len(few), wrong=int((far > 1e-3).sum()))
    assert notes, "the batch was to be too large"


class Small:
    """Stands in for a card with room for four images."""

    def __init__(self, network):
        self.network, self.dims = network, network.dims

    def __call__(self, batch):
        from bottleneck.errors import DeviceMemoryError

        if len(batch) > 4:
            full = DeviceMemoryError("room for 4 images")
            full.images = len(batch)
            raise full
        return self.network(batch)


def heads(options):
    import bottleneck

    rows, length, classes = (400, 32, 5) if options.dry_run else (60_000, 1280, 10)
    generator = np.random.default_rng(0)
    y = generator.integers(0, classes, rows)
    X = generator.normal(size=(rows, length)).astype(np.float32)
    X += generator.normal(size=(classes, length)).astype(np.float32)[y] * 0.1
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.npy"
        np.save(file, X)
        table = "".join(f"{i:06d}.jpg,{one}\n" for i, one in enumerate(y))
        file.with_suffix(".csv").write_text("path,label\n" + table)
        best = {}
        for engine in ("keras", "numpy"):
            found = bottleneck.train(
                file, Path(folder) / f"{engine}.head", engine=engine, C="1e-4:1e-1:4", cv=3
            ).to_json()
            best[engine] = found["best"]
            tell(**{engine: {"seconds": found["seconds"], "best": found["best"]}})
    tell(same=best["keras"] == best["numpy"])


def sweep(options):
    """Run it as a user would, and pass on what it says."""
    program = [sys.executable, "-m", "benchmarks.imagenet_sweep"]
    shape = {"--rows": 3000, "--features": 32, "--classes": 5} if options.dry_run else {}
    runtime = options.runtimes.split(",")[0]
    run = partial(
        subprocess.run, capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[1], env={**os.environ, "KERAS_BACKEND": runtime},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        arguments = [str(one) for pair in shape.items() for one in pair]
        tell(made=run([*program, "make", folder, *arguments]).stdout.strip())
        said = run([*program, "passes", folder, "--passes", "4", "--engine", "keras"]).stdout
        tell(passes=said.splitlines())
        said = run([*program, "sweep", folder, "--engine", "keras"]).stdout.splitlines()
        tell(sweep=said[-2:], device=said[-3], not_converged="NOT" in "".join(said))


def processes(options):
    from bottleneck.speed import forward_rate

    batch = 8 if options.dry_run else BATCH
    device = "cpu" if options.dry_run else "gpu:0"
    for count in (1, 2):
        built = embedder(
            options, precision=FAST[options.dry_run], devices=[device] * count
        )  # two are processes of their own
        tell(**{f"{count} processes": round(rate(forward_rate, built, batch, options), 1)})
        built.close()


if __name__ == "__main__":
    main()
