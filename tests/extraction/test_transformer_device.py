"""The transformer computes on the device that it is given. The CPU stands in for its GPUs."""

import gc
import pickle
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone

from bottleneck import FeatureExtractor, runtimes
from bottleneck.errors import OptionError
from bottleneck.extraction import embedder
from bottleneck.extraction.device_processes import DeviceProcesses

IMAGES = [*np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3)).astype(np.uint8)]


@pytest.fixture
def started(monkeypatch):
    """Begin the processes of GPUs with the CPU in their place; tell names, numbers and ends."""
    began = []

    class Watched(DeviceProcesses):
        def __init__(self, loads, environments):
            self.told = {"asked": [(name, load.device) for name, load in loads], "ended": 0}
            began.append(self.told)
            super().__init__([(n, replace(load, device="cpu")) for n, load in loads], environments)

        def close(self):
            self.told["ended"] += 1
            super().close()

    monkeypatch.setattr(embedder, "DeviceProcesses", Watched)
    monkeypatch.setattr(runtimes, "choose", lambda *given, **more: "tensorflow")
    return began


def test_it_computes_on_its_device_and_takes_it_along(started):
    pytest.importorskip("tensorflow")
    here = FeatureExtractor(size=32, workers=1, device="cpu")
    expected = here.fit_transform(IMAGES)
    assert here.recipe_.execution["device"] == "cpu"
    assert np.ptp(expected, axis=0).max() > 0.1
    assert started == []

    there = FeatureExtractor(size=32, workers=1, device="gpu:1")
    np.testing.assert_array_equal(there.fit_transform(IMAGES), expected)
    assert there.recipe_.execution["device"] == "gpu:1"
    assert started == [{"asked": [("gpu:1", "gpu:0")], "ended": 0}]
    again = pickle.loads(pickle.dumps(there))
    for one in (again, clone(there)):
        assert one.get_params() == there.get_params()
        assert one.device == "gpu:1"
    np.testing.assert_array_equal(again.transform(IMAGES[:2]), expected[:2])
    assert [one["asked"] for one in started] == [[("gpu:1", "gpu:0")]] * 2

    there.set_params(device="cpu").fit()
    assert [one["ended"] for one in started] == [1, 0]
    np.testing.assert_array_equal(there.transform(IMAGES), expected)
    del again, one
    gc.collect()
    assert [one["ended"] for one in started] == [1, 1]


def test_what_is_no_device_is_refused_when_it_is_used():
    extractor = FeatureExtractor(device="gpu0")
    assert clone(extractor).device == "gpu0"
    with pytest.raises(OptionError, match="expected the device cpu, gpu or gpu:N, got 'gpu0'"):
        extractor.fit()
