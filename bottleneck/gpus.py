"""Which GPUs the system has, and which of them a process is shown; asks no framework.

JAX and TensorFlow take hold of every GPU they see, some hundred megabytes each, whatever they
compute on. So each process is shown the one that it computes on, by its environment, before it
imports a framework: processes that we start for a device, and that of a command. The process of
somebody who calls the package from Python is theirs, and is left alone.
"""

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import Final

from bottleneck.errors import RuntimeUnavailableError

_VISIBLE: Final = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
"""What hides GPUs from a process. AMD's libraries heed the second, and the first where that is not
set ("GPU isolation techniques" in the documentation of ROCm)."""

_ROCR: Final = "ROCR_VISIBLE_DEVICES"
"""What the runtime below HIP heeds, which then counts those that are left."""

_GIVEN: Final = "BOTTLENECK_GIVEN_DEVICES"
"""In the environment of a process that is shown one GPU, and of those it starts: what the variables
of :data:`_VISIBLE` were before (``given``) and are since (``shown``), by name, in JSON. Where they
are something else by now, somebody has chosen anew, and this says nothing."""

_NONE: Final = ("", "-1", "NoDevFiles")
"""What is no GPU in a list; those behind it are hidden too."""

OWN_MEMORY: Final = 6 << 30
"""Bytes of its own with which an AMD GPU is one to compute on. The smallest card that ROCm is made
for has 8 GB; one that is part of a processor is given 0.5 to 4 of the system's, mostly."""

_NODES: Final = "/sys/class/kfd/kfd/topology/nodes"
_ROCM_BUILDS: Final = {
    "torch": ("version.py", r"^hip\b.*=\s*['\"]"),
    "tensorflow": ("python/platform/build_info.py", r"'is_rocm_build',\s*True"),
}
"""Where a framework says what it was built for, and how."""


def gpu_makers() -> tuple[str, ...]:
    """Name the makers of the GPUs that there are to compute on: ``NVIDIA``, ``AMD``.

    One of AMD that is part of a processor is not counted, unless a framework is installed that was
    built for AMD's: nothing else uses it, and nobody bought it for that.
    """
    if sys.platform != "linux":
        return ()
    # Windows shows any maker's GPU as dxg, and NVIDIA's driver its library beside.
    windows = Path("/dev/dxg").exists() and Path("/usr/lib/wsl/lib/libcuda.so.1").exists()
    nvidia = any(Path("/dev").glob("nvidia[0-9]*")) or windows
    found = []
    if nvidia and not _hides(os.environ.get("CUDA_VISIBLE_DEVICES")):
        found.append("NVIDIA")
    memory = amd_gpus()
    if memory and (max(memory) >= OWN_MEMORY or rocm_builds()):
        found.append("AMD")
    return tuple(found)


def amd_gpus() -> tuple[int, ...]:
    """Return the memory in bytes that each of AMD's GPUs has of its own.

    By the files of the kernel's amdkfd driver (``drivers/gpu/drm/amd/amdkfd/kfd_topology.c``): a
    node with ``simd_count`` is a GPU, and one that has cores too a processor with a GPU in it. On
    newer kernels the latter is a node of its own, whose memory banks tell what it may take of the
    system's, so that amdgpu's ``mem_info_vram_total`` is asked before them; it is missing, or
    zero, where all memory is shared, as on an MI300A. Of GPUs that are kept from a container
    nothing can be read.
    """
    said = os.environ.get("HIP_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES"))
    if not Path("/dev/kfd").exists() or _hides(said) or _hides(os.environ.get(_ROCR)):
        return ()
    nodes = Path(_NODES)
    if not nodes.is_dir():
        return (OWN_MEMORY,)  # it cannot be told apart
    found = []
    for node in nodes.iterdir():
        about = _properties(node)
        if about.get("simd_count", 0):
            found.append(0 if about.get("cpu_cores_count", 0) else _own_memory(node, about))
    return tuple(found)


def _own_memory(node: Path, about: Mapping[str, int]) -> int:
    card = Path(f"/sys/class/drm/renderD{about.get('drm_render_minor', 0)}/device")
    try:
        total = int((card / "mem_info_vram_total").read_text())
    except (OSError, ValueError):
        total = 0
    banks = map(_properties, node.glob("mem_banks/*"))
    # Of the kinds of memory 1 and 2 are the GPU's own, seen by the processor or not.
    return total or sum(
        bank.get("size_in_bytes", 0) for bank in banks if bank.get("heap_type") in (1, 2)
    )


