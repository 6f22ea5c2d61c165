"""A network on several devices: a process on each, which take batches in turn.

The file is written by this process alone, and the batches are those of one device, so are their
features. A framework's Python runs on one core at a time, hence processes.
"""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import cycle
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.decode.child import Child, anonymous_file, dump_shared
from bottleneck.errors import RuntimeUnavailableError, WorkerError
from bottleneck.extraction.device_worker import Load, Loaded, SharedBlock
from bottleneck.runtimes import Pending

_AHEAD: Final = 2
"""Batches on their way to each device: one that it computes and one that waits there."""


class DeviceProcesses:
    """A network that several processes compute; see :class:`bottleneck.runtimes.Overlapping`.

    Parameters
    ----------
    loads : sequence of (str, Load)
        The name of each device, and what compiles the network in its process.
    environments : sequence of mapping
        The environment of each process.

    Attributes
    ----------
    loaded : Loaded
        What the first of them says of its network; the others say the same.

    Raises
    ------
    WorkerError
        When a process cannot be started, or ends, or would compute in another way than the first.
    BottleneckError
        Whatever a process raises while it loads the network.
    """

    def __init__(
        self, loads: Sequence[tuple[str, Load]], environments: Sequence[Mapping[str, str]]
    ) -> None:
        self._processes: list[_Process] = []
        try:
            pairs = zip(loads, environments, strict=True)
            starts = (partial(_Process, *load, environment) for load, environment in pairs)
            # The first one measures what is fastest; the others, which load side by side, know it.
            self._processes.append(next(starts)())
            found = [self._processes[0].loaded()]
            self._processes += [start() for start in starts]
            found += [process.loaded() for process in self._processes[1:]]
            for (name, _), one in zip(loads, found, strict=True):
                if (one.version, one.details) != (found[0].version, found[0].details):
                    raise WorkerError(
                        f"expected devices that compute alike, got {found[0].details} on "
                        f"{loads[0][0]} and {one.details} on {name}",
                        hint="Give them one by one, or the ones that are alike.",
                    )
        except BaseException:
            self.close()
            raise
        self.loaded = found[0]
        self.runtime, self.version = self.loaded.runtime, self.loaded.version
        self.details, self.dims = self.loaded.details, self.loaded.dims
        self.device = ",".join(dict.fromkeys(name for name, _ in loads))
        self.in_flight = sum(max(_AHEAD, one.in_flight) for one in found)
        self._turns = cycle(self._processes)

    def __repr__(self) -> str:
        return f"<DeviceProcesses {len(self._processes)} on {self.device}>"

    def __call__(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Compute features; see :class:`bottleneck.runtimes.CompiledBackbone`."""
        return self.submit(batch).result()

    def submit(self, batch: NDArray[Any]) -> Pending:
        """Begin to compute features, on the device whose turn it is."""
        return next(self._turns).submit(batch)

    def pad_to(self, count: int) -> None:
        """Have all devices pad; see :class:`bottleneck.runtimes.Padding`."""
        for process in self._processes:
            process.pad_to(count)

    def forget_shapes(self) -> None:
        """Have all devices pad to none of the batch sizes so far."""
        self.pad_to(0)

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.close()
        self._processes = []


class _Process:
    """The process of one device, and the memory it shares with this one."""

    def __init__(self, name: str, load: Load, environment: Mapping[str, str]) -> None:
        self._name = name
        self._files = [anonymous_file(what) for what in ("load", "batches")]
        dump_shared(load, self._files[0])
        try:
            self._child = Child("bottleneck.extraction.device_worker", self._files, environment)
        except OSError as error:
            self._close_files()
            raise WorkerError(f"no process can be started for {name}: {error}") from error
        self._loaded: Loaded
        self._end = 0
        self._free: list[tuple[SharedBlock, _Arrays]] = []
        self._answers: dict[int, Exception | None] = {}

    def loaded(self) -> Loaded:
        """Wait until the network is compiled."""
        self._loaded = self._hear()
        return self._loaded

    def submit(self, batch: NDArray[Any]) -> Pending:
        if not len(batch):
            dims = self._loaded.dims.items()
            return Pending(batch, lambda: {n: np.empty((0, dim), np.float32) for n, dim in dims})
        block, arrays = self._taken(len(batch))
        images = arrays[0][: len(batch)]
        images[:] = batch
        self._child.send((block, len(batch)))
        return Pending(images, partial(self._result, block, arrays, len(batch)))

    def pad_to(self, count: int) -> None:
        self._child.send((None, count))

    def _result(
        self, block: SharedBlock, arrays: "_Arrays", count: int
    ) -> dict[str, NDArray[np.float32]]:
        while block.offset not in self._answers:
            offset, error = self._hear()
            self._answers[offset] = error
        self._free.append((block, arrays))
        error = self._answers.pop(block.offset)
        if error is not None:
            raise error
        # Copied, for the memory is used again.
        pairs = zip(self._loaded.dims, arrays[1], strict=True)
        return {name: features[:count].copy() for name, features in pairs}

    def _taken(self, count: int) -> tuple[SharedBlock, "_Arrays"]:
        """Take memory for a batch: used before, or new at the end of the file."""
        if self._free and self._free[-1][0].room >= count:
            return self._free.pop()
        self._free.clear()
        block = SharedBlock(self._end, count, self._loaded.given, [*self._loaded.dims.values()])
        self._end += block.n_bytes
        os.ftruncate(self._files[1], self._end)
        return block, block.map(self._files[1])

    def _hear(self) -> Any:
        try:
            message, content = self._child.connection.recv()
        except (EOFError, OSError) as error:
            raise WorkerError(
                f"the process of {self._name} has ended: {self._child.ended()}",
                hint="What it had finished is safe: run the same command again to resume.",
            ) from error
        if message == "error" and isinstance(content, RuntimeUnavailableError):
            # There the GPU is the only one that is shown, so by another number.
            raise RuntimeUnavailableError(
                f"{self._name}, in a process that is shown nothing else: {content.message}",
                hint=content.hint,
            )
        if message == "error":
            raise content
        return content

    def close(self) -> None:
        self._child.end()
        self._close_files()

    def _close_files(self) -> None:
        for descriptor in self._files:
            os.close(descriptor)
        self._files = []


_Arrays = tuple[NDArray[Any], list[NDArray[np.float32]]]
