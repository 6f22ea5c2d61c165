"""What a command loads: help answers at once, and training never loads TensorFlow."""

import resource
import subprocess
import sys

import pytest


def cpu_seconds(*arguments):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "bottleneck", *arguments], check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_takes_less_than_300_ms_of_cpu():
    """CPU time, not wall time, and the best of five: other programs do not count."""
    cpu_seconds("--help")  # writes the bytecode
    assert min(cpu_seconds("--help") for _ in range(5)) < 0.3


@pytest.mark.usefixtures("fake_backbone")
@pytest.mark.parametrize("command", ["train", "evaluate", "info"])
def test_working_on_features_never_imports_tensorflow(cli, colours, tmp_path, command):
    cli("extract", colours, "-o", tmp_path / "f.h5", "-q")
    cli("train", tmp_path / "f.h5", "-o", tmp_path / "h", "-q")
    arguments = {
        "train": ["train", "f.h5", "-o", "again"],
        "evaluate": ["evaluate", "h", "f.h5"],
        "info": ["info", "h"],
    }[command]
    code = (
        "import sys\nfrom bottleneck.cli.main import main\n"
        f"sys.argv = {['bottleneck', *arguments]!r}\n"
        "try:\n    main()\nfinally:\n"
        "    print(sorted({'tensorflow', 'keras', 'jax', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("[]\n")
