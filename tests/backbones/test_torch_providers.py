"""Networks of libraries on PyTorch against the libraries: their processors, their forward pass."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent

NAMES = {
    "timm": (
        *("vit_tiny_patch16_224", "vit_small_patch16_dinov3", "convnextv2_atto"),
        *("vit_base_patch16_siglip_224", "mobilenetv4_conv_small", "eva02_tiny_patch14_224"),
        *("swin_tiny_patch4_window7_224", "fastvit_t8", "resnet18"),
    ),
}

LIBRARIES = {"timm": "timm"}

CASES = [(provider, name) for provider, names in NAMES.items() for name in names]


def run(program, *arguments):
    """Run a program beside this file, in a process of its own: it has Keras on PyTorch."""
    done = subprocess.run(
        [sys.executable, HERE / program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
        env={
            **os.environ,
            "PYTHONPATH": str(HERE.parents[1]),
            "KERAS_BACKEND": "torch",
            "HF_HUB_OFFLINE": "1",
        },
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def need(provider):
    for library in ("torch", LIBRARIES[provider]):
        if find_spec(library) is None:
            pytest.skip(f"{library} is not installed; `make test-torch` installs it")


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """Put photographs through all networks of a provider, in one process for each."""
    known = {}

    def of(provider):
        need(provider)
        if provider not in known:
            file = tmp_path_factory.mktemp(provider) / "found.npz"
            run("torch_features.py", file, provider, *NAMES[provider])
            with np.load(file) as found:
                known[provider] = dict(found)
        return known[provider]

    return of


@pytest.mark.parametrize(("provider", "name"), CASES)
def test_pixels_are_those_of_its_own_processor(computed, provider, name):
    found = computed(provider)
    assert found[f"{name}/contrast"] > 20
    # Not one of 255 off: theirs are in single precision.
    assert found[f"{name}/pixels"] < 0.01


@pytest.mark.parametrize(("provider", "name"), CASES)
def test_features_are_those_of_its_own_forward_pass(computed, provider, name):
    found = computed(provider)
    pools = {key.split("/")[1] for key in found if key.startswith(f"{name}/")}
    pools -= {"pixels", "contrast", "hashes"}
    assert pools
    for pool in pools:
        assert found[f"{name}/{pool}/spread"] > 1e-2
        assert found[f"{name}/{pool}"] < 1e-4, pool


@pytest.mark.parametrize(("provider", "name"), CASES)
def test_random_weights_are_the_same_every_time(computed, provider, name):
    found = computed(provider)
    if f"{name}/hashes" not in found:
        pytest.skip("too large to build twice here")
    first, second = found[f"{name}/hashes"]
    assert first == second


@pytest.mark.skipif(find_spec("timm") is not None, reason="timm is installed")
def test_without_timm_the_extra_is_named():
    from bottleneck import backbones
    from bottleneck.errors import RuntimeUnavailableError

    with pytest.raises(RuntimeUnavailableError) as error:
        backbones.load("timm:resnet18")
    assert "bottleneck-features[timm]" in str(error.value.hint)
