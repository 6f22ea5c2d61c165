"""A JPEG's segments: found one behind the other, whatever lies between and behind them."""

import io

import numpy as np
import pytest
from jpegs import PLAIN, files, jpeg, picture
from PIL import Image

from bottleneck.images import Geometry, decode, read_plain_jpeg
from bottleneck.images.jpeg import END, SCAN, segments

FILES = files()
QUANTISATION, HUFFMAN, BASELINE, PROGRESSIVE, RESTARTS = 0xDB, 0xC4, 0xC0, 0xC2, 0xDD


def joined(data):
    """Put a file together again from its segments."""
    parts = [data[one.start - 4 : one.following] for one in segments(data) if one.marker != END]
    return b"".join([data[:2], *parts])


def bodies(data):
    return [(one.marker, data[one.start : one.end]) for one in segments(data)]


@pytest.mark.parametrize("name", PLAIN)
def test_segments_are_the_whole_file(name):
    data = FILES[name]
    *others, last = segments(data)
    assert last.marker == END
    end = last.end
    assert joined(data) + b"\xff\xd9" == data[:end]
    assert data[end:] == (b"" if name != "tail" else b"what a camera leaves behind")
    assert [one.end for one in others if one.marker != SCAN] == [
        one.following for one in others if one.marker != SCAN
    ]


def test_what_pillow_wrote_is_found():
    kinds = {name: [one.marker for one in segments(FILES[name])] for name in PLAIN}
    assert all(found[-2:] == [SCAN, END] for found in kinds.values())
    assert kinds["baseline"].count(SCAN) == 1
    assert kinds["progressive"].count(SCAN) == FILES["progressive"].count(b"\xff\xda") > 5
    assert BASELINE in kinds["baseline"]
    assert PROGRESSIVE in kinds["progressive"]
    assert RESTARTS in kinds["restarts"]
    assert b"\xff\xd0" in FILES["restarts"]  # within the scan, which does not end there
    size = next(one for one in segments(FILES["odd"]) if one.marker == BASELINE)
    body = FILES["odd"][size.start : size.end]
    assert (int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")) == (61, 43)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("at", ["head", "scan", "end"])
def test_fillings_are_passed_over(name, at):
    data = FILES[name]
    places = {one.marker: one.start for one in segments(data)}
    place = {"head": places[HUFFMAN] - 4, "scan": places[SCAN] - 4, "end": places[END] - 2}[at]
    filled = data[:place] + b"\xff" * 3 + data[place:]
    assert bodies(filled) == bodies(data)
    assert read_plain_jpeg(filled) == read_plain_jpeg(data)
    np.testing.assert_array_equal(decode(filled, Geometry(16)), decode(data, Geometry(16)))


@pytest.mark.parametrize("name", PLAIN)
def test_a_file_that_is_cut_has_no_end(name):
    data = FILES[name]
    whole = list(segments(data))
    for stop in range(2, whole[-1].end, 13):
        found = list(segments(data[:stop]))
        assert END not in [one.marker for one in found]
        assert [one[:3] for one in found] == [one[:3] for one in whole[: len(found)]]


def test_something_else_between_segments_ends_them():
    data = FILES["baseline"]
    place = next(one.start for one in segments(data) if one.marker == HUFFMAN) - 4
    found = list(segments(data[:place] + b"\0" + data[place:]))
    assert found == [one for one in segments(data) if one.start < place]


def test_a_whole_scan_is_found_behind_filled_tables():
    """The check of a file without an end makes their steps coarse, also behind fillings."""
    data = jpeg(picture(48, 40))
    place = data.index(bytes([0xFF, QUANTISATION]))
    for filled in (data, data[:place] + b"\xff" + data[place:]):
        bare = filled[:-2]
        with pytest.raises(OSError, match="truncated"):
            Image.open(io.BytesIO(bare)).load()
        np.testing.assert_array_equal(decode(bare, Geometry(16)), decode(data, Geometry(16)))
