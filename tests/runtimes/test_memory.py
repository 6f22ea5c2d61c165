"""Full devices and batches on their way, with each framework's own objects; on a CPU."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ERRORS = {
    "tensorflow": "tensorflow.errors.ResourceExhaustedError(None, None, 'OOM when allocating')",
    "jax": "jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory while trying')",
    "torch": "torch.cuda.OutOfMemoryError('CUDA out of memory')",
}

CODE = """
import os
import numpy as np
from bottleneck import backbones, runtimes
from bottleneck.errors import DeviceMemoryError, RuntimeUnavailableError

backbone = backbones.load(backbones.get("efficientnet_lite0"), size=32, backend="{framework}")
step = runtimes.get("{framework}").compile(backbone, [backbones.OutputSpec()], device="cpu")
rng = np.random.default_rng(0)
batches = [rng.integers(0, 256, (n, 32, 32, 3), np.uint8) for n in (4, 4, 3)]
alone = [step(batch)["avg"] for batch in batches]
step.in_flight = 2
pending = []
for batch in batches:
    given = batch.copy()
    pending.append(step.submit(given))
    given[:] = 0
for one, other in zip(pending, alone):
    np.testing.assert_allclose(one.result()["avg"], other, rtol=0, atol=1e-5)

import {framework}

def full(images):
    raise {error}

def broken(images):
    raise RuntimeError("something else")

step._compute = full
try:
    step(batches[0])
except DeviceMemoryError as error:
    print(error.message)
step._compute = broken
try:
    step.submit(batches[0])
except RuntimeError as error:
    print(error)
print(os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE"))
try:
    runtimes.get("{framework}", "tf32").compile(
        backbone, [backbones.OutputSpec()], precision="tf32", device="cpu"
    )
except RuntimeUnavailableError as error:
    print(error.message)
"""


@pytest.mark.parametrize(
    "framework",
    [
        pytest.param(
            name,
            marks=pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed"),
        )
        for name in ERRORS
    ],
)
def test_a_full_device_and_batches_on_their_way(framework):
    code = CODE.format(framework=framework, error=ERRORS[framework])
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "cpu has not enough memory for 4 images of 32 x 32",
        "something else",
        "false",  # JAX takes no card whole
        "expected an NVIDIA GPU for tf32, got the CPU",
    ]
