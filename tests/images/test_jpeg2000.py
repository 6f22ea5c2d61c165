"""JPEG 2000 of every depth; the files were written by OpenJPEG's own program (opj_compress)."""

from pathlib import Path

import numpy as np
import pytest

from bottleneck.errors import ImageError
from bottleneck.images import Geometry, decode
from bottleneck.status import RowStatus

SIDE = 8
AS_IS = Geometry(SIDE, "squash")
FILES = sorted((Path(__file__).parent / "jpeg2000").glob("*.jp2"))


def samples(depth):
    """What was written: ramps from black to white in every direction, and an alpha."""
    top = 2**depth - 1
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    ramps = [(8 * x + y) * top // 63, (8 * y + x) * top // 63, top - (8 * x + y) * top // 63]
    return np.dstack([*ramps, np.where(x + y < 10, top, x * top // 7)]) / top


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_deep_colours_have_their_values(path):
    name = path.stem.split("-")[0]
    unit = samples(int(name.lstrip("rgba")))
    value = 255 * unit[:, :, :3]
    if "rgba" in name:
        value = value * unit[:, :, 3:] + 255 * (1 - unit[:, :, 3:])
    # As other colours of 16 bits, these keep their upper byte.
    np.testing.assert_allclose(decode(path.read_bytes(), AS_IS), value, atol=1.5)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_cut_deep_file_is_truncated(path):
    data = path.read_bytes()
    for cut in range(1, len(data) - 60, 13):
        with pytest.raises(ImageError) as caught:
            decode(data[:-cut], AS_IS)
        assert caught.value.reason is RowStatus.TRUNCATED


def test_components_of_fewer_samples_are_refused(encode, noise):
    data = bytearray(encode(noise, "JPEG2000"))
    start = data.index(b"\xff\x4f\xff\x51")
    data[start + 46 : start + 48] = b"\2\2"
    with pytest.raises(ImageError, match="fewer samples") as caught:
        decode(bytes(data), AS_IS)
    assert caught.value.reason is RowStatus.UNSUPPORTED


@pytest.mark.parametrize("depth", [9, 12, 17])
def test_components_of_other_depths_and_signs_are_refused(encode, noise, depth):
    data = bytearray(encode(noise, "JPEG2000"))
    start = data.index(b"\xff\x4f\xff\x51")
    data[start + 45] = depth - 1
    with pytest.raises(ImageError, match="different depths"):
        decode(bytes(data), AS_IS)
    data[start + 42 : start + 51 : 3] = bytes([128 + depth - 1]) * 3
    with pytest.raises(ImageError, match="signed"):
        decode(bytes(data), AS_IS)


def test_components_of_different_transforms_are_refused():
    data = next(path for path in FILES if path.stem == "rgb16").read_bytes()
    at = data.index(b"\xff\x52")
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    # The style of component 1: as that of all, but for the transform, which is the last byte.
    style = data[at + 9 : at + 13] + b"\0"
    segment = b"\xff\x53" + (4 + len(style)).to_bytes(2, "big") + b"\1\0" + style
    with pytest.raises(ImageError, match="several transforms") as caught:
        decode(data[:end] + segment + data[end:], AS_IS)
    assert caught.value.reason is RowStatus.UNSUPPORTED
