"""Work in a process of its own, where it may end its process: that it did is then known."""

import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from bottleneck.decode.child import Child, die_with_parent
from bottleneck.errors import BottleneckError


def survives(work: Callable[[], None]) -> bool:
    """Do some work in a process of its own, which ends with this one.

    Parameters
    ----------
    work : callable
        Travels by pickle.

    Returns
    -------
    bool
        Whether the process lived to say that it had done it.

    Raises
    ------
    BottleneckError
        What the work raised; anything else as one, with the kind of the error in its message.
    KeyboardInterrupt
        When either process was interrupted.
    """
    child = Child(__name__, [])
    try:
        child.connection.send(work)
        error = child.connection.recv()
    except (EOFError, ConnectionResetError, BrokenPipeError):
        return False  # it died
    finally:
        child.end()
    if error is not None:
        raise error
    return True


def main() -> None:
    """Do what the parent sends and tell the error, or None; to die is to tell nothing.

    The command line gives the numbers of two descriptors: see
    :class:`~bottleneck.decode.child.Child`.
    """
    connection_fd, life_fd = map(int, sys.argv[1:])
    die_with_parent(life_fd)
    connection: Connection[Any, Any] = Connection(connection_fd)
    error: BaseException | None = None
    try:
        connection.recv()()
    except (BottleneckError, KeyboardInterrupt) as found:
        error = found
    except Exception as found:  # noqa: BLE001  # it lives: no image of these ends processes
        error = BottleneckError(f"{type(found).__name__}: {found}")
    connection.send(error)
