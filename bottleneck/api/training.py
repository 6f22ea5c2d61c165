"""Fit a head on stored features, select its strength and judge it once."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.api.training_rows import (
    judged_rows,
    mask_of_test,
    note_twins,
    require_labels_to_judge_by,
    require_rows,
    training_rows,
)
from bottleneck.cluster.ray_crew import require_engine
from bottleneck.declare import listed
from bottleneck.errors import OptionError
from bottleneck.heads.registry import head_kind, head_names
from bottleneck.heads.selection.grid import parse_counts, parse_grid
from bottleneck.heads.solver.engine import EngineName
from bottleneck.heads.solver.engines import keras_place, require_cpu
from bottleneck.manifest import torn_groups
from bottleneck.options import TrainOptions
from bottleneck.progress import Progress
from bottleneck.runtimes.protocol import gpu_index
from bottleneck.sources.corrections import excluded_rows
from bottleneck.writing import prepare_output

if TYPE_CHECKING:
    from bottleneck.heads.head import Head
    from bottleneck.heads.kind import HeadKind
    from bottleneck.heads.rows import Rows
    from bottleneck.store import FeatureStore, RowChoice


@dataclass(frozen=True)
class Trained:
    """A head that was fitted, and how that went.

    Parameters
    ----------
    head : Head
        The head; it is saved too.
    document : mapping
        The chosen parameters, all scores and the test's, as JSON values.
    """

    head: "Head"
    document: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return dict(self.document)

    def __repr__(self) -> str:
        return f"<Trained {self.head!r}>"

    def _repr_html_(self) -> str:
        return self.head._repr_html_()


def fit_head(options: TrainOptions) -> Trained:
    """Train; see :func:`bottleneck.train`."""
    from bottleneck.heads import Head, select
    from bottleneck.heads.selection.targets import task_of_targets
    from bottleneck.heads.trained_on import TrainingRows
    from bottleneck.store import FeatureStore
    from bottleneck.store.outdated import outdated_note

    progress = options.progress
    kind, asked = _what_to_fit(options)
    place = prepare_output(options.output, kind="head", inputs=options.paths("reads"))
    if place.exists() and not options.overwrite:
        raise OptionError(
            f"the output {options.output} exists: a head that was trained before",
            hint="Give --overwrite (in Python overwrite=True) to replace it, or another name.",
        )
    store = FeatureStore.open(options.features)
    if outdated := outdated_note(store):
        progress.note(outdated)
    if torn := torn_groups(store.manifest):
        progress.note(torn)
    output = store.output_name(options.feature)
    names = store.manifest.targets.find(listed(options.targets), store.location)
    held = mask_of_test(store, options.holdout, options.seed, names)
    train = training_rows(store, held, names)
    out = excluded_rows(listed(options.exclude), store.manifest, store.location)
    excluded = int(out[train.rows].sum())
    train = train.take(~out[train.rows])
    require_rows(train, store, excluded)
    if names and task_of_targets(kind, train.y) == "labels":
        require_labels_to_judge_by(store, held, names, kind.name)
    _note_left_out(train, excluded, progress)
    fitting = f"fitting {options.head} on {len(train.rows)} rows"
    device: str | None = "cpu"
    if asked["engine"] == "keras":
        # Before rows are read: there may be no such GPU. Of workers each finds its own.
        device = None if options.on else keras_place(options.device, progress.note).name
        fitting += f", by Keras on {device or 'the workers'}"
    progress.stage(fitting)
    with _rows_to_fit(options, store, output, train.rows) as rows:
        fitted = select(
            rows,
            train.y,
            classes=names or store.classes,
            keys=train.keys,
            groups=_inseparable(store, train, options.cv, progress),
            **asked,
        )
    for note in fitted.notes:
        progress.note(note)
    left_out = {
        "failed": train.failed,
        "unlabelled": train.unlabelled,
        "pending": train.pending,
        **({"excluded": excluded} if options.exclude else {}),
    }
    head = Head.of(
        fitted,
        recipe=store.recipe,
        output=output,
        trained_on=TrainingRows.of(store, train.rows),
        left_out=left_out,
        manifest_sha256=store.manifest_sha256,
        **({"targets_sha256": store.targets_sha256} if names else {}),
        holdout=_rule(options, names),
    )
    test = judged_rows(store, held, fitted.classes if names else (), out)
    if test is None and options.holdout:
        progress.note("no row of the hold-out is extracted yet: no test")
    if test is not None:
        note_twins(head, store, test.rows, progress)
    head.save(place)  # before the test: whatever goes wrong there, the fit is not lost
    judged = _judge_once(head, test, store, output)
    document = {
        "head": options.head,
        "output": str(options.output),
        "task": fitted.task,
        "best": dict(fitted.best),
        "cv": [dict(entry) for entry in fitted.cv],
        "metric": fitted.report["metric"],
        "nested": fitted.report.get("nested"),
        "curve": fitted.report.get("curve", []),
        "shots": fitted.report.get("shots", []),
        "temperature": fitted.report.get("temperature"),
        "test": judged,
        "baseline": None if names else _baseline(store, train, test),
        "engine": asked["engine"],
        "device": device,
        "seconds": round(fitted.seconds, 3),
        "rows": fitted.report["rows"],
        "features": fitted.dim,
        "classes": 0 if fitted.task == "numbers" else len(fitted.classes),
        "class_names": [] if options.targets else list(fitted.classes),
        "targets": list(fitted.classes) if options.targets else [],
        "left_out": left_out,
        "notes": list(fitted.notes),
        "backbone": store.recipe.backbone,
        "feature": output,
    }
    return Trained(head, document)


@contextmanager
def _rows_to_fit(
    options: TrainOptions, store: "FeatureStore", output: str, rows: NDArray[np.int64]
) -> Iterator["Rows"]:
    """Open the rows, here or on a cluster's nodes; whoever waits is told how far passes are."""
    from bottleneck.cluster.fitting import rows_on
    from bottleneck.heads.rows import WatchedRows, rows_of

    tell = options.progress.working
    try:
        if options.on:
            threads = None if options.jobs < 0 else options.jobs
            with rows_on(
                options.on,
                store,
                output,
                rows,
                threads=threads,
                engine=options.engine,
                device=options.device,
                tell=tell,
            ) as held:
                yield held
            return
        watched = WatchedRows(rows_of(store, output, rows), tell)
        try:
            yield watched
        finally:
            watched.end()
    finally:
        options.progress.end()


