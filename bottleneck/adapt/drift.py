"""Do new images look like those a head was trained with, and which are unlike all of them?

The first by a two-sample test of features, the maximum mean discrepancy (A. Gretton et al., A
kernel two-sample test, JMLR 13, 2012) with permutations, whose level is exact for any kernel:
over all images, and for each class that the head predicts. The second by the distance to the
k-th nearest training row, told as the share of rows held out that are as far away (a conformal
p-value, V. Vovk et al., Algorithmic learning in a random world, 2005).
"""

import html
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.cores import available_cores
from bottleneck.declare import listed
from bottleneck.errors import HeadError, ManifestError, OptionError
from bottleneck.extraction.plan import MaxFailed
from bottleneck.judge.intervals import units_of
from bottleneck.location import readable
from bottleneck.options import DriftOptions
from bottleneck.writing import csv_line, prepare_output, write_text

if TYPE_CHECKING:
    from bottleneck.heads.head import Head
    from bottleneck.store import FeatureStore

Matrix = NDArray[np.float32]

MOST_ROWS: Final = 2000
"""Rows of either side that a test looks at, drawn evenly: its time is that of their square."""

LEAST_ROWS: Final = 10
"""Images of a class below which it is not tested."""

NEIGHBOUR: Final = 5
"""Which of the nearest training rows a distance is measured to."""


@dataclass(frozen=True)
class TwoSample:
    """Whether two sets of rows have one distribution.

    Parameters
    ----------
    p : float
        Share of permutations, the one at hand among them, with as large a discrepancy.
    discrepancy : float
        Squared maximum mean discrepancy.
    expected : float
        Its mean under permutation.
    """

    p: float
    discrepancy: float
    expected: float


def two_sample(
    new: Matrix,
    reference: Matrix,
    *,
    new_groups: NDArray[np.int64] | None = None,
    reference_groups: NDArray[np.int64] | None = None,
    permutations: int = 999,
    seed: int = 0,
) -> TwoSample:
    """Test whether two sets of rows have one distribution.

    The kernel is Gaussian in standardised features; its width is the median distance.

    Parameters
    ----------
    new, reference : ndarray of float32, shape (m, d) and (n, d)
    new_groups, reference_groups : ndarray of int, optional
        Rows of a group (-1 for none) go together in every permutation.
    permutations : int
    seed : int
        Of the permutations, and of the rows that are looked at where there are too many.

    Returns
    -------
    TwoSample
    """
    rng = np.random.default_rng(seed)
    m, n = len(new), len(reference)
    units = np.concatenate([
        units_of(m, new_groups),
        units_of(n, reference_groups) + m,
    ])  # fmt: skip
    _, units = np.unique(units, return_inverse=True)
    kernel = _kernel(np.concatenate([new, reference]).astype(np.float64))
    first = np.zeros(m + n, bool)
    first[:m] = True
    n_units = int(units.max()) + 1
    ours = len(np.unique(units[:m]))
    members = np.empty((m + n, permutations + 1), bool)
    members[:, 0] = first
    for column in range(1, permutations + 1):
        chosen = np.zeros(n_units, bool)
        chosen[rng.permutation(n_units)[:ours]] = True
        members[:, column] = chosen[units]
    share = members / members.sum(axis=0) - ~members / (~members).sum(axis=0)
    found = np.einsum("ij,ij->j", share, kernel @ share)
    # Rounding must not tell apart what is the same division.
    p = float(np.mean(found >= found[0] * (1 - 1e-9) - 1e-12))
    return TwoSample(p, float(found[0]), float(found[1:].mean()))


