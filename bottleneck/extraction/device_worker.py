"""The program of a process that computes on one device, and what it shares with its parent."""

import mmap
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.decode.child import die_with_parent, load_shared, portable
from bottleneck.errors import DeviceMemoryError
from bottleneck.items import ItemInput
from bottleneck.runtimes import Borrowing, CompiledBackbone, Overlapping, Padding

_ALIGNMENT = 64


@dataclass(frozen=True)
class Loaded:
    """A network that a process has compiled, without the network itself.

    Parameters
    ----------
    facts : object
        What the parent wants to know of it besides.
    dims : mapping of str to int
        Length of each output's features.
    runtime, version, device : str
        See :class:`bottleneck.runtimes.CompiledBackbone`.
    details : mapping
        Likewise.
    given : ItemInput
        Its input.
    in_flight : int
        How many batches it may have on their way.
    """

    facts: Any
    dims: Mapping[str, int]
    runtime: str
    version: str
    device: str
    details: Mapping[str, Any]
    given: ItemInput
    in_flight: int


Load = Callable[[], tuple[CompiledBackbone, ItemInput, Any]]
"""What a process does first: compile a network; also returns its input, and facts.
It travels by pickle."""


@dataclass(frozen=True)
class SharedBlock:
    """A part of the memory that both processes map: room for images, and for their features.

    Parameters
    ----------
    offset : int
        Where it begins in the file.
    room : int
        How many images it holds.
    given : ItemInput
        What they are.
    dims : sequence of int
        Length of each output's features.
    """

    offset: int
    room: int
    given: ItemInput
    dims: Sequence[int]

    @property
    def n_bytes(self) -> int:
        """Bytes it takes, whole pages."""
        pixels = self.room * prod(self.given.shape) * self.given.dtype.itemsize
        pixels = -(-pixels // _ALIGNMENT) * _ALIGNMENT
        return -(-(pixels + 4 * self.room * sum(self.dims)) // mmap.PAGESIZE) * mmap.PAGESIZE

    def map(self, descriptor: int) -> tuple[NDArray[Any], list[NDArray[np.float32]]]:
        """Map it: the images, shape (room, *shape of one), and features, (room, dim) each."""
        memory = mmap.mmap(descriptor, self.n_bytes, offset=self.offset)
        images = np.ndarray((self.room, *self.given.shape), self.given.dtype, memory)
        begin = -(-images.nbytes // _ALIGNMENT) * _ALIGNMENT
        features = []
        for dim in self.dims:
            features.append(np.ndarray((self.room, dim), np.float32, memory, begin))
            begin += features[-1].nbytes
        return images, features


def main() -> None:
    """Serve the parent until it closes the connection, or is no more.

    The command line gives the numbers of four descriptors: the connection, a pipe that lives as
    long as the parent, what to load, and the memory of batches.
    """
    connection_fd, life_fd, load_fd, memory_fd = map(int, sys.argv[1:])
    die_with_parent(life_fd)
    connection: Connection[Any, Any] = Connection(connection_fd)
    try:
        load: Load = load_shared(load_fd)
        _serve(connection, load, memory_fd)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent has gone, or needs no more
    except BaseException as error:  # noqa: BLE001  # whatever it is, it is the parent's to raise
        connection.send(("error", portable(error)))


def _serve(connection: "Connection[Any, Any]", load: Load, memory_fd: int) -> None:
    network, given, facts = load()
    in_flight = network.in_flight if isinstance(network, Overlapping) else 1
    connection.send(
        (
            "ready",
            Loaded(
                facts,
                dict(network.dims),
                network.runtime,
                network.version,
                network.device,
                dict(network.details),
                given,
                in_flight,
            ),
        )
    )
    mapped: dict[int, tuple[NDArray[Any], list[NDArray[np.float32]]]] = {}
    begun: deque[tuple[int, int, Callable[[], dict[str, NDArray[np.float32]]]]] = deque()
    while True:
        # Batches that wait are begun before the first one is waited for.
        while not begun or (len(begun) < in_flight and connection.poll()):
            block, count = connection.recv()
            if block is None:
                _pad(network, count)
                continue
            if block.offset not in mapped:
                mapped[block.offset] = block.map(memory_fd)
                if isinstance(network, Borrowing):
                    network.pin(mapped[block.offset][0])  # as long as this process lives
            images = mapped[block.offset][0][:count]
            begun.append((block.offset, count, _begin(network, images)))
        offset, count, result = begun.popleft()
        try:
            features = result()
        except DeviceMemoryError as error:
            connection.send(("done", (offset, error)))
            continue
        for place, feature in zip(mapped[offset][1], features.values(), strict=True):
            place[:count] = feature
        connection.send(("done", (offset, None)))


def _pad(network: CompiledBackbone, count: int) -> None:
    """Pad to so many images; 0: to none of the sizes so far."""
    if not isinstance(network, Padding):
        return
    if count:
        network.pad_to(count)
    else:
        network.forget_shapes()


def _begin(
    network: CompiledBackbone, images: NDArray[Any]
) -> Callable[[], dict[str, NDArray[np.float32]]]:
    if isinstance(network, Overlapping) and network.in_flight > 1:
        # They stay as they are until their features were sent.
        lent = network.borrow if isinstance(network, Borrowing) else network.submit
        return lent(images).result
    return lambda: network(images)