def _baseline(
    store: "FeatureStore", train: "RowChoice", test: "RowChoice | None"
) -> dict[str, Any]:
    """Say how often the commonest class of the training rows is right, as the head is judged."""
    commonest = int(np.bincount(train.y).argmax())
    judged = train if test is None else test
    return {
        "class": store.classes[commonest],
        "accuracy": float(np.mean(judged.y == commonest)),
        "rows": len(judged.y),
    }


def _rule(options: TrainOptions, targets: tuple[str, ...]) -> dict[str, Any] | None:
    """Return what `evaluate` needs to hold out the same rows."""
    if not options.holdout:
        return None
    rule: dict[str, Any] = {"fraction": options.holdout, "seed": options.seed}
    return rule | ({"targets": list(targets)} if targets else {})


def _what_to_fit(options: TrainOptions) -> "tuple[HeadKind, dict[str, Any]]":
    """Check the options that are about the head, before any work; return how it is selected."""
    from bottleneck.heads.selection.grid import parse_settings
    from bottleneck.heads.selection.targets import require_targets

    kind = head_kind(options.head)
    if options.engine == "keras" and len(kind.engines) < 2:
        both = [name for name in head_names() if len(head_kind(name).engines) > 1]
        raise OptionError(
            f"expected the head {' or '.join(both)} for --engine keras, got {options.head}",
            hint="Others are not solved in passes of losses and gradients; leave it out.",
        )
    engine = options.engine if options.engine in kind.engines else kind.engines[0]
    _require_device(options, engine)
    if options.on:
        require_engine(options.on)
        if not kind.by_shards:
            many = [name for name in head_names() if head_kind(name).by_shards]
            raise OptionError(
                f"expected the head {', '.join(many[:-1])} or {many[-1]} for --on, got "
                f"{options.head}",
                hint="Others need the rows where they are fitted; leave --on out.",
            )
    if options.targets:
        require_targets(kind)
        _refuse(options, ("screen", "nested", "curve", "shots", "calibrate"), "with --target")
    if not kind.parameter:
        _refuse(options, ("C", "one_se", "screen", "nested"), f"for {kind.name}")
    if not kind.few_rows:
        _refuse(options, ("curve", "shots", "calibrate"), f"for {kind.name}")
    grid = parse_grid(str(options.C)) if options.C else None
    settings = parse_settings(listed(options.settings))
    kind.candidates(grid, settings)
    kind.require_savable(settings)
    return kind, {
        "head": options.head,
        "grid": grid,
        "settings": settings,
        "n_folds": options.cv,
        "seed": options.seed,
        "jobs": options.jobs,
        "one_se": options.one_se,
        "screen": options.screen,
        "nested": options.nested,
        "curve": parse_grid(str(options.curve)) if options.curve else (),
        "shots": parse_counts(str(options.shots)) if options.shots else (),
        "calibrate": options.calibrate,
        "engine": engine,
        "device": options.device,
    }


