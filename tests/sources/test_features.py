"""The same images give the same features, whatever they are kept in."""

import io

import fakes
import makers
import numpy as np
import pytest
from PIL import Image

from bottleneck.extraction import Silent, fill_store
from bottleneck.extraction.plan import MaxFailed
from bottleneck.sources import open_source
from bottleneck.store import FeatureStore, writer_lock


def features_of(given, output):
    """Extract as the command does; return features by the pixels of the image."""
    source = open_source(given)
    with writer_lock(output):
        result = fill_store(
            source,
            output,
            fakes.fake_embedder(),
            batch_size=4,
            workers=2,
            max_failed=MaxFailed.parse("0"),
            progress=Silent(),
        )
    assert (result.failed, result.ok) == (0, len(source))
    store = FeatureStore.open(output)
    assert store.complete
    X, found = store.features("mean")[:], {}
    for row in range(len(source)):
        image = source.read(row)
        pixels = np.asarray(Image.open(io.BytesIO(image))) if isinstance(image, bytes) else image
        found[pixels.tobytes()] = X[row].tolist()
    return found, store


@pytest.fixture(scope="module")
def expected(tmp_path_factory, samples):
    root = tmp_path_factory.mktemp("folder")
    return features_of(makers.folder(root, samples).given, root / "x.h5")[0]


@pytest.mark.parametrize("kind", [kind for kind in makers.LOCAL if kind != "folder"])
def test_features_are_those_of_the_folder(tmp_path, samples, expected, kind):
    root = tmp_path / "made"
    root.mkdir()
    case = makers.LOCAL[kind](root, samples)
    found, store = features_of(case.given, tmp_path / "x.h5")
    assert found == expected
    assert len(found) == len(samples)
    assert list(store.manifest.keys) == case.keys


def test_an_interrupted_extraction_from_shards_goes_on(tmp_path, samples, expected):
    case = makers.webdataset(tmp_path, samples)
    output = tmp_path / "x.h5"
    with writer_lock(output):
        result = fill_store(
            open_source(case.given),
            output,
            fakes.fake_embedder(),
            batch_size=2,
            workers=2,
            limit=4,
            max_failed=MaxFailed.parse("0"),
            progress=Silent(),
        )
    assert (result.ok, result.pending) == (4, len(samples) - 4)
    source = open_source(case.given)
    with writer_lock(output):
        result = fill_store(
            source,
            output,
            fakes.fake_embedder(),
            batch_size=4,
            workers=2,
            max_failed=MaxFailed.parse("0"),
            progress=Silent(),
        )
    assert (result.ok, result.pending, result.already_done) == (len(samples) - 4, 0, 4)
    X = FeatureStore.open(output).features("mean")[:]
    for row in range(len(source)):
        pixels = np.asarray(Image.open(io.BytesIO(source.read(row))))
        assert X[row].tolist() == expected[pixels.tobytes()]
