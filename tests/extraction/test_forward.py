import time
from collections import defaultdict

import numpy as np
import pytest
from fakes import MeanBackbone

from bottleneck.errors import DeviceMemoryError
from bottleneck.extraction.forward import Forward, best_batch_size, lagging
from bottleneck.runtimes import Pending


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


class Beside(Small):
    """A device that works beside this thread, on up to three batches."""

    in_flight = 3

    def submit(self, batch):
        kept = batch.copy()
        self.batches.append(f"submit {len(batch)}")
        return Pending(kept, lambda: self(kept))


def test_batches_on_their_way_keep_their_order_and_their_pixels(pixels):
    network = Beside()
    forward = Forward(network, np.dtype(np.float32))
    assert forward.in_flight == 3
    begun = []
    for i in range(0, 12, 4):
        part = pixels[i : i + 4].copy()
        begun.append(forward.start(part, defaultdict(float)))
        part[:] = 0
    assert network.batches == ["submit 4"] * 3
    found = np.concatenate([finish()[0]["mean"] for finish in begun])
    np.testing.assert_allclose(found, pixels[:12].mean((1, 2)), rtol=1e-6)


def test_a_full_device_is_found_late_and_halves_what_was_begun(pixels):
    network, notes = Beside(), []
    forward = Forward(network, np.dtype(np.float32), note=notes.append)
    begun = [forward.start(pixels[i : i + 9], defaultdict(float)) for i in (0, 9)]
    found = np.concatenate([finish()[0]["mean"] for finish in begun])
    np.testing.assert_allclose(found, pixels.mean((1, 2)), rtol=1e-6)
    assert notes == ["out of memory with 9 images: now 4 at a time"]
    network.batches.clear()
    features, _ = forward.start(pixels[:6], defaultdict(float))()
    np.testing.assert_allclose(features["mean"], pixels[:6].mean((1, 2)), rtol=1e-6)
    assert network.batches == ["submit 4", "submit 2", 4, 2]


def test_items_lag_behind():
    made = []

    def items():
        for i in range(4):
            made.append(i)
            yield i

    seen = [(one, len(made)) for one in lagging(items(), 2)]
    assert seen == [(0, 3), (1, 4), (2, 4), (3, 4)]
    made.clear()
    assert [(one, len(made)) for one in lagging(items(), 0)] == [(0, 1), (1, 2), (2, 3), (3, 4)]


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

    monkeypatch.setattr("bottleneck.extraction.forward._timed", took)
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
