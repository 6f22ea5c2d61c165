"""What features cost: to make, to keep and to learn from; and which are worth their cost."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bottleneck import backbones
from bottleneck.comparison.alignment import Features
from bottleneck.errors import BackboneError
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
