"""ONNX Runtime: graphs from files, on the CPU and on NVIDIA GPUs.

On a CPU parts of a batch are computed side by side, each by one thread; pixels are preprocessed
and features pooled by NumPy beside it.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.backbones.network import Form, Network, OutputSpec
from bottleneck.backbones.onnx_file import OnnxFile, session_of
from bottleneck.cores import available_cores
from bottleneck.errors import OptionError, RuntimeUnavailableError
from bottleneck.gpus import gpu_makers
from bottleneck.runtimes.outputs import Taken, preprocessed, taken
from bottleneck.runtimes.protocol import (
    TENSORRT,
    Placed,
    check_precision,
    gpu_index,
    no_such_gpu,
    require_gpu,
)
from bottleneck.runtimes.step import BATCHES_IN_FLIGHT, CompiledStep, Parts

FORMS: Final[tuple[Form, ...]] = ("graph",)
"""What it compiles."""

PRECISIONS: Final = ("float32", "tf32")
"""Precisions this runtime computes in, or that of the file where it has a shorter one. Tf32 is
float32 with products rounded to 10 bits, on NVIDIA GPUs; float32 never is."""

_ENGINES: Final = {"trt_fp16_enable": False, "trt_int8_enable": False}
"""Of TensorRT: nothing shorter than tf32."""

PART: Final = 8
"""Images computed by one thread at once, at most."""


def compile(
    backbone: Network,
    outputs: Sequence[OutputSpec],
    *,
    precision: str = "float32",
    device: str | None = None,
) -> CompiledStep:
    """Make a session that computes the tensors of all outputs in one pass.

    Parameters
    ----------
    backbone : Network
        What to compute; a graph.
    outputs : sequence of OutputSpec
        What to take from it; several cost one forward pass.
    precision : {"float32", "tf32"}
    device : str, optional
        ``cpu``, ``gpu`` or ``gpu:N`` (by CUDA), ``tensorrt`` or ``tensorrt:N``. Default: the first
        GPU by CUDA, else the CPU.

    Raises
    ------
    BackboneError
        For no or repeated outputs, or a tensor that does not exist.
    OptionError
        For a precision or a device that is not known; for float32 by TensorRT, which rounds.
    RuntimeUnavailableError
        When ONNX Runtime cannot be used, or has no such GPU or no TensorRT.
    """
    check_precision("onnxruntime", precision, PRECISIONS)
    take = taken(backbone, outputs, *FORMS)
    import onnxruntime as ort

    name, gpu = _place(ort, device)
    require_gpu(precision, name)
    by_tensorrt = name.startswith(TENSORRT)
    if by_tensorrt and precision != "tf32":
        raise OptionError(
            f"expected the precision tf32 for TensorRT, which rounds to it, got {precision}",
            hint="--precision tf32; or --device gpu, where CUDA computes float32.",
        )
    file: OnnxFile = backbone.model
    names = [file.tensor(backbone.source(output)) for output in take.outputs]
    cuda = None if gpu is None else {"device_id": gpu, "use_tf32": int(precision == "tf32")}
    tensorrt = {"device_id": gpu, **_ENGINES} if by_tensorrt else None
    try:
        session = session_of(file, names, cuda=cuda, tensorrt=tensorrt)
    except RuntimeUnavailableError:
        if device is not None or precision == "tf32":
            raise
        return compile(backbone, outputs, precision=precision, device="cpu")
    compute = _Pass(session, backbone, names, take)
    parts = Parts(
        compute,
        threads=available_cores() if gpu is None else 1,
        most=file.batch or (PART if gpu is None else 2**30),
    )
    return CompiledStep(
        parts.start,
        fetch=parts.gather,
        runtime="onnxruntime",
        version=ort.__version__,
        device=name,
        dims=take.dims,
        given=backbone.input,
        in_flight=BATCHES_IN_FLIGHT,
        busy=lambda: parts.busy_seconds,
    )


def devices() -> list[str]:
    """Name what this framework can compute on, ``cpu`` first."""
    import onnxruntime as ort

    return ["cpu", *(f"gpu:{i} (CUDA)" for i in range(_gpus(ort)))]


def placed(device: str | None) -> Placed:
    """Find a device: ``cpu``, ``gpu`` or ``gpu:N``. Default: the first GPU by CUDA, else the CPU.

    Parameters and errors are those of :func:`bottleneck.runtimes.placed`.
    """
    import onnxruntime as ort

    return Placed("onnxruntime", ort.__version__, _place(ort, device)[0], scope=nullcontext)


class _Pass:
    """From pixels to pooled features; several threads may call it."""

    def __init__(self, session: Any, backbone: Network, names: Sequence[str], take: Taken) -> None:
        self._session = session
        self._backbone = backbone
        self._file: OnnxFile = backbone.model
        self._names = list(dict.fromkeys(names))
        self._at = [self._names.index(name) for name in names]
        self._take = take

    def __call__(self, images: NDArray[Any]) -> list[NDArray[Any]]:
        count = len(images)
        if self._file.batch is not None and count < self._file.batch:
            more = self._file.batch - count
            images = np.pad(images, [(0, more), (0, 0), (0, 0), (0, 0)])
        pixels = preprocessed(_Numpy, images, self._backbone.spec.preprocess)
        if self._backbone.channels_first:
            pixels = pixels.transpose(0, 3, 1, 2)
        given = np.ascontiguousarray(pixels, self._file.dtype)
        found = self._session.run(self._names, {self._file.input: given})
        values = [found[at] for at in self._at]
        return [np.asarray(one)[:count] for one in self._take.pooled(_Numpy, values)]


class _Numpy:
    """The operations of pooling, by NumPy."""

    flip = np.flip
    mean = np.mean
    max = np.max
    maximum = np.maximum
    concatenate = np.concatenate
    reshape = np.reshape
    transpose = np.transpose

    @staticmethod
    def cast(values: NDArray[Any], dtype: str) -> NDArray[Any]:
        return values.astype(dtype, copy=False)

    @staticmethod
    def convert_to_tensor(values: Any, dtype: str) -> NDArray[Any]:
        return np.asarray(values, dtype)


def _gpus(ort: Any) -> int:
    # What is built for CUDA has the provider, whether the system has such a GPU or not.
    if "CUDAExecutionProvider" not in ort.get_available_providers() or "NVIDIA" not in gpu_makers():
        return 0
    try:
        return sum(one.ep_name == "CUDAExecutionProvider" for one in ort.get_ep_devices()) or 1
    except AttributeError:  # before 1.23
        return 1


def _place(ort: Any, device: str | None) -> tuple[str, int | None]:
    wanted = gpu_index(device)
    if wanted is None:
        return "cpu", None
    count = _gpus(ort)
    kind = TENSORRT if device is not None and device.startswith(TENSORRT) else "gpu"
    providers = ort.get_available_providers()
    if kind == TENSORRT and "TensorrtExecutionProvider" not in providers:
        raise RuntimeUnavailableError(
            f"expected ONNX Runtime with TensorRT, got {ort.__version__} with "
            f"{', '.join(providers)}",
            hint="`pip install onnxruntime-gpu tensorrt`, in the place of onnxruntime.",
        )
    if wanted < count:
        return f"{kind}:{wanted}", wanted
    if device is not None:
        remedy = "pip install onnxruntime-gpu"
        raise no_such_gpu(device, "ONNX Runtime", ort.__version__, count, remedy)
    return "cpu", None
