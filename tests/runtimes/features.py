"""Features of some backbones on one runtime, in a process of its own: Keras lives once in each.

Run as ``python features.py RUNTIME OUTPUT.npz PRECISION BACKBONE...``.
"""

import sys
import time

import numpy as np

POOLS = ("avg", "max", "avgmax", "gem", "none")
COUNT = 5


def images(size):
    """Blobs of colour with some noise: like pictures, neighbouring pixels are alike."""
    rng = np.random.default_rng(0)
    small = rng.uniform(0, 255, (COUNT, 8, 8, 3))
    large = small.repeat(-(-size // 8), axis=1).repeat(-(-size // 8), axis=2)[:, :size, :size]
    return np.clip(large + rng.normal(0, 10, large.shape), 0, 255).astype(np.uint8)


def compute(runtime, precision, name):
    from bottleneck import backbones, runtimes
    from bottleneck.backbones import OutputSpec

    spec = backbones.get(name)
    weights = "bundled" if spec.bundled else "none"
    backbone = backbones.load(spec, weights=weights, size=max(64, spec.min_size), backend=runtime)
    module = runtimes.get(runtime, precision)
    outputs = [OutputSpec(pool=pool) for pool in POOLS]
    if name == "mobilenet_v3_small":
        outputs.append(OutputSpec("expanded_conv_3_project_bn"))
    more = {"calibration": images(backbone.size).repeat(4, 0)} if precision == "int8" else {}
    function = module.compile(backbone, outputs, precision=precision, device="cpu", **more)
    pixels = images(backbone.size)
    whole = function(pixels)
    found = {f"{name}/whole/{key}": value for key, value in whole.items()}
    for i in range(2):
        for key, value in function(pixels[i : i + 1]).items():
            found[f"{name}/single{i}/{key}"] = value
    for key, value in function(pixels[3:]).items():
        found[f"{name}/part/{key}"] = value
    found[f"{name}/empty"] = function(pixels[:0])["avg"]
    found[f"{name}/sha256"] = np.array(backbone.weights.sha256)
    found[f"{name}/says"] = np.array([function.runtime, function.device, function.version])
    assert function.dims == {key: value.shape[1] for key, value in whole.items()}
    return found


def main():
    runtime, output, precision, *names = sys.argv[1:]
    found = {}
    for name in names:
        started = time.perf_counter()
        found.update(compute(runtime, precision, name))
        print(f"{name} {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
    frameworks = {"tensorflow", "jax", "torch", "openvino"} & set(sys.modules)
    np.savez(output, frameworks=np.array(sorted(frameworks)), **found)


if __name__ == "__main__":
    main()
