"""The program of a decode worker process. It imports neither the network nor the store."""

import mmap
import sys
from multiprocessing.connection import Connection
from typing import Any

from bottleneck.decode.child import die_with_parent, load_shared, portable
from bottleneck.decode.fill import fill
from bottleneck.decode.slot import Slot, Unit


def main() -> None:
    """Serve the parent until it closes the connection, or is no more.

    The command line gives the numbers of five descriptors: the connection, a pipe that lives as
    long as the parent, and the memory of source, job and slots.
    """
    connection_fd, life_fd, source_fd, job_fd, slots_fd = map(int, sys.argv[1:])
    die_with_parent(life_fd)
    connection: Connection[Any, Any] = Connection(connection_fd)
    try:
        _serve(connection, source_fd, job_fd, slots_fd)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent has gone, or needs no more
    except BaseException as error:  # noqa: BLE001  # whatever it is, it is the parent's to raise
        connection.send(("error", portable(error)))


def _serve(connection: "Connection[Any, Any]", source_fd: int, job_fd: int, slots_fd: int) -> None:
    source = load_shared(source_fd)
    connection.send(("ready", None))
    n_slots, slot_size = connection.recv()
    job = load_shared(job_fd)
    memory = mmap.mmap(slots_fd, n_slots * slot_size)
    slots = [Slot(memory, i * slot_size, job) for i in range(n_slots)]
    while True:
        number, unit = connection.recv()
        fill(source, job, slots[number], Unit(*unit))
        connection.send(("done", number))
