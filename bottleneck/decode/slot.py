"""A slot: one batch on its way, in memory that workers and consumer share, and its job.

Workers take units of it, a few rows each, so that how far they work ahead is not counted in
batches; its images lie one behind the other, so that what is computed is a view of it.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bottleneck.fingerprint import DIGEST_BYTES
from bottleneck.images import PILLOW, DecoderName, EncodedJpeg, Geometry, PlainJpeg
from bottleneck.images.decoders.registry import LARGEST
from bottleneck.items import KINDS, ItemInput, Kind
from bottleneck.status import RowStatus

MAX_WANTS = 32
"""Most wants of a job: a row says which of them it has in the bits of a number."""


@dataclass(frozen=True, eq=False)
class Want:
    """What one consumer of pixels needs of a row.

    Parameters
    ----------
    input : int
        Which of the job's inputs.
    known : ndarray of S16, shape (k,), optional
        Sorted :func:`~bottleneck.decode.fill.row_keys` of images the consumer has features
        of: they are read and hashed, but not decoded for it.
    """

    input: int
    known: NDArray[np.bytes_] | None = None

    def knows(self, key: NDArray[np.bytes_]) -> bool:
        """Whether the consumer has the features of an image already."""
        if self.known is None or not len(self.known):
            return False
        found = int(np.searchsorted(self.known, key))
        return found < len(self.known) and bool(self.known[found] == key)


@dataclass(frozen=True)
class Job:
    """What to decode rows to.

    Parameters
    ----------
    inputs : tuple of ItemInput
        The different squares, or spectrograms, that are needed; of one kind of item.
    wants : tuple of Want
        Who needs which; a batch says for each row which of the wants it has.
    batch_size : int
        Rows of a batch at most.
    views : int
        Rows per image: row ``i`` is view ``i % views`` of the source's image ``i // views``.
    held : int
        Batches that who asked for them keeps at a time.
    device : str
        What computes on them, as recipes name it: another decoder than Pillow works there.
    """

    inputs: tuple[ItemInput, ...]
    wants: tuple[Want, ...] = field(default=())
    batch_size: int = 32
    views: int = 1
    held: int = 1
    device: str = ""

    @classmethod
    def simple(cls, given: ItemInput, batch_size: int) -> "Job":
        """Make the job of a single consumer that needs every row."""
        return cls((given,), (Want(0),), batch_size)

    @property
    def kind(self) -> Kind:
        """What the items are."""
        return KINDS[self.inputs[0].item]

    @property
    def decoder(self) -> DecoderName:
        """What decodes JPEGs; if it is not Pillow, workers hand it the files that it may have."""
        first = self.inputs[0]
        return first.decoder if isinstance(first, Geometry) else PILLOW

    def unit_size(self, workers: int) -> int:
        """Return how many rows a worker is given at a time.

        So few that all of them work on the next batch, and so many that their messages cost
        little: 4 to 32.
        """
        few = min(_LEAST_UNIT[1], max(_LEAST_UNIT[0], self.batch_size // _LEAST_SHARES))
        return min(_LARGEST_UNIT, max(few, -(-self.batch_size // workers)), self.batch_size)

    def slots(self, workers: int) -> int:
        """Return how many batches are in memory: those that are held, and two units per worker."""
        ahead = _UNITS_PER_WORKER * workers * self.unit_size(workers)
        drawn = self.decoder != PILLOW  # one more, by the decoder that is not Pillow
        return self.held + drawn + -(-ahead // self.batch_size)


class Unit(NamedTuple):
    """Rows of a slot that one worker decodes.

    Parameters
    ----------
    number : int
        Which unit of its slot.
    start, stop : int
        First position, and the one behind the last.
    """

    number: int
    start: int
    stop: int


_UNITS_PER_WORKER: Final = 2
"""One in hand and one that waits, so that no worker waits for the parent's forward pass."""

_LEAST_UNIT: Final = 4, 16
_LEAST_SHARES: Final = 8
_LARGEST_UNIT: Final = 32

_MESSAGE_BYTES = 400
"""Room for the reason of a failed row; longer ones are cut."""

_ALIGNMENT = 64

IDLE = -1
"""Position in hand of a slot nobody has begun."""

LEFT, HAND_ON, DRAW = range(3)
"""What workers do with a row: nothing more; hand its file to another decoder, where it may have it;
draw it in any case."""

_HANDED: Final = np.dtype(
    [
        ("bytes", np.int64),
        ("inputs", np.uint32),
        ("width", np.int32),
        ("height", np.int32),
        ("orientation", np.int32),
    ]
)
"""What is known of a file that is handed on: 0 bytes where none is."""


