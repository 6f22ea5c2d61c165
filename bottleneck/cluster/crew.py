"""Who does the work: members that may be lost, and others that may join, whatever the engine.

Work is handed out by this process. A member that is lost in the middle of something is not
waited for: what it had goes to another one, which comes to the same result.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Protocol


class WorkerLostError(Exception):
    """A member ended, or its machine did, before it answered."""


class Member(Protocol):
    """A worker on some machine."""

    @property
    def name(self) -> str:
        """Where it is, for people."""

    def call(self, method: str, *given: Any) -> "Future[Any]":
        """Call a method of the worker; the future fails with :class:`WorkerLostError` if lost."""


class Crew(Protocol):
    """Members that are there, and those that can be."""

    def members(self) -> Sequence[Member]:
        """Return who is there, after making members where there is room for more."""

    def share(self, value: Any) -> Any:
        """Return what stands for a value in calls to many members: sent once to a machine."""

    def lost(self, member: Member) -> None:
        """Forget a member whose call failed with :class:`WorkerLostError`."""

    def close(self) -> None:
        """End all members."""
