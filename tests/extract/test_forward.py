import time
from collections import defaultdict

import numpy as np
import pytest
from fakes import MeanBackbone

from bottleneck.errors import DeviceMemoryError
from bottleneck.extract.forward import Forward, best_batch_size


class Small(MeanBackbone):
    """A device with room for five images."""

    def __call__(self, batch):
        if len(batch) > 5:
            self.batches.append(-len(batch))
            raise DeviceMemoryError("full")
        return super().__call__(batch)


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (18, 4, 4, 3), np.uint8)


def test_a_batch_too_large_for_the_device_is_halved_and_that_is_said(pixels):
    network, notes = Small(), []
    forward = Forward(network, np.dtype(np.float32), note=notes.append)
    features, finite = forward(pixels, defaultdict(float))
    np.testing.assert_allclose(features["mean"], pixels.mean((1, 2)), rtol=1e-6)
    assert finite.all()
    assert network.batches == [-18, -9, 4, 4, 4, 4, 2]
    assert notes == [
        "out of memory with 18 images: now 9 at a time",
        "out of memory with 9 images: now 4 at a time",
    ]
    network.batches.clear()
    forward(pixels[:6], defaultdict(float))
    assert network.batches == [4, 2]  # it is not tried again


def test_one_image_too_large_is_an_error(pixels):
    class Full(MeanBackbone):
        def __call__(self, batch):
            raise DeviceMemoryError("full")

    with pytest.raises(DeviceMemoryError, match="full"):
        Forward(Full(), np.dtype(np.float32))(pixels, defaultdict(float))


def test_no_images_give_no_features(pixels):
    features, finite = Forward(MeanBackbone(), np.dtype(np.float16))(pixels[:0], defaultdict(float))
    assert features["mean"].shape == (0, 3)
    assert features["mean"].dtype == np.float16
    assert finite.shape == (0,)


def test_time_on_the_way_to_the_device_is_told_apart(pixels):
    class Device(MeanBackbone):
        transfer_seconds = 1.5

        def __call__(self, batch):
            self.transfer_seconds += 0.25
            time.sleep(0.3)
            return super().__call__(batch)

    seconds = defaultdict(float)
    Forward(Device(), np.dtype(np.float32), at_most=9)(pixels, seconds)
    assert seconds["transfer"] == 0.5
    assert seconds["forward"] >= 0.1


def timed(monkeypatch, seconds):
    """Let a pass of n images take a given time, and fail where none is given."""

    def took(network, pixels):
        if len(pixels) not in seconds:
            raise DeviceMemoryError("full")
        return seconds[len(pixels)]

    monkeypatch.setattr("bottleneck.extract.forward._timed", took)
    notes = []
    return best_batch_size(MeanBackbone(), 4, notes.append), notes


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({8: 0.8, 16: 1.0, 32: 1.5, 64: 2.95}, 32),  # 64 brings less than 3%
        ({8: 0.08, 16: 0.08, 32: 0.08}, 32),  # 64 does not fit
        ({8: 3.0, 16: 4.0}, 8),  # slow: larger would keep people waiting
        ({}, 1),
    ],
)
def test_the_batch_size_is_the_smallest_of_the_fastest(monkeypatch, seconds, best):
    chosen, notes = timed(monkeypatch, seconds)
    assert chosen == best
    assert notes[0].startswith(f"batch size {best} (measured")
