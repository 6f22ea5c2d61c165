"""Networks that compute something else each time are refused before the first row."""

import json

import numpy as np
import onnx_files as small
import pytest

from bottleneck import backbones, runtimes
from bottleneck.backbones import DeclaredInput, OutputSpec
from bottleneck.errors import BackboneError
from bottleneck.extraction.admission import admit
from bottleneck.extraction.run import build_embedder
from bottleneck.images import Geometry
from bottleneck.items import KINDS


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bottleneck" / "admitted"


def build(path):
    return build_embedder(backbone=f"onnx:{path}", preprocess="torch", runtime="onnxruntime")


@pytest.mark.parametrize(
    ("make", "check"),
    [
        (small.random, "the same batch twice"),
        (small.normalised_over_the_batch, "images alone and together"),
        (small.blind, "pictures that differ, features of avg that differ"),
        (small.not_finite, "finite features"),
    ],
)
def test_the_check_that_fails_is_named(tmp_path, cache, make, check):
    with pytest.raises(BackboneError, match=f"failed the admission test: expected {check}"):
        build(make(tmp_path / "bad.onnx"))
    assert not cache.exists()


def test_what_was_admitted_is_not_tested_again(tmp_path, cache):
    embedder = build(small.transformer(tmp_path / "t.onnx"))
    said = embedder.recipe.execution["network"]["admission"]
    assert said["repeated"] <= said["single"] < 1e-4
    assert said["permuted"] < 1e-4
    (file,) = cache.iterdir()
    assert json.loads(file.read_text()) == said
    file.write_text(json.dumps({**said, "constant": 99}))
    again = build(tmp_path / "t.onnx").recipe.execution["network"]["admission"]
    assert again["constant"] == 99
    # Another output is another question.
    build_embedder(
        backbone=f"onnx:{tmp_path / 't.onnx'}",
        preprocess="torch",
        runtime="onnxruntime",
        pool="avg",
    )
    assert len(list(cache.iterdir())) == 2


def test_what_cannot_be_kept_is_tested_again(tmp_path, cache):
    said = build(small.transformer(tmp_path / "t.onnx")).recipe.execution["network"]["admission"]
    (file,) = cache.iterdir()
    file.unlink()
    (file / "in the way").mkdir(parents=True)
    assert build(tmp_path / "t.onnx").recipe.execution["network"]["admission"] == said
    assert file.is_dir()


def test_random_weights_are_refused(tmp_path):
    path = small.maps(tmp_path / "m.onnx")
    network = backbones.load(f"onnx:{path}#/map/relu", declared=DeclaredInput.parse("torch"))
    compiled = runtimes.get("onnxruntime").compile(network, [OutputSpec()], device="cpu")
    other = backbones.load(
        f"onnx:{small.transformer(tmp_path / 't.onnx')}", declared=DeclaredInput.parse("torch")
    )
    with pytest.raises(BackboneError, match="two loads, one fingerprint of the weights"):
        admit(network, compiled, lambda: other, precision="float32")


def test_one_that_depends_on_the_order_is_refused(tmp_path):
    path = small.maps(tmp_path / "m.onnx")
    network = backbones.load(f"onnx:{path}#/map/relu", declared=DeclaredInput.parse("torch"))
    compiled = runtimes.get("onnxruntime").compile(network, [OutputSpec()], device="cpu")

    class Placed:
        dims, runtime, version, device, details = compiled.dims, "fake", "0", "cpu", {}

        def __call__(self, batch):
            (features,) = compiled(batch).values()
            weight = np.ones((len(batch), 1), np.float32)
            if len(batch) > 1:  # the largest picture of the first half counts double
                weight[0] += (features[0] == features[:4].max(0)).any()
            return {"avg": features * weight}

    with pytest.raises(
        BackboneError, match=r"admission test: expected (images alone|another order)"
    ):
        admit(network, Placed(), lambda: network, precision="float32")


def test_pictures_are_always_the_same_and_differ():
    first, second = (KINDS["image"].trial(Geometry((40, 64))) for _ in range(2))
    assert first.shape == (8, 40, 64, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)
    means = first.mean((1, 2))
    assert min(np.abs(means[i] - means[j]).max() for i in range(8) for j in range(i)) > 1


def test_the_catalogue_needs_no_admission(cache):
    embedder = build_embedder(size=32)
    assert "network" not in embedder.recipe.execution
    assert not cache.exists()


def test_the_runtime_is_compared_with_the_plainest_way(tmp_path):
    path = small.transformer(tmp_path / "t.onnx")
    alone = build(path).recipe.execution["network"]["admission"]
    assert (alone["reference"], alone["cosine"]) == (None, None)  # it is the plainest way

    network = backbones.load(f"onnx:{path}", declared=DeclaredInput.parse("torch"))
    outputs = [OutputSpec(pool=None)]
    compiled = runtimes.get("onnxruntime").compile(network, outputs, device="cpu")

    class Other:
        dims, version, device, details = compiled.dims, "0", "cpu", {}

        def __init__(self, runtime, off):
            self.runtime, self.off = runtime, np.float32(off)

        def __call__(self, images):
            return {name: value + self.off for name, value in compiled(images).items()}

    def admitted(other):
        return admit(network, other, lambda: network, precision="float32", outputs=outputs)

    found = admitted(Other("right", 0))
    assert found["reference"] == "onnxruntime"
    assert 0.9999 < found["cosine"] <= 1.000001
    with pytest.raises(BackboneError, match="the same features from wrong and from onnxruntime"):
        admitted(Other("wrong", 1))


def test_our_pixels_are_compared_with_the_providers(tmp_path, cache):
    from dataclasses import replace

    from PIL import Image

    path = small.transformer(tmp_path / "t.onnx")
    network = backbones.load(f"onnx:{path}", declared=DeclaredInput.parse("none;resize=squash"))
    compiled = runtimes.get("onnxruntime").compile(network, [OutputSpec(pool=None)], device="cpu")
    height, width, _ = network.input.shape

    def admitted(filter):
        def processor(picture):
            return np.asarray(Image.fromarray(picture).resize((width, height), filter), np.float32)

        one = replace(network, processor=processor)
        return admit(one, compiled, lambda: network, precision="float32")

    assert admitted(Image.Resampling.BICUBIC)["pixels"] <= 1
    for file in cache.iterdir():  # it would not be tested again
        file.unlink()
    with pytest.raises(BackboneError, match="our pixels within a 255th"):
        admitted(Image.Resampling.NEAREST)


def test_what_was_measured_before_does_not_hinder_a_resume():
    from bottleneck.recipe import Recipe

    def made(admission):
        return Recipe({"backbone": "x"}, {"network": {"parameters": 3, "admission": admission}})

    old, new = made({"version": 1, "single": 0.0}), made({"version": 2, "single": 1e-7})
    assert new.execution_differences(old) == []
    assert new.identity_differences(old) == []
