"""Processes of our own: programs that end when this one does, and memory that several of them map.

They are started afresh (no forks of this process, which has the threads and the memory of the
network). A signal that ends commands, given to a whole group of processes or to all of a service
or a container, is the parent's alone to answer: the children are in a group of their own, and hold
such signals off. The parent ends them, and so does its own end.

Objects in memory that several processes map: each array in them exists once for all.

The memory belongs to an anonymous file, which the system frees when the last process that has
it open is gone, however it went.
"""

import contextlib
import fcntl
import mmap
import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Final

_ENDING: Final = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}


class Child:
    """A process and the connection to it.

    Parameters
    ----------
    module : str
        Its ``main`` is run; the command line gives the numbers of descriptors: the connection,
        a pipe that lives as long as the parent (see :func:`die_with_parent`), and ``files``.
    files : sequence of int
        Descriptors it inherits.
    environment : mapping, optional
        Its environment; by default this process's.

    Raises
    ------
    OSError
        When it cannot be started.
    """

    def __init__(
        self, module: str, files: Sequence[int], environment: Mapping[str, str] | None = None
    ) -> None:
        self.connection: Connection[Any, Any]
        self.connection, theirs = Pipe()
        # Closes with this process, however that ends; whom it tells belongs to the pipe, so
        # each child has its own.
        life, self._life = os.pipe()
        given = [theirs.fileno(), life, *files]
        # The parent's search path, so that what it could import the child can; without the
        # current folder, unless that is on it.
        path = [place or str(os.getcwd()) for place in sys.path]  # noqa: PTH109
        # What is imported stays; the garbage collector would look at it again and again.
        program = (
            f"import gc, sys; gc.disable(); sys.path[:] = {path!r}; import {module} as m; "
            "gc.freeze(); gc.enable(); m.main()"
        )
        try:
            with _held_off():
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-c", program, *map(str, given)],
                    pass_fds=given,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    process_group=0,
                    env=environment,
                )
        finally:
            theirs.close()
            os.close(life)

    def send(self, message: Any) -> None:
        """Send a message; if it has died, that is found by who listens to it."""
        with contextlib.suppress(OSError):
            self.connection.send(message)

    def ended(self) -> str:
        """Say how it ended, now that its connection is closed at the other end."""
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            code = 0
        self.end()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def end(self) -> None:
        """End it, whatever it is doing."""
        if self.connection.closed:
            return
        self.connection.close()
        os.close(self._life)
        self._process.kill()
        # One that waits for a dead disk cannot even be killed; it must not hold us up.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)


@contextlib.contextmanager
def _held_off() -> Iterator[None]:
    """Hold off the signals that end commands: what is started inside never gets them.

    A handler of the child's own would come too late, after Python has started. Here they are
    delivered afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def die_with_parent(life_fd: int) -> None:
    """Be ended by the system when the parent dies, even in the middle of a decoder that hangs.

    Nothing is ever written to the pipe, so the only event it can have is that its other end
    closed; SIGIO ends a process that does not handle it. (macOS ignores it by default; there a
    child ends when it next listens.)
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(life_fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life_fd, fcntl.F_SETFL, fcntl.fcntl(life_fd, fcntl.F_GETFL) | os.O_ASYNC)


def portable(error: BaseException) -> BaseException:
    """Return an exception that can travel to the parent: this one, if it can."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  # exceptions may refuse to travel in any way
        return RuntimeError(repr(error))
    return error


_ALIGNMENT = 64
_LENGTH = struct.Struct("<Q")


def anonymous_file(name: str) -> int:
    """Return the descriptor of a new file without a name on any disk."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:  # macOS
        return os.dup(file.fileno())


def dump_shared(value: Any, descriptor: int) -> None:
    """Write an object to an empty file; contiguous arrays in it are laid out to be mapped.

    Raises
    ------
    Exception
        Whatever :mod:`pickle` raises for an object that cannot travel.
    """
    buffers: list[pickle.PickleBuffer] = []
    # Protocol 5 hands large arrays out instead of copying them into the pickle.
    head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(head), *(buffer.raw() for buffer in buffers)]
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(_LENGTH.pack(len(parts)))
        file.writelines(_LENGTH.pack(part.nbytes) for part in parts)
        for part in parts:
            file.seek(-file.tell() % _ALIGNMENT, os.SEEK_CUR)
            file.write(part)
        file.truncate(max(file.tell(), 1))


def load_shared(descriptor: int) -> Any:
    """Read what :func:`dump_shared` wrote; its arrays are read-only, in the file's memory."""
    memory = memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    (count,) = _LENGTH.unpack_from(memory)
    lengths = [_LENGTH.unpack_from(memory, 8 * (1 + i))[0] for i in range(count)]
    parts: list[memoryview] = []
    end = 8 * (1 + count)
    for length in lengths:
        start = end + -end % _ALIGNMENT
        end = start + length
        parts.append(memory[start:end])
    return pickle.loads(parts[0], buffers=parts[1:])
