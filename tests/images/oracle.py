"""Compare the pixels decoded here with those of other decoders: libvips, OpenCV, ImageMagick.

    python tests/images/oracle.py FOLDER... [--list]

Every file below the folders is decoded at its full size by this package and by each decoder that
is there (``pip install 'pyvips[binary]' opencv-python-headless``, ``apt install imagemagick``).
A file is *equal* when one of them agrees, *refused* when this package names a reason, *alone*
when no other reads it, and *different* otherwise. ``differences.csv`` beside this file explains
the known ones; any other of the last two kinds ends with exit code 1.

What was compared last: Pillow's own test images (``pip download --no-deps --no-binary :all:
pillow==13.0.0``), the stamps of tuxpaint (``apt download tuxpaint-stamps-default``), the images
packaged with scikit-image and scikit-learn.
"""

import argparse
import csv
import fnmatch
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ImageError
from bottleneck.images import Geometry, decode

Pixels = NDArray[np.uint8]
MAGICK = shutil.which("magick") or shutil.which("convert-im6.q16")
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
KNOWN = Path(__file__).with_name("differences.csv")


class Unread(Exception):
    """The other decoder does not read the file."""


def over_white(samples: NDArray[np.float64], colours: int) -> Pixels:
    """Grey, grey and alpha, RGB or RGBA of 0 to 255, as RGB."""
    colour = samples[:, :, :colours]
    if samples.shape[2] > colours:
        alpha = samples[:, :, colours : colours + 1] / 255
        colour = colour * alpha + 255 * (1 - alpha)
    rgb = np.repeat(colour, 3, axis=2) if colours == 1 else colour
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def by_vips(data: bytes) -> Pixels:
    import pyvips

    try:
        image = pyvips.Image.new_from_buffer(data, "", fail_on="truncated").autorot()
        samples = image.numpy()
    except pyvips.Error as error:
        raise Unread(str(error).strip().splitlines()[0]) from error
    samples = samples.reshape(image.height, image.width, image.bands)
    loader, kind = image.get("vips-loader"), image.interpretation
    if "svg" in loader or "pdf" in loader:
        raise Unread("a drawing, not a picture")
    top = {"uint8": 255, "uint16": 65535, "float32": 1, "float64": 1}.get(samples.dtype.name)
    if top is None or kind not in ("srgb", "b-w", "cmyk", "rgb16", "grey16", "multiband", "rgb"):
        raise Unread(f"{samples.dtype.name} {kind}")
    scaled = samples.astype(np.float64) * 255 / top
    if kind == "cmyk":
        return over_white((255 - scaled[:, :, :3]) * (255 - scaled[:, :, 3:4]) / 255, 3)
    return over_white(scaled, 1 if samples.shape[2] < 3 else 3)


def by_opencv(data: bytes) -> Pixels:
    import cv2

    encoded = np.frombuffer(data, np.uint8)
    flags = cv2.IMREAD_COLOR if data.startswith(b"\xff\xd8") else cv2.IMREAD_UNCHANGED
    try:
        samples = cv2.imdecode(encoded, flags)
    except cv2.error as error:
        raise Unread(str(error).strip()) from error
    if samples is None:
        raise Unread("not decoded")
    samples = samples if samples.ndim == 3 else samples[:, :, None]
    top = {"uint8": 255, "uint16": 65535, "float32": 1}.get(samples.dtype.name)
    if top is None:
        raise Unread(samples.dtype.name)
    if samples.shape[2] >= 3:
        samples = samples[:, :, [2, 1, 0, 3][: samples.shape[2]]]
    return over_white(samples.astype(np.float64) * 255 / top, 1 if samples.shape[2] < 3 else 3)


def by_magick(data: bytes, suffix: str, frame: int) -> Pixels:
    # Some formats have no signature, hence the suffix; the header of PAM tells the size.
    source = f"{suffix}:-[{frame}]" if suffix else f"-[{frame}]"
    command = [str(MAGICK), source, "-auto-orient", "-depth", "8", "pam:-"]
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=False)
    header, found, body = done.stdout.partition(b"ENDHDR\n")
    if done.returncode or not found:
        raise Unread(done.stderr.decode(errors="replace").strip().split("\n")[0][:100])
    fields = dict(line.split(b" ", 1) for line in header.splitlines() if b" " in line)
    height, width, depth = (int(fields[name]) for name in (b"HEIGHT", b"WIDTH", b"DEPTH"))
    samples = np.frombuffer(body, np.uint8)[: height * width * depth].reshape(height, width, depth)
    if b"CMYK" in fields[b"TUPLTYPE"]:
        ink = samples[:, :, :4].astype(np.float64)
        return over_white((255 - ink[:, :, :3]) * (255 - ink[:, :, 3:]) / 255, 3)
    return over_white(samples.astype(np.float64), 1 if depth < 3 else 3)


