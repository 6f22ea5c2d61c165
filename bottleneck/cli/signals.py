"""SIGTERM and SIGHUP end a command like Ctrl-C does: what is done is committed first."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """The process was asked to end.

    Parameters
    ----------
    number : int
        The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def ended_by_signals() -> Iterator[list[int]]:
    """Turn the signals into :class:`Stopped` while a command runs.

    A signal that is ignored stays ignored, so that ``nohup`` works. Setting a handler is also what
    makes them reach a process with number 1, as in a container.

    Yields
    ------
    list of int
        The signals that came: whoever commits what is done may have caught the exception.
    """
    received: list[int] = []
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        if os.getpid() != process:  # a forked worker ends as it would without us
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        received.append(number)
        raise Stopped(number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