def _kernel(X: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = X.std(axis=0)
    Z = (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    squares = np.einsum("ij,ij->i", Z, Z)
    distances = np.maximum(squares[:, None] + squares - 2 * Z @ Z.T, 0)
    apart = distances[np.triu_indices(len(Z), 1)]
    width = float(np.median(apart)) or 1.0
    kernel: NDArray[np.float64] = np.exp(-distances / width)
    return kernel


class Nearness:
    """Distances to the k-th nearest of some rows, in directions and lengths that they have.

    Parameters
    ----------
    rows : ndarray of float32, shape (n, d)
    """

    def __init__(self, rows: Matrix) -> None:
        self._mean = rows.mean(axis=0, dtype=np.float64)
        spread = rows.std(axis=0, dtype=np.float64)
        self._spread = np.where(spread > 0, spread, 1.0)
        self._rows = self._scaled(rows)

    def _scaled(self, rows: Matrix) -> NDArray[np.float32]:
        Z = (rows - self._mean) / self._spread
        Z /= np.maximum(np.linalg.norm(Z, axis=1, keepdims=True), 1e-12)
        scaled: NDArray[np.float32] = Z.astype(np.float32)
        return scaled

    def distances(self, rows: Matrix, *, itself: bool = False) -> NDArray[np.float64]:
        """Return one minus the cosine to the k-th nearest; ``itself``: rows are the own ones."""
        k = min(NEIGHBOUR, len(self._rows) - itself) + itself
        found = []
        for start in range(0, len(rows), 1024):
            cosines = self._scaled(rows[start : start + 1024]) @ self._rows.T
            found.append(1 - np.partition(cosines, -k, axis=1)[:, -k].astype(np.float64))
        return np.concatenate(found) if found else np.empty(0)


def conformal(scores: NDArray[np.float64], held_out: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each score the share of those held out, and itself, that are as large."""
    ordered = np.sort(held_out)
    above = len(ordered) - np.searchsorted(ordered, scores, side="left")
    shares: NDArray[np.float64] = (above + 1) / (len(ordered) + 1)
    return shares


@dataclass(frozen=True)
class Drift:
    """What new images look like to a head.

    Parameters
    ----------
    document : mapping
        JSON values: ``p``, ``drift``, ``per_class``, ``unlike``, ``images``, ...
    """

    document: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return dict(self.document)

    def __repr__(self) -> str:
        return f"<Drift p={self.document['p']:.3g}, {self.document['unlike']} unlike>"


@dataclass(frozen=True, eq=False)
class _New:
    """Features of the images in question."""

    keys: list[str]
    X: Matrix
    groups: NDArray[np.int64]
    failed: dict[str, str]


def find_drift(options: DriftOptions) -> Drift:
    """Compare new images with training rows; see :func:`bottleneck.drift`."""
    from bottleneck.heads.head import Head
    from bottleneck.store import FeatureStore

    progress, started = options.progress, time.perf_counter()
    if not 0 < options.level < 1 or not 0 < options.rate < 1:
        raise OptionError("expected --level and --rate between 0 and 1")
    place = None
    if options.output is not None:
        if Path(options.output).suffix not in (".csv", ".html"):
            raise OptionError(f"expected an output of .csv or .html, got {options.output}")
        place = prepare_output(
            options.output, kind="other", inputs=options.paths("reads", "images")
        )
    head = Head.load_beside(options.head, listed(options.devices), progress.note)
    store = FeatureStore.open(options.features)
    output = head.output if head.output in store.outputs else store.output_name()
    for note in head.require_features(store.recipe, output, store.outputs[output]):
        progress.note(note)
    rows = np.flatnonzero(store.done)
    if len(rows) < 2 * LEAST_ROWS:
        raise HeadError(
            f"expected {2 * LEAST_ROWS} rows or more in {store.location}, got {len(rows)}"
        )
    known = (
        np.ones(len(rows), bool) if head.trained_on is None else head.trained_on.among(store, rows)
    )
    new = _new_images(head, options)
    if len(new.X) < LEAST_ROWS:
        raise ManifestError(f"expected {LEAST_ROWS} images or more, got {len(new.X)}")
    progress.stage(f"comparing {len(new.X)} images with {len(rows)} rows")
    document = _compared(head=head, store=store, rows=rows, known=known, new=new, options=options)
    document["seconds"] = round(time.perf_counter() - started, 3)
    if place is not None:
        write_text(place, _page(document) if place.suffix == ".html" else _table(document))
    return Drift(document)


def _compared(
    *,
    head: "Head",
    store: "FeatureStore",
    rows: NDArray[np.int64],
    known: NDArray[np.bool_],
    new: _New,
    options: DriftOptions,
) -> dict[str, Any]:
    X = np.asarray(store.features(head.output)[rows], np.float32)
    groups = np.asarray(store.manifest.groups, np.int64)[rows]
    at, there = _spread(len(new.X)), _spread(len(X))
    whole = two_sample(
        new.X[at], X[there], new_groups=new.groups[at], reference_groups=groups[there],
        permutations=options.permutations, seed=options.seed,
    )  # fmt: skip
    labelled = head.task == "classes"
    per_class = _per_class(head, new, X[~known], groups[~known], options) if labelled else []
    # A row that was trained on is its own nearest one; so are rows left out of nothing.
    base = X[known] if 0 < known.sum() < len(known) else X
    nearness = Nearness(base)
    held_out = (
        nearness.distances(X[~known])
        if 0 < known.sum() < len(known)
        else nearness.distances(X, itself=True)
    )
    distances = nearness.distances(new.X)
    shares = conformal(distances, held_out)
    unlike = shares <= options.rate
    labels = [head.classes[code] for code in head.predict(new.X)] if labelled else [None] * len(at)
    images = [
        {"key": key, "label": label, "distance": float(d), "p": float(p), "unlike": bool(u)}
        for key, label, d, p, u in zip(new.keys, labels, distances, shares, unlike, strict=True)
    ]
    return {
        "head": str(options.head),
        "features": str(options.features),
        "rows": len(new.X),
        "reference_rows": len(rows),
        "held_out_rows": int((~known).sum()) if 0 < known.sum() < len(known) else None,
        "failed": new.failed,
        "too_many_failed": MaxFailed.parse(str(options.max_failed)).exceeded(
            len(new.failed), len(new.failed) + len(new.X)
        ),
        "level": options.level,
        "p": whole.p,
        "drift": whole.p <= options.level,
        "discrepancy": whole.discrepancy,
        "expected_discrepancy": whole.expected,
        "per_class": per_class,
        "rate": options.rate,
        "unlike": int(unlike.sum()),
        "expected_unlike": options.rate * len(new.X),
        "images": sorted(images, key=lambda one: (one["p"], -one["distance"])),
    }


def _per_class(
    head: "Head", new: _New, X: Matrix, groups: NDArray[np.int64], options: DriftOptions
) -> list[dict[str, Any]]:
    """Test the images of each predicted class; on rows that the head is as unsure of.

    Predictions of rows that were trained on are better than of any others, so only those held out
    are alike under the hypothesis. P-values are adjusted for their number (S. Holm, 1979).
    """
    if not len(X):
        return []
    ours, theirs = head.predict(new.X), head.predict(X)
    found: list[dict[str, Any]] = []
    for code, name in enumerate(head.classes):
        at, there = np.flatnonzero(ours == code), np.flatnonzero(theirs == code)
        one: dict[str, Any] = {"class": name, "new": len(at), "reference": len(there), "p": None}
        if min(len(at), len(there)) >= LEAST_ROWS:
            at, there = at[_spread(len(at))], there[_spread(len(there))]
            one["p"] = two_sample(
                new.X[at], X[there], new_groups=new.groups[at], reference_groups=groups[there],
                permutations=options.permutations, seed=options.seed + 1 + code,
            ).p  # fmt: skip
        found.append(one)
    tested = sorted((one for one in found if one["p"] is not None), key=lambda one: float(one["p"]))
    largest = 0.0
    for place, one in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - place) * one["p"]))
        one["adjusted_p"] = largest
        one["drift"] = largest <= options.level
    return found


def _spread(count: int) -> NDArray[np.int64]:
    """Choose rows evenly, where there are more than are looked at."""
    if count <= MOST_ROWS:
        return np.arange(count)
    return np.arange(MOST_ROWS) * count // MOST_ROWS


def _new_images(head: "Head", options: DriftOptions) -> _New:
    from bottleneck.decode.workers import Watch
    from bottleneck.extraction import embed, rebuild_embedder
    from bottleneck.extraction.plan import Plan
    from bottleneck.sets.stored import feature_files
    from bottleneck.sources import open_source

    files = feature_files(listed(options.sources))
    if files:
        return _stored(head, files)
    progress = options.progress
    source = open_source(listed(options.sources), choice=options.choice())
    embedder = rebuild_embedder(
        head.recipe,
        owner=str(options.head),
        weights=None if options.weights is None else str(options.weights),
        runtime=options.runtime,
        devices=listed(options.devices),
    )
    for note in embedder.notes:
        progress.note(note)
    workers = options.workers or available_cores()
    rows: list[NDArray[np.int64]] = []
    parts: list[Matrix] = []
    failed: dict[str, str] = {}
    progress.begin(len(source), 0)
    try:
        plan = Plan(np.zeros(len(source), np.uint8))
        for batch in embed(
            embedder, source, plan.batches(options.batch_size, workers), workers=workers,
            worker_kind="auto",
            watch=Watch(name=source.manifest.keys.__getitem__, note=progress.note),
        ):  # fmt: skip
            rows.append(batch.rows)
            parts.append(np.asarray(batch.features[head.output], np.float32))
            failed |= {
                source.manifest.keys[f.row]: f"{f.status.label}: {f.message}"
                for f in batch.failures
            }
            progress.advance(sum(map(len, rows)) + len(failed), len(failed), {})
    finally:
        progress.end()
        embedder.close()
    at = np.concatenate(rows) if rows else np.empty(0, np.int64)
    X = np.concatenate(parts) if parts else np.empty((0, head.dim), np.float32)
    keys = [source.manifest.keys[int(row)] for row in at]
    return _New(keys, X, np.asarray(source.manifest.groups, np.int64)[at], failed)


def _stored(head: "Head", files: Sequence[str]) -> _New:
    from bottleneck.store import FeatureStore

    if len(files) > 1:
        raise OptionError(f"expected one feature file of new images, got {', '.join(files)}")
    store = FeatureStore.open(files[0])
    output = head.output if head.output in store.outputs else store.output_name()
    head.require_features(store.recipe, output, store.outputs[output])
    rows = np.flatnonzero(store.done)
    keys = [store.keys[int(row)] for row in rows]
    X = np.asarray(store.features(output)[rows], np.float32)
    return _New(keys, X, np.asarray(store.manifest.groups, np.int64)[rows], {})


def _table(document: Mapping[str, Any]) -> str:
    names = ("key", "label", "distance", "p", "unlike")
    lines = [csv_line(names)]
    lines += [csv_line(_cells(one, names)) for one in document["images"]]
    return readable("".join(lines))


def _cells(one: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    return [f"{one[n]:.6g}" if isinstance(one[n], float) else one[n] for n in names]


def verdict(document: Mapping[str, Any]) -> str:
    """Say in a sentence what came of it."""
    said = "do not look like" if document["drift"] else "are not told apart from"
    return (
        f"the {document['rows']} new images {said} the {document['reference_rows']} of the "
        f"features (p = {document['p']:.3g}, level {document['level']:g}); {document['unlike']} "
        f"are unlike all that was learnt, {document['expected_unlike']:.1f} expected"
    )


def _page(document: Mapping[str, Any]) -> str:
    classes = "".join(
        f"<tr><td>{html.escape(one['class'])}</td><td>{one['new']}</td><td>{one['reference']}</td>"
        f"<td>{'too few' if one['p'] is None else format(one['adjusted_p'], '.3g')}</td></tr>"
        for one in document["per_class"]
    )
    images = "".join(
        f"<tr><td>{html.escape(one['key'])}</td><td>{html.escape(one['label'] or '')}</td>"
        f"<td>{one['distance']:.4f}</td><td>{one['p']:.3g}</td></tr>"
        for one in document["images"]
        if one["unlike"]
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Drift: {html.escape(document["head"])}</title>
<style>body{{font:15px system-ui;max-width:60em;margin:2em auto;padding:0 1em}}
td,th{{padding:.2em .8em;text-align:left;border-bottom:1px solid #ddd}}</style>
<h1>Drift</h1><p>{html.escape(verdict(document))}</p>
<h2>Classes the head predicts</h2>
<table><tr><th>class<th>new<th>held out<th>adjusted p</tr>{classes}</table>
<h2>Images unlike all that was learnt</h2>
<table><tr><th>image<th>predicted<th>distance<th>share as far</tr>{images}</table></html>
"""
