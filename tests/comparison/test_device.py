"""Heads that Keras fits are compared on the device that was asked for.

There is no GPU here: devices of the CPU stand in for two of them.
"""

import os
import subprocess
import sys

import pytest

IN_JAX = """
import sys

import jax

import bottleneck
from bottleneck.heads.kinds import mlp
from bottleneck.runtimes import jax as runtime

runtime._gpus = lambda jax: jax.devices("cpu")[1:]
places = set()

def built(*given, build=mlp.build):
    model = build(*given)
    found = [variable.value for variable in model.variables] + [jax.numpy.zeros(())]
    places.update(device.id for value in found for device in value.devices())
    return model

mlp.build = built
for device in (None, "gpu:1", "cpu"):
    done = bottleneck.compare(
        sys.argv[1], heads="mlp,knn", map="pca", resamples=100, device=device
    ).to_json()
    (one,) = [line for line in done["leaderboard"] if line["head"] == "mlp"]
    print(*sorted(places), one["accuracy"] > 0.9, done["command"].partition("knn ")[2])
    places.clear()
try:
    bottleneck.compare(sys.argv[1], heads="mlp", device="gpu:2")
except bottleneck.BottleneckError as error:
    print(error.message)
"""


def test_networks_are_fitted_where_that_was_asked_for(blobs):
    pytest.importorskip("jax", reason="a backend of Keras; not a dependency")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IN_JAX, str(blobs("x.h5", noise=0.1))],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=3",
        },
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == [  # by default the first GPU
        "1 True --cv 5 --seed 0",
        "2 True --cv 5 --seed 0 --device gpu:1",
        "0 True --cv 5 --seed 0 --device cpu",
    ]
    assert lines[3].startswith("expected the device gpu:2, but JAX")
