"""The leaderboard: every head on every backbone, judged on the same rows, best first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.comparison.alignment import Aligned
from bottleneck.comparison.costs import Cost, pareto_front
from bottleneck.comparison.outer import Predictions, Protocol
from bottleneck.judge.best import ALPHA, p_against_best
from bottleneck.judge.paired import PairedDifference, mcnemar
from bottleneck.judge.resampling import drawn_means
from bottleneck.judge.scores import Judgement, judge

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
        groups=aligned.groups[protocol.judged],
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

    A max-type sign-flip test, of whole groups where rows belong to groups, decides what is
    distinguishable: see :mod:`bottleneck.judge.best`.

    Returns
    -------
    list of (Contender, dict)
        The best first, with its line of the leaderboard as JSON values. Of equal accuracies
        the better log loss goes first, then macro F1.
    """
    order = sorted(contenders, key=_best_first)
    truth = aligned.y[protocol.judged]
    groups = aligned.groups[protocol.judged]
    right = np.stack([one.predictions.predicted == truth for one in order], axis=1)
    versus = _against_best(right, groups, resamples, protocol.seed)
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
                "intervals": one.judgement.to_json()["intervals"],
                "versus_best": versus[i],
                "costs": cost_lines[i],
                "licence": costs[one.features].licence,
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


def _against_best(
    right: NDArray[np.bool_], groups: NDArray[np.integer[Any]], resamples: int, seed: int
) -> list[dict[str, Any] | None]:
    """Compare every head, in the order of its accuracy, with the first."""
    values = right.astype(np.float64)
    draws = drawn_means(values, groups, resamples=resamples, seed=seed)
    adjusted = p_against_best(right, 0, groups, resamples=resamples, seed=seed)
    lines: list[dict[str, Any] | None] = [None]
    for i in range(1, right.shape[1]):
        test = mcnemar(right[:, 0], right[:, i])
        mean = float(values[:, 0].mean() - values[:, i].mean())
        lines.append(
            {
                "difference": PairedDifference.of(mean, draws[:, 0] - draws[:, i]).to_json(),
                "only_best_right": test.only_first,
                "only_this_right": test.only_second,
                "mcnemar_exact": test.exact,
                "mcnemar_mid_p": test.mid_p,
                "p_adjusted": float(adjusted[i]),
                "decided_by": "max-type sign-flip test",
                "distinguishable": bool(adjusted[i] < ALPHA),
            }
        )
    return lines


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
