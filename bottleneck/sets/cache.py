"""Blocks of files behind URLs, kept on the disk: as many as fit, the least recently read go first.

Each is a file of its own, written whole, and none is needed: one that another process threw away is
fetched again. So any number of processes may use one folder, and be killed.
"""

import contextlib
import errno
import fcntl
import os
import re
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from bottleneck.errors import OptionError, StoreError
from bottleneck.location import cache_folder
from bottleneck.writing import written_whole

BLOCK_BYTES: Final = 4 << 20
"""A request takes about as long as four mebibytes do."""

SIZE: Final = "BOTTLENECK_CACHE_SIZE"
"""Variable of the environment: bytes, or as ``50G``."""

_SIZE = re.compile(r"(\d+(?:\.\d*)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

_KEPT: Final = 7 / 8
"""Of the limit, when it was reached: not every block that comes makes one go."""

_TOUCH_SECONDS: Final = 60
"""How exactly it is known when a block was read last."""

_LEFT_SECONDS: Final = 3600
"""A temporary file of that age is of a process that was killed."""


def shared_cache() -> "BlockCache":
    """Return the cache that all processes of a user share, as the environment has it.

    In ``BOTTLENECK_CACHE``, or where the system keeps such things, and of
    ``BOTTLENECK_CACHE_SIZE``, or half of what the disk has left for it.

    Raises
    ------
    OptionError
        For a size that is none.
    """
    told = os.environ.get(SIZE, "").strip()
    return _shared(cache_folder() / "sets", _bytes(told) if told else None)


@lru_cache
def _shared(folder: Path, limit: int | None) -> "BlockCache":
    return BlockCache(folder, limit)


def _bytes(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise OptionError(
            f"expected a size as 50G or 800M in {SIZE}, got {text!r}",
            hint="Without it half of what the disk has left is used.",
        )
    return int(float(match[1]) * _UNITS[match[2].upper()])


class _Kept(NamedTuple):
    read: float
    size: int
    path: str


class BlockCache:
    """Blocks in a folder, by name.

    Parameters
    ----------
    folder : Path
        Where they are, in a folder for each set.
    limit : int, optional
        Bytes that they may take together; by default half of what the disk would have free
        without them.
    """

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        self.folder, self.limit = folder, limit
        self._unchecked = 0
        """Bytes that may still come before it is looked how many there are."""
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<BlockCache {self.folder} {self.limit or 'half of the disk'}>"

    def read(self, name: str, whole: int, start: int, length: int) -> bytes | None:
        """Read a piece of a block; None where it is not here, or cannot be read.

        Parameters
        ----------
        name : str
            Its name, with that of its folder.
        whole : int
            Length of all of it: a file of another one is none.
        start, length : int
            The piece.
        """
        try:
            with (self.folder / name).open("rb") as stream:
                facts = os.fstat(stream.fileno())
                if facts.st_size != whole:
                    return None
                if time.time() - facts.st_mtime > _TOUCH_SECONDS:
                    with contextlib.suppress(OSError):  # of somebody else, who may read it
                        os.utime(stream.fileno())
                stream.seek(start)
                return stream.read(length)
        except OSError:  # not there, of another user, a bad sector: it can be fetched
            return None

    def keep(self, name: str, data: bytes) -> None:
        """Keep a block, and throw others away if there are too many.

        Raises
        ------
        StoreError
            When the disk does not take it.
        """
        path = self.folder / name
        for last in (False, True):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary = path.with_name(f".{path.name}.{os.getpid()}.{id(data)}.tmp")
                with written_whole(path, temporary=temporary):
                    temporary.write_bytes(data)
                break
            except FileNotFoundError:  # its folder was empty, and another process removed it
                if last:
                    raise
            except OSError as error:
                if last or error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise StoreError(
                        f"cannot keep a block in {path.parent}: {error.strerror}",
                        hint="Free some space, or name another folder: BOTTLENECK_CACHE=FOLDER.",
                    ) from error
                self._make_room(sum(one.size for one in self._blocks()) // 2)
        with self._lock:
            self._unchecked -= len(data)
            due = self._unchecked <= 0
        if due:
            self._make_room(self.limit)

    def _make_room(self, limit: int | None) -> None:
        """Throw away what was not read for longest, where there is more than may be."""
        with self._alone():
            blocks = sorted(self._blocks())
            total = sum(one.size for one in blocks)
            if limit is None:
                disk = os.statvfs(self.folder)
                limit = (disk.f_bavail * disk.f_frsize + total) // 2
            if total > limit - BLOCK_BYTES:  # one more would be too many
                for one in blocks:
                    if total <= _KEPT * limit:
                        break
                    self._remove(Path(one.path))
                    total -= one.size
        with self._lock:
            # Other processes add theirs meanwhile: well before what is left is used up.
            self._unchecked = max(BLOCK_BYTES, (limit - total) // 8)

    def _blocks(self) -> Iterator[_Kept]:
        """List what is kept; what killed processes left half-written is removed."""
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = os.path.join(folder, name)  # noqa: PTH118
                try:
                    facts = os.stat(path)  # noqa: PTH116
                except OSError:  # gone
                    continue
                if not name.startswith("."):
                    yield _Kept(facts.st_mtime, facts.st_size, path)
                elif name.endswith(".tmp") and time.time() - facts.st_mtime > _LEFT_SECONDS:
                    self._remove(Path(path))

    def _remove(self, path: Path) -> None:
        with contextlib.suppress(OSError):  # who reads it goes on reading it
            path.unlink()
        with contextlib.suppress(OSError):  # not empty
            path.parent.rmdir()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process after the other look: two would throw away twice as much as is needed."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # a file system without locks: it does no harm
                lock = stack.enter_context((self.folder / ".lock").open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
