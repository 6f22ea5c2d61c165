"""One feature file to look at before anything is trained: the page without heads, served here."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from bottleneck import __version__
from bottleneck.comparison.alignment import Aligned, Features
from bottleneck.comparison.findings import duplicate_sets, find_twins, make_maps
from bottleneck.comparison.leaderboard import cost_of
from bottleneck.comparison.packing import Shown, pack, show, with_names
from bottleneck.comparison.page import LARGE_SIDE, SIDE, Pictures, as_webp, open_pictures, render
from bottleneck.comparison.projection import MapKind
from bottleneck.comparison.study import Comparison, features_line
from bottleneck.comparison.take import logged_sources
from bottleneck.errors import OptionError, StoreError
from bottleneck.manifest import UNLABELLED, natural_key
from bottleneck.progress import SILENT, Progress
from bottleneck.sources import AS_FOUND
from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore

UNNAMED = "(no label)"
"""What images without a label are shown under."""

_ENLARGED = 2 * LARGE_SIDE


@dataclass(frozen=True, eq=False)
class View(Comparison):
    """A file to look at; see :class:`~bottleneck.comparison.study.Comparison`."""

    def __repr__(self) -> str:
        data = self.document["data"]
        return f"<View {data['compared']} images, {len(data['classes'])} classes>"

    def to_json(self) -> dict[str, Any]:
        """Return what was found; images by their keys, classes by their names."""
        return with_names(self.document, self.aligned)

    def serve(self, port: int = 0) -> "Server":
        """Return a server of the page and its pictures; ``serve_forever`` starts it.

        Parameters
        ----------
        port : int
            0 for any that is free.

        Raises
        ------
        OptionError
            When the port is taken.
        """
        return Server(self, port)


def look_at(
    path: str | Path,
    *,
    images: tuple[str, ...] = (),
    feature: str | None = None,
    near: float | None = None,
    map: MapKind = "auto",
    progress: Progress = SILENT,
) -> View:
    """Find what can be seen of a feature file without any head: duplicates, leaks, a map.

    Parameters
    ----------
    path : str or Path
        The feature file.
    images : tuple of str
        Where the images are; by default where they were extracted from.
    feature : str, optional
        Only this output.
    near : float, optional
        Least cosine of near duplicates; by default from the data.
    map : {"auto", "pca", "umap"}
        Which maps.
    progress : Progress
        Who is told how it goes.

    Raises
    ------
    StoreError
        When no row is finished.
    """
    started = time.perf_counter()
    store = FeatureStore.open(path)
    aligned = _all_of(store, feature)
    progress.stage("images that occur more than once")
    twins = find_twins(aligned, near)
    progress.stage("maps")
    counts = np.bincount(aligned.y, minlength=len(aligned.classes))
    document: dict[str, Any] = {
        "bottleneck": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"bottleneck view {path}",
        "data": {
            "images": aligned.total,
            "compared": len(aligned.y),
            "left_out": aligned.left_out,
            "classes": list(aligned.classes),
            "unlabelled": aligned.classes.index(UNNAMED) if UNNAMED in aligned.classes else None,
            "per_class": counts.tolist(),
            "seed": 0,
            "notes": [],
        },
        "features": [
            {**features_line(one), "cost": cost_of(one).to_json()} for one in aligned.features
        ],
        "heads": [],
        "leaderboard": [],
        "curves": [],
        "label_errors": {"likely": 0, "by": "", "rows": []},
        "duplicates": duplicate_sets(aligned, twins),
        "map": make_maps(aligned, aligned.features, range(len(aligned.features)), map, 0),
        "seconds": round(time.perf_counter() - started, 3),
    }
    sources, choice = (images, AS_FOUND) if images else logged_sources(aligned.features)
    return View(document, aligned, sources, choice)


def _all_of(store: FeatureStore, feature: str | None) -> Aligned:
    """Take every finished row, with or without a label."""
    rows = np.flatnonzero(store.done)
    if not len(rows):
        raise StoreError(f"expected finished rows in {store.location}, found none")
    names = [store.output_name(feature)] if feature else sorted(store.outputs, key=natural_key)
    labels = store.labels[rows].astype(np.int64)
    classes = [*store.classes]
    if (labels == UNLABELLED).any():
        labels[labels == UNLABELLED] = len(classes)
        classes.append(UNNAMED)
    alone = len(names) == 1
    return Aligned(
        features=tuple(
            Features(store.recipe.backbone if alone else name, store, name, rows) for name in names
        ),
        keys=[store.keys[int(row)] for row in rows],
        y=labels,
        classes=tuple(classes),
        splits=store.splits[rows],
        groups=store.manifest.groups[rows],
        digests=np.asarray(store.digests)[rows],
        total=len(store),
        left_out={
            "failed": int(np.count_nonzero(store.status > RowStatus.DONE)),
            "pending": int(np.count_nonzero(store.status == RowStatus.PENDING)),
        },
    )


class Server(ThreadingHTTPServer):
    """The page of a view and its pictures, for browsers of this machine only.

    Parameters
    ----------
    view : View
        What is shown.
    port : int
        0 for any that is free.

    Raises
    ------
    OptionError
        When the port is taken.
    """

    daemon_threads = True

    def __init__(self, view: View, port: int = 0) -> None:
        shown = show(view.document, view.aligned)
        keys = {view.aligned.keys[row]: row for row in shown.rows.tolist()}
        pictures = open_pictures(view.sources, keys, view.choice)
        document = pack(view.document, view.aligned, shown, [None] * len(shown.rows))
        self.note = pictures.note
        text = render({**document, "served": True}).encode()
        try:
            super().__init__(("127.0.0.1", port), _handler(text, shown, pictures))
        except OSError as error:
            raise OptionError(
                f"cannot serve at port {port}: {error.strerror or error}",
                hint="Give another --port, or 0 for any that is free.",
            ) from error

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_address[1]}/"


def _handler(page: bytes, shown: Shown, pictures: Pictures) -> type[BaseHTTPRequestHandler]:
    def picture(side: int) -> Callable[[int], bytes | None]:
        def encoded(place: int) -> bytes | None:
            pixels = pictures.read(int(shown.rows[place]), side)
            return None if pixels is None else as_webp(pixels)

        return encoded

    kinds: Mapping[str, Callable[[int], bytes | None]] = {
        "thumb": picture(SIDE),
        "image": picture(_ENLARGED),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # Another site's page may send a browser here under a name of its own.
            host = (self.headers.get("Host") or "").partition(":")[0]
            if host not in ("127.0.0.1", "localhost"):
                self.send_error(403)
                return
            kind, _, number = self.path.lstrip("/").partition("/")
            if not kind:
                self._answer("text/html; charset=utf-8", page)
            elif kind in kinds and number.isascii() and number.isdecimal():
                place = int(number)
                found = kinds[kind](place) if place < len(shown.rows) else None
                if found is None:
                    self.send_error(404)
                else:
                    self._answer("image/webp", found)
            else:
                self.send_error(404)

        def _answer(self, kind: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing of requests."""

    return Handler
