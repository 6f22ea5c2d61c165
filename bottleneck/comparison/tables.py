"""The leaderboard of a comparison as rows of a table, and as a notebook shows it."""

from collections.abc import Mapping
from typing import Any

from bottleneck.frames import html_table

_SCORES = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "top_5_accuracy",
    "log_loss",
    "calibration_error",
)


def leaderboard_rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Make a row of each head on each features, the best first.

    Parameters
    ----------
    document : mapping
        Of a comparison; :meth:`~bottleneck.comparison.study.Comparison.to_json` has its keys.
    """
    return [_row(line, document["features"][line["features"]]) for line in document["leaderboard"]]


def _row(line: Mapping[str, Any], features: Mapping[str, Any]) -> dict[str, Any]:
    low, high = line["intervals"].get("accuracy") or (None, None)
    versus, cost = line["versus_best"], features["cost"]
    return {
        "rank": line["rank"],
        "features": features["name"],
        "backbone": features["backbone"],
        "output": features["output"],
        "head": line["head"],
        "best": line["best"],
        **{name: line[name] for name in _SCORES},
        "accuracy_low": low,
        "accuracy_high": high,
        "behind_best": None if versus is None else versus["difference"]["mean"],
        "p_adjusted": None if versus is None else versus["p_adjusted"],
        "distinguishable": None if versus is None else versus["distinguishable"],
        "images_per_second": cost["images_per_second"],
        "parameters": cost["parameters"],
        "length": cost["length"],
        "fit_seconds": line["costs"]["fit_seconds"],
    }


def html_of_comparison(document: Mapping[str, Any]) -> str:
    """Say what was compared, which head to take, and the leaderboard."""
    data, taken = document["data"], document.get("take")
    rows = leaderboard_rows(document)
    facts: dict[str, object] = {
        "images": f"{data['compared']} of {data['images']}",
        "classes": len(data["classes"]),
    }
    if taken and rows:
        best = rows[taken["entry"]]
        facts |= {
            "estimate": f"{data['estimate']}: {data['train']} to learn from, {data['judged']} "
            "to judge by",
            "take": f"{best['features']} with {best['head']}",
        }
    return html_table(
        "Comparison" if rows else "View",
        facts,
        [_shown(row) for row in rows],
        ("", "features", "head", "chosen", "accuracy", "95%", "behind best"),
    )


def _shown(row: Mapping[str, Any]) -> tuple[object, ...]:
    chosen = ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in row["best"].items()
    )
    low, high = row["accuracy_low"], row["accuracy_high"]
    behind = row["behind_best"]
    mark = "1" if behind is None else "" if row["distinguishable"] else "="
    return (
        mark,
        row["features"],
        row["head"],
        chosen,
        f"{row['accuracy']:.1%}",
        "" if low is None else f"{100 * low:.1f}-{100 * high:.1f}",
        "" if behind is None else f"{100 * behind:.1f}",
    )
