"""``timm:NAME`` against timm itself: its transform, its forward, from photographs."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HERE = Path(__file__).parent

FAMILIES = (
    *("vit_tiny_patch16_224", "vit_small_patch16_dinov3", "convnextv2_atto"),
    *("vit_base_patch16_siglip_224", "mobilenetv4_conv_small", "eva02_tiny_patch14_224"),
    *("swin_tiny_patch4_window7_224", "fastvit_t8", "resnet18"),
)

needs_timm = pytest.mark.skipif(
    find_spec("torch") is None or find_spec("timm") is None,
    reason="timm is not installed: pip install 'bottleneck-features[timm]'",
)


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """Put smooth pictures of several shapes through all networks, in one process."""
    folder = tmp_path_factory.mktemp("timm")
    (folder / "images").mkdir()
    rng = np.random.default_rng(4)
    for i, size in enumerate([(500, 375), (375, 500), (301, 300), (260, 640)]):
        # Colours away from the ends: where a filter overshoots them, the order of its passes shows.
        small = Image.fromarray(rng.integers(64, 192, (9, 12, 3), np.uint8))
        small.resize(size, Image.BICUBIC).save(folder / "images" / f"{i}.png")
    done = subprocess.run(
        [
            *(sys.executable, HERE / "timm_features.py", folder / "found.npz"),
            *(folder / "images", *FAMILIES),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    with np.load(folder / "found.npz") as found:
        return dict(found)


@needs_timm
@pytest.mark.parametrize("name", FAMILIES)
def test_pixels_are_timms(computed, name):
    difference = np.abs(computed[f"{name}/pixels"] - computed[f"{name}/their_pixels"])
    assert computed[f"{name}/pixels"].std() > 20
    # timm draws the whole picture and cuts; ours draws what is kept. Each rounds between two
    # passes, so a value here and there is off by one, and very few by two.
    assert difference.max() < 2.001
    assert (difference > 1.001).mean() < 1e-4
    assert (difference > 0.001).mean() < 0.02


@needs_timm
@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_timms(computed, name):
    features, prefix = computed[f"{name}/features"], int(computed[f"{name}/prefix"])
    expected = {"own": computed[f"{name}/pooled"]}
    if features.ndim == 3:
        expected["avg"] = features[:, prefix:].mean(1)
        if prefix:
            expected["cls"] = features[:, 0]
    else:
        expected["avg"] = features.mean((1, 2) if computed[f"{name}/nhwc"] else (2, 3))
    ours = {key.split("/")[-1] for key in computed if key.startswith(f"{name}/ours/")}
    assert ours == {*expected}
    for pool, value in expected.items():
        found = computed[f"{name}/ours/{pool}"]
        # Pixels differ by one of 255 here and there.
        np.testing.assert_allclose(found, value, rtol=0, atol=5e-3 * np.abs(value).max())
        cosine = (found * value).sum(1) / np.linalg.norm(found, axis=1)
        assert (cosine / np.linalg.norm(value, axis=1)).min() > 0.99999


@needs_timm
@pytest.mark.parametrize("name", FAMILIES)
def test_random_weights_are_the_same_every_time(computed, name):
    assert computed[f"{name}/sha256"] == computed[f"{name}/again"]


@pytest.mark.skipif(find_spec("timm") is not None, reason="timm is installed")
def test_without_timm_the_extra_is_named():
    from bottleneck import backbones
    from bottleneck.errors import RuntimeUnavailableError

    with pytest.raises(RuntimeUnavailableError) as error:
        backbones.load("timm:resnet18")
    assert "bottleneck-features[timm]" in str(error.value.hint)