def _properties(node: Path) -> dict[str, int]:
    try:
        text = (node / "properties").read_text()
    except OSError:
        return {}
    return {name: int(value) for name, value in re.findall(r"^(\w+) (\d+)$", text, re.MULTILINE)}


def _listed(value: str) -> list[str]:
    """Return the GPUs that a variable shows, by their numbers or names."""
    return [*takewhile(lambda one: one not in _NONE, map(str.strip, value.split(",")))]


def _hides(value: str | None) -> bool:
    """Whether a variable hides all GPUs."""
    return value is not None and not _listed(value)


def rocm_builds() -> tuple[str, ...]:
    """Name the installed frameworks that were built for AMD's GPUs; imports none."""
    found = []
    for name, (file, built) in _ROCM_BUILDS.items():
        if any(re.search(built, _text(Path(place, file)), re.MULTILINE) for place in _places(name)):
            found.append(name)
    if any(any(Path(place).glob("xla_rocm*")) for place in _places("jax_plugins")):
        found.append("jax")
    return tuple(found)


def _places(package: str) -> list[str]:
    spec = find_spec(package)
    return [*(spec.submodule_search_locations or ())] if spec else []


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def all_shown() -> dict[str, str]:
    """Return the environment of a process that sees all GPUs that the user lets us see."""
    environment = dict(os.environ)
    given = _given()
    environment.pop(_GIVEN, None)
    for name, value in (given or {}).items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    return environment


def _given() -> dict[str, str | None] | None:
    """Return what the user had set where this process is shown one GPU; else None."""
    try:
        found = json.loads(os.environ[_GIVEN])
        given: dict[str, str | None] = found["given"]
        shown: dict[str, str | None] = found["shown"]
    except (KeyError, TypeError, ValueError):  # nothing of ours
        return None
    return given if _of(os.environ) == shown else None


def one_shown(gpu: int | None) -> dict[str, str]:
    """Return the environment of a process that sees one of the GPUs that the user lets us see.

    There it has the number 0.

    Parameters
    ----------
    gpu : int or None
        Its number among those; None for a process that sees none.

    Raises
    ------
    RuntimeUnavailableError
        Where the user lets us see fewer.
    """
    environment = all_shown()
    if gpu is None:
        return environment | dict.fromkeys(_VISIBLE, "-1")
    cuda, hip = _VISIBLE
    makers = gpu_makers() or ("NVIDIA",)
    for name in {hip if maker == "AMD" and hip in environment else cuda for maker in makers}:
        # Numbers count what this process sees, which is a choice already.
        listed = environment.get(name)
        visible = [str(gpu)] * (gpu + 1) if listed is None else _listed(listed)
        if gpu >= len(visible):
            raise RuntimeUnavailableError(
                f"expected the device gpu:{gpu}, but {name}={listed} shows {len(visible)}"
            )
        environment[name] = visible[gpu]
    return environment


def show_one(gpu: int = 0) -> None:
    """Hide from this process all GPUs but one; for a process of ours that imports no framework yet.

    Parameters
    ----------
    gpu : int
        Its number among those that the user lets us see.

    Raises
    ------
    RuntimeUnavailableError
        Where those are fewer.
    """
    given = _of(all_shown())
    _set({**given, _GIVEN: None})
    if gpu_makers():
        shown = _of(one_shown(gpu))
        _set({**shown, _GIVEN: json.dumps({"given": given, "shown": shown})})


def shows_one() -> bool:
    """Whether this process is ours, and is shown one GPU."""
    return _given() is not None


def number_here(gpu: int) -> int:
    """Return the number that a GPU has in this process: 0 where it is shown one only.

    What a command computes in its own process is on that one.
    """
    return 0 if shows_one() else gpu


@contextmanager
def showing_all() -> Iterator[None]:
    """Show all GPUs to what is started here."""
    before = {**_of(os.environ), _GIVEN: os.environ.get(_GIVEN)}
    _set({**_of(all_shown()), _GIVEN: None})
    try:
        yield
    finally:
        _set(before)


def _of(environment: Mapping[str, str]) -> dict[str, str | None]:
    return {name: environment.get(name) for name in _VISIBLE}


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
