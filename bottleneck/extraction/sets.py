"""Plan a set, and work on one: from options to what a worker does until nothing is left."""

import random
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from bottleneck import backbones
from bottleneck.declare import listed
from bottleneck.errors import OptionError
from bottleneck.extraction.embedder import Embedder
from bottleneck.extraction.forward import batch_size_for
from bottleneck.extraction.plan import MaxFailed
from bottleneck.extraction.ranges import (
    FillSettings,
    LoadEmbedder,
    RangeBusyError,
    RangeFilled,
    RangeFiller,
    numbers_of,
)
from bottleneck.extraction.result import peak_rss_mb
from bottleneck.extraction.run import embedder_of, rebuild_embedder
from bottleneck.options import ExtractSetOptions, PlanOptions
from bottleneck.sets import SetInfo, place_of, published
from bottleneck.sets.leases import SECONDS, Leases
from bottleneck.sets.planning import require_room_for_set, write_set
from bottleneck.sources.streaming import stream_blocks

_POLL: Final = 12
"""How often it is looked, in the time after which a lease ends, for ranges that others gave up."""


@dataclass(frozen=True)
class Planned:
    """A set that was planned.

    Parameters
    ----------
    set : str
        Where it is.
    rows, rows_per_shard, shards : int
        Its size.
    classes : int
        How many there are.
    backbone : str
        What is to compute it.
    outputs : dict of str to int
        Length of the features of each output.
    manifest_sha256, identity_sha256 : str
        Fingerprints of the list and of the recipe.
    seconds : float
        How long it took.
    peak_rss_mb : float
        Largest memory of this process.
    """

    set: str
    rows: int
    rows_per_shard: int
    shards: int
    classes: int
    backbone: str
    outputs: dict[str, int]
    manifest_sha256: str
    identity_sha256: str
    seconds: float
    peak_rss_mb: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def plan_set(options: PlanOptions) -> Planned:
    """Write a set of some sources: its manifest in parts, and how its features will be made.

    Raises
    ------
    BottleneckError
        As ``extract``; :class:`StoreError` when another set is there.
    """
    started = time.monotonic()
    place = place_of(options.output)
    names = listed(options.backbone)
    if len(names) != 1:
        raise OptionError(f"expected one backbone for a set, got {', '.join(names) or 'none'}")
    if options.precision == "int8":
        raise OptionError(
            "expected a precision that every machine computes alike for a set, got int8",
            hint="Each run calibrates int8 on its own images.",
        )
    if options.views != 1:
        raise OptionError(f"expected one view per image in a set, got --views {options.views}")
    if not options.sources:
        raise OptionError("expected images to plan a set of, got none")
    require_room_for_set(place)  # before the network is loaded
    (name,) = (
        backbones.name_with_width(one, options.alpha, options.depth_multiplier) for one in names
    )
    item = backbones.item_of(names)
    progress = options.progress
    progress.stage(f"loading {name}")
    embedder = embedder_of(options, name, [], None)
    try:
        recipe, dims = embedder.recipe, dict(embedder.dims)
    finally:
        embedder.close()
    info = write_set(
        place,
        stream_blocks(
            listed(options.sources),
            listed(options.targets),
            replace(options.choice(), item=item),
            rows=options.rows,
        ),
        recipe=recipe,
        outputs=dims,
        rows_per_shard=options.rows,
        item=item,
        tell=lambda rows: progress.working(f"{rows} {item}s listed"),
    )
    return Planned(
        set=place.name,
        rows=info.rows,
        rows_per_shard=info.rows_per_shard,
        shards=info.n_ranges,
        classes=len(info.classes),
        backbone=info.recipe.backbone,
        outputs=dict(info.outputs),
        manifest_sha256=info.manifest_sha256,
        identity_sha256=info.recipe.identity_sha256,
        seconds=round(time.monotonic() - started, 3),
        peak_rss_mb=peak_rss_mb(),
    )


