import time
from collections import defaultdict

import numpy as np
import pytest
from fakes import MeanBackbone

from bottleneck.errors import DeviceMemoryError
from bottleneck.extraction.forward import (
    Forward,
    batch_size_for,
    best_batch_size,
    lagging,
    pass_seconds,
)
from bottleneck.images import Geometry
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


def timed(monkeypatch, seconds, device="cpu"):
    """Let a pass of n images take a given time, and fail where none is given."""

    def took(network, pixels):
        if len(pixels) not in seconds:
            raise DeviceMemoryError("full")
        return seconds[len(pixels)]

    monkeypatch.setattr("bottleneck.extraction.forward.pass_seconds", took)
    notes = []
    return best_batch_size(MeanBackbone(device=device), Geometry(4), notes.append), notes


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


@pytest.mark.parametrize(
    ("device", "side", "expected"),
    [
        ("cpu", 224, 32),
        ("gpu:0", 224, 256),
        ("gpu:0,gpu:1", 224, 256),
        ("gpu:0", 32, 256),
        ("gpu:0", 299, 128),  # 143 have the pixels of 256 of 224
        ("gpu:0", 384, 64),
        ("gpu:0", 600, 32),
        ("gpu:0", 1024, 32),
        ("gpu:0", 4096, 32),
    ],
)
def test_the_batch_size_by_default_fits_the_device(device, side, expected):
    network = MeanBackbone(device=device)
    assert batch_size_for(None, network, Geometry(side)) == expected
    assert batch_size_for(7, network, Geometry(side)) == 7


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({32: 0.032, 64: 0.064, 128: 0.1, 256: 0.19, 512: 0.38, 1024: 0.76}, 256),
        ({16: 0.5, 32: 1.0}, 32),
        ({8: 0.5, 16: 0.9}, 16),  # not 32, where a GPU begins
        ({32: 0.032, 64: 0.064, 128: 0.128, 256: 0.01}, 32),  # once may be missed, not twice
        ({}, 1),
    ],
)
def test_the_batch_size_on_a_gpu(monkeypatch, seconds, best):
    chosen, _ = timed(monkeypatch, seconds, "gpu:0")
    assert chosen == best


class Pipeline(MeanBackbone):
    """A device that takes 10 ms per batch, whoever waits, and 10 ms of this thread to submit."""

    in_flight = 2

    def __init__(self):
        super().__init__(device="gpu:0")
        self.free_at, self.waiting = 0.0, 0

    def __call__(self, batch):
        return self.submit(batch).result()

    def submit(self, batch):
        time.sleep(0.01)
        self.waiting += 1
        self.free_at = ready = max(self.free_at, time.perf_counter()) + 0.01

        def result():
            self.waiting -= 1
            time.sleep(max(0.0, ready - time.perf_counter()))
            return {}

        return Pending(batch, result)


def test_a_pass_is_measured_as_a_run_has_it(pixels):
    """One after the other it would take 20 ms."""
    network = Pipeline()
    assert pass_seconds(network, pixels, seconds=0.3) == pytest.approx(0.0105, rel=0.35)
    assert network.waiting == 0


def test_what_is_on_its_way_is_taken_when_memory_is_full(pixels):
    class Full(Pipeline):
        calls = 0

        def submit(self, batch):
            self.calls += 1
            if self.calls > 4:
                raise DeviceMemoryError("full")
            return super().submit(batch)

    network = Full()
    with pytest.raises(DeviceMemoryError):
        pass_seconds(network, pixels)
    assert network.waiting == 0
