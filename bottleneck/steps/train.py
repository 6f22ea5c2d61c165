"""The step that fits a head on stored features, selects its strength and judges it once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from bottleneck.errors import OptionError
from bottleneck.extraction.progress import Progress
from bottleneck.heads.catalogue import head_spec
from bottleneck.heads.grid import parse_counts, parse_grid
from bottleneck.steps.training_rows import (
    judged_rows,
    mask_of_test,
    require_labels_to_judge_by,
    training_rows,
)
from bottleneck.writing import prepare_output

if TYPE_CHECKING:
    from bottleneck.heads.rows import Rows
    from bottleneck.heads.saved import Head
    from bottleneck.heads.selection import Fitted
    from bottleneck.store import FeatureStore, RowChoice

_Fit: TypeAlias = "Callable[[Rows, RowChoice, tuple[str, ...]], Fitted]"


@dataclass(frozen=True, kw_only=True)
class TrainStep:
    """Features to a head.

    The head is fitted on the rows of the ``train`` split, or on all rows where the file has
    no splits; ``val`` rows are left alone. Its strength is chosen by cross-validation on
    those rows; the rows of the ``test`` split, or those held out, are touched once, at the end.

    Parameters
    ----------
    features : str
        Feature file.
    output : str
        The head's file.
    head : str
        ``logreg``, ``svm``, ``ridge`` or ``mlp``; or the import path of a classifier of
        scikit-learn, which needs the rows in memory.
    settings : tuple of str
        Parameters of such a classifier or of ``mlp``, ``name=value``.
    C : str, optional
        Strengths to try: ``lo:hi:n`` on a log scale, or a list with commas.
    cv : int
        Folds of the cross-validation.
    feature : str, optional
        Which output of the file; may be left out where there is only one.
    holdout : float
        Share of the rows to hold out for the test where the file has no splits.
    seed : int
        Decides folds, hold-out and the solvers' random numbers.
    jobs : int
        Threads that share the blocks of rows; -1 for all cores.
    one_se : bool
        Take the smallest C within one standard error of the best.
    nested : bool
        Also estimate the accuracy of the whole procedure, the choice of C included.
    curve : str, optional
        Shares of the rows to also fit on, ``0.1,0.3,1``.
    shots : str, optional
        Rows per class to also fit on, ``1,2,4,8,16``.
    calibrate : bool
        Also make probabilities of the head's scores, by a temperature fitted on rows left out.
    targets : tuple of str
        Predict these targets of the file, not the class: labels by ``logreg``, numbers by
        ``ridge``.
    engine : {"numpy", "keras"}
        What ``logreg`` and ``svm`` are fitted with; ``keras`` is for GPUs.
    """

    reads: ClassVar[tuple[str, ...]] = ("features",)
    writes: ClassVar[tuple[str, ...]] = ("output",)

    features: str
    output: str
    head: str = "logreg"
    settings: tuple[str, ...] = ()
    C: str | None = None
    cv: int = 5
    feature: str | None = None
    holdout: float = 0.0
    seed: int = 0
    jobs: int = -1
    one_se: bool = False
    nested: bool = False
    curve: str | None = None
    shots: str | None = None
    calibrate: bool = False
    targets: tuple[str, ...] = ()
    engine: Literal["numpy", "keras"] = "numpy"

    def run(self, progress: Progress) -> dict[str, Any]:
        """Train; return the head, the chosen parameters, all scores and the test's."""
        from bottleneck.heads import Head
        from bottleneck.heads.rows import rows_of
        from bottleneck.store import FeatureStore

        fit = _how_to_fit(self)
        place = prepare_output(self.output, kind="head", inputs=[self.features])
        store = FeatureStore.open(self.features)
        output = store.output_name(self.feature)
        names = store.manifest.targets.find(self.targets, str(store.path))
        held = mask_of_test(store, self.holdout, self.seed, names)
        train = training_rows(store, held, names)
        if names and self.head.lower() == "logreg":
            require_labels_to_judge_by(store, held, names)
        _note_left_out(train, progress)
        fitted = fit(rows_of(store, output, train.rows), train, names or store.classes)
        for note in fitted.notes:
            progress.note(note)
        left_out = {
            "failed": train.failed,
            "unlabelled": train.unlabelled,
            "pending": train.pending,
        }
        head = Head.of(
            fitted,
            recipe=store.recipe,
            output=output,
            left_out=left_out,
            manifest_sha256=store.manifest_sha256,
            **({"targets_sha256": store.targets_sha256} if names else {}),
            holdout=_rule(self, names),
        )
        test = judged_rows(store, held, fitted.classes if names else ())
        if test is None and self.holdout:
            progress.note("no row of the hold-out is extracted yet: no test")
        head.save(place)  # before the test: whatever goes wrong there, the fit is not lost
        judged = _judge_once(head, test, store, output)
        return {
            "head": self.head,
            "output": self.output,
            "task": fitted.task,
            "best": dict(fitted.best),
            "cv": [dict(entry) for entry in fitted.cv],
            "metric": fitted.metric,
            "nested": None if fitted.nested is None else dict(fitted.nested),
            "curve": [dict(point) for point in fitted.curve],
            "shots": [dict(point) for point in fitted.shots],
            "temperature": fitted.temperature,
            "test": judged,
            "seconds": round(fitted.seconds, 3),
            "rows": fitted.rows,
            "features": fitted.dim,
            "classes": 0 if fitted.task == "numbers" else len(fitted.classes),
            "class_names": [] if self.targets else list(fitted.classes),
            "targets": list(fitted.classes) if self.targets else [],
            "left_out": left_out,
            "notes": list(fitted.notes),
            "backbone": store.recipe.backbone,
            "feature": output,
        }


