"""A backbone and a head as one model: what `predict` computes in two steps, in one."""

import numpy as np
import pytest

from bottleneck.adapt.whole import whole_model
from bottleneck.errors import BackboneError, HeadError
from bottleneck.extraction import build_embedder
from bottleneck.heads import Head, select

CASES = {
    # kind, classes, backbone, layers, pool: RGB and BGR, every pool, one layer and several
    "logreg": ("logreg", 3, "efficientnet_lite0", (), None),
    "two": ("logreg", 2, "mobilenet", (), "avgmax"),
    "svm": ("svm", 3, "efficientnet_lite0", ("stem_activation",), "max"),
    "caffe": ("ridge", 3, "vgg16", ("block2_pool",), "gem"),
    "map": ("mlp", 3, "vgg16", ("block5_pool",), "none"),
}


def fitted(case, count=40):
    kind, classes, backbone, layers, pool = CASES[case]
    embedder = build_embedder(
        backbone=backbone, weights=None if "lite" in backbone else "none", layers=layers,
        pool=pool, size=32, runtime="tensorflow",
    )  # fmt: skip
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
    # Brightness decides, so that there is something to learn.
    y = np.arange(count) % classes
    pixels = (pixels * (0.3 + 0.3 * y)[:, None, None, None]).astype(np.uint8)
    (X,) = embedder.network(pixels).values()
    found = select(
        X, y, classes=[f"c{i}" for i in range(classes)], keys=[str(i) for i in range(count)],
        head=kind, grid=None if kind == "mlp" else [1e-2], n_folds=0 if kind != "mlp" else 2,
    )  # fmt: skip
    (output,) = embedder.dims
    return Head.of(found, recipe=embedder.recipe, output=output), pixels, X


@pytest.mark.parametrize("case", CASES)
def test_one_model_answers_as_features_and_head_do(case):
    head, pixels, X = fitted(case)
    whole = whole_model(head, owner="the head")
    expected = head.predict_proba(X)
    expected = head.scores(X) if expected is None else expected
    found = np.asarray(whole.model.predict_on_batch(pixels))
    np.testing.assert_allclose(found, expected, atol=2e-5 * max(1, np.abs(expected).max()))
    assert np.ptp(expected, axis=0).min() > 1e-3  # there is something to tell apart
    assert whole.about["classes"] == list(head.classes)
    assert whole.about["answer"] == ("scores" if head.predict_proba(X) is None else "probabilities")


def test_a_head_that_is_no_layers_is_refused_by_name(trained, tmp_path):
    import bottleneck

    bottleneck.train(trained / "f.h5", tmp_path / "knn.head", head="knn", cv=2)
    with pytest.raises(HeadError, match="dense layers, which ONNX can hold, got knn"):
        whole_model(Head.load(tmp_path / "knn.head"), owner="knn.head")


def test_a_backbone_of_another_form_is_refused(monkeypatch, trained):
    from dataclasses import replace

    from bottleneck.adapt import whole

    real = whole.rebuild_network

    def of_torch(*args, **kwargs):
        network, *rest = real(*args, **kwargs)
        return replace(network, form="torch"), *rest

    monkeypatch.setattr(whole, "rebuild_network", of_torch)
    with pytest.raises(BackboneError, match="Keras model, got efficientnet_lite0"):
        whole_model(Head.load(trained / "h.head"), owner="h.head")