@dataclass(frozen=True)
class Failure:
    """A row that has a reason instead of pixels or features."""

    row: int
    status: RowStatus
    message: str
    digest: NDArray[np.uint8] | None = None
    """Hash of the image, where its bytes could be read."""


class Slot:
    """One batch: which rows, what became of them, and their pixels.

    Everything lies in one buffer, so that what a worker process had finished outlives it.

    Parameters
    ----------
    buffer : bytearray or mmap
        Memory of at least :func:`slot_bytes`, from ``offset`` on.
    offset : int
        Where the slot begins.
    job : Job
        What is decoded.

    Attributes
    ----------
    rows : ndarray of int64, shape (batch_size,)
        Row numbers, ascending; the first ``count`` count.
    wanted : ndarray of uint32, shape (batch_size,)
        Bit ``w``: want ``w`` of the job is to be served.
    status : ndarray of uint8, shape (batch_size,)
        0 until the row was looked at; then done, or why it failed.
    drawn : ndarray of uint32, shape (batch_size,)
        Bit ``g``: there are pixels, or a spectrogram, for input ``g``.
    digests : ndarray of uint8, shape (batch_size, 16)
        Hash of each row's image; zeros where it could not be read.
    todo : ndarray of uint8, shape (batch_size,)
        What workers are to do with the row: :data:`LEFT`, :data:`HAND_ON` or :data:`DRAW`.
    further : ndarray of bool, shape (batch_size,)
        Whether the file holds more pages or frames than the one drawn; at the first view of it.
    pixels : list of ndarray, shape (batch_size, *shape of an item)
        For each input the pixels, or spectrograms, of the rows that have some, at their position.
    seconds : ndarray of float64, shape (units, 2)
        Time spent reading and decoding.
    hand : ndarray of int64, shape (units, 2)
        First position in hand of each unit and the one behind the last; ``IDLE`` before the first.
    since : ndarray of float64, shape (units,)
        When it was taken in hand (:func:`time.monotonic`).
    """

    def __init__(self, buffer: bytearray | mmap.mmap, offset: int, job: Job) -> None:
        arrays = {
            name: np.frombuffer(buffer, dtype, int(np.prod(shape)), offset + start).reshape(shape)
            for name, dtype, shape, start in _fields(job)
        }
        self.hand: NDArray[np.int64] = arrays["hand"]
        self.since: NDArray[np.float64] = arrays["since"]
        self.seconds: NDArray[np.float64] = arrays["seconds"]
        self.rows: NDArray[np.int64] = arrays["rows"]
        self.wanted: NDArray[np.uint32] = arrays["wanted"]
        self.status: NDArray[np.uint8] = arrays["status"]
        self.drawn: NDArray[np.uint32] = arrays["drawn"]
        self.digests: NDArray[np.uint8] = arrays["digests"]
        self.further: NDArray[np.bool_] = arrays["further"]
        self.todo: NDArray[np.uint8] = arrays["todo"]
        self._messages: NDArray[np.uint8] = arrays["messages"]
        self._count: NDArray[np.int64] = arrays["count"]
        self._handed: NDArray[Any] = arrays["handed"]
        self._files: NDArray[np.uint8] | None = arrays.get("files")
        self.pixels: list[NDArray[Any]] = [arrays[f"pixels{g}"] for g in range(len(job.inputs))]

    @property
    def count(self) -> int:
        """Rows of the batch."""
        return int(self._count[0])

    def begin(self, rows: NDArray[np.int64], wanted: NDArray[np.uint32]) -> None:
        """Take a new batch."""
        n = len(rows)
        self._count[0] = n
        self.rows[:n] = rows
        self.wanted[:n] = wanted
        self.status[:n] = RowStatus.PENDING
        self.drawn[:n] = 0
        self.digests[:n] = 0
        self.further[:n] = False
        self._handed["bytes"][:n] = 0
        self.again(slice(n), DRAW if self._files is None else HAND_ON)
        self.seconds[:] = 0.0

    def again(self, at: NDArray[np.int64] | slice, todo: int = DRAW) -> None:
        """Let workers work on the rows at some positions, and no others, when it is submitted."""
        self.todo[: self.count] = LEFT
        self.todo[at] = todo
        self.hand[:] = IDLE

    def hand_on(self, position: int, file: bytes, plain: PlainJpeg, inputs: int) -> None:
        """Keep the file of a row, to be drawn for some inputs (as bits) by another decoder."""
        assert self._files is not None
        self._files[position, : len(file)] = np.frombuffer(file, np.uint8)
        about = len(file), inputs, plain.width, plain.height, plain.orientation
        self._handed[position] = about

    def handed(self) -> Iterator[tuple[int, int, EncodedJpeg]]:
        """Yield position, inputs and file of the rows that are another decoder's."""
        if self._files is None:
            return
        handed = self._handed[: self.count]
        for position in np.flatnonzero(handed["bytes"]).tolist():
            size, inputs, *plain = handed[position].tolist()
            file = self._files[position, :size]
            yield position, inputs, EncodedJpeg(file, PlainJpeg(*plain))

    def units(self, size: int, views: int = 1) -> Iterator[Unit]:
        """Cut the batch into units of about so many rows; the views of an image stay together."""
        number = start = 0
        images = self.rows[: self.count] // views
        while start < self.count:
            stop = min(start + size, self.count)
            if views > 1:
                stop = int(np.searchsorted(images, images[stop - 1], "right"))
            yield Unit(number, start, stop)
            number, start = number + 1, stop

    def images(self, given: int, at: NDArray[np.int64] | None = None) -> NDArray[Any]:
        """Return what was drawn for an input, without a copy where it lies in one run.

        Parameters
        ----------
        given : int
            Which input.
        at : ndarray of int64, optional
            Ascending positions; all that have something by default.
        """
        if at is None:
            at = np.flatnonzero(self.drawn[: self.count] >> np.uint32(given) & 1)
        pixels = self.pixels[given]
        if len(at) and at[-1] - at[0] + 1 == len(at):
            return pixels[at[0] : at[-1] + 1]
        picked: NDArray[Any] = pixels[at]
        return picked

    def fail(self, start: int, stop: int, status: RowStatus, message: str) -> None:
        """Give rows at some positions their reason."""
        text = message.encode("utf-8", "replace")[:_MESSAGE_BYTES]
        self._messages[start:stop] = 0
        self._messages[start:stop, : len(text)] = np.frombuffer(text, np.uint8)
        self.drawn[start:stop] = 0
        self.status[start:stop] = status

    def failures(self) -> Iterator[tuple[int, Failure]]:
        """Yield the position and the reason of each row that failed."""
        for position in np.flatnonzero(self.status[: self.count] > RowStatus.DONE).tolist():
            text = self._messages[position].tobytes().rstrip(b"\0")
            digest = self.digests[position]
            yield (
                position,
                Failure(
                    int(self.rows[position]),
                    RowStatus(int(self.status[position])),
                    text.decode("utf-8", "ignore"),
                    digest.copy() if digest.any() else None,
                ),
            )


