"""What the compiled pass of every runtime does around its one function."""

import numpy as np
import pytest

from bottleneck.errors import DeviceMemoryError
from bottleneck.runtimes.step import CompiledStep


def step(compute, **options):
    settings = {"runtime": "fake", "version": "1", "device": "gpu:0", "dims": {"mean": 3}}
    return CompiledStep(compute, **{**settings, "size": 4, "pad": True, **options})


def pixels(count):
    return np.random.default_rng(count).integers(0, 256, (count, 4, 4, 3), np.uint8)


def test_one_shape():
    shapes = []

    def compute(batch):
        shapes.append(len(batch))
        return [batch.mean((1, 2))]

    function = step(compute)
    for count in (4, 4, 1, 3, 6, 2):
        batch = pixels(count)
        found = function(batch)["mean"]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, batch.mean((1, 2)), rtol=1e-6)
    assert shapes == [4, 4, 4, 4, 6, 6]
    assert function(pixels(0))["mean"].shape == (0, 3)


def test_any_shape():
    shapes = []
    function = step(lambda batch: [shapes.append(len(batch)) or batch.mean((1, 2))], pad=False)
    for count in (4, 1):
        function(pixels(count))
    assert shapes == [4, 1]


def test_memory_of_the_device():
    shapes = []

    def compute(batch):
        shapes.append(len(batch))
        if len(batch) > 4:
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return [batch.mean((1, 2))]

    function = step(compute, out_of_memory=lambda error: "RESOURCE_EXHAUSTED" in str(error))
    with pytest.raises(DeviceMemoryError, match="gpu:0 has not enough memory for 8 images of 4"):
        function(pixels(8))
    function(pixels(4))  # is not padded to 8
    assert shapes == [8, 4]


def test_other_errors_pass():
    def compute(batch):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        step(compute)(pixels(1))


def test_says_what_it_is():
    assert repr(step(None)) == "<CompiledStep fake 4px mean 3, gpu:0>"
    with pytest.raises(ValueError, match="Expected uint8 images"):
        step(None)(np.zeros((1, 5, 5, 3), np.uint8))
