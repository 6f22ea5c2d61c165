"""What a GPU's driver says, for frameworks that do not pass it on."""

import ctypes
from typing import Any, Final


def free_bytes(gpu: int | None) -> int | None:
    """Ask NVIDIA's or AMD's library how much of a GPU's memory is free; None where neither tells.

    They number GPUs as the frameworks of this process do, environment and all; the programs
    ``nvidia-smi`` and ``rocm-smi`` do not.

    Parameters
    ----------
    gpu : int or None
        Its number; None is the CPU.
    """
    if gpu is None:
        return None
    for library, ask in _LIBRARIES:
        try:
            return ask(ctypes.CDLL(library), gpu)
        except (OSError, AttributeError):
            continue
    return None


def _cuda(cuda: Any, gpu: int) -> int:
    """Ask in the context that frameworks share (NVIDIA, CUDA driver API, primary contexts)."""
    device, context = ctypes.c_int(), ctypes.c_void_p()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    _done(cuda.cuInit(0))
    _done(cuda.cuDeviceGet(ctypes.byref(device), gpu))
    _done(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
    try:
        _done(cuda.cuCtxPushCurrent_v2(context))
        try:
            _done(cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)))
        finally:
            cuda.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
    finally:
        cuda.cuDevicePrimaryCtxRelease_v2(device)
    return free.value


def _hip(hip: Any, gpu: int) -> int:
    """Ask AMD's runtime; the thread's own device is left as it was."""
    before = ctypes.c_int()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    _done(hip.hipGetDevice(ctypes.byref(before)))
    _done(hip.hipSetDevice(gpu))
    try:
        _done(hip.hipMemGetInfo(ctypes.byref(free), ctypes.byref(total)))
    finally:
        hip.hipSetDevice(before)
    return free.value


def _done(code: int) -> None:
    if code:
        raise OSError(f"expected the GPU's driver to answer, got its error {code}")


_LIBRARIES: Final = (
    ("libcuda.so.1", _cuda),
    ("libamdhip64.so", _hip),  # of the packages for developers, mostly off the loader's path
    ("libamdhip64.so.7", _hip),
    ("libamdhip64.so.6", _hip),
)
"""Who is asked, one after the other; AMD's library has the number of its ROCm."""
