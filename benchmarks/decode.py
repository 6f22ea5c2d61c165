"""What a JPEG costs a core from bytes to 224 x 224 pixels, and what other ways would give.

    python benchmarks/decode.py [--images N] [--large N] [--runs K] [--size 224]

Every way has the same files and takes turns with the others, one thread each. Printed are medians
of the CPU time per image, which other work on the machine disturbs less, and how far its pixels are
from those of a full decoding with one bicubic resize of the whole picture by Pillow: the mean, the
most (of 0 to 255), and the share that differ. ``torch``, ``cv2``, ``pyvips``, ``simplejpeg`` and
``nvidia.nvimgcodec`` take part where they are installed.
"""

import argparse
import io
import os
import statistics
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from photographs import write_jpegs
from PIL import Image

from bottleneck.images import EncodedJpeg, Geometry, PlainJpeg, decode, from_pixels
from bottleneck.images.decoders.drawing import Drawer

BICUBIC = Image.Resampling.BICUBIC
DECODING = "full decoding alone"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=24, help="of 500x375")
    parser.add_argument("--large", type=int, default=6, help="of 4000x3000")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    os.environ["VIPS_CONCURRENCY"] = "1"
    given = Geometry(options.size)
    ways = dict(pillow_ways(given)) | dict(other_ways(given))
    with tempfile.TemporaryDirectory() as folder:
        for count, (width, height) in (
            (options.images, (500, 375)),
            (options.large, (4000, 3000)),
        ):
            if count:
                place = Path(folder) / f"{width}x{height}"
                write_jpegs(place, count, width, height)
                files = [path.read_bytes() for path in sorted(place.rglob("*.jpg"))]
                compare(f"{width}x{height}", files, ways, options.runs)


def compare(name, files, ways, runs):
    exact = [ways["full decoding, whole resize"](file).astype(np.float32) for file in files]
    spent = {way: [] for way in ways}
    apart = {}
    for way, draw in ways.items():  # also the first call, which loads a library
        off = [np.abs(draw(file) - one) for file, one in zip(files, exact, strict=True)]
        apart[way] = (
            float(np.mean(off)),
            float(np.max(off)),
            100 * np.count_nonzero(off) / np.size(off),
        )
    for _ in range(runs):
        for way, draw in ways.items():
            started = time.process_time()
            for file in files:
                draw(file)
            spent[way].append(1e3 * (time.process_time() - started) / len(files))
    size = sum(map(len, files)) / len(files) / 1024
    print(f"{name}, {len(files)} files of {size:.0f} KiB, medians of {runs}")
    for way, took in spent.items():
        mean, most, share = apart[way]
        off = f", {mean:5.3f} apart, at most {most:3.0f}, {share:4.1f}% differ"
        off = "" if way == DECODING else off
        print(f"  {way:48} {statistics.median(took):7.2f} ms of CPU{off}")


def pillow_ways(given):
    """What Pillow itself can do."""

    def opened(file, scale=0):
        image = Image.open(io.BytesIO(file))
        if scale:
            drawn = given.place(*image.size).drawn
            image.draft(None, tuple(scale * side for side in drawn))
        return image

    def whole(image, gap=None):
        place = given.place(*image.size)
        return np.asarray(image.resize(place.drawn, BICUBIC, reducing_gap=gap).crop(place.window))

    def window(image, gap=None):
        place = given.place(*image.size)
        left, top, right, bottom = place.window
        across, down = image.width / place.drawn[0], image.height / place.drawn[1]
        box = (left * across, top * down, right * across, bottom * down)
        drawn = (right - left, bottom - top)
        return np.asarray(image.resize(drawn, BICUBIC, box, reducing_gap=gap))

    def reduced(image):
        place = given.place(*image.size)
        factor = min(image.width // place.drawn[0], image.height // place.drawn[1])
        return window(image.reduce(factor)) if factor > 1 else window(image)

    yield "full decoding, whole resize", lambda file: whole(opened(file))
    yield "full decoding, resize of what is kept", lambda file: window(opened(file))
    yield "this project: --decoder pillow", lambda file: decode(file, given)
    yield "reduced decoding of at least the drawn size", lambda file: window(opened(file, 1))
    yield "reduced by 2, 3, ... after full decoding", lambda file: reduced(opened(file))
    yield "reducing_gap 2 after reduced decoding", lambda file: window(opened(file, 2), 2.0)

    def decoded(file):
        opened(file).load()
        return np.zeros(given.shape, np.uint8)

    yield DECODING, decoded


def other_ways(given):
    """What other libraries can do; each leaves out what is not installed."""
    if find_spec("simplejpeg") is not None:
        import simplejpeg

        for factor in (1.0, 1.5, 2.0):

            def scaled(file, factor=factor):
                height, width, *_ = simplejpeg.decode_jpeg_header(file)
                across, down = given.place(width, height).drawn
                pixels = simplejpeg.decode_jpeg(
                    file, "RGB", min_height=int(factor * down), min_width=int(factor * across),
                    min_factor=1,
                )  # fmt: skip
                return from_pixels(pixels, given)

            yield f"simplejpeg, n/8 of at least {factor:g}, Pillow's resize", scaled
    if find_spec("cv2") is not None:
        import cv2

        cv2.setNumThreads(1)
        for name, kind in (("AREA", cv2.INTER_AREA), ("CUBIC", cv2.INTER_CUBIC)):

            def resized(file, kind=kind):
                pixels = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)
                place = given.place(pixels.shape[1], pixels.shape[0])
                left, top, right, bottom = place.window
                drawn = cv2.resize(pixels, place.drawn, interpolation=kind)
                return drawn[top:bottom, left:right, ::-1]

            yield f"OpenCV, INTER_{name}", resized
    if find_spec("pyvips") is not None:
        import pyvips

        def thumbnail(file):
            image = pyvips.Image.new_from_buffer(file, "")
            place = given.place(image.width, image.height)
            left, top, right, bottom = place.window
            drawn = pyvips.Image.thumbnail_buffer(
                file, place.drawn[0], height=place.drawn[1], size="force"
            )
            return drawn.crop(left, top, right - left, bottom - top).numpy()

        yield "libvips, thumbnail", thumbnail
    if find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)

        def eight_bits(file):
            image = Image.open(io.BytesIO(file))
            place = given.place(*image.size)
            left, top, right, bottom = place.window
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
            drawn = torch.nn.functional.interpolate(
                pixels, place.drawn[::-1], mode="bicubic", antialias=True
            )
            return drawn[0, :, top:bottom, left:right].permute(1, 2, 0).numpy()

        yield "Pillow's full decoding, PyTorch's uint8 resize", eight_bits
        for name in ("torchvision", "nvimgcodec"):
            with suppress(ImportError, RuntimeError, OSError):
                yield f"--decoder {name}, on the CPU", other_decoder(given, name)


def other_decoder(given, name):
    from bottleneck.images.decoders.registry import opener

    module = opener(name)
    if module.missing():
        raise RuntimeError(module.missing())
    drawer = Drawer(module.open_decoder("cpu"), "cpu")

    def draw(file):
        found = np.empty((1, *given.shape), np.uint8)
        size = Image.open(io.BytesIO(file)).size
        jpeg = EncodedJpeg(np.frombuffer(bytearray(file), np.uint8), PlainJpeg(*size, 1))
        assert drawer.draw([jpeg], [(given, found)], np.zeros(1, np.int64)).all()
        return found[0]

    return draw


if __name__ == "__main__":
    main()