def readers(path: Path) -> Iterator[tuple[str, Callable[[bytes], Pixels]]]:
    """Every other way to the pixels; icons hold several pictures, of which one may be ours."""
    yield "libvips", by_vips
    if find_spec("cv2"):  # 160 MB, which the environment of the tests goes without
        yield "OpenCV", by_opencv
    kind = path.suffix[1:].lower()
    for suffix in dict.fromkeys(["", kind]) if MAGICK else ():
        for frame in range(9 if kind in ("ico", "cur") else 1):
            yield "ImageMagick", lambda data, s=suffix, f=frame: by_magick(data, s, f)
    stems = path.stem.split("_")
    for i in range(len(stems), 0, -1):
        beside = path.with_name("_".join(stems[:i]) + ".png")
        if beside.is_file() and beside != path:
            yield "the PNG it was made from", lambda data, p=beside: by_vips(p.read_bytes())
            return


def decode_whole(data: bytes, width: int, height: int) -> Pixels:
    """Decode at full size: ``pad`` at the long side changes nothing and adds a border."""
    side = max(width, height)
    square = decode(data, Geometry(side, "pad"))
    left, top = (side - width) // 2, (side - height) // 2
    return square[top : top + height, left : left + width]


@dataclass(frozen=True)
class Verdict:
    """What came of one file."""

    path: Path
    outcome: str
    by: str = ""
    largest: int = 0
    mean: float = 0.0
    note: str = ""


def agrees(path: Path, gap: NDArray[np.int16]) -> bool:
    """Tell whether the differences are those of rounding, or of chroma brought to full size."""
    lossy = path.suffix.lower() in (
        ".jpg",
        ".jpeg",
        ".mpo",
        ".jp2",
        ".webp",
        ".avif",
        ".tif",
        ".tiff",
    )
    return gap.max() <= 2 or (lossy and gap.mean() <= 0.5 and np.quantile(gap, 0.99) <= 4)


def judge(path: Path) -> Verdict:
    """Compare one file."""
    data = path.read_bytes()
    try:
        decode(data, Geometry(8, "squash"))
    except ImageError as error:
        return Verdict(path, "refused", note=f"{error.reason.name}: {error}")
    seen: list[Verdict] = []
    notes = []
    for name, read in readers(path):
        try:
            other = read(data)
        except Unread as error:
            notes.append(f"{name}: {error}")
            continue
        height, width = other.shape[:2]
        gap = np.abs(decode_whole(data, width, height).astype(np.int16) - other)
        outcome = "equal" if agrees(path, gap) else "different"
        verdict = Verdict(path, outcome, name, int(gap.max()), float(gap.mean()))
        if outcome == "equal":
            return verdict
        seen.append(verdict)
    if not seen:
        return Verdict(path, "alone", note="; ".join(notes))
    return min(seen, key=lambda verdict: verdict.mean)


def known(path: Path) -> str:
    with KNOWN.open(newline="") as table:
        for row in csv.DictReader(table):
            if fnmatch.fnmatch(str(path), f"*/{row['file']}"):
                return row["reason"]
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="+", type=Path)
    parser.add_argument("--list", action="store_true", help="name refused files too")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    unexplained = 0
    for folder in options.folder:
        for path in sorted(folder.rglob("*")):
            if not path.is_file():
                continue
            verdict = judge(path)
            reason = known(path) if verdict.outcome in ("different", "alone") else ""
            outcome = f"{verdict.outcome}, explained" if reason else verdict.outcome
            counts[f"{outcome} {verdict.by}".strip()] += 1
            unexplained += outcome in ("different", "alone")
            if outcome not in ("equal", "refused") or (options.list and outcome == "refused"):
                print(
                    f"{outcome}\t{path}\t{verdict.by}\tlargest {verdict.largest}"
                    f"\tmean {verdict.mean:.2f}\t{reason or verdict.note}",
                    flush=True,
                )
    print(dict(sorted(counts.items())))
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
