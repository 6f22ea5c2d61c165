"""The benchmarks that nobody here can run as they are meant work, on a CPU and tiny sizes."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(find_spec("tensorflow") is None, reason="runs on TensorFlow")


def dry_run(*arguments):
    program = [sys.executable, ROOT / "benchmarks/gpu.py", "--dry-run", "--seconds", "900"]
    done = subprocess.run(
        [*program, "--runtimes", "tensorflow", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    document = json.loads(done.stdout)
    assert document["skipped"] == []
    assert {
        name: one["failed"] for name, one in document["stages"].items() if "failed" in one
    } == {}
    return document["stages"]


def test_a_full_memory_is_told_and_every_row_is_right():
    (found,) = dry_run("--only", "oom").values()
    assert len(found["told"]) == 2
    assert found["checked"] == 24
    assert found["wrong"] == 0


@pytest.mark.heavy
def test_every_stage_of_the_gpu_benchmark_runs():
    stages = dry_run()
    kinds = {name.split()[0]: found for name, found in stages.items()}
    assert [*kinds] == [
        *("machine", "networks", "end_to_end", "oom", "heads", "decode"),
        *("decoders", "sweep", "processes"),
    ]
    assert kinds["machine"]["cores"] >= 1
    short, exact, larger = kinds["networks"].values()
    assert abs(exact["1 - cosine"]) < 1e-5 < short["1 - cosine"] < 0.02
    assert min(exact["images/s"], short["images/s"], larger) > 0
    assert kinds["end_to_end"]["decoded"]["of alone"] > 0
    assert kinds["end_to_end"]["jpegs"]["rate"] > 0
    assert kinds["heads"]["same"]
    assert not kinds["sweep"]["not_converged"]
    assert [*kinds["processes"]] == ["1 processes", "2 processes"]
