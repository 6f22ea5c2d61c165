"""What a network says by its own top, as it was trained: tags of songs."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bottleneck.backbones import find, item_of, list_items
from bottleneck.backbones.network import Top
from bottleneck.cores import available_cores
from bottleneck.declare import listed
from bottleneck.decode.workers import Watch
from bottleneck.errors import BackboneError
from bottleneck.extraction import embed
from bottleneck.extraction.forward import batch_size_for
from bottleneck.extraction.plan import MaxFailed, Plan
from bottleneck.extraction.run import build_embedder
from bottleneck.location import readable
from bottleneck.options import TagOptions


@dataclass(frozen=True)
class Tagged:
    """The tags of one item.

    Parameters
    ----------
    key : str
    tags : dict of str to float
        Probability of each, the likeliest first.
    error : str or None
        Why there are none.
    """

    key: str
    tags: dict[str, float]
    error: str | None = None


@dataclass(frozen=True)
class Tagging:
    """The tags of all items.

    Parameters
    ----------
    items : sequence of Tagged
    too_many_failed : bool
        Whether more failed than were allowed.
    """

    items: Sequence[Tagged]
    too_many_failed: bool

    @property
    def failed(self) -> int:
        """How many have none."""
        return sum(one.error is not None for one in self.items)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the items as JSON values."""
        return [asdict(one) for one in self.items]


def tag_items(options: TagOptions) -> Tagging:
    """Compute tags; see :func:`bottleneck.api.tag`."""
    top, views, progress = _top(options.backbone), options.views, options.progress
    allowed = MaxFailed.parse(str(options.max_failed))
    source = list_items(
        item_of([options.backbone]), listed(options.sources), choice=options.choice()
    )
    keys, workers = source.manifest.keys, options.workers or available_cores()
    embedder = build_embedder(
        backbone=options.backbone,
        weights=None if options.weights is None else str(options.weights),
        layers=[top.layer],
        views=views,
        runtime=options.runtime,
        devices=listed(options.devices),
    )
    for note in embedder.notes:
        progress.note(note)
    size = batch_size_for(options.batch_size, embedder.network, embedder.input)
    sums = np.zeros((len(keys), len(top.names)))
    errors: dict[int, str] = {}
    with closing(embedder):
        for batch in embed(
            embedder,
            source,
            Plan(np.zeros(len(keys) * views, np.uint8)).batches(size, workers),
            workers=workers,
            worker_kind="auto",
            views=views,
            watch=Watch(name=lambda row: keys[row // views], note=progress.note),
        ):
            (found,) = batch.features.values()
            np.add.at(sums, batch.rows // views, found)
            errors |= {f.row // views: f"{f.status.label}: {f.message}" for f in batch.failures}
    items = [
        Tagged(readable(key), {}, errors[row])
        if row in errors
        else Tagged(readable(key), _likeliest(top, sums[row] / views, options.top_k))
        for row, key in enumerate(keys)
    ]
    return Tagging(items, allowed.exceeded(len(errors), len(keys)))


def _likeliest(top: Top, found: Any, count: int | str) -> dict[str, float]:
    order = np.argsort(-found, kind="stable")[: None if count == "all" else int(count)]
    return {top.names[i]: round(float(found[i]), 6) for i in order.tolist()}


def _top(name: str) -> Top:
    from bottleneck.backbones import all_backbones

    found = find(name)
    rows = {spec.name: spec for spec in all_backbones()}
    top = rows[found.name].top if found.name in rows else None
    if top is None:
        able = ", ".join(spec.name for spec in rows.values() if spec.top)
        raise BackboneError(
            f"expected a backbone with a top of its own, got {found.name}",
            hint=f"These have one: {able}. For others train a head on their features.",
        )
    return top
