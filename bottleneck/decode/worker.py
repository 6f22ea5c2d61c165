"""The program of a decode worker process. It imports neither the network nor the store."""

import fcntl
import mmap
import os
import pickle
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

from bottleneck.decode import shared
from bottleneck.decode.fill import fill
from bottleneck.decode.slot import Slot


def main() -> None:
    """Serve the parent until it closes the connection, or is no more.

    The command line gives the numbers of five descriptors: the connection, a pipe that lives as
    long as the parent, and the memory of source, job and slots.
    """
    connection_fd, life_fd, source_fd, job_fd, slots_fd = map(int, sys.argv[1:])
    _die_with_parent(life_fd)
    connection: Connection[Any, Any] = Connection(connection_fd)
    try:
        _serve(connection, source_fd, job_fd, slots_fd)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent has gone, or needs no more
    except BaseException as error:  # noqa: BLE001  # whatever it is, it is the parent's to raise
        connection.send(("error", _portable(error)))


def _serve(connection: "Connection[Any, Any]", source_fd: int, job_fd: int, slots_fd: int) -> None:
    source = shared.load(source_fd)
    connection.send(("ready", None))
    n_slots, slot_size = connection.recv()
    job = shared.load(job_fd)
    memory = mmap.mmap(slots_fd, n_slots * slot_size)
    slots = [Slot(memory, i * slot_size, job) for i in range(n_slots)]
    while True:
        number, start = connection.recv()
        fill(source, job, slots[number], start)
        connection.send(("done", number))


def _die_with_parent(life_fd: int) -> None:
    """Be ended by the system when the parent dies, even in the middle of a decoder that hangs.

    Nothing is ever written to the pipe, so the only event it can have is that its other end
    closed; SIGIO ends a process that does not handle it. (macOS ignores it by default; there a
    worker ends when it next listens.)
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(life_fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life_fd, fcntl.F_SETFL, fcntl.fcntl(life_fd, fcntl.F_GETFL) | os.O_ASYNC)


def _portable(error: BaseException) -> BaseException:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  # exceptions may refuse to travel in any way
        return RuntimeError(repr(error))
    return error
