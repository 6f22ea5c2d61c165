"""Judge a saved head on stored features, or compare files and heads."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.api.training_rows import held_out, note_twins
from bottleneck.comparison.study import Comparison
from bottleneck.comparison.study import compare as compare_features
from bottleneck.declare import listed
from bottleneck.errors import HeadError, OptionError
from bottleneck.frames import (
    PandasFrame,
    PolarsFrame,
    html_table,
    pandas_frame,
    polars_frame,
    records_of,
)
from bottleneck.manifest import SPLITS, torn_groups
from bottleneck.options import CompareOptions, EvaluateOptions, ViewOptions
from bottleneck.progress import Progress
from bottleneck.sources.corrections import excluded_rows
from bottleneck.writing import prepare_output, write_text

if TYPE_CHECKING:
    from bottleneck.comparison.view import View
    from bottleneck.heads.head import Head
    from bottleneck.store import FeatureStore, RowChoice


@dataclass(frozen=True)
class Judged:
    """A judgement.

    Parameters
    ----------
    document : mapping
        Scores, the table per class and the confusion matrix, as JSON values.
    """

    document: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return every number."""
        return dict(self.document)

    def __repr__(self) -> str:
        told = self.document
        return f"<Judged {told['head']} on {told['rows']} rows, split {told['split']}>"

    def _repr_html_(self) -> str:
        told = self.document
        scores = {name: value for name, value in told.items() if isinstance(value, float)}
        columns = records_of(self._rows())
        return html_table(
            f"Judgement of {told['head']} on {told['rows']} rows, split {told['split']}",
            {name.replace("_", " "): f"{value:.4f}" for name, value in scores.items()},
            [*zip(*(map(_short, column) for column in columns.values()), strict=True)],
            [*columns],
        )

    def _rows(self) -> list[Mapping[str, Any]]:
        rows = self.document["per_class" if self.document["task"] == "classes" else "per_target"]
        return list(rows)

    def to_pandas(self) -> PandasFrame:
        """Return the scores of each class or target, a row each, as a pandas table."""
        return pandas_frame(records_of(self._rows()))

    def to_polars(self) -> PolarsFrame:
        """Return the scores of each class or target, a row each, as a Polars table."""
        return polars_frame(records_of(self._rows()))


def _short(value: object) -> object:
    return f"{value:.3f}" if isinstance(value, float) else "" if value is None else value


def judge(options: EvaluateOptions) -> Judged:
    """Judge; see :func:`bottleneck.evaluate`."""
    from bottleneck.heads import Head
    from bottleneck.heads.rows import rows_of
    from bottleneck.judge import judge_head, judge_targets
    from bottleneck.store import FeatureStore
    from bottleneck.store.outdated import outdated_note

    progress, inputs = options.progress, options.paths("reads")
    place = prepare_output(options.output, kind="other", inputs=inputs) if options.output else None
    head = Head.load(options.head, device=options.device, tell=progress.note)
    store = FeatureStore.open(options.features)
    if outdated := outdated_note(store):
        progress.note(outdated)
    output = head.output if head.output in store.outputs else store.output_name()
    for note in head.require_features(store.recipe, output, store.outputs[output]):
        progress.note(note)
    split, rows = _choose_rows(options.split, head, store, progress)
    if split == "test" and (torn := torn_groups(store.manifest)):
        progress.note(torn)
    out = excluded_rows(listed(options.exclude), store.manifest, store.location)[rows.rows]
    rows = rows.take(~out)
    seen = _trained_on(head, store, split, rows)
    others_only = options.split not in ("train", "all") and not seen.all()
    if others_only:
        rows = rows.take(~seen)
    _note_trained_on(int(seen.sum()), len(seen), others_only, progress)
    if not seen.any():
        note_twins(head, store, rows.rows, progress)
    if not len(rows.rows):
        raise HeadError(
            f"expected labelled rows with features in the split {split!r} of {store.location}, "
            f"found none ({rows.failed} failed, {rows.unlabelled} unlabelled, "
            f"{rows.pending} pending)"
        )
    X, groups = rows_of(store, output, rows.rows), store.manifest.groups[rows.rows]
    if head.task == "classes":
        judgement = judge_head(head, X, rows.y, store.classes, groups)
        if judgement.unknown_classes:
            unknown = ", ".join(judgement.unknown_classes)
            progress.note(f"classes the head never saw count as errors: {unknown}")
        judged = judgement.to_json()
    else:
        judged = judge_targets(head, X, rows.y, groups=groups)
    document = {
        "head": head.kind,
        "task": head.task,
        "best": dict(head.report["best"]),
        "backbone": head.recipe.backbone,
        "split": split,
        **judged,
        "failed_rows_skipped": rows.failed,
        "unlabelled_rows_skipped": rows.unlabelled,
        "pending_rows_skipped": rows.pending,
        "excluded_rows_skipped": int(out.sum()),
        "trained_rows_skipped": int(seen.sum()) if others_only else 0,
        "trained_rows_included": 0 if others_only else int(seen.sum()),
    }
    if place:
        write_text(place, json.dumps(document, indent=2) + "\n")
    return Judged(document)


