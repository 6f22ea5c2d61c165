"""Which runtimes there are, which are installed, and which one ``auto`` takes."""

import os
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from bottleneck.backbones.keras_scope import current_backend, wanted_backend
from bottleneck.errors import RuntimeUnavailableError

RUNTIMES: Final = ("tensorflow", "jax", "torch", "openvino")
"""Every runtime; each is named after its framework, which is also Keras's backend for it."""

FASTEST_ON_CPU: Final = ("openvino", "tensorflow", "torch", "jax")
"""By the rates in ``benchmarks/RESULTS.md``."""

FIRST_ON_GPU: Final = ("tensorflow", "jax", "torch")
"""Not by rates: no GPU was measured. TensorFlow is what the ``gpu`` extra brings."""


def precisions(name: str) -> tuple[str, ...]:
    """Name what a runtime computes in; its framework is not imported."""
    found: tuple[str, ...] = import_module(f"bottleneck.runtimes.{name}").PRECISIONS
    return found


def installed() -> tuple[str, ...]:
    """Name the runtimes whose framework is installed, without importing any."""
    return tuple(name for name in RUNTIMES if find_spec(name) is not None)


def choose(
    precision: str = "float32", *, before: str | None = None, devices: Sequence[str] = ()
) -> str:
    """Name the runtime that ``auto`` stands for.

    A process has one Keras, on one framework, so what is imported already decides; then what
    computed the features so far; then ``KERAS_BACKEND``; then a GPU and a framework that was
    built for it; then what is fastest on a CPU. What cannot compute in the precision is left out.

    Parameters
    ----------
    precision : str
        What it has to compute in.
    before : str, optional
        The runtime of features that exist already.
    devices : sequence of str
        Where it has to compute; anywhere by default.

    Raises
    ------
    RuntimeUnavailableError
        When no installed runtime computes in that precision.
    """
    able = [name for name in installed() if precision in precisions(name)]
    wants_gpu = any(device != "cpu" for device in devices)
    if wants_gpu:
        able = [name for name in able if name in FIRST_ON_GPU]
    seen = has_gpu() if not devices else wants_gpu
    on_gpu = [name for name in FIRST_ON_GPU if seen and _built_for_gpu(name)]
    wishes = [current_backend(), before, wanted_backend(), *on_gpu, *FASTEST_ON_CPU]
    for wish in wishes:
        if wish in able:
            return wish
    fitting = [name for name in RUNTIMES if precision in precisions(name)]
    raise RuntimeUnavailableError(
        f"Expected a framework that computes in {precision}: {', '.join(fitting) or 'none does'}. "
        f"Received: {', '.join(installed()) or 'none'}, which is what is installed.",
        hint=f"`pip install 'bottleneck-features[{fitting[-1]}]'`" if fitting else None,
    )


def has_gpu() -> bool:
    """Whether the system shows an NVIDIA GPU; asks no framework."""
    return sys.platform == "linux" and (
        os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1")
        and (any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists())
    )


@cache
def _built_for_gpu(name: str) -> bool:
    if name == "jax":
        return any(find_spec(f"jax_cuda{major}_plugin") is not None for major in (12, 13))
    try:
        if name == "torch":
            return not version("torch").endswith("+cpu")
        return find_spec("nvidia.cudnn") is not None and bool(version("tensorflow"))
    except (PackageNotFoundError, ModuleNotFoundError):
        return False
