"""Ranges of rows by the members of a crew: each is handed to whoever is free.

A range is done when its shard is published, which only one can do, so that a range may be begun
any number of times. What a member that was lost had goes back to the front of the queue.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any

from bottleneck.cluster.crew import Crew, Member, WorkerLostError
from bottleneck.errors import BottleneckError
from bottleneck.extraction.ranges import RangeBusyError, RangeFilled

_SECONDS = 1.0
"""How often it is looked for members that joined."""

_PATIENCE = 900.0
"""Seconds without any member after which it is given up: machines take minutes to come."""

LOSSES = 3
"""Members lost to a range, after which it is the range that is suspected."""


class NoWorkersError(BottleneckError):
    """Nobody is there to do what is left."""


@dataclass
class Course:
    """How far the ranges are; what is told of all nodes in one line.

    Parameters
    ----------
    ranges : int
        How many there are to do.
    done : list of RangeFilled
        Those that are done.
    lost : list of str
        Members that were lost, by where they were.
    members : int
        How many there are now.
    """

    ranges: int
    done: list[RangeFilled] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    members: int = 0

    def __str__(self) -> str:
        words = f"{len(self.done)} of {self.ranges} ranges, {self.members} workers"
        return f"{words}, {len(self.lost)} lost" if self.lost else words


def work_ranges(
    crew: Crew,
    tasks: Mapping[int, int],
    tell: Callable[[Course, RangeFilled | None], None],
    course: Course | None = None,
) -> Course:
    """Have every range done by somebody.

    Parameters
    ----------
    crew : Crew
        Members with a method ``fill`` from the number of a range, the version of its shard, and
        whether it is suspected of ending its workers, to a
        :class:`~bottleneck.extraction.ranges.RangeFilled`.
    tasks : mapping of int to int
        The ranges, each with the version of its shard that is to be corrected, or 0.
    tell : callable
        Is told the course, with a range when one is done.
    course : Course, optional
        Where it is noted: of use to who is interrupted.

    Returns
    -------
    Course
        Of all ranges.

    Raises
    ------
    NoWorkersError
        When there is nobody for a quarter of an hour.
    """
    queue = deque(tasks)
    course = course or Course(len(queue))
    losses: Counter[int] = Counter()
    running: dict[Future[Any], tuple[Member, int]] = {}
    seen = time.monotonic()
    while queue or running:
        members = crew.members()
        course.members = len(members)
        busy = [member for member, _ in running.values()]
        for member in members:
            if queue and not any(member is other for other in busy):
                number = queue.popleft()
                suspected = losses[number] >= LOSSES
                running[member.call("fill", number, tasks[number], suspected)] = member, number
        if running:
            seen = time.monotonic()
        elif time.monotonic() - seen > _PATIENCE:
            raise NoWorkersError(
                f"{len(queue)} ranges are left, and nobody has been there for "
                f"{_PATIENCE / 60:.0f} minutes",
                hint="Look why nodes end (memory?); the same command goes on with what is left.",
            )
        else:
            time.sleep(_SECONDS)
        tell(course, None)
        done, _ = wait(running, _SECONDS, FIRST_COMPLETED)
        for future in done:
            member, number = running.pop(future)
            try:
                found = future.result()
            except WorkerLostError:
                crew.lost(member)
                course.lost.append(member.name)
                losses[number] += 1
                queue.appendleft(number)
                continue
            except RangeBusyError:
                # What is left of a worker that was lost may live on for a moment.
                queue.append(number)
                time.sleep(_SECONDS)
                continue
            course.done.append(found)
            tell(course, found)
    return course
