"""The most similar images of a store: exact, by the store's own recipe."""

import numpy as np
import pytest
from fakes import fake_embedder, write_png

from bottleneck import extract
from bottleneck.comparison.neighbors import neighbors, search
from bottleneck.errors import OptionError, SourceError
from bottleneck.store import FeatureStore


def test_the_search_is_exact(blobs):
    path = blobs("x.h5", failed=(5, 17))
    store = FeatureStore.open(path)
    X = np.asarray(store.features(), np.float64)
    query = X[40] + 0.1
    X[[5, 17]] = -query  # failed rows hold nothing that means anything
    cosine = X @ query / np.linalg.norm(X, axis=1) / np.linalg.norm(query)
    order = np.argsort(-cosine)[:7]
    found = search(store, "avg", query.astype(np.float32), 7)
    assert [one.key for one in found] == [store.keys[int(row)] for row in order]
    assert [one.similarity for one in found] == pytest.approx(cosine[order], abs=1e-6)
    assert found[0].label == store.classes[store.labels[order[0]]]
    assert found[0].split in ("train", "test")


def test_an_image_goes_through_the_recipe(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for i, colour in enumerate([(200, 20, 20), (20, 200, 20), (20, 20, 200)]):
        for j in range(3):
            pixels = np.full((16, 16, 3), colour) + rng.integers(0, 30, (16, 16, 3))
            write_png(tmp_path / "images" / "rgb"[i] / f"{j}.png", pixels)
    embedder = fake_embedder()
    monkeypatch.setattr("bottleneck.extraction.run.build_embedder", lambda **_: embedder)
    monkeypatch.setattr(
        "bottleneck.comparison.neighbors.rebuild_embedder", lambda *_, **__: embedder
    )
    extract(tmp_path / "images", tmp_path / "x.h5")
    asked = write_png(tmp_path / "new.png", np.full((16, 16, 3), (30, 30, 210)))
    found = neighbors(tmp_path / "x.h5", asked, count=3, feature="mean")
    assert [one.label for one in found] == ["b", "b", "b"]
    assert found[0].similarity >= found[-1].similarity > 0.99
    with pytest.raises(OptionError, match="several outputs"):
        neighbors(tmp_path / "x.h5", asked)
    with pytest.raises(OptionError, match="one or more neighbours"):
        neighbors(tmp_path / "x.h5", asked, count=0, feature="mean")
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(SourceError, match="cannot use .*bad.png"):
        neighbors(tmp_path / "x.h5", tmp_path / "bad.png", feature="mean")
