"""How good predictions of classes are: one frozen value with everything ``evaluate`` prints."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bottleneck.errors import HeadError
from bottleneck.heads.head import Head
from bottleneck.heads.rows import Rows
from bottleneck.judge.intervals import Groups, RowScores, class_intervals


@dataclass(frozen=True)
class ClassJudgement:
    """One class's row in the table.

    Parameters
    ----------
    name : str
        The class.
    precision : float or None
        Right among the rows predicted as it; None when no row was.
    recall : float or None
        Found among its rows; None when it has none.
    f1 : float or None
        Harmonic mean of both; 0 when nothing is right; None when it neither has rows nor was
        predicted.
    support : int
        Its rows.
    """

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True)
class Judgement:
    """What predictions are worth.

    Parameters
    ----------
    rows : int
        Rows judged.
    accuracy : float
        Share of right rows.
    balanced_accuracy : float
        Mean recall over the classes that have rows.
    macro_f1 : float
        Mean F1 over the classes that have rows or were predicted, so that predicting a class
        that is not there costs.
    log_loss : float or None
        Mean negative log probability (natural logarithm) of the true class, probabilities
        clipped at 2.2e-16; None without probabilities.
    per_class : tuple of ClassJudgement
        One per class, also those without rows.
    confusion : tuple of tuples of int
        Rows are true classes, columns predicted ones, both in the order of ``per_class``.
    unknown_classes : tuple of str
        Classes with rows that the head never saw: every row of theirs is an error, with a
        probability of zero.
    calibration_error : float or None
        Expected calibration error: the mean distance between confidence and share of right
        rows, over 15 bins of equal width, weighted by their rows (C. Guo et al., On Calibration
        of Modern Neural Networks, ICML 2017). None without probabilities.
    top_5_accuracy : float or None
        Share of rows whose class is among the five of the highest score; None for five
        classes or fewer, or without scores.
    intervals : mapping of str to (low, high)
        95% intervals, see :func:`bottleneck.judge.intervals.class_intervals`.
    """

    rows: int
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    log_loss: float | None
    per_class: tuple[ClassJudgement, ...]
    confusion: tuple[tuple[int, ...], ...]
    unknown_classes: tuple[str, ...] = ()
    calibration_error: float | None = None
    top_5_accuracy: float | None = None
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"<Judgement accuracy {self.accuracy:.4f}, macro F1 {self.macro_f1:.4f},"
            f" {self.rows} rows, {len(self.per_class)} classes>"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values for :func:`json.dumps`; what is undefined is None, never NaN."""
        return {
            "rows": self.rows,
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
            "log_loss": self.log_loss,
            "per_class": [{"class": c.name, **_without_name(c)} for c in self.per_class],
            "confusion": [list(row) for row in self.confusion],
            "unknown_classes": list(self.unknown_classes),
            "calibration_error": self.calibration_error,
            "top_5_accuracy": self.top_5_accuracy,
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
        }


