"""Whatever memory runs out, and whenever: every image gets its own features."""

from collections import defaultdict
from functools import partial

import numpy as np
import pytest

from bottleneck.errors import DeviceMemoryError
from bottleneck.extraction.forward import Forward, lagging
from bottleneck.images import Geometry
from bottleneck.runtimes.step import CompiledStep, Parts

TRIALS = 400


class EagerStep(CompiledStep):
    """Gives a buffer back as soon as its pass cannot begin: wrong rows, which the fuzz must see."""

    def _begun(self, images, padded, free):
        given = []
        pending = super()._begun(images, padded, lambda: given or free())
        if self._was_full:
            given.append(free())
        return pending


class Device:
    """Reads pixels only when results are asked for, and its room changes meanwhile."""

    def __init__(self, generator, when):
        self.generator, self.when = generator, when
        self.room = int(generator.integers(1, 20))

    def compute(self, batch):
        self._check("begin", batch)
        return batch

    def fetch(self, batch):
        if self.generator.random() < 0.2:
            self.room = max(1, self.room + int(self.generator.integers(-3, 4)))
        self._check("end", batch)
        return [means(batch)]

    def _check(self, moment, batch):
        if self.when in (moment, "both") and len(batch) > self.room:
            raise RuntimeError("RESOURCE_EXHAUSTED")


def means(batch):
    return batch.astype(np.float32).mean((1, 2))


def late(device):
    """As on a GPU: begun at once, read later."""
    return {"compute": device.compute, "fetch": device.fetch}


def aliased(device):
    """As frameworks do on a CPU: the transfer is a view of the caller's memory."""
    return {"compute": device.compute, "transfer": lambda batch: batch[:], "fetch": device.fetch}


def in_parts(device):
    """As TensorFlow and OpenVINO on a CPU: threads compute parts of the batch."""

    def compute(images):
        device._check("begin", images)
        return [means(images)]

    parts = Parts(compute, threads=2, most=4)
    return {"compute": parts.start, "fetch": parts.gather}


def wrong_rows(seed, when, way, kind=CompiledStep, flights=(2, 3), lent=False):
    """Count rows that are not their image's mean.

    With ``lent`` the images stay as they are until their features were waited for, and no longer.
    """
    generator = np.random.default_rng(seed)
    device = Device(generator, when)
    step = kind(
        **way(device),
        runtime="fake",
        version="1",
        device="gpu:0",
        dims={"mean": 3},
        given=Geometry(2),
        in_flight=int(generator.choice(flights)),
        pad=bool(generator.integers(2)),
        out_of_memory=lambda error: "RESOURCE_EXHAUSTED" in str(error),
    )
    at_most = int(generator.integers(1, 20)) if generator.integers(2) else None
    forward = Forward(step, np.dtype(np.float32), at_most=at_most)
    shapes = [(int(generator.integers(0, 24)), 2, 2, 3) for _ in range(12)]
    batches = [generator.integers(0, 256, shape, np.uint8) for shape in shapes]

    def begun():
        for batch in batches:
            given = batch.copy()
            end = forward.start(given, defaultdict(float), lent=lent)
            if lent:
                yield partial(ended, end, given)
            else:
                given[:] = 0  # the caller's memory is free at once
                yield end

    def ended(end, given):
        computed = end()
        given[:] = 0
        return computed

    # One image always fits, so nothing is raised.
    found = [end()[0]["mean"] for end in lagging(begun(), forward.in_flight - 1)]
    return sum(
        int((~np.isclose(rows, means(batch)).all(axis=1)).sum())
        for rows, batch in zip(found, batches, strict=True)
    )


@pytest.mark.parametrize("when", ["never", "begin", "end", "both"])
@pytest.mark.parametrize("way", [late, aliased, in_parts])
@pytest.mark.parametrize("lent", [False, True])
def test_no_row_is_another_image(way, when, lent):
    trials = TRIALS if way is late else 40
    assert [seed for seed in range(trials) if wrong_rows(seed, when, way, lent=lent)] == []


def test_one_batch_at_a_time():
    assert [seed for seed in range(40) if wrong_rows(seed, "both", late, flights=(1,))] == []


def test_one_image_that_does_not_fit_is_an_error():
    device = Device(np.random.default_rng(0), "both")
    step = CompiledStep(
        **late(device),
        runtime="fake",
        version="1",
        device="gpu:0",
        dims={"mean": 3},
        given=Geometry(2),
        in_flight=2,
        pad=True,
        out_of_memory=lambda error: "RESOURCE_EXHAUSTED" in str(error),
    )
    forward = Forward(step, np.dtype(np.float32))
    device.room = -5
    images = np.zeros((3, 2, 2, 3), np.uint8)
    with pytest.raises(DeviceMemoryError, match="for 1 images"):
        forward.start(images, defaultdict(float))()


def test_the_fuzz_sees_lent_images_that_change_too_early():
    class Borrower(CompiledStep):
        def submit(self, batch):
            return self._begun(batch, batch, lambda: None)

    assert any(wrong_rows(seed, "never", late, Borrower) for seed in range(40))


def test_the_fuzz_sees_a_buffer_that_is_given_back_too_early():
    assert any(wrong_rows(seed, "begin", late, EagerStep) for seed in range(40))
