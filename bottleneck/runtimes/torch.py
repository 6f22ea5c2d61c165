"""PyTorch in inference mode.

Keras keeps channels last, and convolutions get a permuted view of that: the layout that PyTorch
calls ``channels_last``, so nothing is copied (:mod:`bottleneck.runtimes.torch_layers`). Batches of
any size cost the same per image; none is padded. Float32 means float32 on a GPU too, not TF32.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.backbones.keras_scope import import_keras, isolated
from bottleneck.backbones.network import Form, Network, OutputSpec
from bottleneck.exhaustion import out_of_memory
from bottleneck.runtimes.outputs import Taken, keras_tensors, preprocessed, taken
from bottleneck.runtimes.precision import HALF, in_precision
from bottleneck.runtimes.protocol import (
    Placed,
    check_precision,
    gpu_index,
    no_such_gpu,
    require_gpu,
)
from bottleneck.runtimes.step import BATCHES_IN_FLIGHT, CompiledStep, let_go
from bottleneck.runtimes.tf32 import tf32_products
from bottleneck.runtimes.torch_layers import native

FORMS: Final[tuple[Form, ...]] = ("keras", "torch")
"""What it compiles."""

PRECISIONS: Final = ("float32", "tf32", "bfloat16", "float16")
"""Precisions this runtime computes in; pixels are preprocessed and maps pooled in float32.
Tf32 is float32 with products rounded to 10 bits, on NVIDIA GPUs; float32 never is."""


def compile(
    backbone: Network,
    outputs: Sequence[OutputSpec],
    *,
    precision: str = "float32",
    device: str | None = None,
) -> CompiledStep:
    """Put preprocessing, network and pooling of all outputs into one function.

    Parameters
    ----------
    backbone : Network
        What to compute; built with ``backend="torch"``.
    outputs : sequence of OutputSpec
        What to take from it; several cost one forward pass.
    precision : {"float32", "tf32", "bfloat16", "float16"}
        What layers compute in; weights stay float32.
    device : str, optional
        ``cpu``, ``gpu`` or ``gpu:N``. Default: the first GPU, else the CPU.

    Raises
    ------
    BackboneError
        For no or repeated outputs, or a layer that does not exist.
    OptionError
        For a precision or a device that is not known.
    RuntimeUnavailableError
        When PyTorch cannot be used, or has no such GPU.
    """
    check_precision("torch", precision, PRECISIONS)
    take = taken(backbone, outputs, *FORMS)
    import_keras("torch")
    import torch

    name = _place(torch, device)
    require_gpu(precision, name)
    place = name.replace("gpu", "cuda")
    with isolated("torch") as keras, keras.device(place):
        if backbone.form == "torch":
            network = partial(
                _taken,
                torch=torch,
                backbone=backbone,
                take=take,
                precision=precision,
                place=place,
            )
            backbone.model.to(place)
        else:
            model = keras.Model(backbone.model.input, keras_tensors(backbone, take))
            model = in_precision(keras, model, precision)
            model = native(torch, keras, model, fused=place != "cpu" and _has_cudnn(torch))
            network = partial(model.to(place).eval(), training=False)

    ops = _OnceMade(keras.ops)

    def forward(pixels: Any) -> tuple[Any, ...]:
        # The switches are the process's, so they are set for each pass, and put back.
        products = nullcontext() if place == "cpu" else tf32_products(torch, precision == "tf32")
        with products, torch.inference_mode(), keras.device(place):
            images = preprocessed(ops, pixels, backbone.spec.preprocess)
            return take.pooled(ops, network(images))

    way = _OnCpu(torch, forward) if place == "cpu" else _OnGpu(torch, forward, place)

    return CompiledStep(
        way.compute,
        runtime="torch",
        version=torch.__version__,
        device=name,
        dims=take.dims,
        given=backbone.input,
        transfer=way.transfer,
        fetch=way.fetch,
        in_flight=way.in_flight,
        buffer=way.buffer,
        release=way.release,
        forget=way.release,
        pin=way.pin,
    )


class _OnceMade:
    """Keras's operations, where each constant is made once and not copied for every batch."""

    def __init__(self, ops: Any) -> None:
        self._ops = ops
        self._made: dict[tuple[Any, str], Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ops, name)

    def convert_to_tensor(self, value: tuple[float, ...], dtype: str) -> Any:
        if (value, dtype) not in self._made:
            self._made[value, dtype] = self._ops.convert_to_tensor(value, dtype)
        return self._made[value, dtype]


