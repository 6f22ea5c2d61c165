"""EfficientNet-Lite against features of an independent implementation; see golden/."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from bottleneck import backbones, runtimes
from bottleneck.backbones import OutputSpec
from bottleneck.backbones.architectures.efficientnet_lite import load_bundled, package_file
from bottleneck.errors import WeightsError

GOLDEN = Path(__file__).parent / "golden" / "lite.npz"
SHA256_LITE0 = "68b6f627d7e1a990701f1ff9a54c54fa4872ae5ec1830e69b1c5167bca772bf3"


def lite(variant: str):
    spec = backbones.get(f"efficientnet_{variant}")
    if backbones.weights_at_hand(spec) != "bundled":
        pytest.skip(f"{spec.bundled} is not installed (extra `lite`)")
    return backbones.load(spec)


def central(photograph: str, size: int):
    image = load_sample_image(f"{photograph}.jpg")
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]


@pytest.mark.parametrize("variant", ["lite0", "lite1", "lite2"])
def test_golden_vectors(variant: str) -> None:
    backbone = lite(variant)
    assert backbone.weights.source == "bundled"
    assert backbone.model.count_params() == backbone.spec.params
    compiled = runtimes.get().compile(backbone, [OutputSpec()])
    batch = np.stack([central(name, backbone.size) for name in ("china", "flower")])
    features = compiled(batch)["avg"]
    with np.load(GOLDEN) as golden:
        expected = np.stack([golden[f"{variant}.{name}"] for name in ("china", "flower")])
    cosine = (features * expected).sum(1) / (
        np.linalg.norm(features, axis=1) * np.linalg.norm(expected, axis=1)
    )
    assert cosine.min() > 0.99999
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-4)


def test_fingerprint_is_stable() -> None:
    # Features are only comparable while this stays: a change of it is a change of weights.
    assert lite("lite0").weights.sha256 == SHA256_LITE0


def test_same_weights_from_files(tmp_path: Path) -> None:
    backbone = lite("lite0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras 3.15, when it saves, with NumPy 2
        backbone.model.save_weights(tmp_path / "x.weights.h5")
        backbone.model.save(tmp_path / "x.keras")
    for name in ("x.weights.h5", "x.keras"):
        loaded = backbones.load(backbone.spec, weights=tmp_path / name, size=224)
        assert loaded.weights.sha256 == backbone.weights.sha256


def test_imagenet_means_the_package() -> None:
    spec = backbones.get("efficientnet_lite0")
    assert backbones.load(spec, weights="imagenet").weights == lite("lite0").weights


def test_package_of_another_variant_is_refused() -> None:
    backbone = lite("lite0")
    other = lite("lite2")
    with pytest.raises(WeightsError, match=r"lite2.*expected the weights of efficientnet_lite0"):
        load_bundled(backbone.model, replace(backbone.spec, bundled=other.spec.bundled))


def test_missing_package_names_the_extra() -> None:
    spec = replace(backbones.get("efficientnet_lite1"), bundled="efficientnet_lite9_pytorch_model")
    with pytest.raises(WeightsError, match="efficientnet-lite9-pytorch-model") as caught:
        package_file(spec)
    assert "bottleneck-features[lite]" in (caught.value.hint or "")
