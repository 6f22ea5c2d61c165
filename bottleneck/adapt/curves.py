"""The page of a fine-tuning: its curves, what each block brought, and how it ended. One file."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

_WIDE: Final = 560
_HIGH: Final = 180
_LEFT: Final = 60
_FOOT: Final = 24
"""Of a drawing, pixels; room for numbers at the left and below."""


def curves_page(document: Mapping[str, Any]) -> str:
    """Write the page of what :func:`bottleneck.finetune` returned.

    Parameters
    ----------
    document : mapping
        Its JSON document.
    """
    history = document["selection"]["history"]
    best = document["selection"]["best_epoch"]
    drawings = "".join(
        f"<h3>{title}</h3>{_drawn([(one['epoch'], one.get(name)) for one in history], best)}"
        for title, name in (
            ("Right on the validation rows", "val_accuracy"),
            ("Log loss on the validation rows", "val_log_loss"),
            ("Loss on the training rows", "loss"),
        )
    )
    names = ("epoch", "loss", "rate", "val_accuracy", "val_log_loss")
    title = html.escape(str(document["output"]))
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Fine-tuning: {title}</title>
<style>body{{font:15px system-ui;max-width:60em;margin:2em auto;padding:0 1em}}
td,th{{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}}</style>
<h1>Fine-tuning</h1><p>{title}, from {html.escape(str(document["head"]))} on
{html.escape(str(document["backbone"]))}. {html.escape(document["verdict"])}.</p>
<p>{len(document["layers"])} layers behind {html.escape(document["cut"])} and the head,
{document["trainable_parameters"]:,} parameters; the line marks the best epoch, {best}; epoch 0 is
the head.</p>
{drawings}
{_steps(document["steps"])}
<h2>Epochs</h2>{_table(names, [[one.get(name) for name in names] for one in history])}</html>
"""


def _steps(steps: Sequence[Mapping[str, Any]]) -> str:
    if len(steps) < 2:
        return ""
    rows = []
    for one in steps:
        gain = one["gain"] or {}
        interval = [gain.get(name) for name in ("mean", "low", "high")]
        rows.append([one["from"], one["layers"], one["val_accuracy"], *interval])
    names = ("from layer", "layers", "val_accuracy", "gain", "low", "high")
    return f"<h2>Block after block</h2>{_table(names, rows)}"


def _table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f"<th>{name.replace('_', ' ')}" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_number(one))}</td>" for one in row) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _drawn(points: Sequence[tuple[int, float | None]], best: int) -> str:
    """Draw a curve as SVG; epochs without a value, or with one that is not finite, are left out."""
    known = [(x, y) for x, y in points if y is not None and math.isfinite(y)]
    if not known:
        return "<p>Nothing to draw.</p>"
    last = max(x for x, _ in points) or 1
    low, high = min(y for _, y in known), max(y for _, y in known)
    span = (high - low) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + x / last * (_WIDE - _LEFT - 8), 8 + (high - y) / span * (_HIGH - _FOOT - 16)

    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in known))
    at, _ = place(best, high)
    foot = _HIGH - _FOOT + 16
    return (
        f'<svg width="{_WIDE}" height="{_HIGH}" role="img">'
        f'<line x1="{at:.1f}" x2="{at:.1f}" y1="4" y2="{_HIGH - _FOOT}" stroke="#bbb"/>'
        f'<polyline points="{line}" fill="none" stroke="#06c" stroke-width="2"/>'
        f'<text x="0" y="14">{high:.4g}</text><text x="0" y="{_HIGH - _FOOT}">{low:.4g}</text>'
        f'<text x="{_LEFT}" y="{foot}">0</text>'
        f'<text x="{_WIDE - 8}" y="{foot}" text-anchor="end">{last}</text></svg>'
    )
