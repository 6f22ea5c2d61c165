"""The page: one HTML file that needs no network, no server and no other file.

Everything it shows is in one JSON block; the script builds the page from it with text nodes
only, so that no file name or label can be markup. The policy in its head allows the one style
and the one script by their hashes, pictures that are part of the page, and nothing else.
"""

import base64
import hashlib
import html
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import BottleneckError
from bottleneck.images import Geometry, decode, from_pixels
from bottleneck.sources import AS_FOUND, Choice, open_source
from bottleneck.writing import write_text

if TYPE_CHECKING:
    from bottleneck.comparison.study import Comparison


SIDE = 64
"""Pixels of a thumbnail."""

_COLUMNS = 40
_MOST_BYTES = 2_400_000
"""Of a sheet, before it is written as text: two thirds of what the whole page may take."""


@dataclass(frozen=True)
class Sheet:
    """Thumbnails side by side in one image.

    Parameters
    ----------
    uri : str
        The image as a ``data:`` address.
    side, columns, rows : int
        Pixels of a thumbnail, and how many there are across and down.
    """

    uri: str
    side: int
    columns: int
    rows: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            "uri": self.uri,
            "side": self.side,
            "columns": self.columns,
            "rows": self.rows,
        }


def make_sheet(
    sources: Sequence[str], keys: Sequence[str], choice: Choice = AS_FOUND
) -> tuple[Sheet | None, list[int], str]:
    """Read images by key and put their thumbnails on one sheet.

    An image that cannot be read has no thumbnail; that is no error here.

    Parameters
    ----------
    sources : sequence of str
        Folders, tables, files as for extraction.
    keys : sequence of str
        Wanted images, the most wanted first: where the sheet grows too large, the last are
        left out.
    choice : Choice
        Where paths and labels were looked for.

    Returns
    -------
    sheet : Sheet or None
        None when no image could be read.
    places : list of int
        Place on the sheet of each key, -1 for none.
    note : str
        Why there are none or fewer, else empty.
    """
    if not sources or not keys:
        return None, [-1] * len(keys), "it is not known where the images are: say --images SOURCE"
    try:
        source = open_source(list(sources), choice=choice)
    except BottleneckError as error:
        return None, [-1] * len(keys), f"the images cannot be listed: {error.message}"
    wanted = {key: i for i, key in enumerate(keys)}
    rows = {wanted[key]: row for row, key in enumerate(source.manifest.keys) if key in wanted}
    geometry = Geometry(size=SIDE, resize="pad")
    tiles: list[NDArray[np.uint8]] = []
    places = [-1] * len(keys)
    for i in sorted(rows):
        try:
            image = source.read(rows[i])
            tile = (
                decode(image, geometry)
                if isinstance(image, bytes)
                else from_pixels(image, geometry)
            )
        except BottleneckError:
            continue
        places[i] = len(tiles)
        tiles.append(tile)
    if not tiles:
        found = f"none of the {len(keys)} images wanted is in {', '.join(sources)}"
        return None, places, found if not rows else "no image could be read"
    count = len(tiles)
    data = _encode(tiles)
    while len(data) > _MOST_BYTES and count > _COLUMNS:
        count = count * 3 // 4
        data = _encode(tiles[:count])
    places = [place if place < count else -1 for place in places]
    left = len(tiles) - count
    uri = "data:image/webp;base64," + base64.b64encode(data).decode("ascii")
    note = f"{left} thumbnails were left out to keep the page small" if left else ""
    return Sheet(uri, SIDE, _COLUMNS, -(-count // _COLUMNS)), places, note


def _encode(tiles: Sequence[NDArray[np.uint8]]) -> bytes:
    from PIL import Image

    rows = -(-len(tiles) // _COLUMNS)
    sheet = np.zeros((rows * SIDE, _COLUMNS * SIDE, 3), np.uint8)
    for i, tile in enumerate(tiles):
        y, x = divmod(i, _COLUMNS)
        sheet[y * SIDE : (y + 1) * SIDE, x * SIDE : (x + 1) * SIDE] = tile
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, "WEBP", quality=72, method=4)
    return stream.getvalue()


SCRIPTS = ("base.js", "charts.js", "leaderboard.js", "images.js", "main.js")
"""In the order they are put together."""


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
    document = comparison.to_json()
    rows = [int(row) for row in document["images"]]
    keys = [comparison.aligned.keys[row] for row in rows]
    sheet, places, note = make_sheet(comparison.sources, keys, comparison.choice)
    if sheet is not None:
        document["thumbnails"] = sheet.to_json()
        document["images"] = {
            str(row): {**document["images"][str(row)], "thumb": place}
            for row, place in zip(rows, places, strict=True)
        }
    text = render(document)
    write_text(path, text)
    return {
        "bytes": len(text.encode()),
        "thumbnails": sum(place >= 0 for place in places),
        "notes": [f"thumbnails: {note}"] if note else [],
    }


def render(document: dict[str, Any]) -> str:
    """Put a page together from a document as :class:`Comparison` has it."""
    style = _asset("style.css")
    script = "(() => {\n'use strict';\n" + "".join(map(_asset, SCRIPTS)) + "})();\n"
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    best = document["leaderboard"][0]
    name = document["features"][best["features"]]["name"]
    title = f"{name} with {best['head']} leads"
    parts = {
        "CSP": html.escape(policy),
        "TITLE": html.escape(title),
        "STYLE": style,
        "DATA": _embedded(document),
        "SCRIPT": script,
    }
    page = _asset("template.html")
    # One pass over the template: what is put in is never looked through for places.
    pieces = page.split("%")
    return "".join(parts.get(piece, piece) for piece in pieces)


def _embedded(document: dict[str, Any]) -> str:
    """Write JSON that cannot end the element it stands in."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _asset(name: str) -> str:
    return files("bottleneck.comparison").joinpath("assets", name).read_text(encoding="utf-8")
