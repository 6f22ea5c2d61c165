"""The one way of images through networks: order, whose features are whose, and what is closed."""

import numpy as np
import pytest
from fakes import LateBackbone, MeanBackbone, fake_embedder

from bottleneck.decode import image_digest, open_decoder
from bottleneck.extraction import embed
from bottleneck.extraction.inference import Consumer, infer
from bottleneck.sources import PixelSource


@pytest.fixture
def source(rng):
    """Ten pictures; the last ones have the bytes of the first, in another shape."""
    images = [rng.integers(0, 256, (8, 12, 3), np.uint8) for _ in range(8)]
    return PixelSource([*images, images[0].reshape(12, 8, 3), images[1].reshape(4, 24, 3)])


def batches(count, size):
    return [np.arange(i, min(i + size, count)) for i in range(0, count, size)]


@pytest.mark.parametrize("network", [MeanBackbone, LateBackbone])
def test_every_image_gets_its_own_features_whatever_its_bytes(source, network):
    found = list(embed(fake_embedder(network()), source, batches(10, 10), workers=2))
    alone = list(embed(fake_embedder(network()), source, batches(10, 1), workers=1))
    for name in ("mean", "spread"):
        together = np.concatenate([batch.features[name] for batch in found])
        np.testing.assert_array_equal(
            together, np.concatenate([batch.features[name] for batch in alone])
        )
        assert len(np.unique(together, axis=0)) == 10
    assert [row for batch in alone for row in batch.rows.tolist()] == [*range(10)]


def test_two_networks_take_turns_and_each_row_ends_once(source):
    late, plain = LateBackbone(), MeanBackbone()
    consumers = [Consumer(fake_embedder(late, size=24)), Consumer(fake_embedder(plain))]
    both = ((rows, np.full(len(rows), 3, np.uint32)) for rows in batches(10, 4))
    decoder = open_decoder(source, workers=2, kind="threads")
    seconds = consumers[0].seconds
    found = list(infer(decoder, consumers, both, largest=4, seconds=seconds))
    assert [consumer for consumer, _, _ in found] == [0, 1, 0, 1, 0, 1]
    assert [finished for _, _, finished in found] == [0, 4, 0, 4, 0, 2]
    assert (late.batches, plain.batches) == ([4, 4, 2], [4, 4, 2])
    assert [consumer.computed for consumer in consumers] == [10, 10]


def test_whoever_stops_early_ends_the_workers(source, monkeypatch):
    from bottleneck.decode.workers import ThreadDecoder

    closed = []
    close = ThreadDecoder.close
    monkeypatch.setattr(ThreadDecoder, "close", lambda self: closed.append(self) or close(self))
    found = embed(fake_embedder(), source, batches(10, 2), workers=2)
    assert len(next(found).rows) == 2
    assert closed == []
    found.close()
    assert len(set(closed)) == 1
    assert list(embed(fake_embedder(), source, [], workers=2)) == []


def test_extract_does_not_copy_features_of_equal_bytes_in_another_shape(source, run):
    result = run(source, embedder=fake_embedder())
    assert (result.ok, result.copied, result.computed) == (10, 0, 10)


def test_a_digest_is_of_the_picture(rng):
    pixels = rng.integers(0, 256, (6, 4), np.uint8)
    same = [pixels, pixels[..., None], np.asfortranarray(pixels), pixels.copy()]
    others = [pixels.reshape(4, 6), pixels.reshape(2, 4, 3), pixels.view(np.uint16), pixels.T]
    digests = {image_digest(image).tobytes() for image in same}
    assert len(digests) == 1
    assert len(digests | {image_digest(image).tobytes() for image in others}) == 5
    assert image_digest(pixels.ravel()).shape == (16,)  # no picture: refused where it is drawn