def _taken(
    images: Any, *, torch: Any, backbone: Network, take: Taken, precision: str, place: str
) -> list[Any]:
    """Compute what the outputs of a module are pooled from."""
    images = images.permute(0, 3, 1, 2).contiguous()
    layers = [backbone.source(output) for output in take.outputs]
    kind = getattr(torch, precision) if precision in HALF else None
    with torch.autocast(place.partition(":")[0], kind, enabled=kind is not None):
        found: list[Any] = backbone.model.take(images, layers)
    return found


class _OnCpu:
    """The way of a batch on the CPU: nothing is copied."""

    in_flight = 1

    def __init__(self, torch: Any, forward: Callable[[Any], tuple[Any, ...]]) -> None:
        self._torch = torch
        self.compute = forward

    def buffer(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        return np.empty(shape, dtype)

    def transfer(self, batch: NDArray[Any]) -> Any:
        return self._torch.from_numpy(batch if batch.flags.writeable else batch.copy())

    def fetch(self, features: Any) -> list[NDArray[Any]]:
        return [feature.numpy() for feature in features]

    def release(self) -> None:
        """Nothing is kept."""

    def pin(self, memory: NDArray[Any]) -> Callable[[], None]:
        return lambda: None


class _OnGpu:
    """The way of a batch through a GPU: copies in both directions run beside what is computed.

    They need memory that the system does not move (pinned), and a stream of their own. What is
    computed is launched as one recorded graph (:class:`_Recorded`).
    """

    in_flight = BATCHES_IN_FLIGHT

    def __init__(self, torch: Any, forward: Callable[[Any], tuple[Any, ...]], place: str) -> None:
        self._torch = torch
        self._forward = _Recorded(torch, forward)
        self._place = place
        self._copies = torch.cuda.Stream(place)

    def buffer(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        return np.asarray(self._pinned(shape, getattr(self._torch, dtype.name)).numpy())

    def _pinned(self, shape: Any, dtype: Any) -> Any:
        try:
            return self._torch.empty(shape, dtype=dtype, pin_memory=True)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        # There is only so much memory that is not moved; from any other, copies wait.
        return self._torch.empty(shape, dtype=dtype)

    def release(self) -> None:
        """Give back what is kept of the device's memory for later."""
        self._forward.forget()
        self._torch.cuda.empty_cache()

    def pin(self, memory: NDArray[Any]) -> Callable[[], None]:
        """Have the driver keep memory where it is; what is returned lets it go again."""
        runtime, start = self._torch.cuda.cudart(), memory.ctypes.data
        with self._torch.cuda.device(self._place):
            refused = runtime.cudaHostRegister(start, memory.nbytes, 0)
            if int(refused):
                # Copies from it wait, that is all. But whatever is launched next tells the error,
                # as its own; to wait for a stream does not.
                with suppress(RuntimeError):
                    self._torch.ones(1, device=self._place)
                return lambda: None

        def unpin() -> None:
            with self._torch.cuda.device(self._place):
                try:
                    self._torch.cuda.synchronize()  # nothing is on its way from there
                finally:
                    # Also where who waits is interrupted: of other memory that comes to this
                    # address the driver would copy what lay there before.
                    runtime.cudaHostUnregister(start)

        return unpin

    def transfer(self, batch: NDArray[Any]) -> Any:
        pixels = self._torch.from_numpy(batch if batch.flags.writeable else batch.copy())
        with self._torch.cuda.stream(self._copies):
            # Waits only where the memory is not pinned.
            return pixels.to(self._place, non_blocking=True)

    def compute(self, pixels: Any) -> Any:
        with self._torch.cuda.device(self._place):
            stream = self._torch.cuda.current_stream()
            stream.wait_stream(self._copies)
            found = []
            for feature in self._forward(pixels):
                host = self._pinned(feature.shape, feature.dtype)
                found.append(host.copy_(feature, non_blocking=True))
            # One that waits sleeps: the core it would spin on decodes images.
            done = self._torch.cuda.Event(blocking=True)
            done.record(stream)
            # The pixels are kept until then: their memory is that of the stream that copies.
            return [found, done, pixels]

    def fetch(self, started: Any) -> list[NDArray[Any]]:
        found, done, _ = started
        done.synchronize()
        started.clear()
        return [feature.numpy() for feature in found]


class _Recorded:
    """A forward pass recorded as a CUDA graph: one launch for all of its kernels.

    Keras needs longer to launch them one by one from Python than a large card to compute them.
    A graph is of one batch shape: that of two batches, one behind the other, which no graph was
    for. Batches that are up to a quarter smaller, for want of images that failed, are computed
    with it too.
    What cannot be recorded, or gives anything else than the pass itself, goes on as it is; so do
    batches as large as one for whose graph the memory did not suffice.
    """

    def __init__(self, torch: Any, forward: Callable[[Any], tuple[Any, ...]]) -> None:
        self._torch = torch
        self._forward = forward
        self._graph: Any = None
        self._given: Any = None
        self._made: tuple[Any, ...] = ()
        self._before: tuple[int, ...] = ()
        self._fits = math.inf  # images, fewer than which a graph may be of

    def __call__(self, pixels: Any) -> tuple[Any, ...]:
        """Compute; what is returned is overwritten by the next call, in the order of the stream."""
        count = len(pixels)
        if self._graph is not None and 0.75 * len(self._given) <= count <= len(self._given):
            self._given[:count].copy_(pixels)
            self._graph.replay()
            return tuple(one[:count] for one in self._made)
        found = self._without_graph(pixels)
        again, self._before = self._before == pixels.shape, pixels.shape
        if again and count < self._fits:
            self._record(pixels, found)
        return found

    def _without_graph(self, pixels: Any) -> tuple[Any, ...]:
        """Compute as it is; a graph whose memory is in the way is let go of."""
        try:
            return self._forward(pixels)
        except Exception as error:
            if self._graph is None or not out_of_memory(error):
                raise
            let_go(error)
        self.forget()
        self._torch.cuda.empty_cache()
        return self._forward(pixels)

    def _record(self, pixels: Any, found: tuple[Any, ...]) -> None:
        torch = self._torch
        self.forget()
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        try:
            given = pixels.clone()
            # A recording that fails leaves its own stream as the current one: it is put back here.
            with (
                torch.cuda.stream(torch.cuda.current_stream()),
                torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"),
            ):
                made = self._forward(given)
            graph.replay()
            # An image that overflows, in both, is no difference.
            numbers = zip(made, found, strict=True)
            alike = all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in numbers)
        except Exception as error:  # noqa: BLE001  # one that waits, memory is full; we have `found`
            let_go(error)
            self._fits = len(pixels) if out_of_memory(error) else 0
            _end_recording(torch, graph, pool)
            return
        if alike:
            self._graph, self._given, self._made = graph, given, made
        else:
            self._fits = 0

    def forget(self) -> None:
        """Let go of the graph and the memory it computes in."""
        self._graph, self._given, self._made, self._before = None, None, (), ()


_UNENDED: Final[list[Any]] = []
"""Graphs that PyTorch's allocators still ask whether a stream is theirs."""


def _end_recording(torch: Any, graph: Any, pool: Any) -> None:
    """Tell the allocator that a recording has ended, where it failed so that PyTorch does not.

    Otherwise memory that two streams have used is never given back, and ``empty_cache`` fails, for
    as long as the process lives (``CUDAGraph::capture_end``). There is no public way.
    """
    with suppress(RuntimeError, AttributeError):
        # Raises where it was ended already, and then the graph gives its pool back by itself.
        torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
        _UNENDED.append(graph)
        torch._C._cuda_releasePool(torch.cuda.current_device(), pool)


def devices() -> list[str]:
    """Name what this framework can compute on, ``cpu`` first.

    Raises
    ------
    RuntimeUnavailableError
        When PyTorch cannot be used.
    """
    import_keras("torch")
    import torch

    # AMD's GPUs answer to the same functions.
    kind = ", ROCm" if getattr(torch.version, "hip", None) else ""
    gpus = range(torch.cuda.device_count())
    return ["cpu", *(f"gpu:{i} ({torch.cuda.get_device_name(i)}{kind})" for i in gpus)]


def placed(device: str | None) -> Placed:
    """Find a device: ``cpu``, ``gpu`` or ``gpu:N``. Default: the first GPU, else what Keras takes.

    Parameters and errors are those of :func:`bottleneck.runtimes.placed`.
    """
    keras = import_keras("torch")
    import torch

    name = _place(torch, device)
    if device is None and name == "cpu" and torch.backends.mps.is_available():
        name = "mps"  # as Keras does
    gpu = gpu_index(name) if name.startswith("gpu") else None

    def free() -> int | None:
        return None if gpu is None else int(torch.cuda.mem_get_info(gpu)[0])

    return Placed(
        "torch",
        torch.__version__,
        name,
        scope=partial(keras.device, name),
        exact=partial(tf32_products, torch, False),
        free_bytes=free,
    )


def _has_cudnn(torch: Any) -> bool:
    return bool(torch.version.cuda and torch.backends.cudnn.is_available())


def _place(torch: Any, device: str | None) -> str:
    wanted = gpu_index(device)
    count = torch.cuda.device_count()
    if wanted is not None and wanted < count:
        return f"gpu:{wanted}"
    if wanted is not None and device is not None:
        raise no_such_gpu(device, "PyTorch", torch.__version__, count, "pip install torch")
    return "cpu"
