"""What every runtime offers, and what ``device`` means to all of them."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bottleneck.backbones.network import Network, OutputSpec
from bottleneck.errors import OptionError, RuntimeUnavailableError
from bottleneck.items import ItemInput


class CompiledBackbone(Protocol):
    """A forward pass: pixels in, pooled features out. May be called from any thread.

    One that copies pixels to a device may count the seconds of that in ``transfer_seconds``; one
    that knows how long it computed, apart from who waited for it, in ``busy_seconds``.
    """

    @property
    def dims(self) -> Mapping[str, int]:
        """Feature length of each output, by its name."""
        ...

    @property
    def runtime(self) -> str:
        """Name of the runtime, for the recipe."""
        ...

    @property
    def version(self) -> str:
        """Version of the framework, for the recipe."""
        ...

    @property
    def device(self) -> str:
        """What computes: ``cpu``, or ``gpu:0`` and the like."""
        ...

    @property
    def details(self) -> Mapping[str, Any]:
        """What else the recipe is to say about the execution; mostly nothing."""
        ...

    def __call__(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Compute features.

        Parameters
        ----------
        batch : ndarray, shape (n, *shape of an item)
            As they were decoded: RGB images in uint8. ``n`` may differ from call to call.

        Returns
        -------
        dict of str to ndarray of float32, shape (n, dim)
            One entry per output.

        Raises
        ------
        DeviceMemoryError
            When the batch is too large for the device; a smaller one may do.
        """
        ...


@dataclass(frozen=True, eq=False)
class Pending:
    """A batch on its way through a network.

    Parameters
    ----------
    batch : ndarray, shape (n, *shape of an item)
        Its images; as they are until another batch is submitted after its result was asked for.
    result : callable
        Waits for the features and returns them, once; raises what the network would have.
    """

    batch: NDArray[Any]
    result: Callable[[], dict[str, NDArray[np.float32]]]


@runtime_checkable
class Overlapping(Protocol):
    """What a network can do whose device works beside this thread."""

    @property
    def in_flight(self) -> int:
        """How many batches are worth having on their way at once; 1 where it is no use."""
        ...

    def submit(self, batch: NDArray[Any]) -> Pending:
        """Begin to compute features; the batch is copied, and results come in order.

        Parameters
        ----------
        batch : ndarray, shape (n, *shape of an item)
        """
        ...


@runtime_checkable
class Borrowing(Protocol):
    """What a network can do that computes on its caller's memory."""

    def borrow(self, batch: NDArray[Any]) -> Pending:
        """Begin as ``submit`` does, but the batch stays as it is until its result was taken.

        Parameters
        ----------
        batch : ndarray, shape (n, *shape of an item)
        """
        ...

    @property
    def pin(self) -> Callable[[NDArray[Any]], Callable[[], None]]:
        """Prepare memory that batches will lie in, whole pages, so that copies from it are fast.

        What is returned ends that; to be called before the memory is given back.
        """
        ...


@runtime_checkable
class Padding(Protocol):
    """What a network can do that pads batches to sizes it has computed before."""

    def pad_to(self, count: int) -> None:
        """Pad smaller batches to so many images at least, if a new shape is expensive here."""
        ...

    def forget_shapes(self) -> None:
        """Pad to none of the batch sizes so far; for after they were tried out."""
        ...


@dataclass(frozen=True)
class Placed:
    """A device of a framework, for what is no compiled backbone: heads, training, served models.

    Parameters
    ----------
    framework, version : str
        Whose it is.
    name : str
        ``cpu``, ``gpu:N``, or what the framework takes by itself: ``mps``, ``tpu``.
    scope : callable
        Within it, in the thread that enters it, the framework makes and computes things there.
    exact : callable
        Within it float32 is multiplied as float32; TensorFloat-32 keeps three digits.
    free_bytes : callable
        How much of its memory is free; None where nobody says it.
    """

    framework: str
    version: str
    name: str
    _: KW_ONLY
    scope: Callable[[], AbstractContextManager[Any]]
    exact: Callable[[], AbstractContextManager[Any]] = nullcontext
    free_bytes: Callable[[], int | None] = lambda: None


