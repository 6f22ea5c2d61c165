"""The scripts of docs/machines.md for sets, with the variables that each system sets."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bottleneck.sets import read_info
from bottleneck.sets.sealing import verify_set
from bottleneck.store import FeatureStore

PAGE = Path(__file__).parents[2] / "docs/machines.md"
BLOCKS = re.findall(
    r"```(bash|python)\n(.*?)```", PAGE.read_text().partition("\n## Sets\n")[2], re.DOTALL
)
SCRIPTS = {
    "SLURM": (lambda task: {"SLURM_ARRAY_TASK_ID": task + 1}, "#SBATCH"),
    "Kubernetes": (lambda task: {"JOB_COMPLETION_INDEX": task, "PARTS": 2}, "COMPLETION_INDEX"),
    "SkyPilot": (lambda task: {"SKYPILOT_NODE_RANK": task, "SKYPILOT_NUM_NODES": 2}, "SKYPILOT"),
    "Flyte": (lambda task: {}, "extract_set"),
}


@pytest.mark.heavy
@pytest.mark.parametrize("system", SCRIPTS)
def test_two_tasks_fill_the_set(photos, tmp_path, system):
    """With the real command and the network that comes with the package."""
    variables, word = SCRIPTS[system]
    ((language, script),) = [block for block in BLOCKS if word in block[1]]

    def run(command, **more):
        environment = {"PYTHONPATH": str(PAGE.parents[1]), "TMPDIR": str(tmp_path / "tmp"), **more}
        bin_folder = Path(sys.executable).parent
        return subprocess.Popen(
            command,
            cwd=tmp_path,
            env={
                **os.environ,
                **{name: str(value) for name, value in environment.items()},
                "PATH": f"{bin_folder}:{os.environ['PATH']}",
            },
        )

    (tmp_path / "tmp").mkdir()
    with run(["bottleneck", "plan", "photos", "-o", "photos.set", "--rows", "5"]) as plan:
        assert plan.wait(200) == 0
    place, info = read_info(tmp_path / "photos.set")
    first = ["bash", "-euc", script] if language == "bash" else [sys.executable, "-c", script]
    tasks = [run(first, **variables(task)) for task in range(1 if system == "Flyte" else 2)]
    assert [task.wait(300) for task in tasks] == [0] * len(tasks)
    assert verify_set(tmp_path / "photos.set").checked == 23
    store = FeatureStore.open(tmp_path / "photos.set")
    assert store.complete
    assert np.isfinite(store.features()[:]).all()
    assert place.names("leases") == []
    assert info.n_ranges == 5
