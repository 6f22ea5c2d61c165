"""Random access into one deflated stream, in bounded memory."""

import threading
import zlib
from dataclasses import dataclass
from typing import Any

from bottleneck.errors import ImageError
from bottleneck.exhaustion import raise_if_exhausted
from bottleneck.sources.random_access import Blob
from bottleneck.status import RowStatus

GZIP, RAW = 16 + zlib.MAX_WBITS, -zlib.MAX_WBITS
"""How zlib is told of a gzip file, and of a bare stream as in a zip."""

_STEP = 1 << 20
_KEPT = 4 << 20
_CHECKPOINT_EVERY = 8 << 20
_INPUT = 1 << 16


@dataclass
class _State:
    """Where a decompressor is: it has eaten up to ``eaten`` and given up to ``given``."""

    machine: Any
    eaten: int
    given: int

    def copy(self) -> "_State":
        return _State(self.machine.copy(), self.eaten, self.given)


class InflatedBlob:
    """What a compressed stretch of a blob unpacks to.

    Reading ahead unpacks on; reading back begins at the last of the checkpoints that are left
    every 8 MiB (some 40 KiB each). The last 4 MiB are kept for threads that are a little behind.

    Parameters
    ----------
    blob : Blob
        Where the stretch is.
    wbits : int
        :data:`GZIP` or :data:`RAW`.
    name : str
        For messages.
    size : int
        Length when unpacked, or an upper limit.
    offset, length : int
        The stretch; all of the blob by default.
    """

    hop = 1 << 16

    def __init__(
        self,
        blob: Blob,
        wbits: int,
        *,
        name: str,
        size: int = 1 << 62,
        offset: int = 0,
        length: int | None = None,
    ) -> None:
        self.name = name
        self.size = size
        self._blob = blob
        self._wbits = wbits
        self._begin = offset
        self._end = blob.size if length is None else offset + length
        self._prepare()

    def __repr__(self) -> str:
        return f"<InflatedBlob {self.name}>"

    def __getstate__(self) -> dict[str, Any]:
        # Decompressors cannot travel: they start again where they arrive.
        ours = ("name", "size", "_blob", "_wbits", "_begin", "_end")
        return {name: self.__dict__[name] for name in ours}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes; see :meth:`Blob.read`."""
        with self._lock:
            self.check()
            if offset < self._now.given - len(self._recent):
                self._rewind(offset)
            while self._now.given < offset + length:
                produced = self._advance()
                if not produced:
                    raise ImageError(
                        RowStatus.TRUNCATED,
                        f"{self.name} is cut short: expected {length} bytes at offset {offset} of "
                        f"what it unpacks to, it ends at {self._now.given}",
                    )
                self._recent += produced
                start = self._now.given - len(self._recent)
                spare = min(len(self._recent) - _KEPT, offset - start)
                if spare > 0:
                    del self._recent[:spare]
            begin = offset - (self._now.given - len(self._recent))
            return bytes(self._recent[begin : begin + length])

    def check(self) -> None:
        """Refuse a compressed file that is gone or has changed."""
        self._blob.check()

    def stamp(self) -> str:
        """Return the stamp of the compressed file."""
        return self._blob.stamp()

    def _prepare(self) -> None:
        self._lock = threading.Lock()
        self._checkpoints = [_State(zlib.decompressobj(self._wbits), self._begin, 0)]
        self._rewind(0)

    def _rewind(self, offset: int) -> None:
        nearest = max(
            (state for state in self._checkpoints if state.given <= offset),
            key=lambda state: state.given,
        )
        self._now = nearest.copy()
        self._recent = bytearray()

    def _advance(self) -> bytes:
        """Unpack up to a mebibyte more; nothing at the end."""
        now = self._now
        while True:
            if now.machine.eof:
                # A gzip file may be several behind one another.
                if self._wbits != GZIP or now.eaten >= self._end:
                    return b""
                now.machine = zlib.decompressobj(self._wbits)
            chunk = self._blob.read(now.eaten, min(_INPUT, self._end - now.eaten))
            try:
                produced: bytes = now.machine.decompress(chunk, _STEP)
            except zlib.error as error:
                raise_if_exhausted(error)
                raise ImageError(
                    RowStatus.UNREADABLE,
                    f"{self.name} is damaged at offset {now.eaten} or behind: {error}",
                ) from error
            machine = now.machine
            left = machine.unused_data if machine.eof else machine.unconsumed_tail
            now.eaten += len(chunk) - len(left)
            if produced:
                now.given += len(produced)
                if now.given - self._checkpoints[-1].given >= _CHECKPOINT_EVERY:
                    self._checkpoints.append(now.copy())
                return produced
            if not chunk:
                return b""
