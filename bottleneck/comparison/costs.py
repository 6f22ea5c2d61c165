"""What features cost: to make, to keep and to learn from; and which are worth their cost."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bottleneck import backbones
from bottleneck.comparison.alignment import Features
from bottleneck.errors import BackboneError
from bottleneck.store.runs import read_runs


@dataclass(frozen=True)
class Cost:
    """What one output of one backbone costs.

    Parameters
    ----------
    images_per_second : float or None
        At extraction, by the longest run in the log beside the file; None without a log.
        With several outputs they were made together, at this rate.
    device, machine : str or None
        Where that was measured.
    batch_size : int or None
        Images per forward pass in that run.
    parameters : int or None
        Of the whole headless backbone; None for features of other programs.
    length : int
        Numbers per image.
    bytes_per_image : int
        On disk, uncompressed.
    """

    images_per_second: float | None
    device: str | None
    machine: str | None
    batch_size: int | None
    parameters: int | None
    length: int
    bytes_per_image: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def cost_of(features: Features) -> Cost:
    """Collect what is known of the cost of some features."""
    store = features.store
    runs = [run for run in read_runs(store.path) if _is_measured(run)]
    longest = max(runs, key=lambda run: run["images"], default=None)
    machine = longest.get("machine") if longest else None
    try:
        parameters = backbones.get(store.recipe.backbone).params
    except BackboneError:
        parameters = None
    return Cost(
        images_per_second=float(longest["images_per_second"]) if longest else None,
        device=str(longest.get("device")) if longest else None,
        machine=f"{machine['processor']}, {machine['cores']} cores"
        if isinstance(machine, dict) and {"processor", "cores"} <= machine.keys()
        else None,
        batch_size=longest.get("batch_size") if longest else None,
        parameters=parameters,
        length=features.dim,
        bytes_per_image=features.dim * store.dtype.itemsize,
    )


def _is_measured(run: dict[str, Any]) -> bool:
    values = (run.get("images"), run.get("images_per_second"))
    return all(isinstance(value, int | float) and value > 0 for value in values)


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