def _rule(step: TrainStep, targets: tuple[str, ...]) -> dict[str, Any] | None:
    """Return what `evaluate` needs to hold out the same rows."""
    if not step.holdout:
        return None
    rule: dict[str, Any] = {"fraction": step.holdout, "seed": step.seed}
    return rule | ({"targets": list(targets)} if targets else {})


def _how_to_fit(step: TrainStep) -> _Fit:
    if step.engine == "keras" and step.head.lower() not in ("logreg", "svm"):
        raise OptionError(
            f"expected the head logreg or svm for --engine keras, got {step.head}",
            hint="Others are not solved in passes of losses and gradients; leave it out.",
        )
    if step.targets:
        return _of_targets(step)
    if "." in step.head:
        return _imported(step)
    return _listed(step) if head_spec(step.head).linear else _network(step)


def _network(step: TrainStep) -> _Fit:
    """Check the options of the small network; return what fits it."""
    from bottleneck.heads import select_mlp
    from bottleneck.heads.imported import parse_settings
    from bottleneck.heads.mlp_selection import checked_settings

    settings = checked_settings(parse_settings(step.settings))
    _refuse_options_of_strengths(step)
    return lambda rows, train, classes: select_mlp(
        rows,
        train.y,
        classes=classes,
        keys=train.keys,
        groups=train.groups,
        settings=settings,
        n_folds=step.cv,
        seed=step.seed,
        jobs=step.jobs,
    )


def _refuse_options_of_strengths(step: TrainStep) -> None:
    for name in ("C", "one_se", "nested", "curve", "shots", "calibrate"):
        if getattr(step, name):
            raise OptionError(
                f"expected no --{name.replace('_', '-')} for {step.head}",
                hint="It is for the heads logreg, svm and ridge; use --set name=value.",
            )


def _of_targets(step: TrainStep) -> _Fit:
    """Check the options of a head of targets; return what fits it."""
    from bottleneck.heads.target_selection import require_target_head, select_targets

    head = step.head.lower()
    require_target_head(head)
    for name in ("settings", "nested", "curve", "shots", "calibrate"):
        if getattr(step, name):
            option = "set" if name == "settings" else name
            raise OptionError(
                f"expected no --{option} with --target",
                hint="It is for heads that tell classes apart.",
            )
    grid = parse_grid(step.C) if step.C else None
    return lambda rows, train, names: select_targets(
        rows,
        train.y,
        names=names,
        keys=train.keys,
        groups=train.groups,
        head=head,
        grid=grid,
        n_folds=step.cv,
        seed=step.seed,
        jobs=step.jobs,
        one_se=step.one_se,
        engine=step.engine,
    )


def _listed(step: TrainStep) -> _Fit:
    """Check the options of a head of the catalogue; return what fits it."""
    from bottleneck.heads import select

    grid = parse_grid(step.C) if step.C else None
    curve = parse_grid(step.curve) if step.curve else ()
    shots = parse_counts(step.shots) if step.shots else ()
    if step.settings:
        raise OptionError(
            f"expected no --set for the head {step.head}",
            hint="Only mlp and a classifier given by its path have parameters: --head mlp.",
        )
    return lambda rows, train, classes: select(
        rows,
        train.y,
        classes=classes,
        keys=train.keys,
        groups=train.groups,
        head=step.head,
        grid=grid,
        n_folds=step.cv,
        seed=step.seed,
        jobs=step.jobs,
        one_se=step.one_se,
        nested=step.nested,
        curve=curve,
        shots=shots,
        calibrate=step.calibrate,
        engine=step.engine,
    )


def _imported(step: TrainStep) -> _Fit:
    """Check the options of a classifier given by its path; return what fits it."""
    from bottleneck.heads.imported import parse_settings, require_savable, select_imported

    settings = parse_settings(step.settings)
    _refuse_options_of_strengths(step)
    require_savable(step.head, settings)
    return lambda rows, train, classes: select_imported(
        rows,
        train.y,
        classes=classes,
        keys=train.keys,
        groups=train.groups,
        head=step.head,
        settings=settings,
        n_folds=step.cv,
        seed=step.seed,
    )


def _judge_once(
    head: "Head",
    test: "RowChoice | None",
    store: "FeatureStore",
    output: str,
) -> dict[str, Any] | None:
    from bottleneck.comparison import judge_head, judge_targets
    from bottleneck.heads.rows import rows_of

    if test is None:
        return None
    if head.task != "classes":
        found = judge_targets(head, rows_of(store, output, test.rows), test.y, intervals=False)
        return {name: value for name, value in found.items() if name != "per_target"}
    judgement = judge_head(head, rows_of(store, output, test.rows), test.y, store.classes).to_json()
    wanted = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "rows")
    return {name: judgement[name] for name in wanted}


def _note_left_out(train: "RowChoice", progress: Progress) -> None:
    reasons = {
        "failed": train.failed,
        "without a value" if train.y.ndim == 2 else "without a label": train.unlabelled,
        "not extracted yet (run extract again to finish)": train.pending,
    }
    left_out = [f"{count} {reason}" for reason, count in reasons.items() if count]
    if left_out:
        progress.note(f"training rows left out: {', '.join(left_out)}")
