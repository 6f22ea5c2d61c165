"""A file that HDF5 writes, whose errors we learn of."""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from bottleneck.store import system

if TYPE_CHECKING:
    from typing_extensions import Buffer  # in collections.abc from Python 3.12 on


class CheckedFile(io.RawIOBase):
    """A new file for ``h5py.File(CheckedFile(path), "w")``: to HDF5, a disk that never fails.

    HDF5 (as of 2.0) may pass over a write that failed while it closes a file, or crash. So it
    is not told of errors: the first one is kept, and raised by :meth:`finish`.

    Parameters
    ----------
    path : Path
        There must be no such file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._position = 0
        self._size = 0
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise the first error there was.

        Raises
        ------
        OSError
        """
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Give the file its length and make it durable.

        Raises
        ------
        OSError
            Also for a write that failed earlier.
        """
        self.check()
        os.ftruncate(self._descriptor, self._size)
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the descriptor."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; HDF5 asks for the end that way."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: "Buffer") -> int:
        """Read back what was written; zeros where nothing was."""
        view = memoryview(buffer).cast("B")
        data = b""
        try:
            data = os.pread(self._descriptor, len(view), self._position)
        except OSError as error:
            self._error = self._error or error
        view[:] = data.ljust(len(view), b"\0")
        self._position += len(view)
        return len(view)

    def write(self, data: "Buffer") -> int:
        """Write at the current position, or keep the error."""
        view = memoryview(data).cast("B")
        if self._error is None:
            try:
                system.write_at(self._descriptor, view, self._position)
            except OSError as error:
                self._error = error
        self._position += len(view)
        self._size = max(self._size, self._position)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the length, which the file gets at the end."""
        self._size = self._position if size is None else size
        return self._size