def _require_device(options: TrainOptions, engine: EngineName) -> None:
    """Refuse a GPU for what NumPy computes, and one of Ray's by its number."""
    gpu = None if options.device is None else gpu_index(options.device)
    if gpu is None:
        return
    if engine == "numpy":
        kinds = {name: head_kind(name).engines for name in head_names()}
        both = [name for name, engines in kinds.items() if len(engines) > 1]
        only = [name for name, engines in kinds.items() if engines == ("keras",)]
        hint = f"On a GPU: {' and '.join(both)} with --engine keras; {' and '.join(only)}."
        require_cpu(options.device, options.head, hint)
    if options.on and gpu:
        raise OptionError(
            f"expected the device cpu or gpu for --on {options.on}, got {options.device}",
            hint="Ray gives every worker a GPU of its own.",
        )


def _refuse(options: TrainOptions, names: tuple[str, ...], where: str) -> None:
    for name in names:
        if getattr(options, name):
            raise OptionError(
                f"expected no --{name.replace('_', '-')} {where}",
                hint="It is for heads that tell classes apart, with something to choose; see "
                "--set name=value for the settings of others.",
            )


def _judge_once(
    head: "Head",
    test: "RowChoice | None",
    store: "FeatureStore",
    output: str,
) -> dict[str, Any] | None:
    from bottleneck.heads.rows import rows_of
    from bottleneck.judge import judge_head, judge_targets

    if test is None:
        return None
    if head.task != "classes":
        found = judge_targets(head, rows_of(store, output, test.rows), test.y, intervals=False)
        return {name: value for name, value in found.items() if name != "per_target"}
    groups = store.manifest.groups[test.rows]
    X = rows_of(store, output, test.rows)
    judgement = judge_head(head, X, test.y, store.classes, groups).to_json()
    wanted = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "rows", "intervals")
    return {name: judgement[name] for name in wanted}


def _inseparable(
    store: "FeatureStore", train: "RowChoice", n_folds: int, progress: Progress
) -> NDArray[np.int32]:
    """Join groups with images that occur more than once: a head is not judged by what it saw.

    Where copies (a title that all videos begin with) join groups to more rows than two folds have,
    groups stay as they are.
    """
    from bottleneck.comparison.duplicates import exact_sets, keep_together

    sets = exact_sets(np.asarray(store.digests)[train.rows])
    if n_folds < 2 or not (parted := _parted(sets, train.groups)).any():
        return train.groups
    joined = keep_together(train.groups, [sets], n_folds)
    n = len(joined)
    most = min(2 * math.ceil(n / n_folds), n - n_folds + 1)
    if _largest(joined) > max(most, _largest(train.groups)):
        joined = train.groups
    left = _parted(sets, joined)
    if together := np.count_nonzero(parted & ~left):
        progress.note(
            f"{together} training rows are images that occur more than once: no fold parts them"
        )
    if left.any():
        progress.note(
            f"{np.count_nonzero(left)} training rows are images that occur more than once, too many"
            " for a fold to hold: scores of the folds are better than of new images"
        )
    return joined


def _parted(sets: NDArray[np.int64], groups: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Tell which rows have a copy that is not of their group; a row without one is by itself."""
    n = len(sets)
    own = np.where(groups >= 0, groups, groups.max(initial=-1) + 1 + np.arange(n))
    first, last = np.full(n, own.max(initial=0)), np.zeros(n, own.dtype)
    copies = sets >= 0
    np.minimum.at(first, sets[copies], own[copies])
    np.maximum.at(last, sets[copies], own[copies])
    return copies & (first < last)[sets]


def _largest(groups: NDArray[np.int32]) -> int:
    """Count the rows of the largest group."""
    return int(np.bincount(groups[groups >= 0], minlength=1).max())


def _note_left_out(train: "RowChoice", excluded: int, progress: Progress) -> None:
    reasons = {
        "failed": train.failed,
        "without a value" if train.y.ndim == 2 else "without a label": train.unlabelled,
        "not extracted yet (run extract again to finish)": train.pending,
        "excluded by table": excluded,
    }
    left_out = [f"{count} {reason}" for reason, count in reasons.items() if count]
    if left_out:
        progress.note(f"training rows left out: {', '.join(left_out)}")
