"""The default runtime: one TensorFlow function from uint8 pixels to pooled features.

ConvNeXt's grouped convolutions as depthwise ones.

TensorFlow has no grouped convolution on a CPU, so Keras goes through XLA for it, which is slow
there. With as many groups as channels it is a depthwise convolution, which TensorFlow has.

On a CPU the function is frozen (variables become constants, except in the largest networks),
which lets TensorFlow fold batch normalisation into convolutions, and computes parts of a batch
side by side, each by a function of its own: oneDNN's kernel of a convolution with a sum fused to it
keeps the sum of whoever computes where a second one overwrites it (``fuse_add_src_`` in
``mkl_conv_ops.cc``), which ends the process, or gives features of another image. XLA is many times
slower there for depthwise networks and is not used. On a GPU the
function is compiled by XLA where that is faster, which is measured once; for one batch shape, and
smaller batches are padded to it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from queue import LifoQueue
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.backbones.keras_scope import import_keras, isolated
from bottleneck.backbones.network import Form, Network, OutputSpec
from bottleneck.cores import available_cores
from bottleneck.process_wide import Together
from bottleneck.runtimes.autotune import faster, memory_file
from bottleneck.runtimes.driver import free_bytes
from bottleneck.runtimes.folding import rewired
from bottleneck.runtimes.outputs import keras_tensors, preprocessed, taken
from bottleneck.runtimes.precision import in_precision
from bottleneck.runtimes.protocol import (
    Placed,
    check_precision,
    gpu_index,
    no_such_gpu,
    require_gpu,
)
from bottleneck.runtimes.step import BATCHES_IN_FLIGHT, CompiledStep, Parts


def depthwise(keras: Any, network: Any) -> Any:
    """Rewire a network so that no convolution has one group per channel.

    Parameters
    ----------
    keras : module
    network : keras.Model
        Not changed; its other layers are shared with the result.

    Returns
    -------
    keras.Model
        The same function; ``network`` itself where there is nothing to replace.
    """
    grouped = [layer for layer in network.layers if _has_a_group_per_channel(keras, layer)]
    if not grouped:
        return network
    replaced = {id(layer): _replacement(keras, layer) for layer in grouped}
    made = rewired(keras, network, replaced)
    for layer in grouped:
        kernel, *bias = layer.get_weights()
        # (h, w, 1, channels) there, (h, w, channels, 1) here.
        replaced[id(layer)].set_weights([np.swapaxes(kernel, 2, 3), *bias])
    return made


def _has_a_group_per_channel(keras: Any, layer: Any) -> bool:
    return (
        type(layer) is keras.layers.Conv2D
        and layer.groups > 1
        and layer.groups == layer.filters == layer.kernel.shape[2] * layer.groups
    )


def _replacement(keras: Any, layer: Any) -> Any:
    return keras.layers.DepthwiseConv2D(
        layer.kernel_size,
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
        activation=layer.activation,
        use_bias=layer.use_bias,
        depthwise_initializer="zeros",
        name=layer.name,
    )


FORMS: Final[tuple[Form, ...]] = ("keras",)
"""What it compiles."""

PRECISIONS: Final = ("float32", "tf32", "bfloat16", "float16")
"""Precisions this runtime computes in; pixels are preprocessed and maps pooled in float32.
Tf32 is float32 with products rounded to 10 bits, on NVIDIA GPUs; float32 never is."""

MEASURED_BATCH: Final = 32
"""Images with which XLA is tried on a GPU; a run's own batches are mostly as large or larger."""

MAX_FROZEN_PARAMS: Final = 50_000_000
"""Larger networks are not frozen on a CPU: freezing holds the weights about ten times over
(measured: 5 GB for 58 million parameters, over 15 GB for 348 million) and gains a tenth."""

PARTS_AT_A_TIME: Final = 2
"""Of a batch on a CPU, each on all cores. Measured on two cores (``benchmarks/forward.py``), as
is the next."""

IMAGES_PER_CORE: Final = 4
"""Of a part on a CPU, at most."""

