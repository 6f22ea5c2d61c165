"""Files behind a URL, read by blocks that are kept on the disk: later passes are local."""

import io
import os
from pathlib import Path
from typing import Final

from bottleneck.errors import StoreError
from bottleneck.sets.place import Place
from bottleneck.writing import written_whole

BLOCK_BYTES: Final = 4 << 20
"""A request takes about as long as four mebibytes do."""


def cache_folder() -> Path:
    """Return where blocks are kept: ``BOTTLENECK_CACHE``, or as the system says."""
    told = os.environ.get("BOTTLENECK_CACHE")
    if told:
        return Path(told)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bottleneck"


class CachedFile(io.RawIOBase):
    """A file of a set behind a URL, which never changes, as a file of Python.

    Every block is a file of its own in the cache, written whole: processes share them, and a kill
    leaves nothing wrong. Several threads may call :meth:`read_at`.

    Parameters
    ----------
    place : Place
        The set.
    name : str
        The file in it.
    folder : Path
        Where its blocks are kept.
    """

    def __init__(self, place: Place, name: str, folder: Path) -> None:
        super().__init__()
        self._place, self._name = place, name
        # A shard that was moved away and made again is another file of the same name.
        self.size, stamp = place.stamp(name)
        self._folder = folder / stamp[:16]
        self._position = 0

    def __repr__(self) -> str:
        return f"<CachedFile {self._place.name}/{self._name} {self.size} bytes>"

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be read from anywhere."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """Return the byte that is read next."""
        return self._position

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        """Read from where it is into a buffer; return how many bytes."""
        view = memoryview(buffer).cast("B")
        data = self.read_at(self._position, max(0, min(len(view), self.size - self._position)))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def read_at(self, offset: int, length: int) -> bytes:
        """Return exactly so many bytes.

        Raises
        ------
        StoreError
            When the file ends before.
        """
        if offset + length > self.size:
            raise StoreError(
                f"{self._place.name}/{self._name} is cut short: expected {length} bytes at "
                f"{offset}, it ends at {self.size}"
            )
        pieces = []
        while length:
            number, start = divmod(offset, BLOCK_BYTES)
            piece = self._read_block(number, start, min(length, BLOCK_BYTES - start))
            pieces.append(piece)
            offset, length = offset + len(piece), length - len(piece)
        return b"".join(pieces)

    def _read_block(self, number: int, start: int, length: int) -> bytes:
        path = self._folder / f"{number:08d}"
        whole = min(BLOCK_BYTES, self.size - number * BLOCK_BYTES)
        try:
            with path.open("rb") as stream:
                if os.fstat(stream.fileno()).st_size == whole:
                    stream.seek(start)
                    return stream.read(length)
        except FileNotFoundError:
            pass
        data = self._place.read_range(self._name, number * BLOCK_BYTES, whole)
        if len(data) != whole:
            raise StoreError(
                f"{self._place.name}/{self._name}: expected {whole} bytes of block {number}, "
                f"received {len(data)}"
            )
        self._keep(path, data)
        return data[start : start + length]

    def _keep(self, path: Path, data: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{os.getpid()}.{id(data)}.tmp")
            with written_whole(path, temporary=temporary):
                temporary.write_bytes(data)
        except OSError as error:
            raise StoreError(
                f"cannot keep a block of {self._place.name} in {path.parent}: {error.strerror}",
                hint="Free some space, or name another folder: BOTTLENECK_CACHE=FOLDER.",
            ) from error
