"""Publish a shard: whole, checked, once. Whoever comes second throws the copy away."""

from pathlib import Path

from bottleneck.errors import StoreError
from bottleneck.sets.description import FAILURES, SetInfo
from bottleneck.sets.place import Place
from bottleneck.sets.shards import Shards, require_of_set
from bottleneck.store import FeatureStore, failures_path
from bottleneck.store.verify import verify


def publish(place: Place, info: SetInfo, number: int, path: Path, version: int = 1) -> bool:
    """Give the set the shard of a range, unless it has one.

    Parameters
    ----------
    place : Place
        Where the set is.
    info : SetInfo
        What it is.
    number : int
        The range.
    path : Path
        A feature file of just its rows, each done or failed with a reason.
    version : int
        Corrections of a shard are 2 and following.

    Returns
    -------
    bool
        Whether the shard that is there now is this one; otherwise it is as good.

    Raises
    ------
    StoreError
        When the file is not complete, not sound or not of the set; or what is there already is of
        another recipe or other rows.
    """
    store = FeatureStore.open(path)
    require_of_set(store, info, number)
    report = verify(path)
    if not store.complete or not report.ok:
        bad = len(report.bad_rows) or int((store.status == 0).sum())
        raise StoreError(
            f"expected a shard that is whole, got {path} with {bad} rows that are not: "
            f"{', '.join(report.problems) or 'pending, or of a wrong checksum'}",
            hint="Run the same command again: these rows are computed, and then it is published.",
        )
    texts = failures_path(path)
    if texts.exists():
        # Before the shard, since nobody looks at a range again that has one.
        place.create(f"{FAILURES}/{info.stem(number, version)}.jsonl", texts.read_bytes())
    if place.publish(info.shard(number, version), path):
        return True
    # Somebody else's is as good if it is of this set; if it is not, that has to be told.
    Shards(place, info).store(number)
    return False
