"""Bytes that can be read anywhere: the files in which other files or pixels lie.

Nothing is kept open between two reads, so blobs are safe in threads, forks and pickles, and
ten thousand shards need no ten thousand descriptors.
"""

import io
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bottleneck.errors import ImageError, SourceError
from bottleneck.exhaustion import raise_if_exhausted
from bottleneck.location import is_url
from bottleneck.sources.remote import refuse_beyond
from bottleneck.status import RowStatus

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


_LARGEST_WINDOW = 1 << 20
_BLOCK, _BLOCKS = 1 << 18, 32


class Blob(Protocol):
    """Some bytes with a name and a length.

    Attributes
    ----------
    name : str
        Path or URL, for messages.
    size : int
        Length in bytes.
    hop : int
        So many bytes are as cheap to read through as to begin a new read behind them.
    """

    name: str
    size: int
    hop: int

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes.

        Raises
        ------
        ImageError
            ``MISSING`` when the file is gone, ``TRUNCATED`` when it ends before, ``UNREADABLE``
            when it cannot be read or is no longer the file that was opened.
        """
        ...

    def check(self) -> None:
        """Refuse a file that is gone or has changed, where that costs nothing to find out.

        For those who serve from memory what they read before.
        """
        ...

    def stamp(self) -> str:
        """Return what changes when the bytes change: as it is now, not when it was opened."""
        ...


class LocalBlob:
    """A file on a disk.

    Parameters
    ----------
    path : str
        The file.

    Raises
    ------
    SourceError
        When it does not exist or cannot be looked at.
    """

    hop = 4096

    def __init__(self, path: str) -> None:
        self.name = path
        try:
            facts = os.stat(path)  # noqa: PTH116
            if not Path(path).is_file():
                raise SourceError(f"expected a file, got {path}, which is none")
        except FileNotFoundError as error:
            raise SourceError(f"there is no file {path}") from error
        except OSError as error:
            raise SourceError(f"cannot look at {path}: {error.strerror}") from error
        self.size = facts.st_size
        self._changed = facts.st_mtime_ns

    def __repr__(self) -> str:
        return f"<LocalBlob {self.name} {self.size} bytes>"

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes; see :meth:`Blob.read`."""
        try:
            descriptor = os.open(self.name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._refuse_changed(os.fstat(descriptor))
                refuse_beyond(self.name, self.size, offset, length)
                data = os.pread(descriptor, length, offset)
                while len(data) < length:  # Linux reads at most 2 GiB at once
                    more = os.pread(descriptor, length - len(data), offset + len(data))
                    if not more:
                        raise ImageError(RowStatus.TRUNCATED, f"{self.name} is cut short")
                    data += more
            finally:
                os.close(descriptor)
        except FileNotFoundError as error:
            raise ImageError(RowStatus.MISSING, f"there is no file {self.name} any more") from error
        except OSError as error:
            raise_if_exhausted(error)
            raise ImageError(RowStatus.UNREADABLE, f"{self.name}: {error.strerror}") from error
        return data

    def check(self) -> None:
        """Refuse a file that is gone or another one than was opened, as :meth:`read` does."""
        try:
            self._refuse_changed(os.stat(self.name))  # noqa: PTH116
        except FileNotFoundError as error:
            raise ImageError(RowStatus.MISSING, f"there is no file {self.name} any more") from error
        except OSError as error:
            raise_if_exhausted(error)
            raise ImageError(RowStatus.UNREADABLE, f"{self.name}: {error.strerror}") from error

    def stamp(self) -> str:
        """Return size and time of change."""
        try:
            facts = os.stat(self.name)  # noqa: PTH116
        except OSError as error:
            return str(error.errno)
        return f"{facts.st_size} {facts.st_mtime_ns}"

    def _refuse_changed(self, facts: os.stat_result) -> None:
        # Offsets into another file would give other images, or parts of them.
        if (facts.st_size, facts.st_mtime_ns) != (self.size, self._changed):
            raise ImageError(
                RowStatus.UNREADABLE, f"{self.name} has changed since its images were listed"
            )


def open_blob(location: str) -> Blob:
    """Open a path or a URL.

    Raises
    ------
    SourceError
        When there is nothing.
    """
    if is_url(location):
        from bottleneck.sources.remote import RemoteBlob

        return RemoteBlob(location)
    return LocalBlob(location)


def exists(location: str) -> bool:
    """Whether there is something at a path or a URL."""
    if not is_url(location):
        return Path(location).exists()
    from bottleneck.sources.remote import describe

    try:
        describe(location)
    except SourceError:
        return False
    return True


@contextmanager
def listing() -> Iterator[None]:
    """While images are listed, what would fail one row fails the source."""
    try:
        yield
    except ImageError as error:
        raise SourceError(error.message) from error


class Window:
    """Reads a blob from front to back in pieces that suit how it is read.

    Parameters
    ----------
    blob : Blob
        Small steps ahead are served from memory; a long jump begins a new, small piece.
    """

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._data = b""
        self._start = 0
        self._length = blob.hop

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes; raises what :meth:`Blob.read` does."""
        begin = offset - self._start
        if begin < 0 or begin + length > len(self._data):
            near = 0 <= begin <= len(self._data) + self._length
            largest = max(_LARGEST_WINDOW, self._blob.hop)
            self._length = min(2 * self._length, largest) if near else self._blob.hop
            refuse_beyond(self._blob.name, self._blob.size, offset, length)
            wanted = min(max(length, self._length), self._blob.size - offset)
            self._data, self._start, begin = self._blob.read(offset, wanted), offset, 0
        return self._data[begin : begin + length]


class BlobFile(io.RawIOBase):
    """A remote blob as a read-only file object, for libraries that want one.

    They read in small pieces here and there; some blocks are kept, so that not each piece is
    a request.
    """

    def __init__(self, blob: Blob) -> None:
        super().__init__()
        self._blob = blob
        self._position = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, and return the new position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._blob.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Fill a buffer; returns how many bytes there were."""
        view = memoryview(buffer).cast("B")
        number, begin = divmod(self._position, _BLOCK)
        length = max(0, min(len(view), self._blob.size - self._position))
        if length >= _BLOCK:
            view[:length] = self._blob.read(self._position, length)
        elif length:
            block = self._blocks.pop(number, b"")
            if not block:
                start = number * _BLOCK
                block = self._blob.read(start, min(_BLOCK, self._blob.size - start))
            self._blocks[number] = block
            if len(self._blocks) > _BLOCKS:
                self._blocks.popitem(last=False)
            length = min(length, len(block) - begin)
            view[:length] = block[begin : begin + length]
        self._position += length
        return length
