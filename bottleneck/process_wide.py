"""What belongs to the whole process, changed for a while by any number of threads.

Two threads that each change a setting and put it back leave it changed for good where their times
overlap: the second one puts back what the first one had set. So those that want the same change it
together, and the others one after the other.
"""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Final, Generic, TypeVar

_T = TypeVar("_T")

ALONE: Final = threading.RLock()
"""Held by a thread while it changes filters of warnings, ``sys.stdout``, the environment, what can
be imported, settings of Keras or Python's generator of random numbers: those changes lie within
each other, in any order, so they have one lock. Nobody waits for other threads of ours with it."""


@contextmanager
def warnings_ignored() -> Iterator[None]:
    """Ignore all warnings, of other people's code: those of other threads too, meanwhile."""
    with ALONE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Together(Generic[_T]):
    """A change that threads share: the first one makes it, the last one undoes it.

    Who wants it otherwise waits until they have left; so nobody may who is inside himself.

    Parameters
    ----------
    change : callable
        From what is wanted to a context manager, which may be left by another thread.
    """

    def __init__(self, change: Callable[[_T], AbstractContextManager[Any]]) -> None:
        self._change = change
        self._left = threading.Condition()
        self._made = ExitStack()
        self._wanted: _T | None = None
        self._inside = 0

    @contextmanager
    def __call__(self, wanted: _T) -> Iterator[None]:
        """Enter the change, beside others that want the same."""
        with self._left:
            self._left.wait_for(lambda: not self._inside or self._wanted == wanted)
            if not self._inside:
                self._made.enter_context(self._change(wanted))
                self._wanted = wanted
            self._inside += 1
        try:
            yield
        finally:
            with self._left:
                self._inside -= 1
                if not self._inside:
                    self._left.notify_all()
                    self._made.close()
