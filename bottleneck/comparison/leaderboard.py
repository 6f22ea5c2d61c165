"""The leaderboard: every head on every backbone, judged on the same rows, beside its cost."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck import backbones
from bottleneck.comparison.alignment import Aligned, Features
from bottleneck.comparison.out_of_fold import Predictions, Protocol
from bottleneck.errors import BackboneError
from bottleneck.judge.intervals import drawn_means
from bottleneck.judge.scores import Judgement, judge
from bottleneck.judge.tests import ALPHA, PairedDifference, mcnemar, p_against_best
from bottleneck.recipe import Recipe
from bottleneck.store.runs import read_runs


@dataclass(frozen=True)
class Cost:
    """What one output of one backbone costs.

    Parameters
    ----------
    images_per_second : float or None
        Through the network alone, by the run in the log beside the file that computed most
        images; None without a log. Rows taken over, decoding and other networks of the same
        pass play no part. Logs of before these were told apart give the rate of the whole run.
        Several outputs of a network are made together, at this rate.
    decode_milliseconds_per_image : float or None
        What reading and decoding an image took, of one worker; None where no run of the log
        computed (nearly) all it read. The same for all networks of a pass.
    device, machine : str or None
        Where that was measured.
    batch_size : int or None
        Images per forward pass in that run.
    parameters : int or None
        Of the whole headless backbone; None for features of other programs.
    licence : str or None
        Of the weights, as their makers say; None where that is not known.
    length : int
        Numbers per image.
    bytes_per_image : int
        On disk, uncompressed.
    """

    images_per_second: float | None
    decode_milliseconds_per_image: float | None
    device: str | None
    machine: str | None
    batch_size: int | None
    parameters: int | None
    licence: str | None
    length: int
    bytes_per_image: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def cost_of(features: Features) -> Cost:
    """Collect what is known of the cost of some features."""
    store = features.store
    logged = read_runs(store.path)
    measured = [run for run in logged if _positive(run, "computed", "forward_seconds")]
    # Without any, what older versions wrote: images over seconds of all that the run did.
    older = [run for run in logged if "computed" not in run]
    whole = [run for run in older if _positive(run, "images", "images_per_second")]
    if measured:
        longest = max(measured, key=lambda run: run["computed"])
        rate = longest["computed"] / longest["forward_seconds"]
    else:
        longest = max(whole, key=lambda run: run["images"], default={})
        rate = longest.get("images_per_second")
    machine = longest.get("machine")
    parameters, licence = _known(store.recipe)
    return Cost(
        images_per_second=None if rate is None else float(rate),
        decode_milliseconds_per_image=_decode_milliseconds(measured),
        device=str(longest.get("device")) if longest else None,
        machine=f"{machine['processor']}, {machine['cores']} cores"
        if isinstance(machine, dict) and {"processor", "cores"} <= machine.keys()
        else None,
        batch_size=longest.get("batch_size"),
        parameters=parameters,
        licence=licence,
        length=features.dim,
        bytes_per_image=features.dim * store.dtype.itemsize,
    )


def _known(recipe: Recipe) -> tuple[int | None, str | None]:
    """Say how large a backbone is, and the licence of its weights, where that is known."""
    said = recipe.execution.get("network")
    if isinstance(said, Mapping):
        parameters, licence = said.get("parameters"), said.get("licence")
        return (
            parameters if isinstance(parameters, int) else None,
            licence if isinstance(licence, str) else None,
        )
    try:
        spec = backbones.get(recipe.backbone)
    except BackboneError:
        return None, None
    return spec.params, spec.licence


def _decode_milliseconds(runs: Sequence[Mapping[str, Any]]) -> float | None:
    """Return what decoding an image takes, by the longest run that decoded for all its rows.

    A run that took rows over, or copied them, read fewer images than it has rows, or more than
    it computed: what the seconds are to be divided by is not known then.
    """
    fitting = [
        run
        for run in runs
        if _positive(run, "images", "decode_seconds") and run["computed"] >= 0.9 * run["images"]
    ]
    longest = max(fitting, key=lambda run: run["images"], default=None)
    return None if longest is None else 1000 * longest["decode_seconds"] / longest["images"]


def _positive(run: Mapping[str, Any], *names: str) -> bool:
    values = [run.get(name) for name in names]
    return all(
        isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
        for value in values
    )


def pareto_front(points: Sequence[tuple[float | None, float]]) -> list[bool]:
    """Tell which points no other one beats.

    Parameters
    ----------
    points : sequence of (cost, score)
        Less cost is better, more score is better; a cost of None is not compared.

    Returns
    -------
    list of bool
        True where no other point is at least as good in both and better in one.
    """

    def beaten(cost: float, score: float) -> bool:
        return any(
            other <= cost and theirs >= score and (other < cost or theirs > score)
            for other, theirs in points
            if other is not None
        )

    return [cost is not None and not beaten(cost, score) for cost, score in points]


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
    distinguishable: see :mod:`bottleneck.judge.tests`.

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
