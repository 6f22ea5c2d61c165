"""The page: one HTML file that needs no network, no server and no other file.

Everything it shows is in one JSON block; the script builds the page from it with text nodes
only, so that no file name or label can be markup. The policy in its head allows the one style
and the one script by their hashes, pictures that are part of the page, those that it speaks of
where they lie on this disk, and nothing else.
"""

import base64
import hashlib
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.comparison.packing import Shown, mentioned, pack, show
from bottleneck.errors import BottleneckError
from bottleneck.images import Geometry, decode, from_pixels
from bottleneck.sources import AS_FOUND, Choice, Source, locate, open_source
from bottleneck.writing import write_text

if TYPE_CHECKING:
    from bottleneck.comparison.study import Comparison

SCRIPTS = (
    "base.js", "charts.js", "pictures.js", "leaderboard.js", "classes.js", "images.js", "map.js",
    "main.js",
)  # fmt: skip
"""In the order they are put together."""

MOST_BYTES = 9_500_000
"""Of a page."""

_PREVIEW_BYTES, _PREVIEWS = 2_000_000, 150
_THUMBNAILS = 4000


SIDE = 64
"""Pixels of a thumbnail."""

LARGE_SIDE = 320
"""Pixels of a picture that is looked at alone."""

_COLUMNS = 20
_PER_SHEET = 400
"""So that a sheet is decoded in some milliseconds, and only those that are looked at."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images of a comparison, as far as they can be read.

    Parameters
    ----------
    source : Source or None
        None where they cannot.
    rows : mapping of int to int
        Row in the source of an image, by its position.
    note : str
        Why none can be read, else empty.
    """

    source: Source | None
    rows: Mapping[int, int]
    note: str

    def read(self, image: int, side: int) -> NDArray[np.uint8] | None:
        """Return an image in a square, uint8[side, side, 3]; None if it cannot be read."""
        if self.source is None or image not in self.rows:
            return None
        geometry = Geometry(size=side, resize="pad")
        try:
            found = self.source.read(self.rows[image])
            if isinstance(found, bytes):
                return decode(found, geometry)
            return from_pixels(found, geometry)
        except BottleneckError:
            return None

    def locations(self, images: Iterable[int]) -> list[str | None]:
        """Return where images can be opened from; None for those inside of a file."""
        if self.source is None:
            return [None for _ in images]
        find = locate(self.source)
        return [find(self.rows[image]) if image in self.rows else None for image in images]


def open_pictures(
    sources: Sequence[str], keys: Mapping[str, int], choice: Choice = AS_FOUND
) -> Pictures:
    """Find images by their keys.

    Parameters
    ----------
    sources : sequence of str
        Folders, tables, files as for extraction.
    keys : mapping of str to int
        Position of each image, by its key.
    choice : Choice
        Where paths and labels were looked for.
    """
    if not sources:
        return Pictures(None, {}, "it is not known where the images are: say --images SOURCE")
    try:
        source = open_source(list(sources), choice=choice)
    except BottleneckError as error:
        return Pictures(None, {}, f"the images cannot be listed: {error.message}")
    rows = {keys[key]: row for row, key in enumerate(source.manifest.keys) if key in keys}
    if not rows:
        where = ", ".join(sources)
        return Pictures(None, {}, f"none of the {len(keys)} images wanted is in {where}")
    return Pictures(source, rows, "")


@dataclass(frozen=True, eq=False)
class Sheets:
    """Thumbnails side by side in a few images.

    Parameters
    ----------
    uris : list of str
        Each sheet as a ``data:`` address.
    places : dict of int to int
        Place of each image that has one, over all sheets.
    wanted : int
        How many were asked for.
    """

    uris: list[str]
    places: dict[int, int]
    wanted: int

    def to_json(self) -> dict[str, Any]:
        """Return what the page needs to find one."""
        return {"uris": self.uris, "side": SIDE, "columns": _COLUMNS, "per_sheet": _PER_SHEET}


