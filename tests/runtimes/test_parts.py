"""Batches computed in parts: nothing is lost, mixed up or hidden by it."""

import threading

import numpy as np
import pytest

from bottleneck.runtimes import parts
from bottleneck.runtimes.parts import Parts


def numbered(count):
    """Images whose every pixel is their number."""
    images = np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)
    return np.broadcast_to(images, (count, 4, 4, 3))


def two_outputs(batch):
    means = batch.mean((1, 2), dtype=np.float32)
    return means, 2 * means[:, :1]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 17, 32, 33, 100])
@pytest.mark.parametrize("cores", [1, 2, 16])
def test_results_are_those_of_the_whole_batch_in_its_order(monkeypatch, count, cores):
    monkeypatch.setattr(parts, "available_cores", lambda: cores)
    batch = numbered(count)
    sizes = []

    def compute(part):
        sizes.append(len(part))
        return two_outputs(part)

    for found, expected in zip(Parts(compute)(batch), two_outputs(batch), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert sum(sizes) == count
    assert max(sizes) <= 4 * cores


def test_two_parts_are_computed_at_once():
    both = threading.Barrier(2, timeout=30)

    def compute(batch):
        both.wait()  # breaks, and raises, if no second part comes while this one is in hand
        return two_outputs(batch)

    (means, _) = Parts(compute)(numbered(8))
    np.testing.assert_array_equal(means[:, 0], np.arange(8))


def test_an_error_of_any_part_is_raised():
    def compute(batch):
        if 7 in batch:
            raise ValueError("image 7")
        return two_outputs(batch)

    with pytest.raises(ValueError, match="image 7"):
        Parts(compute)(numbered(8))
