"""Which runtimes there are, which are installed, and which one ``auto`` takes."""

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from typing import Final, Literal, TypeAlias, get_args

from bottleneck.backbones.keras_scope import current_backend, wanted_backend
from bottleneck.backbones.network import Form
from bottleneck.errors import RuntimeUnavailableError
from bottleneck.gpus import all_shown, gpu_makers, rocm_builds

RuntimeName: TypeAlias = Literal["tensorflow", "jax", "torch", "openvino", "onnxruntime"]

RUNTIMES: Final[tuple[str, ...]] = get_args(RuntimeName)
"""Every runtime; each is named after its framework, which is also Keras's backend for it if it
compiles networks of Keras."""

FASTEST_ON_CPU: Final = ("openvino", "onnxruntime", "tensorflow", "torch", "jax")
"""By the rates in ``benchmarks/RESULTS.md``."""

FIRST_ON_GPU: Final = ("torch", "jax", "tensorflow", "onnxruntime")
"""By the rates in ``benchmarks/RESULTS.md``; of the last two there are none on a GPU."""

_ANSWER: Final = "devices: "
"""What the line of a framework's answer begins with."""

_ANSWER_SECONDS: Final = 120.0
"""So long a framework may take to be imported and to look for GPUs."""


def precisions(name: str) -> tuple[str, ...]:
    """Name what a runtime computes in; its framework is not imported."""
    found: tuple[str, ...] = import_module(f"bottleneck.runtimes.{name}").PRECISIONS
    return found


def forms(name: str) -> tuple[Form, ...]:
    """Name the forms of networks that a runtime compiles; its framework is not imported."""
    found: tuple[Form, ...] = import_module(f"bottleneck.runtimes.{name}").FORMS
    return found


def installed() -> tuple[str, ...]:
    """Name the runtimes whose framework is installed, without importing any."""
    return tuple(name for name in RUNTIMES if find_spec(name) is not None)


def choose(
    precision: str = "float32",
    *,
    before: str | None = None,
    devices: Sequence[str] = (),
    of: Sequence[Form] = ("keras",),
) -> str:
    """Name the runtime that ``auto`` stands for.

    A process has one Keras, on one framework, so what is imported already decides; then what
    computed the features so far; then ``KERAS_BACKEND``; then a GPU and a framework that sees it;
    then what is fastest on a CPU. What cannot compute in the precision is left out.

    Parameters
    ----------
    precision : str
        What it has to compute in.
    before : str, optional
        The runtime of features that exist already.
    devices : sequence of str
        Where it has to compute; anywhere by default.
    of : sequence of str
        Forms of networks, of which it has to compile one.

    Raises
    ------
    RuntimeUnavailableError
        When no installed runtime computes in that precision.
    """
    able = [name for name in installed() if precision in precisions(name) and _compiles(name, of)]
    wants_gpu = any(device != "cpu" for device in devices)
    if wants_gpu:
        able = [name for name in able if name in FIRST_ON_GPU]
    seen = has_gpu() if not devices else wants_gpu
    for wish in (current_backend(), before, wanted_backend()):
        if wish is not None and wish in able:
            return wish
    # Asked only now, one by one, as each answer takes seconds.
    wishes: tuple[str, ...] = FIRST_ON_GPU if wants_gpu else FASTEST_ON_CPU
    if seen:
        # XLA makes one kernel of a layer and its changes of type; PyTorch runs each by itself.
        asked = ("jax", *FIRST_ON_GPU) if precision == "bfloat16" else FIRST_ON_GPU
        wishes = (*islice(filter(sees_gpu, (n for n in asked if n in able)), 1), *wishes)
    for name in wishes:
        if name in able:
            return name
    fitting = [name for name in RUNTIMES if precision in precisions(name) and _compiles(name, of)]
    raise RuntimeUnavailableError(
        f"expected a framework that computes in {precision}: {', '.join(fitting) or 'none does'}, "
        f"got {', '.join(installed()) or 'none'}, which is what is installed",
        hint=f"`pip install 'bottleneck-features[{fitting[-1]}]'`" if fitting else None,
    )


def _compiles(name: str, of: Sequence[Form]) -> bool:
    if "keras" in of:
        return not {*forms(name)}.isdisjoint(of)
    # Keras is needed on the way, and a process has it on one framework.
    busy = name == "openvino" and current_backend() not in (None, name)
    return not busy and not {*forms(name)}.isdisjoint(of)


def has_gpu() -> bool:
    """Whether the system shows a GPU that frameworks compute on; asks none of them."""
    return bool(gpu_makers())


def sees_gpu(name: str) -> bool:
    """Whether a framework sees a GPU; see :func:`gpus_seen_by`."""
    return bool(gpus_seen_by(name))


@cache
def gpus_seen_by(name: str) -> tuple[str, ...]:
    """Ask a framework which GPUs it sees, in a process of its own: ``gpu:0 (NVIDIA H100)``, ...

    That it was built for one says little: its libraries may be missing, or be those of another
    framework. And asked in this process it would be the one that this process has, and see what
    this process is shown.

    Parameters
    ----------
    name : str
        One of :data:`RUNTIMES`.
    """
    if gpu_makers() == ("AMD",) and name not in rocm_builds():
        return ()  # an answer takes seconds
    program = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        f"import json\n"
        f"from importlib import import_module\n"
        f"found = import_module('bottleneck.runtimes.{name}').devices()\n"
        f"print({_ANSWER!r} + json.dumps(found))"
    )
    environment = {key: value for key, value in all_shown().items() if key != "KERAS_BACKEND"}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", program],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_ANSWER_SECONDS,
            check=True,
            text=True,
            errors="replace",
        )
        # Frameworks may say something themselves.
        (answer,) = [line for line in done.stdout.splitlines() if line.startswith(_ANSWER)]
        found: list[str] = json.loads(answer.removeprefix(_ANSWER))
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()
    return tuple(one for one in found if one != "cpu")


def require_seen(name: str, gpus: Iterable[int | None], hint: str | None = None) -> None:
    """Refuse a GPU that is not among those that a framework sees.

    What is shown one GPU cannot tell that: there it has another number. Where the framework sees
    none something else is wrong, and it says what.

    Parameters
    ----------
    name : str
        One of :data:`RUNTIMES`.
    gpus : iterable of int or None
        What was asked for; None is the CPU.
    hint : str, optional
        What to do.

    Raises
    ------
    RuntimeUnavailableError
    """
    seen = gpus_seen_by(name)
    for gpu in gpus:
        if seen and gpu is not None and gpu >= len(seen):
            raise RuntimeUnavailableError(
                f"expected the device gpu:{gpu}, but {name} sees {', '.join(seen)}",
                hint=hint,
            )


def unused_gpu(runtime: str, version: str, device: str, asked: Sequence[str] = ()) -> str | None:
    """Say that the system has a GPU and the CPU computes; None where that is not so, or wanted.

    Parameters
    ----------
    runtime, version, device : str
        What computes, and on what; see :class:`bottleneck.runtimes.CompiledBackbone`.
    asked : sequence of str
        The devices that were asked for.
    """
    if device != "cpu" or "cpu" in asked or not has_gpu():
        return None
    maker = " and ".join(gpu_makers()) or "a"
    return (
        f"the CPU computes, though there is a GPU ({maker}): {runtime} {version} does not use it. "
        "`bottleneck doctor` shows who sees it; --device cpu says that this is meant"
    )
