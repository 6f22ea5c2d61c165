"""Photographs the page of a comparison for the docs: ``python docs/make_pictures.py PAGE.html``.

The page of ``make compare`` is what they show. Needs Chromium; the pictures are in docs/pictures.
"""

import base64
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browser import Browser, find_chromium  # noqa: E402  # the driver of the tests

SHOTS = {
    "take": ("header", "#board", False),
    "wrong": ("#images", None, True),
    "map": ("#map", None, False),
}
"""From which element to which, and whether on a dark screen."""

WIDTH, MOST = 1100, 900
"""Of the screen; pixels that a picture is high at most."""


def main(page: Path) -> None:
    folder = ROOT / "docs/pictures"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(find_chromium(), profile)
        try:
            for name, (first, last, dark) in SHOTS.items():
                browser.open(page, width=WIDTH, height=900, dark=dark)
                image = photograph(browser, first, last or first)
                small = image.quantize(128, dither=Image.Dither.NONE)
                small.save(folder / f"{name}.png", optimize=True)
                print(name, small.size, (folder / f"{name}.png").stat().st_size)
        finally:
            browser.close()


def photograph(browser: Browser, first: str, last: str) -> Image.Image:
    top, bottom = browser.run(
        f"[document.querySelector('{first}').getBoundingClientRect().top + scrollY - 12,"
        f" document.querySelector('{last}').getBoundingClientRect().bottom + scrollY + 12]"
    )
    clip = {"x": 0, "y": top, "width": WIDTH, "height": min(bottom - top, MOST), "scale": 1}
    shot = browser._call(
        "Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip
    )
    return Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