@dataclass(frozen=True)
class SetRun:
    """What one worker did on a set.

    Parameters
    ----------
    set : str
        Where it is.
    ranges : int
        Ranges that were its to do.
    published : int
        Shards it published.
    duplicates : int
        Ranges that somebody else published first: its work on them was for nothing.
    already_done : int
        Ranges that had a shard when it began.
    others : int
        Ranges that others published meanwhile.
    pending : int
        Ranges that have no shard at its end.
    ok, failed : int
        Rows of the shards it published.
    too_many_failed : bool
        Whether more of them failed than is allowed.
    interrupted : bool
        Whether it was stopped; the same command goes on.
    seconds, images_per_second : float
        Its speed.
    peak_rss_mb : float
        Largest memory of this process.
    """

    set: str
    ranges: int
    published: int
    duplicates: int
    already_done: int
    others: int
    pending: int
    ok: int
    failed: int
    too_many_failed: bool
    interrupted: bool
    seconds: float
    images_per_second: float
    peak_rss_mb: float

    @classmethod
    def of(
        cls,
        options: ExtractSetOptions,
        mine: Sequence[int],
        *,
        before: Container[int],
        after: Container[int],
        done: Sequence[RangeFilled],
        interrupted: bool,
        seconds: float,
    ) -> Self:
        """Sum up what was done.

        Parameters
        ----------
        options : ExtractSetOptions
            What was asked for.
        mine : sequence of int
            Ranges to do.
        before, after : container of int
            Ranges that had a shard when it began, and at its end.
        done : sequence of RangeFilled
            What was filled, by all workers.
        interrupted : bool
            Whether it was stopped.
        seconds : float
            How long it took.
        """
        new = [one for one in done if one.published]
        ok, failed = sum(one.ok for one in new), sum(one.failed for one in new)
        ours = {one.number for one in new}
        allowed = MaxFailed.parse(str(options.max_failed))
        return cls(
            set=str(options.set),
            ranges=len(mine),
            published=len(new),
            duplicates=sum(one.duplicate for one in done),
            already_done=sum(one in before for one in mine),
            others=sum(one in after and one not in before and one not in ours for one in mine),
            pending=sum(one not in after for one in mine),
            ok=ok,
            failed=failed,
            too_many_failed=allowed.exceeded(failed, ok + failed),
            interrupted=interrupted,
            seconds=round(seconds, 3),
            images_per_second=round(sum(one.computed for one in done) / seconds, 2),
            peak_rss_mb=peak_rss_mb(),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Rebuild:
    """Loads what a set's recipe says; travels by pickle.

    Parameters
    ----------
    weights : str, optional
        Where the weights are on this machine.
    runtime : str
    devices : tuple of str
    batch_size : int, "auto" or None
        See :func:`bottleneck.extract`.
    """

    weights: str | None
    runtime: str
    devices: tuple[str, ...]
    batch_size: int | str | None

    def __call__(self, info: SetInfo) -> tuple[Embedder, int]:
        """Load it, and say how many images a pass takes."""
        embedder = rebuild_embedder(
            info.recipe,
            owner="the set",
            weights=self.weights,
            runtime=self.runtime,
            devices=self.devices,
        )
        return embedder, batch_size_for(self.batch_size, embedder.network, embedder.input)


def settings_of(options: ExtractSetOptions) -> FillSettings:
    """Return how a worker of these options fills ranges."""
    return FillSettings(
        load=Rebuild(
            None if options.weights is None else str(options.weights),
            options.runtime,
            listed(options.devices),
            options.batch_size,
        ),
        scratch=None if options.scratch is None else Path(options.scratch),
        workers=options.workers,
        worker_kind=options.worker_kind,
        timeout=options.timeout,
        preallocate=options.preallocate,
    )


def work_on_set(
    options: ExtractSetOptions,
    *,
    load: LoadEmbedder | None = None,
    lease_seconds: float = SECONDS,
) -> SetRun:
    """Fill ranges of a set until those of this worker all have shards, whoever made them.

    Parameters
    ----------
    options : ExtractSetOptions
        What was asked for.
    load : callable, optional
        Loads what computes; by default what the set's recipe says.
    lease_seconds : float
        After which a range of a worker that says nothing is anybody's.
    """
    started = time.monotonic()
    MaxFailed.parse(str(options.max_failed))  # refused before anything is done
    settings = settings_of(options)
    if load is not None:
        settings = replace(settings, load=load)
    location = str(options.set)
    with RangeFiller(location, settings, options.progress) as filler:
        place, info = filler.place, filler.info
        mine = numbers_of(info, options.part, options.ranges)
        there = published(place, info)
        done: list[RangeFilled] = []
        interrupted = False
        try:
            leases = Leases(place, info, part=options.part or "", seconds=lease_seconds)
            tasks = Tasks(mine, there if options.retry_failed else {})
            _fill_all(filler, leases, tasks, done, lease_seconds / _POLL)
            filler.tidy()
        except KeyboardInterrupt:
            interrupted = True
        finally:
            options.progress.end()
        now = published(place, info)
    return SetRun.of(
        options,
        mine,
        before=there,
        after=now,
        done=done,
        interrupted=interrupted,
        seconds=time.monotonic() - started,
    )


class Tasks:
    """What is to be done of a set: ranges without a shard, and shards whose failed rows are tried.

    Parameters
    ----------
    mine : sequence of int
        Ranges.
    correct : mapping of int to int
        Versions of shards whose failed rows are to be tried again, once.
    """

    def __init__(self, mine: Sequence[int], correct: Mapping[int, int]) -> None:
        self._mine = mine
        self._correct = dict(correct)

    def left(self, there: Mapping[int, int]) -> dict[int, int]:
        """Return the ranges that are left, each with the version that is to be corrected, or 0.

        Parameters
        ----------
        there : mapping of int to int
            The newest version of each shard that there is now.
        """
        return {
            number: there.get(number, 0)
            for number in self._mine
            if number not in there or self._correct.get(number) == there[number]
        }

    def tried(self, number: int) -> None:
        """Take note that the failed rows of a shard were tried again."""
        self._correct.pop(number, None)


def _fill_all(
    filler: RangeFiller,
    leases: Leases,
    tasks: Tasks,
    done: list[RangeFilled],
    poll_seconds: float,
) -> None:
    """Take what is free until nothing is left; wait for what others are at."""
    waiting = False
    while True:
        left = list(tasks.left(published(filler.place, filler.info)))
        if not left:
            return
        if waiting:
            filler.progress.stage(f"{len(left)} ranges are with other workers")
            time.sleep(poll_seconds)
        # From anywhere, so that workers that begin together do not all ask for the same range.
        start = random.randrange(len(left))
        waiting = not any(
            _fill_one(filler, leases, tasks, number, done) for number in left[start:] + left[:start]
        )


def _fill_one(
    filler: RangeFiller, leases: Leases, tasks: Tasks, number: int, done: list[RangeFilled]
) -> bool:
    """Fill a range if nobody is at it; tell whether it was."""
    lease = leases.take(number)
    if lease is None:
        return False
    with leases.kept(number, lease):
        version = tasks.left(published(filler.place, filler.info)).get(number)
        if version is None:  # since it was listed
            return True
        try:
            found = filler.fill(number, version=version, suspected=lease.suspected)
        except RangeBusyError:
            return False
        tasks.tried(number)
        if found.published or found.duplicate:
            done.append(found)
    return True
