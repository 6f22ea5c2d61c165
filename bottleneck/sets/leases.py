"""Who works on which range, where no engine says so. A duplicate costs time, never correctness.

A lease is a file that is made only where there is none, with a time in it that its holder renews.
It is no lock: what makes a range's shard one is that it is published once. A lease that was not
given back tells of a worker that died; after a few of them it is the range that is suspected.

Clocks of machines may be wrong. So a lease ends for who has looked at it for long enough, by the
own clock, and found it the same; what its time says counts only where it is very long ago.
"""

import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Self

from bottleneck.errors import StoreError
from bottleneck.sets.description import LEASES, SetInfo
from bottleneck.sets.place import Place

SECONDS: Final = 120.0
"""A lease that was not renewed for so long is nobody's."""

_LONG_AGO: Final = 30
"""So many times as long ago, by what it says itself, it was left by a run of another day. Where
clocks differ by more (an hour), ranges are done twice, which costs time and nothing else."""

SUSPECTED: Final = 3
"""Workers that died at a range, after which it is taken for the reason."""

_RENEWALS: Final = 4
"""How often a lease is renewed in the time after which it ends."""


@dataclass(frozen=True)
class Lease:
    """What is said of a range that somebody works on.

    Parameters
    ----------
    worker : str
        Made up by each worker.
    host : str
        Where it runs: the machine, and its name space of processes.
    pid : int
        Its process there.
    part : str
        The part of the set it was told to do, as ``2/8``; empty for none.
    time : float
        Seconds since 1970 when it was last renewed.
    deaths : int
        Workers that died at the range before.
    """

    worker: str
    host: str
    pid: int
    part: str
    time: float
    deaths: int = 0

    @property
    def suspected(self) -> bool:
        """Whether so many workers died at the range that it may be the reason."""
        return self.deaths >= SUSPECTED

    def to_json(self) -> bytes:
        """Serialise it."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self | None:
        """Read what :meth:`to_json` wrote; None for anything else, which is nobody's lease."""
        try:
            return cls(**json.loads(data))
        except (TypeError, ValueError):
            return None


class Leases:
    """The leases of a set, as one worker sees them.

    Parameters
    ----------
    place : Place
        Where the set is.
    info : SetInfo
        What it is.
    part : str
        The part that this worker was told to do.
    seconds : float
        After which a lease that is not renewed ends.
    """

    def __init__(
        self, place: Place, info: SetInfo, *, part: str = "", seconds: float = SECONDS
    ) -> None:
        self._place, self._info = place, info
        self._seconds = seconds
        self._started = time.time()
        self._seen: dict[int, tuple[bytes, float]] = {}
        self._me = Lease(uuid.uuid4().hex, _host(), os.getpid(), part, self._started)

    def __repr__(self) -> str:
        return f"<Leases {self._place.name} {self._me.worker}>"

    def take(self, number: int) -> Lease | None:
        """Take a range; None where somebody else works on it.

        Raises
        ------
        StoreError
            When the place cannot be reached.
        """
        name = self._name(number)
        mine = replace(self._me, time=time.time())
        data = self._place.read(name)
        if data is None:
            self._seen.pop(number, None)
        else:
            old = Lease.from_json(data)
            if old is not None and not (self._is_silent(number, data) or self._is_dead(old)):
                return None
            mine = replace(mine, deaths=old.deaths + 1 if old else 0)
            self._place.remove(name)
        return mine if self._place.create(name, mine.to_json()) else None

    @contextmanager
    def kept(self, number: int, lease: Lease) -> Iterator[None]:
        """Renew a lease while the block runs, and give it back at its end, however it ends.

        Only a process that dies leaves it. One that was suspended for long may find that the
        range is somebody else's by now: that lease stays.
        """
        over = threading.Event()
        name = self._name(number)

        def renew() -> None:
            while not over.wait(self._seconds / _RENEWALS):
                with suppress(StoreError):  # the next time may do; a duplicate does no harm
                    if self._is_ours(name):
                        self._place.replace(name, replace(lease, time=time.time()).to_json())

        thread = threading.Thread(target=renew, name=f"lease {number}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            with suppress(StoreError):
                if self._is_ours(name):
                    self._place.remove(name)

    def _is_ours(self, name: str) -> bool:
        """Whether a lease is not somebody else's, who took it while this process did nothing."""
        data = self._place.read(name)
        there = None if data is None else Lease.from_json(data)
        return there is None or there.worker == self._me.worker

    def _name(self, number: int) -> str:
        return f"{LEASES}/{self._info.stem(number)}.json"

    def _is_silent(self, number: int, data: bytes) -> bool:
        """Whether a lease has been the same for long, by the clock of this machine."""
        now = time.monotonic()
        before, since = self._seen.get(number, (b"", now))
        if data != before:
            since = now
        self._seen[number] = data, since
        return now - since > self._seconds

    def _is_dead(self, lease: Lease) -> bool:
        if time.time() - lease.time > self._seconds * _LONG_AGO:
            return True
        if lease.worker == self._me.worker:
            return False
        if lease.host == self._me.host and not _lives(lease.pid):
            return True
        # The same part again: a job system started a task anew. Its twin, if it lives, renews.
        same_part = bool(lease.part) and lease.part == self._me.part
        return same_part and lease.time < self._started - self._seconds / _RENEWALS


def _host() -> str:
    """Name the machine, and within it what numbers its processes: a container counts anew."""
    try:
        return f"{os.uname().nodename} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return os.uname().nodename


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
