"""The whole comparison: from feature files to one document with every number."""

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bottleneck import __version__
from bottleneck.comparison.alignment import Aligned, Features, align
from bottleneck.comparison.findings import (
    duplicate_sets,
    find_twins,
    label_doubts,
    make_maps,
    mistakes,
)
from bottleneck.comparison.leaderboard import Contender, cost_of, make_contender, rank
from bottleneck.comparison.out_of_fold import (
    LABEL_JUDGE,
    Protocol,
    learning_curves,
    make_protocol,
    out_of_fold,
    predict_outer,
    select_on,
)
from bottleneck.comparison.packing import with_names
from bottleneck.comparison.projection import MapKind
from bottleneck.comparison.tables import html_of_comparison, leaderboard_rows
from bottleneck.comparison.take import choose, logged_sources, majority
from bottleneck.errors import HeadError, OptionError
from bottleneck.frames import PandasFrame, PolarsFrame, pandas_frame, polars_frame, records_of
from bottleneck.heads.registry import head_kind
from bottleneck.heads.solver.engines import keras_place, require_cpu
from bottleneck.judge.intervals import LEVEL, RESAMPLES
from bottleneck.judge.tests import ALPHA
from bottleneck.progress import Progress, Silent
from bottleneck.sources import AS_FOUND, Choice

if TYPE_CHECKING:
    from bottleneck.heads.head import Head

DEFAULT_HEADS = ("logreg", "ridge", "knn")

_MOST_MAPS = 6


