"""Which files hold more pages or frames than the first, held against what Pillow counts."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from bottleneck.images import has_more_frames


def written(kind, count, **options):
    frames = [Image.fromarray(np.full((16, 16, 3), 40 * i, np.uint8)) for i in range(count)]
    buffer = io.BytesIO()
    more = {"save_all": True, "append_images": frames[1:]} if count > 1 else {}
    frames[0].save(buffer, kind, **more, **options)
    data = buffer.getvalue()
    assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == count
    return data


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("GIF", {}),
        ("GIF", {"comment": b"text" * 200, "loop": 0}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True, "exif": b"Exif\0\0" + bytes(99)}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw", "big_tiff": True}),
        ("AVIF", {}),
    ],
)
@pytest.mark.parametrize("count", [1, 2, 4])
def test_pages_and_frames_are_what_pillow_counts(kind, options, count):
    data = written(kind, count, **options)
    assert has_more_frames(data) == (count > 1)
    for cut in range(0, len(data), 7):
        assert has_more_frames(data[:cut]) <= (count > 1)


@pytest.mark.parametrize("order", "<>")
def test_thumbnails_and_masks_of_tiff_are_no_pages(order):
    def directory(subfile, behind):
        entry = struct.pack(f"{order}HHII", 254, 4, 1, subfile)
        return struct.pack(f"{order}H", 1) + entry + struct.pack(f"{order}I", behind)

    def tiff(*subfiles):
        places = [8 + 18 * i for i in range(1, len(subfiles))] + [0]
        head = b"II*\0" if order == "<" else b"MM\0*"
        pages = (directory(*one) for one in zip(subfiles, places, strict=True))
        return head + struct.pack(f"{order}I", 8) + b"".join(pages)

    assert not has_more_frames(tiff(0))
    assert not has_more_frames(tiff(0, 1, 4))  # a thumbnail and a mask
    assert has_more_frames(tiff(0, 1, 2))  # a page
    assert not has_more_frames(tiff(0, 1)[:-4] + struct.pack(f"{order}I", 8))  # a circle


def test_what_is_not_another_picture_does_not_count():
    icon = io.BytesIO()
    Image.new("RGB", (64, 64)).save(icon, "ICO", sizes=[(16, 16), (32, 32)])
    for data in (b"", b"GIF89a", b"text", icon.getvalue(), written("JPEG", 1), written("BMP", 1)):
        assert not has_more_frames(data)
