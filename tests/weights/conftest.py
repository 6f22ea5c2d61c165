"""Checkpoints, written by TensorFlow itself."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECKPOINTS = """
import sys
import numpy as np, tensorflow as tf
folder = sys.argv[1]
v1 = tf.compat.v1
with v1.Session(graph=tf.Graph()) as session:
    rng = np.random.default_rng(0)
    shapes = {"net/a/weights": (3, 3, 2, 4), "net/a/biases": (4,), "net/b/gamma": (70, 9)}
    shapes |= {"net/a/weights/Adam": (3, 3, 2, 4), "global_step": ()}
    for name, shape in shapes.items():
        v1.get_variable(name, initializer=rng.normal(size=shape).astype("f4"))
    session.run(v1.global_variables_initializer())
    for version, name in [(v1.train.SaverDef.V1, "v1.ckpt"), (v1.train.SaverDef.V2, "v2.ckpt")]:
        v1.train.Saver(write_version=version).save(session, f"{folder}/{name}/net.ckpt")
"""


@pytest.fixture(scope="session")
def written_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    for name in ("v1.ckpt", "v2.ckpt"):
        (folder / name).mkdir()
    subprocess.run(
        [sys.executable, "-c", CHECKPOINTS, folder], check=True, capture_output=True, timeout=120
    )
    return folder