def slot_bytes(job: Job) -> int:
    """Return the size of a slot in bytes."""
    *_, (_, dtype, shape, start) = _fields(job)
    return _aligned(start + int(np.prod(shape)) * np.dtype(dtype).itemsize, mmap.PAGESIZE)


def _fields(job: Job) -> Iterator[tuple[str, Any, tuple[int, ...], int]]:
    """Yield name, type, shape and place of each array of a slot."""
    n = job.batch_size
    units = -(-n // min(n, _LEAST_UNIT[0]))
    listed: list[tuple[str, Any, tuple[int, ...]]] = [
        ("hand", np.int64, (units, 2)),
        ("since", np.float64, (units,)),
        ("seconds", np.float64, (units, 2)),
        ("count", np.int64, (1,)),
        ("rows", np.int64, (n,)),
        ("wanted", np.uint32, (n,)),
        ("status", np.uint8, (n,)),
        ("drawn", np.uint32, (n,)),
        ("digests", np.uint8, (n, DIGEST_BYTES)),
        ("further", np.bool_, (n,)),
        ("todo", np.uint8, (n,)),
        ("handed", _HANDED, (n,)),
        ("messages", np.uint8, (n, _MESSAGE_BYTES)),
    ]
    if job.decoder != PILLOW:
        # Memory that no file has come to is none: the system gives it page by page.
        listed.append(("files", np.uint8, (n, LARGEST)))
    listed += [(f"pixels{g}", given.dtype, (n, *given.shape)) for g, given in enumerate(job.inputs)]
    start = 0
    for name, dtype, shape in listed:
        if name.startswith("pixels"):  # whole pages, which a device's driver can be told of
            start = _aligned(start, mmap.PAGESIZE)
        yield name, dtype, shape, start
        start = _aligned(start + int(np.prod(shape)) * np.dtype(dtype).itemsize, _ALIGNMENT)


def _aligned(size: int, to: int) -> int:
    return -(-size // to) * to
