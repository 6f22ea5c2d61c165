"""Import Keras late and quietly, and use it without leaving traces in its global state."""

import logging
import os
import random
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Final

from bottleneck.errors import RuntimeUnavailableError
from bottleneck.process_wide import ALONE, warnings_ignored

_NOISE: Final = re.compile(
    rb"WARNING: All log messages before absl"
    rb"|[IWE]\d{4} [\d:.]+ +\d+ \S+:\d+\]"  # absl: severity, date, time, thread, place
    rb"|\d{4}-\d\d-\d\d [\d:.]+: [IWE] "
    rb"|[IWE]0000 \d"
    rb"|To enable the following instructions:"
)

_MEMORY: Final = {
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
"""Otherwise TensorFlow takes the whole card, and JAX three quarters of it. Set here for whoever
computes, backbones and heads, before any of them is imported: later is too late. What the user
has set stays."""

BACKENDS: Final = ("tensorflow", "jax", "torch", "openvino")
"""What Keras can compute with."""

TRAINING: Final = ("tensorflow", "jax", "torch")
"""Those that can train."""


def current_backend() -> str | None:
    """Name the backend of the Keras that this process has imported, if it has."""
    keras = _imported()
    return None if keras is None else str(keras.backend.backend())


def wanted_backend() -> str | None:
    """Name the backend that ``KERAS_BACKEND`` asks for, if it is installed."""
    wanted = os.environ.get("KERAS_BACKEND", "")
    return wanted if wanted in BACKENDS and find_spec(wanted) else None


def any_backend() -> str:
    """Name the backend to use where any will do: the current one, the wanted one, or the first."""
    installed = (backend for backend in BACKENDS if find_spec(backend))
    return current_backend() or wanted_backend() or next(installed, BACKENDS[0])


def import_keras(backend: str | None = None) -> Any:
    """Import Keras on a given backend.

    Parameters
    ----------
    backend : {"tensorflow", "jax", "torch", "openvino"}, optional
        What Keras has to compute with; by default what it already does, or any.

    Returns
    -------
    module
        ``keras``.

    Raises
    ------
    RuntimeUnavailableError
        When it is not installed, or was imported before with another backend: Keras chooses
        its backend once per process.
    """
    backend = backend or any_backend()
    keras = _imported()
    if keras is None:
        with ALONE:
            keras = _imported() or _first_import(backend)
    received = keras.backend.backend()
    if received != backend:
        raise RuntimeUnavailableError(
            f"expected Keras on the {backend} backend, got one that was already imported on"
            f" the {received} backend",
            hint=f"Keras fixes its backend at import: set KERAS_BACKEND={backend} before anything"
            " imports keras, or use a fresh process.",
        )
    return keras


def import_training_keras() -> Any:
    """Import Keras on a backend that has gradients: the current, the wanted or the first one.

    Raises
    ------
    RuntimeUnavailableError
        When this process already uses Keras on OpenVINO, which cannot train, or none is installed.
    """
    able = [backend for backend in TRAINING if find_spec(backend)]
    wishes = [current_backend(), wanted_backend(), *able]
    if wishes[0] == "openvino":
        raise RuntimeUnavailableError(
            "expected Keras on a backend that can train, got one that was already imported on"
            " the openvino backend, which only predicts",
            hint="Train in a process of its own: `bottleneck train`, or `bottleneck run` once more,"
            " which resumes at this step.",
        )
    return import_keras(next((wish for wish in wishes if wish in TRAINING), TRAINING[0]))


def _imported() -> Any:
    """Return Keras if this process has it; if a thread is importing it, when that is over."""
    if "keras" not in sys.modules:
        return None
    try:
        import keras
    except ImportError:
        return None
    return keras


def _first_import(backend: str) -> Any:
    chosen = os.environ.get("KERAS_BACKEND")
    # Errors reach the user as Python exceptions; the C++ log would only repeat them.
    quiet = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") != "0"
    os.environ["KERAS_BACKEND"] = backend
    for name, value in _MEMORY.items():
        os.environ.setdefault(name, value)
    try:
        with _without_noise() if quiet else _as_it_is(), warnings_ignored():
            import keras
        if quiet:
            # That a function is traced for a last batch of another size is no news for people.
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"expected Keras with {backend}, which cannot be imported: {error}",
            hint=f"`pip install {package_of(backend)}`; `bottleneck doctor` shows what is there.",
        ) from error
    finally:
        if chosen is None:
            del os.environ["KERAS_BACKEND"]
        else:
            os.environ["KERAS_BACKEND"] = chosen
    return keras


def package_of(framework: str) -> str:
    """Write what ``pip install`` takes for a framework."""
    # TensorFlow comes with the package itself; the others are extras.
    return "tensorflow" if framework == "tensorflow" else f"'bottleneck-features[{framework}]'"


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


@contextmanager
def _without_noise() -> Iterator[None]:
    """Hold back file descriptor 2, then pass on what is not a start-up message of TensorFlow.

    Its first lines are written before logging is configured, so no setting silences them.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            for line in held:
                if not _NOISE.match(line):
                    os.write(2, line)


@contextmanager
def isolated(backend: str | None = None) -> Iterator[Any]:
    """Enter a Keras whose settings, layer numbering and randomness are always the same.

    Layer names such as ``conv2d_7`` count all layers ever made in the process, and initial
    weights draw on Python's global generator. Inside, both start from nothing, floats are
    float32 and images are channels-last; afterwards all is as it was. One
    thread at a time is inside.

    Parameters
    ----------
    backend : str, optional
        See :func:`import_keras`.

    Yields
    ------
    module
        ``keras``.
    """
    keras = import_keras(backend)
    with ALONE, _own_settings(keras):
        yield keras


@contextmanager
def _own_settings(keras: Any) -> Iterator[None]:
    from keras.src.backend.common import global_state
    from keras.src.utils import module_utils

    numbering = "object_name_uids"  # no public way to put it back, only to reset it
    names = global_state.get_global_attribute(numbering)
    generator = random.getstate()
    policy = keras.config.dtype_policy()
    floatx = keras.config.floatx()
    image_data_format = keras.config.image_data_format()
    # Keras looks for TensorFlow whenever it serialises, and would import it on any backend.
    tensorflow = module_utils.tensorflow
    untouched = tensorflow._available is None and "tensorflow" not in sys.modules
    try:
        if untouched:
            tensorflow._available = False
        global_state.set_global_attribute(numbering, defaultdict(int))
        random.seed(0)
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
        keras.config.set_image_data_format("channels_last")
        yield
    finally:
        if untouched:
            tensorflow._available = None
        global_state.set_global_attribute(numbering, names)
        random.setstate(generator)
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)
        keras.config.set_image_data_format(image_data_format)
