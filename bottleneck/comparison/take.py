"""Which head on which features to take, what it rests on, and the commands that make it again."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from bottleneck.comparison.alignment import Aligned, Features
from bottleneck.comparison.leaderboard import Cost
from bottleneck.comparison.out_of_fold import Protocol
from bottleneck.heads.registry import head_kind
from bottleneck.location import is_set
from bottleneck.sets import read_info
from bottleneck.sources import Choice
from bottleneck.store.runs import read_runs

Line = Mapping[str, Any]

COST_NAMES = {
    "milliseconds_per_image": "ms per image through the network",
    "parameters": "parameters",
    "length": "numbers per image",
}
"""What is cheap, the most telling first: the first that is known of all candidates decides."""


def choose(
    board: Sequence[Line], features: Sequence[Features], costs: Sequence[Cost], seed: int
) -> dict[str, Any]:
    """Choose the cheapest of the entries that cannot be told apart from the best.

    Parameters
    ----------
    board : sequence of mapping
        Lines of the leaderboard, the best first.
    features : sequence of Features
        What was compared.
    costs : sequence of Cost
        Of each of them.
    seed : int
        Of the folds.

    Returns
    -------
    dict
        ``entry`` (position on the leaderboard), ``candidates`` (how many could be taken),
        ``cost`` (name of the cost that decided) and ``value``, ``unit``, ``extract`` and ``train``
        (commands; ``extract`` is null for features of other programs).
    """
    tied = [
        i
        for i, line in enumerate(board)
        if line["versus_best"] is None or not line["versus_best"]["distinguishable"]
    ]
    cost = next(name for name in COST_NAMES if _comparable(name, [board[i] for i in tied], costs))
    taken = min(tied, key=lambda i: (board[i]["costs"][cost], i))
    line = board[taken]
    own = features[line["features"]]
    return {
        "entry": taken,
        "candidates": len(tied),
        "cost": cost,
        "value": line["costs"][cost],
        "unit": COST_NAMES[cost],
        "extract": extract_command(own),
        "train": train_command(own, line["head"], line["best"], seed),
    }


def _comparable(name: str, lines: Sequence[Line], costs: Sequence[Cost]) -> bool:
    """Whether a cost is known of all, and was measured on one machine where it was measured."""
    if any(line["costs"][name] is None for line in lines):
        return False
    places = {(costs[line["features"]].machine, costs[line["features"]].device) for line in lines}
    return name != "milliseconds_per_image" or len(places) == 1


def majority(aligned: Aligned, protocol: Protocol) -> dict[str, Any]:
    """Say how often the commonest class of the training rows is right about the judged ones."""
    commonest = int(np.bincount(aligned.y[protocol.train]).argmax())
    return {
        "class": aligned.classes[commonest],
        "accuracy": float(np.mean(aligned.y[protocol.judged] == commonest)),
    }


def extract_command(features: Features) -> str | None:
    """Write the command that makes one output of a file again; None for other programs' files."""
    store = features.store
    identity, execution = store.recipe.identity, store.recipe.execution
    outputs = identity.get("outputs")
    if not isinstance(outputs, Mapping) or features.output not in outputs:
        return None
    output, image = outputs[features.output], identity.get("image", {})
    sources, choice = logged_sources([features])
    in_shards = is_set(store.location)
    parts = ["bottleneck", "plan" if in_shards else "extract", *(sources or ["SOURCE"])]
    parts += ["-o", store.location, "-b", store.recipe.backbone]
    options: dict[str, Any] = {
        "weights": execution.get("weights"),
        "layer": output.get("layer"),
        "pool": output.get("pool"),
        "size": image.get("size") if isinstance(image.get("size"), int) else None,
        "resize": image.get("resize", {}).get("rule"),
        "preprocess": _said(identity),
        "precision": execution.get("precision"),
        "dtype": execution.get("dtype"),
        "runtime": execution.get("runtime"),
        **{one.name.replace("_", "-"): getattr(choice, one.name) for one in fields(choice)},
    }
    for name, value in options.items():
        if value is not None:
            parts += [f"--{name}", str(value)]
    if isinstance(views := identity.get("views"), Mapping) and "count" in views:
        parts += ["--views", str(views["count"])]
    if in_shards:
        parts += ["--rows", str(read_info(store.location)[1].rows_per_shard)]
        return f"{shlex.join(parts)} && bottleneck extract --set {shlex.quote(store.location)}"
    return shlex.join(parts)


def _said(identity: Mapping[str, Any]) -> str | None:
    """Write what networks of files want of their input, where only the recipe says it."""
    said = identity.get("preprocess")
    if ":" not in str(identity["backbone"]) or not isinstance(said, Mapping):
        return None
    scale, offset = said["scale"], said["offset"]
    mean = ",".join(f"{-b / a:.9g}" for a, b in zip(scale, offset, strict=True))
    std = ",".join(f"{1 / a:.9g}" for a in scale)
    return f"scale=1;mean={mean};std={std};channels={said['channels']}"


def train_command(features: Features, head: str, best: Mapping[str, Any], seed: int) -> str:
    """Write the command that fits a head with the parameters that were chosen."""
    store, kind = features.store, head_kind(head)
    name = f"{store.path.stem}-{head.rpartition('.')[2].lower()}.head"
    parts = ["bottleneck", "train", store.location, "-o", name, "--head", head]
    if len(store.outputs) > 1:
        parts += ["--feature", features.output]
    if kind.parameter == "C":
        parts += ["--C", repr(float(best["C"]))]
    else:
        for setting, value in best.items():
            text = value if isinstance(value, str) else json.dumps(value)
            parts += ["--set", f"{setting}={text}"]
    return shlex.join([*parts, "--seed", str(seed)])


def logged_sources(features: Sequence[Features]) -> tuple[tuple[str, ...], Choice]:
    """Return where the images were extracted from, and what was said of them; empty if unknown."""
    for one in features:
        for run in reversed(read_runs(one.store.path)):
            sources = run.get("sources")
            if isinstance(sources, list) and all(isinstance(item, str) for item in sources):
                return tuple(sources), Choice(**run.get("choice", {}))
    return (), Choice()