@dataclass(frozen=True, eq=False)
class Best:
    """The head to take.

    Parameters
    ----------
    head : Head
        Selected and fitted on all training rows.
    features : int
        Position of its features among those compared.
    train : ndarray of int64
        Positions of the rows it was fitted on.
    """

    head: "Head"
    features: int
    train: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What came out.

    Parameters
    ----------
    document : mapping
        Every number, as JSON values; images by their position among those compared, classes by
        their code. :meth:`to_json` has names instead.
    aligned : Aligned
        The images compared.
    sources : tuple of str
        Where the images are, as far as it is known.
    choice : Choice
        Where paths and labels were looked for there.
    best : Best, optional
        The head to take.
    """

    document: Mapping[str, Any]
    aligned: Aligned
    sources: tuple[str, ...]
    choice: Choice = AS_FOUND
    best: Best | None = None

    def __repr__(self) -> str:
        best = self.document["leaderboard"][0]
        name = self.document["features"][best["features"]]["name"]
        return (
            f"<Comparison {len(self.document['leaderboard'])} heads, best {name} {best['head']} "
            f"{best['accuracy']:.4f}>"
        )

    def to_json(self) -> dict[str, Any]:
        """Return every number of the page; images by their keys, classes by their names.

        ``docs/compare.md`` describes it.
        """
        return with_names(self.document, self.aligned)

    def _repr_html_(self) -> str:
        return html_of_comparison(self.document)

    def to_pandas(self) -> PandasFrame:
        """Return the leaderboard as a pandas table, the best first."""
        return pandas_frame(records_of(leaderboard_rows(self.document)))

    def to_polars(self) -> PolarsFrame:
        """Return the leaderboard as a Polars table, the best first."""
        return polars_frame(records_of(leaderboard_rows(self.document)))

    def save_best(self, path: str | Path) -> "Head":
        """Save the head to take; see :meth:`bottleneck.heads.Head.save`."""
        from bottleneck.heads import Head
        from bottleneck.heads.trained_on import TrainingRows

        if self.best is None:
            raise HeadError("expected a comparison of heads, found none to save")
        features = self.aligned.features[self.best.features]
        store = features.store
        head = Head.of(
            self.best.head,
            recipe=store.recipe,
            output=features.output,
            trained_on=TrainingRows.of(store, features.rows[self.best.train]),
            left_out=dict(self.aligned.left_out),
            manifest_sha256=store.manifest_sha256,
        )
        head.save(path)
        return head

    def write_html(self, path: str | Path) -> dict[str, Any]:
        """Write the page; see :func:`bottleneck.comparison.page.write_page`."""
        from bottleneck.comparison.page import write_page

        return write_page(self, Path(path))


def compare(
    features: Sequence[str | Path],
    *,
    heads: Sequence[str] = DEFAULT_HEADS,
    outputs: Sequence[str] = (),
    images: Sequence[str] = (),
    path_column: str | None = None,
    cv: int = 5,
    screen: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
    near: float | None = None,
    map: MapKind = "auto",
    exclude: Sequence[str] = (),
    device: str | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare backbones (or layers) and heads on the same images, splits and folds.

    Parameters
    ----------
    features : sequence of str or Path
        Feature files over the same images; every output of each takes part.
    heads : sequence of str
        Names of heads, see :func:`~bottleneck.heads.registry.head_names`, or import paths of
        classifiers. The first one that is cheap to fit also makes the learning curves.
    outputs : sequence of str
        Only these outputs.
    images : sequence of str
        Where the images are, for thumbnails; by default where the first file was made from.
    path_column : str, optional
        The column of a table of images that names them.
    cv : int
        Folds of the inner selection, and of the outer estimate where there is no test split.
    screen : bool
        Rule strengths out where that is cheaper, see :func:`bottleneck.heads.select`.
    seed : int
        Decides folds and draws.
    resamples : int
        Draws of the bootstrap.
    near : float, optional
        Least cosine of near duplicates; by default from the data.
    map : {"auto", "pca", "umap"}
        Which maps.
    exclude : sequence of str
        Tables of images to leave out.
    device : str, optional
        What heads that Keras fits are fitted on: ``cpu``, ``gpu`` or ``gpu:N``; by default the
        first GPU, else the CPU.
    progress : Progress, optional
        Who is told how it goes.

    Raises
    ------
    BottleneckError
        Of the kind that fits: no such head, files of different images, nothing to learn from.
    """
    _check(heads, cv, resamples, near)
    if path_column and not images:
        raise OptionError(
            f"expected a table of images for the path column {path_column!r}, got no images",
            hint="It says which column of the table under --images names the images.",
        )
    progress = progress or Silent()
    started = time.perf_counter()
    _require_device(heads, device, progress)
    aligned = align(features, outputs, exclude)
    for note in aligned.notes:
        progress.note(note)
    for head in heads:
        for one in aligned.features:
            head_kind(head).require_size(len(aligned.keys), one.store.outputs[one.output])
    progress.stage("images that occur more than once")
    twins = find_twins(aligned, near)
    together = twins.groups(aligned, cv)
    protocol = make_protocol(
        aligned, n_folds=cv, seed=seed, groups=together, screen=screen, device=device
    )
    contenders: list[Contender] = []
    grower = next((head for head in heads if head_kind(head).few_rows), None)
    curves: list[dict[str, Any]] = []
    total = len(aligned.features) * len(heads)
    begun = time.perf_counter()
    for i, one in enumerate(aligned.features):
        for head in heads:
            done = len(contenders)
            left = (time.perf_counter() - begun) / max(done, 1) * (total - done)
            eta = f", about {left:.0f} s left" if done else ""
            progress.stage(f"{one.name}: {head} ({done + 1} of {total}{eta})")
            predictions = predict_outer(aligned, one, head, protocol)
            contenders.append(make_contender(aligned, protocol, i, head, predictions))
            if head == grower:
                chosen = predictions.final.best
                try:
                    curve, shots = learning_curves(aligned, one, head, protocol, chosen)
                except ValueError as error:  # not every head can be fitted on few rows
                    reason, _, _ = str(error).partition("\n")
                    progress.note(f"no learning curve of {head} on {one.name}: {reason}")
                    continue
                curves.append({"features": i, "head": head, "curve": curve, "shots": shots})
    progress.stage("statistics, label errors, maps")
    costs = [cost_of(one) for one in aligned.features]
    ranked = rank(contenders, aligned, protocol, costs, resamples=resamples)
    judge_of_labels, by = _label_judge(ranked, aligned, protocol)
    most = [one.features for one, _ in ranked]
    mapped = list(dict.fromkeys(most))[:_MOST_MAPS]
    document = {
        "bottleneck": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": _command(
            features, heads, outputs, exclude, screen, cv=cv, seed=seed, near=near, device=device
        ),
        "level": LEVEL,
        "alpha": ALPHA,
        "resamples": resamples,
        "data": {**_data(aligned, protocol), "baseline": majority(aligned, protocol)},
        "take": (taken := choose([line for _, line in ranked], aligned.features, costs, seed)),
        "heads": list(heads),
        "features": [
            {**features_line(one), "cost": cost.to_json()}
            for one, cost in zip(aligned.features, costs, strict=True)
        ],
        "leaderboard": [
            {**line, "mistakes": mistakes(aligned, protocol, one)} for one, line in ranked
        ],
        "curves": curves,
        "label_errors": label_doubts(aligned, judge_of_labels, by),
        "duplicates": duplicate_sets(aligned, twins),
        "map": make_maps(aligned, aligned.features, mapped, map, seed),
        "seconds": round(time.perf_counter() - started, 3),
    }
    sources, choice = logged_sources(aligned.features)
    if images:
        sources, choice = tuple(images), replace(AS_FOUND, path_column=path_column)
    one = ranked[taken["entry"]][0]
    best = Best(one.predictions.final, one.features, protocol.train)
    return Comparison(document, aligned, sources, choice, best)


