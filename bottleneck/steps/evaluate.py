"""The step that judges a saved head on stored features."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bottleneck.errors import HeadError
from bottleneck.extract.progress import Progress
from bottleneck.manifest import SPLITS
from bottleneck.steps.holdout import held_out

if TYPE_CHECKING:
    from bottleneck.heads.saved import Head
    from bottleneck.store import FeatureStore, RowChoice


@dataclass(frozen=True, kw_only=True)
class EvaluateStep:
    """A head and features to a judgement.

    Parameters
    ----------
    head : str
        The head's file.
    features : str
        Feature file of the same recipe.
    split : {"train", "val", "test", "all"}, optional
        Which rows; by default those of ``test``, or those that training held out, or all.
    output : str, optional
        Where to keep the judgement, as JSON.
    """

    reads: ClassVar[tuple[str, ...]] = ("head", "features")
    writes: ClassVar[tuple[str, ...]] = ("output",)

    head: str
    features: str
    split: Literal["train", "val", "test", "all"] | None = None
    output: str | None = None

    def run(self, progress: Progress) -> dict[str, Any]:
        """Judge; return the scores, the table per class and the confusion matrix."""
        from bottleneck.compare import judge_head
        from bottleneck.heads import Head
        from bottleneck.heads.rows import FileRows
        from bottleneck.store import FeatureStore

        head = Head.load(self.head)
        store = FeatureStore.open(self.features)
        output = head.output if head.output in store.outputs else store.output_name()
        for note in head.require_features(store.recipe, output, store.outputs[output]):
            progress.note(note)
        split, rows = _choose_rows(self.split, head, store, progress)
        if not len(rows.rows):
            raise HeadError(
                f"expected labelled rows with features in the split {split!r} of {store.path}, "
                f"found none ({rows.failed} failed, {rows.unlabelled} unlabelled, "
                f"{rows.pending} pending)"
            )
        judgement = judge_head(head, FileRows.of(store, output, rows.rows), rows.y, store.classes)
        if judgement.unknown_classes:
            unknown = ", ".join(judgement.unknown_classes)
            progress.note(f"classes the head never saw count as errors: {unknown}")
        document = {
            "head": head.kind,
            "best": dict(head.report["best"]),
            "backbone": head.recipe.backbone,
            "split": split,
            **judgement.to_json(),
            "failed_rows_skipped": rows.failed,
            "unlabelled_rows_skipped": rows.unlabelled,
            "pending_rows_skipped": rows.pending,
        }
        if self.output:
            path = Path(self.output)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        return document


def _choose_rows(
    asked: str | None, head: "Head", store: "FeatureStore", progress: Progress
) -> "tuple[str, RowChoice]":
    if asked is not None:
        return asked, store.choose(asked)
    if (store.splits == SPLITS.index("test")).any():
        return "test", store.choose("test")
    rows = store.choose()
    rule = head.report.get("holdout")
    if rule:
        return "holdout", rows.take(held_out(store, rule["fraction"], rule["seed"])[rows.rows])
    if head.report.get("manifest_sha256") == store.manifest_sha256:
        progress.note("these rows include those the head was trained on: expect flattery")
    return "all", rows
