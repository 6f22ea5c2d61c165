"""JAX: the whole function compiled by XLA for one batch shape; smaller batches are padded to it.

Float32 means float32 on a GPU too: JAX would multiply matrices in TF32 there, and is told not to.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from bottleneck.backbones.keras_scope import import_keras, isolated
from bottleneck.backbones.network import Form, Network, OutputSpec
from bottleneck.errors import DeviceMemoryError, first_line
from bottleneck.exhaustion import out_of_memory
from bottleneck.location import cache_folder
from bottleneck.runtimes.outputs import keras_tensors, preprocessed, taken
from bottleneck.runtimes.precision import in_precision
from bottleneck.runtimes.protocol import (
    Placed,
    check_precision,
    gpu_index,
    no_such_gpu,
    require_gpu,
)
from bottleneck.runtimes.step import BATCHES_IN_FLIGHT, CompiledStep

FORMS: Final[tuple[Form, ...]] = ("keras",)
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
    """Compile preprocessing, network and pooling of all outputs into one function.

    Parameters
    ----------
    backbone : Network
        What to compute; built with ``backend="jax"``.
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
        When JAX cannot be used, or has no such GPU.
    """
    check_precision("jax", precision, PRECISIONS)
    take = taken(backbone, outputs, *FORMS)
    jax = _import_jax()
    name, place = _place(jax, device)
    require_gpu(precision, name)
    if name != "cpu":
        # Not on a CPU: what was compiled for one may not run on another that shares the folder.
        _remember_compilations(jax)
    products = "tensorfloat32" if precision == "tf32" else "highest"
    with isolated("jax") as keras:
        network = keras.Model(backbone.model.input, keras_tensors(backbone, take))
        network = in_precision(keras, network, precision)
    trainable = [variable.value for variable in network.trainable_variables]
    fixed = [variable.value for variable in network.non_trainable_variables]
    state = jax.device_put((trainable, fixed), place)

    def forward(state: Any, images: Any) -> tuple[Any, ...]:
        pixels = preprocessed(keras.ops, images, backbone.spec.preprocess)
        found, _ = network.stateless_call(*state, pixels, training=False)
        return take.pooled(keras.ops, found)

    compiled = jax.jit(forward)

    def compute(images: Any) -> tuple[Any, ...]:
        with jax.default_device(place), jax.default_matmul_precision(products):
            features: tuple[Any, ...] = compiled(state, images)
        for feature in features:
            feature.copy_to_host_async()
        return features

    return CompiledStep(
        compute,
        runtime="jax",
        version=jax.__version__,
        device=name,
        dims=take.dims,
        given=backbone.input,
        transfer=lambda batch: jax.device_put(batch, place),
        fetch=lambda features: [np.asarray(feature) for feature in features],
        pad=True,
        in_flight=1 if name == "cpu" else BATCHES_IN_FLIGHT,
    )


def devices() -> list[str]:
    """Name what this framework can compute on, ``cpu`` first.

    Raises
    ------
    RuntimeUnavailableError
        When JAX cannot be used.
    """
    gpus = _gpus(_import_jax())
    return ["cpu", *(f"gpu:{i} ({gpu.device_kind})" for i, gpu in enumerate(gpus))]


def placed(device: str | None) -> Placed:
    """Find a device: ``cpu``, ``gpu`` or ``gpu:N``. Default: the first GPU, else what JAX takes.

    Parameters and errors are those of :func:`bottleneck.runtimes.placed`.
    """
    jax = _import_jax()
    name, place = _place(jax, device)
    if device is None and name == "cpu":
        place = jax.devices()[0]
        name = str(place.platform)

    def free() -> int | None:
        known = place.memory_stats() or {}
        if "bytes_limit" not in known:
            return None
        return int(known["bytes_limit"] - known.get("bytes_in_use", 0))

    return Placed(
        "jax",
        jax.__version__,
        name,
        scope=partial(jax.default_device, place),
        exact=partial(jax.default_matmul_precision, "highest"),
        free_bytes=free,
    )


def _import_jax() -> Any:
    import_keras("jax")
    import jax

    return jax


def _remember_compilations(jax: Any) -> None:
    """Keep what XLA compiled for a GPU, for the next run; unless the user has said where."""
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "jax"))


def _gpus(jax: Any) -> list[Any]:
    try:
        return list(jax.devices("gpu"))
    except RuntimeError as error:
        if out_of_memory(error):  # or it would compute on the CPU, and the recipe say so
            raise DeviceMemoryError(
                f"JAX cannot begin to use the GPU: {first_line(error)}",
                hint="Another process has its memory, mostly. --device cpu does without.",
            ) from error
        return []  # JAX has no such platform


def _place(jax: Any, device: str | None) -> tuple[str, Any]:
    wanted = gpu_index(device)
    if wanted is not None:
        gpus = _gpus(jax)
        if wanted < len(gpus):
            return f"gpu:{wanted}", gpus[wanted]
        if device is not None:
            raise no_such_gpu(
                device, "JAX", jax.__version__, len(gpus), "pip install 'jax[cuda12]'"
            )
    return "cpu", jax.devices("cpu")[0]
