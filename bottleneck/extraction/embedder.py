"""A backbone ready to run, on its devices, with the recipe that says exactly what it computes."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck import backbones, runtimes
from bottleneck.backbones.declared import DeclaredInput
from bottleneck.backbones.network import Network, OutputSpec, Shape
from bottleneck.decode import Failure
from bottleneck.errors import OptionError, RuntimeUnavailableError
from bottleneck.extraction.admission import admit
from bottleneck.extraction.device_processes import DeviceProcesses
from bottleneck.gpus import one_shown
from bottleneck.images import ImageSize
from bottleneck.items import ItemInput
from bottleneck.recipe import Recipe
from bottleneck.runtimes import CompiledBackbone
from bottleneck.runtimes.protocol import gpu_index, require_device
from bottleneck.status import RowStatus
from bottleneck.store.format import FEATURE_DTYPES


@dataclass(frozen=True, eq=False)
class EmbeddedBatch:
    """Features of the rows that could be computed, and why the others could not.

    Parameters
    ----------
    rows : ndarray of int64, shape (n,)
        Row numbers, ascending.
    features : dict of str to ndarray of float32 or float16, shape (n, dim)
        Features of each output, in the recipe's type.
    digests : ndarray of uint8, shape (n, 16)
        Hash of each row's image.
    failures : list of Failure
        The rows that are missing above.
    reused, copied : int
        How many of the features come from an older file, and from equal images of this one.
    further : int
        Files of which only the first of several pages or frames was used.
    """

    rows: NDArray[np.int64]
    features: dict[str, NDArray[np.floating[Any]]]
    digests: NDArray[np.uint8]
    failures: list[Failure] = field(default_factory=list)
    reused: int = 0
    copied: int = 0
    further: int = 0


@dataclass(frozen=True)
class Embedder:
    """Images, or sounds, to features.

    Parameters
    ----------
    recipe : Recipe
        What it computes, and how.
    input : ItemInput
        What items become for it: size and resize rule, or a spectrogram.
    network : CompiledBackbone
        The compiled forward pass.
    notes : sequence of str
        What whoever waits for it should know: of a GPU that it does not use.
    """

    recipe: Recipe
    input: ItemInput
    network: CompiledBackbone
    notes: Sequence[str] = ()

    @property
    def dims(self) -> Mapping[str, int]:
        """Length of the features of each output."""
        return self.network.dims

    def close(self) -> None:
        """End the processes of its devices, if it has any."""
        if isinstance(self.network, DeviceProcesses):
            self.network.close()

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the features."""
        return FEATURE_DTYPES[self.recipe.execution["dtype"]]

    def not_finite(self, rows: NDArray[np.int64], digests: NDArray[np.uint8]) -> list[Failure]:
        """Make the failures of rows whose features are no finite numbers."""
        message = f"a feature is NaN, infinite or too large for {self.dtype.name}"
        return [
            Failure(row, RowStatus.NON_FINITE, message, digest)
            for row, digest in zip(rows.tolist(), digests, strict=True)
        ]


@dataclass(frozen=True)
class Compiled:
    """What is known of a network once it is compiled.

    Parameters
    ----------
    network : Network
        Without its model.
    outputs : sequence of OutputSpec
        What is taken from it, each with a pool.
    shapes : sequence of Shape
        What each is pooled from.
    admission : dict or None
        What its admission test measured; None where it needs none.
    """

    network: Network
    outputs: Sequence[OutputSpec]
    shapes: Sequence[Shape]
    admission: dict[str, Any] | None


