"""What the operating system offers to make bytes durable, and its names on each system.

Run on Linux only so far; the macOS branches follow its manual pages and were not run.
"""

import contextlib
import errno
import fcntl
import os
import re
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bottleneck.errors import StoreError, StoreLockedError

_IN_MEMORY = [Path("/dev/shm")]
"""Folders that are no disk and so never fail like one."""

_PIECE_BYTES = 4 << 20
"""What is read of a file at once."""

_SIGNATURE_BYTES = 300
"""Room for who holds a lock: host names have at most 255."""

_PATIENCE, _PATIENCE_SECONDS = 20, 0.2
"""Looks at a lock that nobody has signed yet, and the time they take together."""


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


@contextlib.contextmanager
def scratch_file(room: int) -> Iterator[tuple[int, Path]]:
    """Lend an empty file with room for some bytes, in memory where the system can.

    Parameters
    ----------
    room : int
        Bytes that will be written; the file may be longer, with holes.

    Yields
    ------
    descriptor : int
        For ourselves.
    path : Path
        For libraries that open files by name. It may be removed at once after.

    Raises
    ------
    OSError
        When there is no room anywhere.
    """
    descriptor, path = _scratch(room)
    try:
        yield descriptor, path
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _scratch(room: int) -> tuple[int, Path]:
    for folder in _IN_MEMORY:
        with contextlib.suppress(OSError):
            return _scratch_in(folder, room)
    return _scratch_in(Path(tempfile.gettempdir()), room)


def _scratch_in(folder: Path, room: int) -> tuple[int, Path]:
    descriptor, name = tempfile.mkstemp(prefix="bottleneck-", dir=folder)
    try:
        preallocate(descriptor, room)
    except OSError:
        os.close(descriptor)
        Path(name).unlink()
        raise
    return descriptor, Path(name)


def pieces(descriptor: int) -> Iterator[tuple[int, bytes]]:
    """Yield the offset and the content of what a sparse file holds, a few MiB at a time."""
    end = os.fstat(descriptor).st_size
    position = 0
    while position < end:
        try:
            position = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        hole = os.lseek(descriptor, position, os.SEEK_HOLE)
        while position < hole:
            data = os.pread(descriptor, min(hole - position, _PIECE_BYTES), position)
            yield position, data
            position += len(data)


@contextlib.contextmanager
def writer_lock(path: Path) -> Iterator[None]:
    """Be the only writer of ``path`` in the block, through an exclusive lock on ``<path>.lock``.

    The lock file says who holds it and is removed at the end; one left by a killed process is
    taken over, because the lock died with the process. So are its temporary files: they are
    removed.

    Raises
    ------
    StoreError
        When another process holds the lock (:class:`~bottleneck.errors.StoreLockedError`), or
        the folder cannot be written.
    """
    path = path.resolve()  # two names of one file are one file
    lock = path.with_name(path.name + ".lock")
    try:
        descriptor = _acquire(lock, path)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise _unwritable(path, error) from error
    try:
        try:
            _sign(descriptor)
            _remove_leftovers(path)
        except OSError as error:
            raise _unwritable(path, error) from error
        yield
    finally:
        # A lock file that stays is harmless, and must not hide what happened in the block.
        with contextlib.suppress(OSError):
            lock.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.close(descriptor)


def claim(descriptor: int, path: Path) -> None:
    """Be the only writer of an open file, under whatever name, until it is closed.

    Two locks that do not see each other: the one that HDF5 takes, shared, so that its readers
    pass and its writers are refused; and one that belongs to the file and not to its name (hard
    links, a file renamed while it is written), where the system has such locks.

    Raises
    ------
    StoreError
        When another program or process writes the file.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if not isinstance(error, BlockingIOError):
            raise StoreError(f"cannot lock {path}: {error.strerror}") from error
        raise StoreError(
            f"{path} is open for writing in another program", hint="Close it there first."
        ) from error
    if sys.platform != "linux":
        return
    whole = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, whole)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            return  # a file system without such locks: the lock on the name has to do
        raise StoreLockedError(
            f"{path} is being written by another process, under another name",
            hint="Wait for it to finish, or stop it; what it has done will be kept.",
        ) from error


def _unwritable(path: Path, error: OSError) -> StoreError:
    if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
        return StoreError(
            f"expected a file system with locks in {path.parent}, got {error.strerror}",
            hint="Without locks two runs could write one file: write to a local folder, and copy "
            "the file afterwards.",
        )
    return StoreError(
        f"cannot write in {path.parent}: {error.strerror or error}",
        hint="Mend the disk or free some space, or write to another folder.",
    )


def _acquire(lock: Path, path: Path) -> int:
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder before us removes the file as it leaves: a lock on a removed file is none.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), lock.stat()):
                    return descriptor
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise StoreLockedError(
                f"{path} is being written by {holder or 'another process'}",
                hint="Wait for it to finish, or stop it; what it has done will be kept.",
            ) from None
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _sign(descriptor: int) -> None:
    """Say who holds the lock, in one write over whatever an earlier holder left."""
    text = f"process {os.getpid()} on {os.uname().nodename}\n".encode()
    write_at(descriptor, text.ljust(_SIGNATURE_BYTES), 0)


def _holder(descriptor: int) -> str:
    """Read who holds a lock; between locking and signing there is a moment to wait for."""
    for _ in range(_PATIENCE):
        text = os.pread(descriptor, _SIGNATURE_BYTES, 0).decode(errors="replace").strip()
        if text and not _died(text):
            return text
        time.sleep(_PATIENCE_SECONDS / _PATIENCE)
    return ""


def _died(signature: str) -> bool:
    """Tell whether the process of a signature was one of this machine and is gone."""
    process, _, node = signature.removeprefix("process ").partition(" on ")
    if node != os.uname().nodename or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files (:func:`bottleneck.writing.temporary_path`) of killed writers."""
    ours = re.compile(re.escape(f".{path.name}.") + r"\d+\.tmp")
    with os.scandir(path.parent) as entries:
        leftovers = [entry.path for entry in entries if ours.fullmatch(entry.name)]
    for leftover in leftovers:
        Path(leftover).unlink(missing_ok=True)
