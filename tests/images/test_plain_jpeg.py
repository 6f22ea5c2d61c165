"""Which files other decoders get: told without decoding, and never one that Pillow refuses."""

from collections import Counter

import numpy as np
import pytest
from jpegs import PLAIN, files, jpeg, picture

from bottleneck.errors import ImageError
from bottleneck.images import Geometry, PlainJpeg, decode, read_plain_jpeg
from bottleneck.status import RowStatus

FILES = files()


@pytest.mark.parametrize("name", FILES)
def test_only_plain_jpegs_are_handed_on(name):
    assert (read_plain_jpeg(FILES[name]) is not None) == (name in PLAIN)


def test_size_and_orientation_are_the_headers():
    assert read_plain_jpeg(FILES["turned"]) == PlainJpeg(90, 70, 6)
    assert read_plain_jpeg(FILES["odd"]) == PlainJpeg(61, 43, 1)


@pytest.mark.parametrize("orientation", [0, 9, 70])
def test_an_orientation_that_is_none_is_no_orientation(orientation):
    plain = read_plain_jpeg(jpeg(picture(40, 30), orientation=orientation))
    assert plain == PlainJpeg(40, 30, 1)


def test_a_limit_of_pixels_holds():
    assert read_plain_jpeg(FILES["baseline"], max_pixels=90 * 70) is not None
    assert read_plain_jpeg(FILES["baseline"], max_pixels=90 * 70 - 1) is None


def test_no_cut_of_a_plain_jpeg_is_plain():
    for name in ("baseline", "progressive", "restarts"):
        data = FILES[name]
        for end in range(0, len(data) - 1, 7):
            assert read_plain_jpeg(data[:end]) is None


def test_an_end_within_a_segment_is_none():
    # A thumbnail in the metadata ends like a picture.
    data = FILES["baseline"]
    small = b"Exif\0\0" + FILES["odd"]
    segment = b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small
    with_thumbnail = data[:2] + segment + data[2:]
    assert read_plain_jpeg(with_thumbnail) == PlainJpeg(90, 70, 1)
    assert read_plain_jpeg(with_thumbnail[:-300]) is None


def test_a_file_that_ends_early_is_never_handed_on():
    """Other decoders may fill what is missing with grey. What only decoding finds they find too."""
    rng = np.random.default_rng(0)
    handed = 0
    reasons = Counter()
    for i in range(600):
        data = bytearray(FILES[PLAIN[i % len(PLAIN)]])
        for at in rng.integers(2, len(data), rng.integers(1, 4)):
            data[at] = rng.integers(256)
        if rng.random() < 0.2:
            del data[int(rng.integers(2, len(data))) :]
        plain = read_plain_jpeg(bytes(data))
        handed += plain is not None
        try:
            decode(bytes(data), Geometry(16))
        except ImageError as error:
            reasons[error.reason, plain is not None] += 1
    assert handed > 200
    assert reasons[RowStatus.TRUNCATED, False] > 50
    assert {reason for reason, of_plain in reasons if of_plain} == {RowStatus.UNREADABLE}
