"""Whether the race picks what the full comparison picks, and in what part of its time.

    python benchmarks/race.py [--seeds 10]

Five backbones on the sample, all of them without a download: EfficientNet-Lite0, 1 and 2 with
their ImageNet weights, ResNet50 and MobileNetV2 with random ones. The full comparison extracts all
images with all five, and judges one head on the test images. Each race begins from nothing, in a
process of its own, as the comparison does. A pick is as good where the comparison's test does not
tell it from its best.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAMPLE = Path(__file__).parents[1] / "data/sample"
NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
RANDOM = ("resnet50", "mobilenet_v2")

FULL = f"""
import sys, bottleneck
folder = sys.argv[1]
for name in {NAMES + RANDOM!r}:
    weights = "none" if name in {RANDOM!r} else None
    bottleneck.extract({str(SAMPLE)!r}, folder + "/" + name + ".h5", backbone=name, weights=weights)
files = [folder + "/" + name + ".h5" for name in {NAMES + RANDOM!r}]
found = bottleneck.compare(files, heads="logreg", map="pca")
import json; print(json.dumps(found.to_json()))
"""

RACE = f"""
import sys, bottleneck
found = bottleneck.race(
    {str(SAMPLE)!r}, sys.argv[1] + "/race.json", backbone={NAMES + RANDOM!r},
    weights=[name + "=none" for name in {RANDOM!r}], seed=int(sys.argv[2]),
)
import json; print(json.dumps(found.to_json()))
"""


def measured(program, *arguments):
    """Run a program; return its document, and seconds of the clock and of the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
    )
    took = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout), took, busy


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    seeds = parser.parse_args().seeds
    with tempfile.TemporaryDirectory() as folder:
        full, full_seconds, full_busy = measured(FULL, folder)
    names = [one["name"] for one in full["features"]]
    print(f"full comparison: {full_seconds:.0f} s, {full_busy:.0f} s of processor")
    as_good = set()
    for line in full["leaderboard"]:
        versus = line["versus_best"]
        name = names[line["features"]]
        if versus is None or not versus["distinguishable"]:
            as_good.add(name)
        told = "best" if versus is None else f"p {versus['p_adjusted']:.3f}"
        print(f"  {name:20} {100 * line['accuracy']:.1f}%  {told}")
    hits = 0
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            found, took, busy = measured(RACE, folder, seed)
        good = found["pick"] in as_good
        hits += good
        images = " ".join(f"{one['images']}x{len(one['contenders'])}" for one in found["rounds"])
        left = [one["name"] for one in found["leaderboard"] if one["left"] is not None]
        stages = " ".join(f"{name} {took:.0f}" for name, took in found["stages"].items())
        print(
            f"seed {seed}: {found['pick']:20} {'as good' if good else 'WORSE':8} "
            f"{took / full_seconds:.2f} of the time, {busy / full_busy:.2f} of the processor; "
            f"images x backbones {images}; left: {', '.join(left) or 'none'}; {stages} s",
            flush=True,
        )
    print(f"{hits} of {seeds} picks are the full comparison's best or not distinguishable from it")


if __name__ == "__main__":
    main()
