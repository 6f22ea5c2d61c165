"""Whether this installation is sound: versions, devices, clashes, and one tiny real run."""

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from bottleneck import __version__
from bottleneck.gpus import amd_gpus, rocm_builds
from bottleneck.options import DoctorOptions, ExtractOptions

_LIBRARIES = ("keras", "h5py", "numpy", "scikit-learn", "pillow", "joblib")


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Parameters
    ----------
    state : {"ok", "note", "problem"}
        Whether it is as it should be.
    what, detail : str
        What was looked at, and what was found.
    """

    state: Literal["ok", "note", "problem"]
    what: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def examine(options: DoctorOptions) -> list[Finding]:
    """Examine this installation; see :func:`bottleneck.doctor`."""
    found: list[Finding] = []
    for check in _CHECKS:
        options.progress.stage(f"looking at: {check.__name__.strip('_').replace('_', ' ')}")
        found += _careful(check)
    return found


def _careful(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Run a check; what breaks it is a finding too, and the other checks still run."""
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001  # whatever is wrong here is what people ask about
        what = check.__name__.strip("_").replace("_", " ")
        yield Finding("problem", what, f"{type(error).__name__}: {error}")


def _system() -> Iterator[Finding]:
    yield Finding("ok", "bottleneck", f"{__version__} in {Path(__file__).parents[1]}")
    yield Finding("ok", "python", f"{platform.python_version()} on {platform.platform()}")
    yield Finding("ok", "cores", str(os.cpu_count()))
    if sys.platform == "win32":
        yield Finding("problem", "system", "Windows is not supported; use WSL")


def _libraries() -> Iterator[Finding]:
    for name in _LIBRARIES:
        installed = next(filter(None, map(_version, (name, f"{name}-cpu"))), None)
        if installed:
            yield Finding("ok", name, installed)
        else:
            yield Finding("problem", name, f"not installed: pip install {name}")


def _frameworks() -> Iterator[Finding]:
    """List what can run a backbone; one of them is needed."""
    from bottleneck import runtimes

    installed = runtimes.installed()
    for name in runtimes.RUNTIMES:
        found = next(filter(None, map(_version, (name, f"{name}-cpu"))), None) or "without metadata"
        precisions = ", ".join(runtimes.precisions(name))
        if name in installed:
            yield Finding("ok", name, f"{found}: {precisions}")
        else:
            yield Finding("note", name, "not installed")
    if installed:
        yield Finding("ok", "--runtime auto", runtimes.choose())
    else:
        yield Finding("problem", "--runtime auto", "no framework: pip install tensorflow")


def _clash() -> Iterator[Finding]:
    """PyPI's Bottleneck (NaN functions for NumPy) installs into a folder of the same name."""
    other = _version("Bottleneck")
    if other is None:
        yield Finding("ok", "name clash", "none: the package Bottleneck is not installed")
    else:
        yield Finding(
            "problem",
            "name clash",
            f"the package Bottleneck {other} uses the same import name, and one overwrites the "
            "other's files: pip uninstall Bottleneck, then reinstall bottleneck-features, or use "
            "an environment of its own",
        )


_FOR_ROCM = "AMD's are used by PyTorch, JAX or TensorFlow for ROCm, which are not installed"


def _devices() -> Iterator[Finding]:
    from bottleneck import runtimes

    makers = runtimes.gpu_makers()
    if makers:
        yield Finding("ok", "GPUs of the system", ", ".join(makers))
        for name in runtimes.installed():
            if name not in runtimes.FIRST_ON_GPU:
                yield Finding("note", f"{name} and GPUs", "has no use for one")
            elif seen := runtimes.gpus_seen_by(name):
                yield Finding("ok", f"{name} and GPUs", f"sees {', '.join(seen)}")
            else:
                yield Finding("note", f"{name} and GPUs", "sees none")
    if sys.platform == "darwin" and platform.machine() == "arm64":
        yield Finding("note", "Apple's GPU", "not used: no runtime here computes on MPS")
    # In this process a command is shown one of them only.
    asked = runtimes.gpus_seen_by(runtimes.choose()) if makers else runtimes.get().devices()
    used = [name for name in asked if name != "cpu"]
    if used:
        yield Finding("ok", "GPU", ", ".join(used))
    elif makers == ("AMD",) and not rocm_builds():
        yield Finding("note", "GPU", f"the CPU is used: {_FOR_ROCM}")
    elif makers:
        yield Finding(
            "problem",
            "GPU",
            f"the CPU is used, though there is one of {' and '.join(makers)}: install a framework "
            "with its libraries, e.g. pip install 'bottleneck-features[gpu]'",
        )
    elif amd_gpus():
        yield Finding("note", "GPU", f"the processor's own, which is not used: {_FOR_ROCM}")
    else:
        yield Finding(
            "note", "GPU", "none: the CPU is used (pip install 'bottleneck-features[gpu]')"
        )


def _weights() -> Iterator[Finding]:
    from bottleneck import backbones

    at_hand = [
        spec.name
        for spec in backbones.all_backbones()
        if backbones.weights_at_hand(spec) in ("bundled", "cached")
    ]
    yield Finding("ok" if at_hand else "note", "weights at hand", ", ".join(at_hand) or "none")


def _tiny_run() -> Iterator[Finding]:
    """Extract two drawn images, read them back, compare with computing them in memory."""
    import numpy as np
    from PIL import Image

    from bottleneck.extraction import FeatureExtractor, extract_many
    from bottleneck.store import FeatureStore

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        images = [np.full((40, 60, 3), 90, np.uint8), np.eye(50, dtype=np.uint8) * 255]
        for i, pixels in enumerate(images):
            Image.fromarray(pixels).save(Path(folder) / f"{i}.png")
        file = Path(folder) / "tiny.h5"
        extract_many(ExtractOptions(folder, file, size=64, workers=1))
        stored = np.array(FeatureStore.open(file).features())
        computed = FeatureExtractor(size=64, workers=1).fit_transform(images)
    took = f"{time.perf_counter() - started:.1f} s"
    if np.allclose(stored, computed, rtol=1e-4, atol=1e-5) and np.ptp(stored, axis=0).any():
        yield Finding("ok", "tiny run", f"2 images through the default backbone in {took}")
    else:
        yield Finding("problem", "tiny run", "the stored features are not those computed")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


_CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _system,
    _libraries,
    _frameworks,
    _clash,
    _devices,
    _weights,
    _tiny_run,
)