@dataclass(frozen=True)
class NetworkOrder:
    """A network that is wanted; travels by pickle, and is called where it is to be loaded.

    Parameters
    ----------
    backbone : str
        A name that :func:`bottleneck.backbones.find` takes.
    weights : str or None
        See :func:`bottleneck.backbones.load`.
    size : int or (int, int) or None
        Size of the input in pixels.
    outputs : sequence of OutputSpec
        What to take from it.
    precision, runtime : str
        What computes it; ``auto`` is not allowed here.
    device : str or None
        On what.
    declared : DeclaredInput or None
        What was said of its input.
    """

    backbone: str
    weights: str | None
    size: ImageSize | None
    outputs: Sequence[OutputSpec]
    precision: str
    runtime: str
    device: str | None = None
    declared: DeclaredInput | None = None

    def __call__(
        self, calibration: Callable[[Network], NDArray[np.uint8]] | None = None
    ) -> tuple[CompiledBackbone, ItemInput, "Compiled"]:
        """Load and compile it.

        Parameters
        ----------
        calibration : callable, optional
            From the network to images that int8 is calibrated with.

        Returns
        -------
        network : CompiledBackbone
        given : ItemInput
            Its input.
        compiled : Compiled
        """
        require_device(self.runtime, self.device)
        compiler = runtimes.get(self.runtime, self.precision)
        with self._scope():
            loaded = self._load()
            more: dict[str, Any] = {}
            if self.precision == "int8" and calibration is not None:
                more["calibration"] = calibration(loaded)
            network = compiler.compile(
                loaded, self.outputs, precision=self.precision, device=self.device, **more
            )
            admission = (
                None
                if loaded.tested
                else admit(
                    loaded, network, self._load, precision=self.precision, outputs=self.outputs
                )
            )
        outputs, shapes = zip(*loaded.taken(self.outputs), strict=True)
        return network, loaded.input, Compiled(loaded.without_model(), outputs, shapes, admission)

    def _scope(self) -> AbstractContextManager[Any]:
        """Keep weights off a GPU where the CPU is to compute: Keras puts them there by itself."""
        if self.device != "cpu" or "keras" not in runtimes.forms(self.runtime):
            return nullcontext()
        return runtimes.placed(self.runtime, self.device).scope()

    def _load(self) -> Network:
        return backbones.load(
            self.backbone,
            weights=self.weights,
            size=self.size,
            declared=self.declared,
            backend=self.runtime if "keras" in runtimes.forms(self.runtime) else None,
        )


def on_devices(
    order: NetworkOrder, devices: Sequence[str]
) -> tuple[CompiledBackbone, ItemInput, "Compiled"]:
    """Load a network in a process for each of several devices; this one imports no framework.

    Parameters
    ----------
    order : NetworkOrder
        Its device is not looked at.
    devices : sequence of str
        ``cpu`` or ``gpu:N``. One may be named twice: two processes keep a large card busier, if
        its memory holds both.

    Raises
    ------
    OptionError
        For int8, which is calibrated in one process, and devices that there cannot be.
    RuntimeUnavailableError
        For a GPU that the runtime does not see.
    """
    if order.precision == "int8":
        raise OptionError(
            f"expected one device for int8, got {', '.join(devices)}",
            hint="OpenVINO computes int8 on all cores of the CPU already.",
        )
    gpus = [gpu_index(device) for device in devices]
    if order.runtime not in runtimes.FIRST_ON_GPU and gpus.count(None) < len(gpus):
        raise OptionError(
            f"expected the device cpu: {order.runtime} has no other, got {', '.join(devices)}",
            hint=f"On a GPU compute {', '.join(runtimes.FIRST_ON_GPU)}.",
        )
    kinds = [device.partition(":")[0] for device in devices]
    # In its process a GPU is the only one, so that no framework takes memory on the others.
    orders = [
        ("cpu", replace(order, device="cpu"))
        if gpu is None
        else (f"{kind}:{gpu}", replace(order, device=f"{kind}:0"))
        for gpu, kind in zip(gpus, kinds, strict=True)
    ]
    try:
        processes = DeviceProcesses(orders, [one_shown(gpu) for gpu in gpus])
    except RuntimeUnavailableError as error:
        runtimes.require_seen(order.runtime, gpus, error.hint)
        raise
    return processes, processes.loaded.given, processes.loaded.facts
