import numpy as np
import pytest

from bottleneck.errors import ImageError
from bottleneck.images import Geometry, decode, from_pixels
from bottleneck.status import RowStatus

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("rule", ["crop", "squash", "pad"])
@pytest.mark.parametrize("shape", [(31, 45), (31, 45, 3), (31, 45, 4)])
def test_equals_decoding_the_same_pixels_from_a_file(encode, rule, shape):
    pixels = RNG.integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(
        from_pixels(pixels, Geometry(24, rule)), decode(encode(pixels), Geometry(24, rule))
    )


def test_one_channel_is_grey(encode):
    pixels = RNG.integers(0, 256, (31, 45, 1), np.uint8)
    np.testing.assert_array_equal(
        from_pixels(pixels, Geometry(24)), from_pixels(pixels[:, :, 0], Geometry(24))
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_sixteen_bit_is_scaled(channels, order):
    pixels = RNG.integers(0, 65536, (16, 16, channels)).astype(order)
    expected = np.broadcast_to(np.rint(pixels.astype(float) * 255 / 65535), (16, 16, 3))
    np.testing.assert_array_equal(from_pixels(pixels, Geometry(16, "squash")), expected)


def test_sixteen_bit_alpha_lies_over_white():
    pixels = np.array([[[65535, 0, 257 * 100, 257 * 51]]], np.uint16)
    np.testing.assert_array_equal(from_pixels(pixels, Geometry(1, "squash")), [[[255, 204, 224]]])


def test_any_memory_layout(noise):
    flipped = np.asfortranarray(noise)[:, ::-1]
    np.testing.assert_array_equal(
        from_pixels(flipped, Geometry(24)), from_pixels(flipped.copy(order="C"), Geometry(24))
    )


def test_does_not_change_its_argument(noise):
    before = noise.copy()
    result = from_pixels(noise, Geometry(noise.shape[0], "squash"))
    result[:] = 0
    np.testing.assert_array_equal(noise, before)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.int16),
        np.zeros((4, 4), bool),
    ],
)
def test_other_shapes_and_dtypes_are_unsupported(pixels):
    with pytest.raises(ImageError, match="expected uint8 or uint16") as caught:
        from_pixels(pixels, Geometry(8))
    assert caught.value.reason is RowStatus.UNSUPPORTED
    assert str(pixels.shape) in str(caught.value)


def test_no_pixels_are_empty_and_too_many_too_large():
    with pytest.raises(ImageError) as caught:
        from_pixels(np.zeros((0, 4, 3), np.uint8), Geometry(8))
    assert caught.value.reason is RowStatus.EMPTY
    with pytest.raises(ImageError) as caught:
        from_pixels(np.zeros((5, 5), np.uint8), Geometry(8), max_pixels=24)
    assert caught.value.reason is RowStatus.TOO_LARGE