_Function = Callable[[Any], Sequence[Any]]


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
        What to compute.
    outputs : sequence of OutputSpec
        What to take from it; several cost one forward pass.
    precision : {"float32", "tf32", "bfloat16", "float16"}
        What layers compute in. Weights stay float32; graphs that are frozen hold them rounded.
    device : str, optional
        ``cpu``, ``gpu`` or ``gpu:N``. Default: the first GPU, else the CPU.

    Raises
    ------
    BackboneError
        For no or repeated outputs, or a layer that does not exist.
    OptionError
        For a precision or a device that is not known.
    RuntimeUnavailableError
        When TensorFlow cannot be used, or has no such GPU.
    """
    check_precision("tensorflow", precision, PRECISIONS)
    take = taken(backbone, outputs, *FORMS)
    import_keras("tensorflow")
    import tensorflow as tf

    place = _device(tf, device)
    require_gpu(precision, place)
    with isolated() as keras:
        network = keras.Model(backbone.model.input, keras_tensors(backbone, take))
        if place == "cpu":
            network = depthwise(keras, network)
        network = in_precision(keras, network, precision)

    def forward(images: Any) -> tuple[Any, ...]:
        found = network(preprocessed(keras.ops, images, backbone.spec.preprocess), training=False)
        return take.pooled(keras.ops, found)

    images = tf.TensorSpec((None, *backbone.input.shape), backbone.input.dtype, name="images")
    on_gpu = place != "cpu"
    details: dict[str, Any] = {}
    what = f"{backbone.spec.name} {backbone.size} {precision} {[one.name for one in outputs]}"
    with tf.device(place):
        if on_gpu:
            function, details = _faster_on_gpu(tf, forward, images, what, precision == "tf32")
        elif backbone.spec.params <= MAX_FROZEN_PARAMS:
            function = OneAtATime(_frozen(tf, forward, images, PARTS_AT_A_TIME))
        else:
            function = OneAtATime(
                [
                    tf.function(forward, input_signature=[images], autograph=False)
                    for _ in range(PARTS_AT_A_TIME)
                ]
            )
    step = partial(
        CompiledStep,
        runtime="tensorflow",
        version=tf.__version__,
        device=place,
        dims=take.dims,
        given=backbone.input,
        in_flight=BATCHES_IN_FLIGHT,
        details=details,
    )
    compute = partial(_on, tf.device, place, function)
    transfer = partial(_on, tf.device, place, tf.constant)
    if not on_gpu:
        parts = Parts(
            partial(_part, transfer, compute),
            threads=PARTS_AT_A_TIME,
            most=IMAGES_PER_CORE * available_cores(),
        )
        return step(parts.start, fetch=parts.gather, busy=lambda: parts.busy_seconds)
    return step(compute, transfer=transfer, fetch=_arrays, pad=True)


def devices() -> list[str]:
    """Name what this framework can compute on, ``cpu`` first.

    Raises
    ------
    RuntimeUnavailableError
        When TensorFlow cannot be used.
    """
    import_keras("tensorflow")
    import tensorflow as tf

    found = ["cpu"]
    for index, gpu in enumerate(tf.config.list_physical_devices("GPU")):
        details = tf.config.experimental.get_device_details(gpu)
        found.append(f"gpu:{index} ({details.get('device_name', 'unknown')})")
    return found


def _on(scope: Callable[[str], Any], place: str, function: Callable[[Any], Any], value: Any) -> Any:
    with scope(place):
        return function(value)


def _arrays(features: Sequence[Any]) -> list[NDArray[Any]]:
    return [feature.numpy() for feature in features]


def _part(
    transfer: Callable[[NDArray[Any]], Any], compute: _Function, images: NDArray[Any]
) -> list[NDArray[Any]]:
    return _arrays(compute(transfer(images)))


def _tf32_products(tf: Any, wanted: bool) -> AbstractContextManager[None]:
    """Let products be rounded to TF32, or not; the switch is the process's, and is put back.

    Threads that want the same are inside together, the others wait.
    """
    return _SWITCHED((tf, wanted))


@contextmanager
def _switched(what: tuple[Any, bool]) -> Iterator[None]:
    tf, wanted = what
    switch = tf.config.experimental
    before = switch.tensor_float_32_execution_enabled()
    switch.enable_tensor_float_32_execution(wanted)
    try:
        yield
    finally:
        switch.enable_tensor_float_32_execution(before)


_SWITCHED: Final = Together(_switched)


def _faster_on_gpu(
    tf: Any, forward: Callable[[Any], tuple[Any, ...]], images: Any, what: str, tf32: bool
) -> tuple[_Function, dict[str, Any]]:
    """Compile with XLA if that is faster on this GPU; also returns what the recipe is to say."""

    def traced(xla: bool) -> _Function:
        function = tf.function(forward, input_signature=[images], jit_compile=xla, autograph=False)

        def call(batch: Any) -> Sequence[Any]:
            with _tf32_products(tf, tf32):
                found: Sequence[Any] = function(batch)
            return found

        return call

    batch = tf.zeros((MEASURED_BATCH, *images.shape[1:]), images.dtype)
    ways = {"plain": traced(False), "xla": traced(True)}
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "unknown")
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    try:
        chosen = faster(
            {
                name: partial(lambda way: [one.numpy() for one in way(batch)], way)
                for name, way in ways.items()
            },
            key=f"{what} tensorflow {tf.__version__} {gpus}",
            memory=memory_file(),
        )
    except tf.errors.OpError:
        # XLA lacks an operation, its libraries (libdevice, ptxas) or memory; if the fault is not
        # XLA's, the first batch shows it.
        chosen = "plain"
    return ways[chosen], {"xla": chosen == "xla"}


class OneAtATime:
    """Functions that compute the same, of which each is called by one thread at a time.

    Parameters
    ----------
    functions : sequence of callable
        As many as there are threads, so that none waits. Their kernels are their own.
    """

    def __init__(self, functions: Sequence[_Function]) -> None:
        # The last one used is the next: a single thread traces and warms no other.
        self._free: LifoQueue[_Function] = LifoQueue()
        for function in reversed(functions):
            self._free.put(function)
        self.functions = tuple(functions)

    def __call__(self, images: Any) -> Sequence[Any]:
        """Compute by a function that is free."""
        function = self._free.get()
        try:
            return function(images)
        finally:
            self._free.put(function)


def _frozen(
    tf: Any, forward: Callable[[Any], tuple[Any, ...]], images: Any, count: int
) -> list[_Function]:
    # The only way TensorFlow offers; it has stayed at this place since 2.0.
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    concrete = tf.function(forward, autograph=False).get_concrete_function(images)
    return [convert_variables_to_constants_v2(concrete) for _ in range(count)]


def placed(device: str | None) -> Placed:
    """Find a device: ``cpu``, ``gpu`` or ``gpu:N``. Default: the first GPU, else the CPU.

    Parameters and errors are those of :func:`bottleneck.runtimes.placed`.
    """
    import_keras("tensorflow")
    import tensorflow as tf

    name = _device(tf, device)
    gpu = None if name == "cpu" else gpu_index(name)
    # TensorFlow tells what it has taken, not what is left.
    return Placed(
        "tensorflow",
        tf.__version__,
        name,
        scope=partial(tf.device, name),
        exact=partial(_tf32_products, tf, False),
        free_bytes=partial(free_bytes, gpu),
    )


def _device(tf: Any, device: str | None) -> str:
    wanted = gpu_index(device)
    if wanted is None:
        return "cpu"
    gpus = tf.config.list_physical_devices("GPU")
    if wanted < len(gpus):
        return f"gpu:{wanted}"
    if device is None:
        return "cpu"
    remedy = "pip install 'bottleneck-features[gpu]'"
    raise no_such_gpu(device, "TensorFlow", tf.__version__, len(gpus), remedy)
