"""Batches computed in parts: nothing is lost, mixed up or hidden by it."""

import threading

import numpy as np
import pytest

from bottleneck.runtimes.step import Parts


def numbered(count):
    """Images whose every pixel is their number."""
    images = np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)
    return np.broadcast_to(images, (count, 4, 4, 3))


def two_outputs(batch):
    means = batch.mean((1, 2), dtype=np.float32)
    return means, 2 * means[:, :1]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 17, 32, 33, 100])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_are_those_of_the_whole_batch_in_its_order(count, threads):
    sizes = []

    def compute(part):
        sizes.append(len(part))
        return two_outputs(part)

    parts = Parts(compute, threads=threads, most=8)
    first, second = (numbered(count + more) for more in (0, 1))
    begun = [parts.start(batch) for batch in (first, second)]
    for batch, on_their_way in zip((first, second), begun, strict=True):
        for found, expected in zip(parts.gather(on_their_way), two_outputs(batch), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert sum(sizes) == 2 * count + 1
    assert max(sizes) <= 8
    assert len(sizes) >= min(threads, count)


def test_two_parts_are_computed_at_once():
    both = threading.Barrier(2, timeout=30)

    def compute(batch):
        both.wait()  # breaks, and raises, if no second part comes while this one is in hand
        return two_outputs(batch)

    parts = Parts(compute, threads=2, most=8)
    (means, _) = parts.gather(parts.start(numbered(8)))
    np.testing.assert_array_equal(means[:, 0], np.arange(8))


def test_an_error_of_any_part_is_raised():
    def compute(batch):
        if 7 in batch:
            raise ValueError("image 7")
        return two_outputs(batch)

    parts = Parts(compute, threads=2, most=8)
    with pytest.raises(ValueError, match="image 7"):
        parts.gather(parts.start(numbered(8)))
