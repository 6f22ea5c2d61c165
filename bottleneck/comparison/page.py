"""The page: one HTML file that needs no network, no server and no other file.

Everything it shows is in one JSON block; the script builds the page from it with text nodes
only, so that no file name or label can be markup. The policy in its head allows the one style
and the one script by their hashes, pictures that are part of the page, and nothing else.
"""

import base64
import hashlib
import html
import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bottleneck.comparison.thumbnails import make_sheet
from bottleneck.writing import write_text

if TYPE_CHECKING:
    from bottleneck.comparison.study import Comparison

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
