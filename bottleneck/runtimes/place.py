"""What ``device`` means, alike for every runtime."""

import re

from bottleneck.errors import OptionError, RuntimeUnavailableError


def gpu_index(device: str | None) -> int | None:
    """Return the number of the GPU that is asked for; None where it is the CPU.

    Parameters
    ----------
    device : str or None
        ``cpu``, ``gpu`` or ``gpu:N``; None prefers the first GPU.

    Raises
    ------
    OptionError
        For anything else.
    """
    if device == "cpu":
        return None
    if device is not None and not re.fullmatch(r"gpu(:\d+)?", device):
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