def judge(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    probabilities: ArrayLike | None,
    classes: Sequence[str],
    *,
    unknown: Sequence[str] = (),
    scores: ArrayLike | None = None,
    groups: Groups | None = None,
) -> Judgement:
    """Judge predictions by scikit-learn's metrics.

    Parameters
    ----------
    y_true, y_pred : array of int, shape (n,)
        Codes, indices into ``classes``; no unlabelled rows.
    probabilities : array of float, shape (n, len(classes)), or None
        Rows summing to one.
    classes : sequence of str
        Class names; some may have no rows.
    unknown : sequence of str
        Those of ``classes`` the head never saw, to be named in the result.
    scores : array of float, shape (n, len(classes)), optional
        What classes are ranked by; the probabilities by default.
    groups : array of int, shape (n,), optional
        Rows of one group are not independent: intervals take groups as wholes. -1 for a row of
        its own.

    Raises
    ------
    HeadError
        For no rows, codes out of range, arrays that do not fit together, or probabilities
        that are not.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    truth, predicted = _codes(y_true, y_pred, len(classes))
    codes = np.arange(len(classes))
    # Without rows, or without predictions, a ratio is undefined: NaN here, None in the result.
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predicted, labels=codes, zero_division=np.nan
    )
    confusion = confusion_matrix(truth, predicted, labels=codes)
    columns = zip(classes, precision, recall, f1, support, strict=True)
    losses = None if probabilities is None else _log_losses(truth, probabilities, len(classes))
    in_top_5 = _in_top_5(truth, probabilities if scores is None else scores)
    rows = RowScores(truth, predicted, losses, in_top_5)
    return Judgement(
        rows=len(truth),
        accuracy=float(np.mean(truth == predicted)),
        balanced_accuracy=float(np.nanmean(recall)),
        macro_f1=float(np.nanmean(f1)),
        log_loss=None if losses is None else float(losses.mean()),
        per_class=tuple(
            ClassJudgement(name, _number(p), _number(r), _number(f), int(n))
            for name, p, r, f, n in columns
        ),
        confusion=tuple(tuple(map(int, row)) for row in confusion),
        unknown_classes=tuple(unknown),
        calibration_error=None
        if probabilities is None
        else _calibration_error(truth, predicted, np.asarray(probabilities, np.float64)),
        top_5_accuracy=None if in_top_5 is None else float(in_top_5.mean()),
        intervals=class_intervals(rows, len(classes), groups),
    )


def _codes(
    y_true: ArrayLike, y_pred: ArrayLike, n_classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    truth, predicted = np.asarray(y_true, np.int64), np.asarray(y_pred, np.int64)
    if truth.ndim != 1 or truth.shape != predicted.shape:
        raise HeadError(
            f"expected one prediction per row, got {truth.shape} true and {predicted.shape}"
        )
    if len(truth) == 0:
        raise HeadError(
            "expected labelled rows to judge by, got none",
            hint="See `bottleneck info` for the splits and how many rows are done and labelled.",
        )
    for name, codes in (("true", truth), ("predicted", predicted)):
        if codes.min() < 0 or codes.max() >= n_classes:
            raise HeadError(
                f"expected {name} codes from 0 to {n_classes - 1},"
                f" got {codes.min()} to {codes.max()}",
                hint="Leave unlabelled rows (-1) out.",
            )
    return truth, predicted


def _log_losses(
    truth: NDArray[np.int64], probabilities: ArrayLike, n_classes: int
) -> NDArray[np.float64]:
    given = np.asarray(probabilities, np.float64)
    if given.shape != (len(truth), n_classes):
        raise HeadError(
            f"expected probabilities of shape {(len(truth), n_classes)}, got {given.shape}"
        )
    if not np.all((given >= 0) & (given <= 1)) or not np.allclose(given.sum(axis=1), 1, atol=1e-5):
        raise HeadError("expected probabilities from 0 to 1 whose rows sum to one")
    own = given[np.arange(len(truth)), truth] / given.sum(axis=1)
    # As scikit-learn does: a probability of zero would make the loss infinite.
    tiny = np.finfo(np.float64).eps
    losses: NDArray[np.float64] = -np.log(np.clip(own, tiny, 1 - tiny))
    return losses


def _calibration_error(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> float:
    confidence = probabilities[np.arange(len(truth)), predicted]
    bins = np.minimum((confidence * 15).astype(int), 14)
    gap = np.bincount(bins, (truth == predicted) - confidence, minlength=15)
    return float(np.abs(gap).sum() / len(truth))


def _in_top_5(truth: NDArray[np.int64], scores: ArrayLike | None) -> NDArray[np.bool_] | None:
    if scores is None:
        return None
    given = np.asarray(scores, np.float64)
    if given.shape[1] <= 5:
        return None
    own = given[np.arange(len(truth)), truth][:, None]
    # Of equal scores the first classes rank higher, as in predictions.
    before = (given > own) | ((given == own) & (np.arange(given.shape[1]) < truth[:, None]))
    found: NDArray[np.bool_] = before.sum(axis=1) < 5
    return found


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _without_name(row: ClassJudgement) -> dict[str, Any]:
    return {key: value for key, value in asdict(row).items() if key != "name"}


def judge_head(
    head: Head,
    X: ArrayLike | Rows,
    y: ArrayLike,
    classes: Sequence[str],
    groups: Groups | None = None,
) -> Judgement:
    """Judge a head on rows whose labels are another file's codes.

    Classes are matched by name: a file with other or fewer classes numbers them otherwise.
    The table lists the head's classes in its order, then classes with rows that the head
    never saw. Those rows count, as errors; their classes are named in
    :attr:`Judgement.unknown_classes`.

    Parameters
    ----------
    head : Head
        What is judged; call :meth:`Head.require_features` first.
    X : array or Rows, float32 or float16, shape (n, head.dim)
        Features; rows of a file are read block by block.
    y : array of int, shape (n,)
        Codes, indices into ``classes``; unlabelled rows are left out by the caller.
    classes : sequence of str
        The file's class names.
    groups : array of int, shape (n,), optional
        Rows of one group are not independent; -1 for a row of its own.

    Raises
    ------
    HeadError
        For no rows, codes out of range, or features that do not fit.
    """
    codes = np.asarray(y, np.int64)
    if codes.size and (codes.min() < 0 or codes.max() >= len(classes)):
        raise HeadError(
            f"expected labels from 0 to {len(classes) - 1}, got {codes.min()} to {codes.max()}",
            hint="Leave unlabelled rows (-1) out.",
        )
    ours = {name: code for code, name in enumerate(head.classes)}
    unknown = tuple(classes[code] for code in np.unique(codes) if classes[code] not in ours)
    ours.update({name: len(ours) + i for i, name in enumerate(unknown)})
    translate = np.array([ours.get(name, -1) for name in classes], np.int64)
    probabilities = head.predict_proba(X)
    if probabilities is not None and unknown:
        probabilities = np.pad(probabilities, ((0, 0), (0, len(unknown))))
    scores = head.scores(X)
    if unknown:
        scores = np.pad(scores, ((0, 0), (0, len(unknown))), constant_values=-np.inf)
    return judge(
        translate[codes],
        head.predict(X),
        probabilities,
        (*head.classes, *unknown),
        unknown=unknown,
        scores=scores,
        groups=groups,
    )
