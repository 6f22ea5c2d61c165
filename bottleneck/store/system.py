"""What the operating system offers to make bytes durable, and its names on each system.

Run on Linux only so far; the macOS branches follow its manual pages and were not run.
"""

import contextlib
import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from bottleneck.errors import StoreError, StoreLockedError


def sync_data(descriptor: int) -> None:
    """Wait until a file's data is on the disk.

    Raises
    ------
    OSError
        When the disk reports an error; the data must be taken for lost.
    """
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync alone stops at the drive's cache
    else:
        os.fdatasync(descriptor)


def sync_folder(folder: Path) -> None:
    """Make names created or removed in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def preallocate(descriptor: int, size: int) -> None:
    """Reserve disk space for a whole file, so that a full disk is told now and not midway.

    Raises
    ------
    OSError
        ``ENOSPC`` when there is no room.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        # File systems without the call: the run can still fill up, but it is not wrong.
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise


def write_at(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of ``data`` at an offset, however many calls it takes."""
    view = memoryview(data).cast("B")
    while view:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written


def publish(temporary: Path, path: Path, *, replace: bool) -> None:
    """Give a finished temporary file its name, durably; never replaces a file unless told to.

    Raises
    ------
    FileExistsError
        When ``path`` exists and ``replace`` is false.
    """
    if replace:
        temporary.replace(path)
    else:
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:
            # No hard links here (FAT, some network drives): claim the name, then take it over.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            temporary.replace(path)
        else:
            temporary.unlink()
    sync_folder(path.parent)


@contextlib.contextmanager
def writer_lock(path: Path) -> Iterator[None]:
    """Be the only writer of ``path`` in the block, through an exclusive lock on ``<path>.lock``.

    The lock file says who holds it and is removed at the end; one left by a killed process is
    taken over, because the lock died with the process.

    Raises
    ------
    StoreError
        When another process holds the lock (:class:`~bottleneck.errors.StoreLockedError`), or
        the folder cannot be written.
    """
    path = path.resolve()  # two names of one file are one file
    lock = path.with_name(path.name + ".lock")
    descriptor = _acquire(lock, path)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(lock: Path, path: Path) -> int:
    while True:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StoreError(f"cannot write in {path.parent}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise StoreLockedError(
                f"{path} is being written by {holder or 'another process'}",
                hint="Wait for it to finish, or stop it; what it has done will be kept.",
            ) from None
        # The holder before us removes the file as it leaves: a lock on a removed file is none.
        try:
            if os.path.samestat(os.fstat(descriptor), lock.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)