def _check(heads: Sequence[str], cv: int, resamples: int, near: float | None) -> None:
    for head in heads:
        if "classes" not in head_kind(head).tasks:
            raise OptionError(f"expected heads that tell classes apart, got {head}")
    if not heads or len(set(heads)) < len(heads):
        raise OptionError(f"expected one or more different heads, got {', '.join(heads) or 'none'}")
    if cv < 2:
        raise OptionError(f"expected 2 or more folds, got {cv}")
    if resamples < 100:
        raise OptionError(f"expected 100 draws or more for intervals, got {resamples}")
    if near is not None and not 0 < near <= 1:
        raise OptionError(f"expected a cosine above 0 and at most 1 for near, got {near:g}")


def _require_device(heads: Sequence[str], device: str | None, progress: Progress) -> None:
    """Refuse a GPU that there is not, or that no head would be fitted on."""
    if any("numpy" not in head_kind(head).engines for head in heads):
        keras_place(device, progress.note)
    else:
        require_cpu(device, ", ".join(heads), "Keras fits mlp, on a GPU too; or leave it out.")


def _label_judge(
    ranked: Sequence[tuple[Contender, Mapping[str, Any]]], aligned: Aligned, protocol: Protocol
) -> tuple[Any, str]:
    """Return out-of-fold probabilities of all rows, by logistic regression on the best features."""
    index = ranked[0][0].features
    features = aligned.features[index]
    known = [one for one, _ in ranked if one.head == LABEL_JUDGE and one.features == index]
    best = (
        known[0].predictions.final.best
        if known
        else select_on(aligned, features, LABEL_JUDGE, protocol.train, protocol).best
    )
    return (
        out_of_fold(aligned, features, protocol, best),
        f"{LABEL_JUDGE} on {features.name}, C={best['C']:g}, {protocol.n_folds} folds",
    )


def _data(aligned: Aligned, protocol: Protocol) -> dict[str, Any]:
    counts = np.bincount(aligned.y, minlength=len(aligned.classes))
    return {
        "images": aligned.total,
        "compared": len(aligned.y),
        "left_out": aligned.left_out,
        "classes": list(aligned.classes),
        "per_class": counts.tolist(),
        "train": len(protocol.train),
        "judged": len(protocol.judged),
        "validation": len(aligned.of_split("val")),
        "groups": len(np.unique(aligned.groups[aligned.groups >= 0])),
        "estimate": protocol.kind,
        "folds": protocol.n_folds,
        "seed": protocol.seed,
        "notes": list(aligned.notes),
    }


def features_line(one: Features) -> dict[str, Any]:
    """Describe features: their file, and the recipe they were made by."""
    store = one.store
    return {
        "name": one.name,
        "file": store.location,
        "backbone": store.recipe.backbone,
        "output": one.output,
        "layer": _layer(one),
        "dtype": store.dtype.name,
        "creator": store.creator,
        "identity": dict(store.recipe.identity),
        "execution": dict(store.recipe.execution),
        "identity_sha256": store.identity_sha256,
        "manifest_sha256": store.manifest_sha256,
    }


def _layer(one: Features) -> str | None:
    outputs = one.store.recipe.identity.get("outputs")
    spec = outputs.get(one.output) if isinstance(outputs, Mapping) else None
    return spec.get("layer") if isinstance(spec, Mapping) else None


def _command(
    features: Sequence[str | Path],
    heads: Sequence[str],
    outputs: Sequence[str],
    exclude: Sequence[str],
    screen: bool,
    **options: Any,
) -> str:
    parts = ["bottleneck", "compare", *map(str, features), "--heads", ",".join(heads)]
    for output in outputs:
        parts += ["--feature", output]
    for table in exclude:
        parts += ["--exclude", table]
    if screen:
        parts.append("--screen")
    for name, value in options.items():
        if value is not None:
            parts += [f"--{name}", value if isinstance(value, str) else f"{value:g}"]
    return shlex.join(parts)
