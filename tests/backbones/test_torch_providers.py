"""Networks of libraries on PyTorch against the libraries: their processors, their forward pass."""

import json
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
    "hf": (
        *("vit", "deit", "dinov2", "registers", "dinov3", "beit", "convnextv2", "siglip", "clip"),
        *("swin", "mobilenet_v2", "mobilevit"),
    ),
    "torchvision": (
        *("vit_b_16", "swin_t", "convnext_tiny", "resnet18/IMAGENET1K_V1", "mobilenet_v3_small"),
        *("efficientnet_b0", "densenet121", "regnet_y_400mf", "squeezenet1_1"),
    ),
    "openclip": (
        *("ViT-B-32/openai", "RN50/openai", "MobileCLIP-S1/datacompdr", "ViT-B-16-SigLIP/webli"),
        *("coca_ViT-B-32/laion2b_s13b_b90k", "convnext_base/laion400m_s13b_b51k"),
        *("EVA02-B-16/merged2b_s8b_b131k", "ViTamin-S/datacomp1b", "PE-Core-T-16-384/meta"),
    ),
}

LIBRARIES = {"timm": "timm", "hf": "transformers"} | {
    "torchvision": "torchvision",
    "openclip": "open_clip",
}

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
            "OMP_NUM_THREADS": "1",
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
    pools = {key.removeprefix(f"{name}/") for key in found if key.startswith(f"{name}/")}
    pools -= {"pixels", "contrast", "hashes"}
    pools = {pool for pool in pools if "/" not in pool}
    assert pools
    for pool in pools:
        # What is off is little beside what tells photographs apart, too.
        spread = found[f"{name}/{pool}/spread"]
        assert found[f"{name}/{pool}"] < min(1e-4, 1e-2 * spread), pool


@pytest.mark.parametrize(("provider", "name"), CASES)
def test_random_weights_are_the_same_every_time(computed, provider, name):
    found = computed(provider)
    if f"{name}/hashes" not in found:
        pytest.skip("too large to build twice here")
    first, second = found[f"{name}/hashes"]
    assert first == second


@pytest.mark.parametrize("provider", NAMES)
def test_without_its_library_the_extra_is_named(provider):
    if find_spec(LIBRARIES[provider]) is not None:
        pytest.skip(f"{LIBRARIES[provider]} is installed")
    from bottleneck import backbones
    from bottleneck.errors import RuntimeUnavailableError

    with pytest.raises(RuntimeUnavailableError) as error:
        backbones.load(f"{provider}:resnet18")
    assert f"bottleneck-features[{provider}]" in str(error.value.hint)


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    need("hf")
    return json.loads(run("torch_refusals.py", tmp_path_factory.mktemp("refused")).splitlines()[-1])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    if find_spec("torch") is None:
        pytest.skip("torch is not installed; `make test-torch` installs it")
    return json.loads(run("torch_files.py", tmp_path_factory.mktemp("files")).splitlines()[-1])


def test_files_give_what_their_modules_compute(files):
    assert len(files["differences"]) == 11
    assert max(files["differences"].values()) < 1e-5


def test_weights_of_files_are_told_by_tensors(files):
    hashes = files["hashes"]
    assert hashes["dynamic.pt2"] == hashes["fixed.pt2"]
    assert hashes["dynamic.pt2"] != hashes["last.pt2"]


@pytest.mark.parametrize(
    ("case", "said"),
    {
        "pickled.pt": "expected TorchScript",
        "evil.pt": "expected TorchScript",
        "evil.pt2": "pickled objects that are not tensors: they may run code",
        "nowhere.pt2": "got no such file",
        "maps.pt": "expected --size",
        "dynamic.pt2": "expected images of 32 x 32 pixels",
        "dynamic.pt2#nothing": "expected a layer of",
        "no preprocessing": "expected its preprocessing",
    }.items(),
)
def test_files_that_are_refused(files, case, said):
    assert said in files["refused"][case]


REFUSALS = {
    "random pooler": "have no pooler.dense.bias, pooler.dense.weight: it would be random",
    "random masking": "failed the admission test: expected the same batch twice",
    "missing layer": "layers.1.* which would be random",
    "other network": r"config.json: layers.*fc1.weight of \(48, 32\), got \(96, 32\)",
    "more layers": "besides",
    "pickled": "expected model.safetensors, got pytorch_model.bin",
    "code of its own": "expected a network of transformers",
    "damaged": "expected weights that transformers",
    "no processor": "expected preprocessor_config.json",
    "own steps": "whose steps are its own",
    "unfit size": "expected a processor",
    "box filter": "the filter 4",
    "no such folder": "expected a folder with config.json",
    "no such name": "OWNER/NAME",
    "offline": "expected config.json .* in the cache of the Hugging Face hub",
    "timm offline": "expected model.safetensors in the cache of the Hugging Face hub",
    "timm missing": "which would be random",
    "timm unknown": "expected a network of timm",
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_would_compute_something_else_is_refused(refused, case):
    import re

    assert re.search(REFUSALS[case], refused[case]), refused[case]


def test_a_checkpoint_without_a_pooler_has_tokens(refused):
    assert refused["without pooler"] < 1e-6


def test_the_commit_of_what_the_cache_has_is_recorded(refused):
    assert refused["commit"] == {"hub": "me/net", "commit": "0123456789" * 4}
    assert refused["pinned"] == refused["commit"]