class Runtime(Protocol):
    """A framework that compiles backbones. A module may be one."""

    @property
    def compile(self) -> "Compile":
        """Compile a backbone."""
        ...

    @property
    def PRECISIONS(self) -> tuple[str, ...]:  # noqa: N802  # a constant of the module
        """What it computes in."""
        ...

    @property
    def devices(self) -> "Devices":
        """List what it can compute on."""
        ...


class Devices(Protocol):
    """The signature of :attr:`Runtime.devices`."""

    def __call__(self) -> list[str]:
        """Name the devices, ``cpu`` first."""
        ...


class Compile(Protocol):
    """The signature of :attr:`Runtime.compile`."""

    def __call__(
        self,
        backbone: Network,
        outputs: Sequence[OutputSpec],
        *,
        precision: str = "float32",
        device: str | None = None,
    ) -> CompiledBackbone:
        """Compile preprocessing, network and pooling of all outputs into one function."""
        ...


def check_precision(runtime: str, precision: str, known: Sequence[str]) -> None:
    """Refuse a precision that a runtime does not have.

    Raises
    ------
    OptionError
    """
    if precision not in known:
        raise OptionError(
            f"expected a precision of the {runtime} runtime, {', '.join(known)}, got {precision!r}"
        )


def check_batch(batch: NDArray[Any], given: ItemInput) -> None:
    """Refuse anything but a batch of what items become for a network.

    Raises
    ------
    ValueError
    """
    if batch.dtype != given.dtype or batch.ndim != 4 or batch.shape[1:] != given.shape:
        raise ValueError(
            f"expected {given.dtype} {given.item}s of shape "
            f"(n, {', '.join(map(str, given.shape))}), "
            f"got {batch.dtype} {batch.shape}"
        )


TENSORRT: Final = "tensorrt"
"""A device of ONNX Runtime: a GPU by TensorRT, and by CUDA where that cannot."""


def require_device(runtime: str, device: str | None) -> None:
    """Refuse TensorRT of a runtime that has none."""
    if device is not None and device.startswith(TENSORRT) and runtime != "onnxruntime":
        raise OptionError(
            f"expected the device cpu, gpu or gpu:N for {runtime}, got {device!r}",
            hint="TensorRT computes networks of onnx:FILE, with --runtime onnxruntime.",
        )


def gpu_index(device: str | None) -> int | None:
    """Return the number of the GPU that is asked for; None where it is the CPU.

    Parameters
    ----------
    device : str or None
        ``cpu``, ``gpu`` or ``gpu:N``, or ``tensorrt`` in the place of ``gpu``; None prefers the
        first GPU.

    Raises
    ------
    OptionError
        For anything else.
    """
    if device == "cpu":
        return None
    if device is not None and not re.fullmatch(rf"(gpu|{TENSORRT})(:\d+)?", device):
        raise OptionError(f"expected the device cpu, gpu or gpu:N, got {device!r}")
    return int((device or "gpu").partition(":")[2] or 0)


def require_gpu(precision: str, place: str) -> None:
    """Refuse TF32 on a CPU, which has no such arithmetic.

    Parameters
    ----------
    precision : str
        What is to be computed in.
    place : str
        ``cpu`` or ``gpu:N``.

    Raises
    ------
    RuntimeUnavailableError
    """
    if precision == "tf32" and place == "cpu":
        raise RuntimeUnavailableError(
            "expected an NVIDIA GPU for tf32, got the CPU",
            hint="Use --precision float32, or bfloat16.",
        )


def no_such_gpu(
    device: str, framework: str, version: str, count: int, remedy: str
) -> RuntimeUnavailableError:
    """Make the error for a GPU that a framework does not see.

    Parameters
    ----------
    device : str
        What was asked for.
    framework, version : str
        Who was asked.
    count : int
        How many GPUs it sees.
    remedy : str
        The command that installs its GPU parts.
    """
    return RuntimeUnavailableError(
        f"expected the device {device}, but {framework} {version} sees {count} GPUs",
        hint=f"`{remedy}` brings its GPU libraries; `bottleneck doctor` shows what it sees.",
    )
