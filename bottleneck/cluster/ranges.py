"""Ranges of rows by the members of a crew: each is handed to whoever is free.

A range is done when its shard is published, which only one can do, so that a range may be begun
any number of times. What a member that was lost had goes back to the front of the queue; who
cannot do its work gets no more of it, while there are others.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
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

_LATE, _LATE_SECONDS = 3.0, 60.0
"""How many times as long as any other, and how many seconds, a range takes at least before it is
given to somebody else too, who has nothing else to do: a worker may hang and not be lost."""

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
    aside : list of str
        Members that are given no more work, and why.
    members : int
        How many there are now.
    """

    ranges: int
    done: list[RangeFilled] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
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
    Exception
        What a member raised at a range that another one had failed at, or when no other is left.
    """
    course = course or Course(len(tasks))
    work = _Work(tasks, course)
    seen = time.monotonic()
    while work.left:
        members = crew.members()
        course.members = len(members)
        work.hand_out(members)
        if work.running:
            seen = time.monotonic()
        elif time.monotonic() - seen > _PATIENCE:
            raise NoWorkersError(
                f"{len(work.left)} ranges are left, and nobody has been there for "
                f"{_PATIENCE / 60:.0f} minutes",
                hint="Look why nodes end (memory?); the same command goes on with what is left."
                + "".join(f"\nGiven no more ranges: {one}" for one in course.aside),
            )
        else:
            time.sleep(_SECONDS)
        tell(course, None)
        done, _ = wait(work.running, _SECONDS, FIRST_COMPLETED)
        for future in done:
            member, number = work.answered(future)
            try:
                found = future.result()
            except WorkerLostError:
                crew.lost(member)
                work.lost(member, number)
            except RangeBusyError:
                # What is left of a worker that was lost may live on for a moment.
                work.busy(member, number)
                time.sleep(_SECONDS)
            except Exception as error:
                again = work.failed(member, number, error)
                if again or all(work.is_aside(one) for one in crew.members()):
                    raise
            else:
                if work.done(found):
                    tell(course, found)
    return course


class _Work:
    """What is left to do, and who is at what.

    Parameters
    ----------
    tasks : mapping of int to int
        See :func:`work_ranges`.
    course : Course
        Where it is noted how it goes.
    """

    def __init__(self, tasks: Mapping[int, int], course: Course) -> None:
        self._tasks, self._course = tasks, course
        self._queue = deque(tasks)
        self._losses: Counter[int] = Counter()
        self._failures: Counter[int] = Counter()
        self._since: dict[Future[Any], float] = {}
        self._aside: list[Member] = []
        self._busy: list[tuple[Member, int]] = []
        self.left = set(tasks)
        self.running: dict[Future[Any], tuple[Member, int]] = {}

    def hand_out(self, members: Sequence[Member]) -> None:
        """Give every member that is free a range."""
        busy = [member for member, _ in self.running.values()]
        for member in members:
            if any(member is other for other in busy) or self.is_aside(member):
                continue
            number = self._queue.popleft() if self._queue else self._late(member)
            if number is None:
                continue
            suspected = self._losses[number] >= LOSSES
            future = member.call("fill", number, self._tasks[number], suspected)
            self.running[future], self._since[future] = (member, number), time.monotonic()

    def answered(self, future: "Future[Any]") -> tuple[Member, int]:
        """Return whose answer it is, and about which range."""
        self._since.pop(future)
        return self.running.pop(future)

    def done(self, found: RangeFilled) -> bool:
        """Note a range; tell whether it is new."""
        if found.number not in self.left:
            return False
        self.left.remove(found.number)
        self._course.done.append(found)
        return True

    def lost(self, member: Member, number: int) -> None:
        """Note that a member is lost, with the range it was at."""
        self._course.lost.append(member.name)
        self._losses[number] += 1
        if self._is_open(number):
            self._queue.appendleft(number)

    def busy(self, member: Member, number: int) -> None:
        """Note that somebody else on a member's machine is at a range."""
        if self._is_open(number):
            self._queue.append(number)
        else:  # who hangs: it is for another machine
            self._busy.append((member, number))

    def failed(self, member: Member, number: int, error: Exception) -> bool:
        """Give a member that cannot do its work (a full disk, another package) no more of it.

        Tells whether another one could not do this range either: then the range is the reason.
        """
        self._course.aside.append(f"{member.name}: {error}")
        self._aside.append(member)
        if self._is_open(number):
            self._queue.append(number)
        self._failures[number] += 1
        return self._failures[number] > 1

    def is_aside(self, member: Member) -> bool:
        """Whether a member is given no more work."""
        return any(member is other for other in self._aside)

    def _is_open(self, number: int) -> bool:
        """Whether a range is neither done nor with somebody else."""
        return number in self.left and all(number != other for _, other in self.running.values())

    def _late(self, member: Member) -> int | None:
        """Return a range that takes far longer than others did: its worker may hang."""
        at_most = max((one.seconds for one in self._course.done), default=float("inf"))
        at_most = max(_LATE_SECONDS, _LATE * at_most)
        at = Counter(number for _, number in self.running.values())
        at.update(number for one, number in self._busy if one is member)
        now = time.monotonic()
        for future, (_, number) in self.running.items():
            if number in self.left and at[number] == 1 and now - self._since[future] > at_most:
                return number
        return None