def _choose_rows(
    asked: str | None, head: "Head", store: "FeatureStore", progress: Progress
) -> "tuple[str, RowChoice]":
    targets = () if head.task == "classes" else head.classes
    held = store.manifest.targets
    for name in targets:
        if name not in held.names and not held.siblings(name):
            held.find([name], store.location)  # says what there is
    if asked is not None:
        return asked, store.choose(asked, targets)
    if (store.splits == SPLITS.index("test")).any():
        return "test", store.choose("test", targets)
    rows = store.choose(targets=targets)
    rule = head.report.get("holdout")
    if head.report.get("manifest_sha256") != store.manifest_sha256:
        if rule:
            progress.note("other images than in training: the hold-out is not used")
        return "all", rows
    # Where values are missing decides which rows are labelled, and so which are held out.
    if targets and head.report.get("targets_sha256") != store.targets_sha256:
        progress.note("other targets than in training: no hold-out is used")
        return "all", rows
    if rule:
        asked_for = rule.get("targets") or targets
        mask = held_out(store, rule["fraction"], rule["seed"], asked_for)
        return "holdout", rows.take(mask[rows.rows])
    return "all", rows


def _trained_on(
    head: "Head", store: "FeatureStore", split: str, rows: "RowChoice"
) -> NDArray[np.bool_]:
    """Find the rows that the head was fitted on: shape (len(rows.rows),)."""
    same_list = head.report.get("manifest_sha256") == store.manifest_sha256
    if split == "holdout":
        return np.zeros(len(rows.rows), np.bool_)
    if same_list and store.splits.any():
        # The file says it; an image that is in two splits is a leak, which `compare` lists.
        found: NDArray[np.bool_] = store.splits[rows.rows] == SPLITS.index("train")
        return found
    if head.trained_on is not None:
        return head.trained_on.among(store, rows.rows)
    # An older head says only which list it was trained on.
    return np.full(len(rows.rows), same_list)


def _note_trained_on(seen: int, of: int, others_only: bool, progress: Progress) -> None:
    if not seen:
        return
    if others_only:
        progress.note(f"left out {seen} of {of} rows that the head was trained on")
    else:
        progress.note(
            f"the head was trained on {seen} of these {of} rows, whose scores say nothing of new "
            "images: expect flattery"
        )


def compare_files(options: CompareOptions) -> Comparison:
    """Compare; see :func:`bottleneck.compare`."""
    inputs = options.paths("reads", "images")
    place = prepare_output(options.output, kind="other", inputs=inputs) if options.output else None
    head = None
    if options.save_best:
        head = prepare_output(options.save_best, kind="head", inputs=inputs)
        if head == place:
            raise OptionError(f"expected another file for the head than {options.output}")
    comparison = compare_features(
        listed(options.features),
        heads=[name.strip() for name in str(options.heads).split(",") if name.strip()],
        outputs=listed(options.feature),
        images=listed(options.images),
        path_column=options.path_column,
        cv=options.cv,
        screen=options.screen,
        seed=options.seed,
        resamples=options.resamples,
        near=options.near,
        map=options.map,
        exclude=listed(options.exclude),
        device=options.device,
        progress=options.progress,
    )
    if head:
        comparison.save_best(head)
    page = comparison.write_html(place) if place else None
    for note in page["notes"] if page else ():
        options.progress.note(note)
    made = {
        "output": str(options.output) if place else None,
        "page": page,
        "saved": str(options.save_best) if head else None,
    }
    return replace(comparison, document={**made, **comparison.document})


def view_file(options: ViewOptions) -> "View":
    """Look at a file; see :func:`bottleneck.view`."""
    from bottleneck.comparison.view import look_at

    inputs = options.paths("reads", "images")
    place = prepare_output(options.output, kind="other", inputs=inputs) if options.output else None
    view = look_at(
        options.features,
        images=listed(options.images),
        feature=options.feature,
        near=options.near,
        map=options.map,
        progress=options.progress,
    )
    page = view.write_html(place) if place else None
    for note in page["notes"] if page else ():
        options.progress.note(note)
    made = {"output": str(options.output) if place else None, "page": page}
    return replace(view, document={**made, **view.document})