def make_sheets(pictures: Pictures, wanted: Sequence[int], most_bytes: int) -> Sheets:
    """Put thumbnails on sheets, until they have so many bytes.

    An image that cannot be read has no thumbnail; that is no error here.

    Parameters
    ----------
    pictures : Pictures
    wanted : sequence of int
        The most wanted first.
    most_bytes : int
        Of all sheets, as they stand in the page.
    """
    uris: list[str] = []
    places: dict[int, int] = {}
    left, images, tiles = most_bytes, list(wanted), []
    here: list[int] = []
    for at, image in enumerate(images):
        if (tile := pictures.read(image, SIDE)) is not None:
            tiles.append(tile)
            here.append(image)
        if tiles and (len(tiles) == _PER_SHEET or at == len(images) - 1):
            uri = _uri(_sheet(tiles))
            while len(uri) > left and len(tiles) > _COLUMNS:
                del tiles[len(tiles) * 3 // 4 :]
                uri = _uri(_sheet(tiles))
            if len(uri) > left:
                break
            first = len(uris) * _PER_SHEET
            places |= {one: first + i for i, one in enumerate(here[: len(tiles)])}
            uris.append(uri)
            left -= len(uri)
            if len(tiles) < len(here):
                break
            tiles, here = [], []
    return Sheets(uris, places, len(images))


def make_previews(pictures: Pictures, wanted: Sequence[int], most_bytes: int) -> dict[int, str]:
    """Make pictures large enough to look at, of the first images, until they have so many bytes."""
    found: dict[int, str] = {}
    for image in wanted:
        pixels = pictures.read(image, LARGE_SIDE)
        if pixels is None:
            continue
        uri = _uri(pixels)
        most_bytes -= len(uri)
        if most_bytes < 0:
            break
        found[image] = uri
    return found


def _sheet(tiles: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    rows = -(-len(tiles) // _COLUMNS)
    sheet = np.zeros((rows * SIDE, _COLUMNS * SIDE, 3), np.uint8)
    for i, tile in enumerate(tiles):
        y, x = divmod(i, _COLUMNS)
        sheet[y * SIDE : (y + 1) * SIDE, x * SIDE : (x + 1) * SIDE] = tile
    return sheet


def _uri(pixels: NDArray[np.uint8]) -> str:
    return "data:image/webp;base64," + base64.b64encode(as_webp(pixels)).decode("ascii")


def as_webp(pixels: NDArray[np.uint8]) -> bytes:
    """Encode a picture, small."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "WEBP", quality=72, method=4)
    return stream.getvalue()


def write_page(comparison: "Comparison", path: Path) -> dict[str, Any]:
    """Write the page of a comparison.

    Parameters
    ----------
    comparison : Comparison
        What is shown.
    path : Path
        The file.

    Returns
    -------
    dict
        ``bytes``, ``thumbnails`` and ``notes``.
    """
    aligned = comparison.aligned
    shown = show(comparison.document, aligned)
    keys = {aligned.keys[row]: row for row in shown.rows.tolist()}
    pictures = open_pictures(comparison.sources, keys, comparison.choice)
    locations = pictures.locations(shown.rows.tolist())
    document = pack(comparison.document, aligned, shown, locations)
    notes = [f"thumbnails: {pictures.note}"] if pictures.note else []
    thumbnails = 0
    if pictures.source is not None:
        room = MOST_BYTES - len(render(document).encode())
        wanted = mentioned(comparison.document)
        thumbnails, left = _add_pictures(document, shown, pictures, wanted, room)
        if not thumbnails:
            notes.append("thumbnails: no image could be read")
        elif left:
            notes.append(f"thumbnails: {left} images have none, which keeps the page small")
    text = render(document)
    write_text(path, text)
    return {"bytes": len(text.encode()), "thumbnails": thumbnails, "notes": notes}


def _add_pictures(
    document: dict[str, Any],
    shown: Shown,
    pictures: Pictures,
    wanted: list[int],
    room: int,
) -> tuple[int, int]:
    """Put thumbnails of the wanted images, then of others, and larger pictures of a few.

    Returns
    -------
    thumbnails, left : int
        How many images have one, and how many do not.
    """
    previews = make_previews(pictures, wanted[:_PREVIEWS], min(_PREVIEW_BYTES, room // 3))
    room -= sum(map(len, previews.values()))
    order = [*dict.fromkeys([*wanted, *shown.rows.tolist()])][:_THUMBNAILS]
    sheets = make_sheets(pictures, order, room)
    position = shown.positions()
    document["thumbnails"] = {
        **sheets.to_json(),
        "places": {str(position[image]): place for image, place in sheets.places.items()},
    }
    document["previews"] = {str(position[image]): uri for image, uri in previews.items()}
    return len(sheets.places), len(shown.rows) - len(sheets.places)


def render(document: dict[str, Any]) -> str:
    """Put a page together from what :func:`bottleneck.comparison.packing.pack` made."""
    style = _asset("style.css")
    script = "(() => {\n'use strict';\n" + "".join(map(_asset, SCRIPTS)) + "})();\n"
    places = "data: 'self'" if document.get("served") else "data: file:"
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        f"img-src {places}; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "CSP": html.escape(policy),
        "TITLE": html.escape(_title(document)),
        "COMMAND": "bottleneck compare" if document["leaderboard"] else "bottleneck view",
        "STYLE": style,
        "DATA": _embedded(document),
        "SCRIPT": script,
    }
    page = _asset("template.html")
    # One pass over the template: what is put in is never looked through for places.
    pieces = page.split("%")
    return "".join(parts.get(piece, piece) for piece in pieces)


def _title(document: dict[str, Any]) -> str:
    board, features = document["leaderboard"], document["features"]
    if not board:
        return f"{features[0]['name']}: {document['data']['compared']} images"
    taken = board[document["take"]["entry"]]
    return f"Take {features[taken['features']]['name']} with {taken['head']}"


def _embedded(document: dict[str, Any]) -> str:
    """Write JSON that cannot end the element it stands in."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _asset(name: str) -> str:
    return files("bottleneck.comparison").joinpath("assets", name).read_text(encoding="utf-8")
