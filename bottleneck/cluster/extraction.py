"""A set extracted by the nodes of a cluster: this process hands out ranges, and reads no image."""

import time
from collections.abc import Mapping
from pathlib import Path

from bottleneck.cluster.ranges import Course, work_ranges
from bottleneck.cluster.ray_crew import ray_crew
from bottleneck.extraction.plan import MaxFailed
from bottleneck.extraction.ranges import FillSettings, RangeFilled, RangeFiller, numbers_of
from bottleneck.extraction.sets import SetRun, Tasks, settings_of
from bottleneck.location import is_url
from bottleneck.options import ExtractSetOptions
from bottleneck.progress import Progress
from bottleneck.sets import SetInfo, published, read_info


class RangeWorker:
    """Fills ranges in the process of an actor, with one network.

    Parameters
    ----------
    location : str
        The set: a folder that every node sees, or a URL.
    settings : FillSettings
        How.
    """

    def __init__(self, location: str, settings: FillSettings) -> None:
        self._filler = RangeFiller(location, settings)
        self._filler.tidy()

    def fill(self, number: int, version: int, suspected: bool) -> RangeFilled:
        """See :meth:`~bottleneck.extraction.ranges.RangeFiller.fill`.

        Unless its shard is there by now: of a worker that was lost before it could tell, or of
        another run.
        """
        if published(self._filler.place, self._filler.info).get(number, 0) != version:
            return self._filler.found(number)
        return self._filler.fill(number, version=version, suspected=suspected)


def extract_on(options: ExtractSetOptions, settings: FillSettings | None = None) -> SetRun:
    """Have the nodes of a cluster fill what a set lacks.

    A range is handed to whoever is free, one actor per device; that of a worker or a node that is
    lost goes back, and a node that joins is used. Only numbers of ranges and counts travel.

    Parameters
    ----------
    options : ExtractSetOptions
        What was asked for, ``on`` with it.
    settings : FillSettings, optional
        How ranges are filled; by default as the options say.

    Raises
    ------
    OptionError
        For a cluster that cannot be reached.
    NoWorkersError
        When all nodes are gone and none comes.
    """
    started = time.monotonic()
    MaxFailed.parse(str(options.max_failed))  # refused before anything is done
    text = str(options.set)
    location = text if is_url(text) else str(Path(text).resolve())
    place, info = read_info(location)
    mine = numbers_of(info, options.part, options.ranges)
    there = published(place, info)
    left = Tasks(mine, there if options.retry_failed else {}).left(there)
    telling = _Telling(options.progress, info, list(left), len(mine))
    with ray_crew(
        str(options.on), RangeWorker, (location, settings or settings_of(options))
    ) as crew:
        interrupted = False
        course = Course(len(left))
        try:
            work_ranges(crew, left, telling, course)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            options.progress.end()
    return SetRun.of(
        options,
        mine,
        before=there,
        after=published(place, info),
        done=course.done,
        interrupted=interrupted,
        seconds=time.monotonic() - started,
    )


class _Telling:
    """Tells the rows of all nodes as one run, and who was lost or came."""

    def __init__(self, progress: Progress, info: SetInfo, left: list[int], ranges: int) -> None:
        self._progress = progress
        rows = sum(stop - start for start, stop in map(info.range, left))
        self._total = rows, (info.rows if ranges == info.n_ranges else rows) - rows
        self._begun = False
        self._members = self._lost = self._aside = 0

    def __call__(self, course: Course, one: RangeFilled | None) -> None:
        if len(course.lost) > self._lost:
            lost = ", ".join(course.lost[self._lost :])
            self._progress.note(f"lost {lost}: what it had is done by others; {course}")
            self._lost = len(course.lost)
        for member in course.aside[self._aside :]:
            self._progress.note(f"{member}: it gets no more ranges; {course}")
        self._aside = len(course.aside)
        if not self._begun and not course.members:
            self._progress.stage("waiting for nodes")
        elif not self._begun:
            self._progress.begin(*self._total)
            self._begun = True
        if course.members != self._members:
            self._progress.note(str(course))
            self._members = course.members
        if one is not None:
            seconds: Mapping[str, float] = {"ranges": one.seconds}
            self._progress.advance(one.ok + one.failed, one.failed, seconds)
