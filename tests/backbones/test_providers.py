"""The conformance suite: every provider of backbones keeps the same promises."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from provider_conformance import KINDS, ON_TORCH

from bottleneck.backbones import registry

HERE = Path(__file__).parent
LIBRARIES = {
    **{"timm": "timm", "hf": "transformers", "torchvision": "torchvision"},
    **{"openclip": "open_clip", "torch": "torch"},
}
ELSEWHERE = {
    "caffe": "test_caffe.py",
    "music": "test_music.py",
    "keras_hub": "test_keras_hub.py",
}
"""Those with tests of their own, which take files that are made there."""

CASES = [pytest.param(kind, id=f"torch-{kind}" if kind in ON_TORCH else kind) for kind in KINDS]


def test_every_provider_is_walked():
    modules = {**registry.PREFIXED, **registry.CATALOGUES}
    walked = {modules[one] for one in (*KINDS, *ELSEWHERE)}
    assert set(modules.values()) - walked == set()
    assert all((HERE / file).is_file() for file in ELSEWHERE.values())


def test_every_provider_is_in_the_guide():
    text = (HERE.parents[1] / "docs" / "backbones.md").read_text()
    assert [one for one in registry.PREFIXED if f"`{one}:" not in text] == []


@pytest.mark.parametrize("kind", CASES)
def test_a_provider_keeps_its_promises(kind, tmp_path):
    for library in ("torch", LIBRARIES[kind]) if kind in ON_TORCH else ():
        if find_spec(library) is None:
            pytest.skip(f"{library} is not installed; `make test-torch` installs it")
    done = subprocess.run(
        [sys.executable, HERE / "provider_conformance.py", kind, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={
            **{key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"},
            "PYTHONPATH": str(HERE.parents[1]),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
            **({"KERAS_BACKEND": "torch"} if kind in ON_TORCH else {}),
        },
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == []
