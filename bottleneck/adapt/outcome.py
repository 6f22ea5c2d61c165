"""What came of fine-tuning: the model beside the head, row by row, and a sentence about it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.judge.intervals import RESAMPLES, drawn_means
from bottleneck.judge.tests import PairedDifference, mcnemar


def compared(
    before: tuple[NDArray[np.float64], NDArray[np.int64]],
    after: tuple[NDArray[np.float64], NDArray[np.int64]],
    groups: NDArray[np.int64],
    seed: int,
) -> dict[str, Any]:
    """Compare what two models answered of the same rows, in groups: McNemar and an interval."""
    y = before[1]
    old, new = before[0].argmax(axis=1) == y, after[0].argmax(axis=1) == y
    test = mcnemar(new, old)
    gain = difference(new, old, groups, seed)
    losses = [
        -np.log(np.maximum(p[np.arange(len(y)), y], 1e-12)).mean() for p, _ in (before, after)
    ]
    return {
        "rows": len(y),
        "head": float(old.mean()),
        "model": float(new.mean()),
        "head_log_loss": float(losses[0]),
        "model_log_loss": float(losses[1]),
        "only_model_right": test.only_first,
        "only_head_right": test.only_second,
        "p": test.mid_p,
        "difference": gain.to_json(),
    }


def difference(
    new: NDArray[np.bool_], old: NDArray[np.bool_], groups: NDArray[np.int64], seed: int
) -> PairedDifference:
    """Say how many more rows one model gets right than another, with an interval."""
    apart = new.astype(np.float64) - old
    draws = drawn_means(apart[:, None], groups, resamples=RESAMPLES, seed=seed)[:, 0]
    return PairedDifference.of(float(apart.mean()), draws)


def verdict(document: Mapping[str, Any]) -> str:
    """Say in a sentence what came of it, also where nothing did."""
    test = document["test"]
    if document["returned"] == "head":
        return (
            "fine-tuning was not better than the head on the validation rows: the model is the head"
        )
    if test is None:
        return "fine-tuned; there are no test rows to compare it with the head on"
    gain, low, high = (100 * test["difference"][name] for name in ("mean", "low", "high"))
    told = (
        f"{test['model']:.1%} on {test['rows']} test rows, the head {test['head']:.1%}: "
        f"{gain:+.1f} points [{low:+.1f}, {high:+.1f}], p = {test['p']:.2g} (McNemar, mid-p)"
    )
    if test["p"] < 0.05:
        return f"{'better' if gain > 0 else 'worse'} than the frozen head: {told}"
    return f"not distinguishable from the frozen head: {told}"
