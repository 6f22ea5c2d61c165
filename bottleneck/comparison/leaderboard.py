"""The leaderboard: every head on every backbone, judged on the same rows, best first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.comparison.alignment import Aligned
from bottleneck.comparison.costs import Cost, pareto_front
from bottleneck.comparison.metrics import Judgement, judge
from bottleneck.comparison.outer import Predictions, Protocol
from bottleneck.comparison.resampling import Draws, RowScores, bootstrap
from bottleneck.comparison.statistics import holm, mcnemar

ALPHA = 0.05
"""Heads whose adjusted p-value against the best is not below it count as not distinguishable."""

COSTS = ("milliseconds_per_image", "parameters", "length", "bytes_per_image", "fit_seconds")
"""Costs a Pareto front is drawn for; less is better."""


@dataclass(frozen=True, eq=False)
class Contender:
    """One head on one backbone's features.

    Parameters
    ----------
    features : int
        Position of the features among those compared.
    head : str
        The head's name.
    predictions : Predictions
        What it says of the judged rows.
    judgement : Judgement
        What that is worth.
    """

    features: int
    head: str
    predictions: Predictions
    judgement: Judgement


def make_contender(
    aligned: Aligned, protocol: Protocol, features: int, head: str, predictions: Predictions
) -> Contender:
    """Judge a head's predictions."""
    judgement = judge(
        aligned.y[protocol.judged],
        predictions.predicted,
        predictions.probabilities,
        aligned.classes,
        scores=predictions.scores,
    )
    return Contender(features, head, predictions, judgement)


def rank(
    contenders: Sequence[Contender],
    aligned: Aligned,
    protocol: Protocol,
    costs: Sequence[Cost],
    *,
    resamples: int,
) -> list[tuple[Contender, dict[str, Any]]]:
    """Order heads by accuracy and test each against the best.

    Where rows belong to groups, the bootstrap of whole groups decides what is distinguishable;
    else McNemar's test, which takes rows as independent.

    Returns
    -------
    list of (Contender, dict)
        The best first, with its line of the leaderboard as JSON values. Of equal accuracies
        the better log loss goes first, then macro F1.
    """
    order = sorted(contenders, key=_best_first)
    truth = aligned.y[protocol.judged]
    groups = aligned.groups[protocol.judged]
    scores = [_row_scores(truth, one) for one in order]
    draws = bootstrap(
        scores, len(aligned.classes), groups=groups, resamples=resamples, seed=protocol.seed
    )
    versus = _against_best(order, scores, draws, grouped=bool((groups >= 0).any()))
    cost_lines = [_costs(one, costs) for one in order]
    fronts = {
        name: pareto_front(
            [
                (line[name], one.judgement.accuracy)
                for line, one in zip(cost_lines, order, strict=True)
            ]
        )
        for name in COSTS
    }
    return [
        (
            one,
            {
                "rank": i + 1,
                "features": one.features,
                "head": one.head,
                "best": dict(one.predictions.final.best),
                "chosen_by_fold": [dict(chosen) for chosen in one.predictions.chosen],
                "cv": [dict(entry) for entry in one.predictions.final.cv],
                **_scores(one.judgement),
                "intervals": draws[i].intervals(),
                "versus_best": versus[i],
                "costs": cost_lines[i],
                "pareto": [name for name in COSTS if fronts[name][i]],
                "per_class": one.judgement.to_json()["per_class"],
                "confusion": one.judgement.to_json()["confusion"],
                "notes": list(one.predictions.final.notes),
            },
        )
        for i, one in enumerate(order)
    ]


def _best_first(one: Contender) -> tuple[float, ...]:
    judged = one.judgement
    loss = np.inf if judged.log_loss is None else judged.log_loss
    return (-judged.accuracy, loss, -judged.macro_f1, one.features)


def _scores(judgement: Judgement) -> dict[str, Any]:
    names = (
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "top_5_accuracy",
        "log_loss",
        "calibration_error",
    )
    return {name: getattr(judgement, name) for name in names}


def _row_scores(truth: NDArray[np.int64], one: Contender) -> RowScores:
    rows = np.arange(len(truth))
    shares, scores = one.predictions.probabilities, one.predictions.scores
    losses = in_top_5 = None
    if shares is not None:
        # As in the log loss: a probability of zero would make it infinite.
        losses = -np.log(np.maximum(shares[rows, truth], np.finfo(np.float64).eps))
    if scores.shape[1] > 5:
        ranked = scores if shares is None else shares
        own = ranked[rows, truth][:, None]
        before = (ranked > own) | ((ranked == own) & (np.arange(ranked.shape[1]) < truth[:, None]))
        in_top_5 = before.sum(axis=1) < 5
    return RowScores(truth, one.predictions.predicted, losses, in_top_5)


def _against_best(
    order: Sequence[Contender],
    scores: Sequence[RowScores],
    draws: Sequence[Draws],
    *,
    grouped: bool,
) -> list[dict[str, Any] | None]:
    best = order[0].judgement.accuracy
    lines: list[dict[str, Any]] = []
    for i in range(1, len(order)):
        test = mcnemar(scores[0].right, scores[i].right)
        difference = draws[0].difference(draws[i], best - order[i].judgement.accuracy)
        lines.append(
            {
                "difference": difference.to_json(),
                "only_best_right": test.only_first,
                "only_this_right": test.only_second,
                "mcnemar_exact": test.exact,
                "mcnemar_mid_p": test.mid_p,
            }
        )
    mcnemar_holm = holm([line["mcnemar_mid_p"] for line in lines])
    bootstrap_holm = holm([line["difference"]["p"] for line in lines])
    for line, by_test, by_draws in zip(lines, mcnemar_holm, bootstrap_holm, strict=True):
        line["mcnemar_holm"], line["bootstrap_holm"] = by_test, by_draws
        decisive = by_draws if grouped else by_test
        line["decided_by"] = "bootstrap of groups" if grouped else "McNemar"
        line["distinguishable"] = bool(decisive < ALPHA)
    return [None, *lines]


def _costs(one: Contender, costs: Sequence[Cost]) -> dict[str, float | None]:
    cost = costs[one.features]
    rate = cost.images_per_second
    return {
        "milliseconds_per_image": None if rate is None else 1000 / rate,
        "parameters": cost.parameters,
        "length": cost.length,
        "bytes_per_image": cost.bytes_per_image,
        "fit_seconds": one.predictions.seconds,
    }
