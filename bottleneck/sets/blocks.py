"""Files behind a URL, read by blocks that are kept on the disk: later passes are local."""

import io
from pathlib import PurePosixPath

from bottleneck.errors import StoreError
from bottleneck.sets.cache import BLOCK_BYTES, BlockCache
from bottleneck.sets.place import Place


class CachedFile(io.RawIOBase):
    """A file of a set behind a URL, which never changes, as a file of Python.

    Several threads may call :meth:`read_at`.

    Parameters
    ----------
    place : Place
        The set.
    name : str
        The file in it.
    cache : BlockCache
        Keeps its blocks.
    folder : str
        In which folder of it.
    """

    def __init__(self, place: Place, name: str, cache: BlockCache, folder: str) -> None:
        super().__init__()
        self._place, self._name = place, name
        # A shard that was moved away and made again is another file of the same name.
        self.size, stamp = place.stamp(name)
        self._cache = cache
        self._stem = f"{folder}/{PurePosixPath(name).stem}-{stamp[:16]}"
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
        block = f"{self._stem}-{number:08d}"
        whole = min(BLOCK_BYTES, self.size - number * BLOCK_BYTES)
        kept = self._cache.read(block, whole, start, length)
        if kept is not None:
            return kept
        data = self._place.read_range(self._name, number * BLOCK_BYTES, whole)
        if len(data) != whole:
            raise StoreError(
                f"{self._place.name}/{self._name}: expected {whole} bytes of block {number}, "
                f"received {len(data)}"
            )
        self._cache.keep(block, data)
        return data[start : start + length]
