"""OpenVINO on the CPU: float32, bfloat16 where the CPU has it, and int8.

Keep an OpenVINO graph in one layout.

Keras computes with channels last, and puts a transpose before and behind every convolution,
because OpenVINO's want channels first. They cost more than the convolutions (MobileNetV2: two
thirds of the time), and stand between a convolution and the normalisation that would be folded
into it. Here the transposes move down through the graph, until they meet another that undoes
them, or the pooling, which then only needs other axes.

The graph comes from Keras's own OpenVINO backend, so no other framework is needed, or from a file
(ONNX). It is compiled for parts of a batch, which are computed side by side.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from queue import SimpleQueue
from threading import Lock, RLock
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bottleneck.backbones.keras_scope import import_keras, isolated
from bottleneck.backbones.network import Form, Network, OutputSpec
from bottleneck.backbones.onnx_file import OnnxFile
from bottleneck.cores import available_cores
from bottleneck.errors import OptionError, RuntimeUnavailableError
from bottleneck.runtimes.outputs import Taken, keras_tensors, preprocessed, taken
from bottleneck.runtimes.protocol import Placed, check_precision, gpu_index
from bottleneck.runtimes.step import BATCHES_IN_FLIGHT, CompiledStep, Parts

_UNARY: Final = frozenset(
    {
        *("Relu", "Clamp", "Sigmoid", "HSigmoid", "Swish", "HSwish", "Gelu", "Elu"),
        *("Convert", "Sqrt", "Exp", "Negative", "Abs", "Tanh", "SoftPlus"),
    }
)
_BINARY: Final = frozenset(
    {"Add", "Multiply", "Subtract", "Divide", "Maximum", "Minimum", "Power", "SquaredDifference"}
)
_REDUCTIONS: Final = frozenset({"ReduceMean", "ReduceMax", "ReduceSum"})

_Order = tuple[int, ...]


class _Turned(NamedTuple):
    """A tensor as a transpose of another: axis ``i`` is the other's axis ``order[i]``."""

    source: Any
    order: _Order


def sink_transposes(ov: Any, model: Any) -> None:
    """Move transposes down a graph, in place; the outputs stay what they are.

    Parameters
    ----------
    ov : module
        OpenVINO.
    model : openvino.Model
    """
    sink = _Sink(ov)
    for node in model.get_ordered_ops():
        sink.visit(node)
    model.validate_nodes_and_infer_types()


class _Sink:
    """Rules, one per kind of node; a node that no rule takes keeps the transpose before it."""

    def __init__(self, ov: Any) -> None:
        self._ops = ov.opset13
        self._rules: dict[str, Callable[[Any, _Order], None]] = {
            "Transpose": self._transpose,
            "Concat": self._concat,
            "Pad": self._pad,
            **dict.fromkeys(_UNARY, self._unary),
            **dict.fromkeys(_BINARY, self._binary),
            **dict.fromkeys(_REDUCTIONS, self._reduction),
        }

    def visit(self, node: Any) -> None:
        rule = self._rules.get(node.get_type_name())
        if rule is None:
            return
        for turned in map(_turned, _inputs(node)):
            if turned is not None:
                rule(node, turned.order)
                return

    def _transpose(self, node: Any, order: _Order) -> None:
        second = _integers(node.input_value(1))
        if second is None:
            return
        both = tuple(order[axis] for axis in second)
        source = _inputs(node)[0].get_node().input_value(0)
        self._replace(node, source if _is_identity(both) else self._turn(source, both))

    def _unary(self, node: Any, order: _Order) -> None:
        node.input(0).replace_source_output(self._undone(node.input_value(0), order))
        self._turn_behind(node, order)

    def _binary(self, node: Any, order: _Order) -> None:
        if any(_rank(one) not in (len(order), *_constant_rank(one)) for one in _inputs(node)):
            return
        for i, operand in enumerate(_inputs(node)):
            node.input(i).replace_source_output(self._undone(operand, order))
        self._turn_behind(node, order)

    def _concat(self, node: Any, order: _Order) -> None:
        parts = [self._undone(part, order) for part in _inputs(node)]
        axis = node.get_attributes()["axis"] % len(order)
        joined = self._ops.concat(parts, order[axis])
        self._replace(node, joined.output(0))
        self._turn_behind(joined, order)

    def _pad(self, node: Any, order: _Order) -> None:
        widths = [_integers(node.input_value(i)) for i in (1, 2)]
        if any(width is None for width in widths) or _turned(node.input_value(0)) is None:
            return
        node.input(0).replace_source_output(self._undone(node.input_value(0), order))
        for i, width in enumerate(widths, start=1):
            moved = np.array(width, np.int64)[[*_inverse(order)]]
            node.input(i).replace_source_output(self._ops.constant(moved).output(0))
        self._turn_behind(node, order)

    def _reduction(self, node: Any, order: _Order) -> None:
        axes = _integers(node.input_value(1))
        if axes is None:
            return
        gone = {axis % len(order) for axis in axes}
        left = [order[axis] for axis in range(len(order)) if axis not in gone]
        kept = node.get_attributes()["keep_dims"]
        if not kept and left != sorted(left):
            return
        moved = np.array([order[axis] for axis in sorted(gone)], np.int64)
        node.input(1).replace_source_output(self._ops.constant(moved).output(0))
        node.input(0).replace_source_output(self._undone(node.input_value(0), order))
        if kept:
            self._turn_behind(node, order)

    def _undone(self, output: Any, order: _Order) -> Any:
        """Return the tensor whose transpose by ``order`` an output is, making it if need be."""
        back = _inverse(order)
        turned = _turned(output)
        if turned is not None:
            both = tuple(turned.order[axis] for axis in back)
            return turned.source if _is_identity(both) else self._turn(turned.source, both)
        node = output.get_node()
        if node.get_type_name() != "Constant":
            return self._turn(output, back)
        value = np.asarray(node.data)
        value = value.reshape((1,) * (len(order) - value.ndim) + value.shape).transpose(back)
        return self._ops.constant(np.ascontiguousarray(value), output.get_element_type()).output(0)

    def _turn(self, output: Any, order: _Order) -> Any:
        return self._ops.transpose(output, np.array(order, np.int64)).output(0)

    def _turn_behind(self, node: Any, order: _Order) -> None:
        node.validate_and_infer_types()
        consumers = list(node.output(0).get_target_inputs())
        turned = self._turn(node.output(0), order)
        for consumer in consumers:
            consumer.replace_source_output(turned)

    @staticmethod
    def _replace(node: Any, output: Any) -> None:
        for consumer in list(node.output(0).get_target_inputs()):
            consumer.replace_source_output(output)


def _inputs(node: Any) -> list[Any]:
    return [node.input_value(i) for i in range(node.get_input_size())]


def _turned(output: Any) -> _Turned | None:
    node = output.get_node()
    if node.get_type_name() != "Transpose":
        return None
    order = _integers(node.input_value(1))
    return None if order is None else _Turned(node.input_value(0), order)


def _integers(output: Any) -> _Order | None:
    """Return the values of a constant of integers; None for what is computed."""
    node = output.get_node()
    if node.get_type_name() != "Constant":
        return None
    return tuple(int(value) for value in np.ravel(node.data))


def _rank(output: Any) -> int:
    return int(output.get_partial_shape().rank.get_length())


def _constant_rank(output: Any) -> tuple[int, ...]:
    """Return a constant's own rank, so that it passes: constants are broadcast by hand."""
    return (_rank(output),) if output.get_node().get_type_name() == "Constant" else ()


def _inverse(order: _Order) -> _Order:
    return tuple(order.index(axis) for axis in range(len(order)))


def _is_identity(order: _Order) -> bool:
    return order == tuple(range(len(order)))


FORMS: Final[tuple[Form, ...]] = ("keras", "graph")
"""What it compiles."""

PRECISIONS: Final = ("float32", "bfloat16", "int8")
"""Precisions this runtime computes in. OpenVINO pools in float32 whatever comes before."""

PART: Final = 8
"""Images computed by one thread at once, at most; the last part of a batch is padded to as many."""


def compile(
    backbone: Network,
    outputs: Sequence[OutputSpec],
    *,
    precision: str = "float32",
    device: str | None = None,
    calibration: NDArray[Any] | None = None,
) -> CompiledStep:
    """Compile preprocessing, network and pooling of all outputs into one function.

    Parameters
    ----------
    backbone : Network
        What to compute; built with ``backend="openvino"``.
    outputs : sequence of OutputSpec
        What to take from it; several cost one forward pass.
    precision : {"float32", "bfloat16", "int8"}
        What layers compute in.
    device : {"cpu"}, optional
    calibration : ndarray of uint8, shape (n, size, size, 3), optional
        For int8: images like those to come, a few hundred.

    Raises
    ------
    BackboneError
        For no or repeated outputs, or a layer that does not exist.
    OptionError
        For a precision or a device that is not known, or int8 without images.
    RuntimeUnavailableError
        When OpenVINO (or NNCF, for int8) cannot be used, or the CPU lacks the precision.
    """
    check_precision("openvino", precision, PRECISIONS)
    _require_cpu(device)
    if precision == "int8" and calibration is None:
        raise OptionError(
            "expected images to calibrate int8 with, got none",
            hint="`bottleneck extract` takes them from its sources; elsewhere use float32.",
        )
    take = taken(backbone, outputs, *FORMS)
    import_keras("openvino")
    import openvino as ov

    core = ov.Core()
    if precision == "bfloat16" and "BF16" not in core.get_property(
        "CPU", "OPTIMIZATION_CAPABILITIES"
    ):
        raise RuntimeUnavailableError(
            "expected a CPU that computes in bfloat16, got one that does not",
            hint="Use --precision float32 or int8.",
        )
    model = _graph(ov, backbone, take)
    details: dict[str, Any] = {}
    if calibration is not None and precision == "int8":
        from bottleneck.runtimes.quantize import quantized

        model, details = quantized(model, calibration, list(take.dims), _compiled)
    fixed = backbone.model.batch if backbone.form == "graph" else None
    inference = _Inference(model, "bf16" if precision == "bfloat16" else "f32", fixed or 0)
    parts = Parts(
        inference,
        threads=available_cores(),
        most=fixed or PART,
    )
    return CompiledStep(
        parts.start,
        fetch=parts.gather,
        runtime="openvino",
        version=ov.__version__.partition("-")[0],
        device="cpu",
        dims=take.dims,
        given=backbone.input,
        in_flight=BATCHES_IN_FLIGHT,
        details=details,
        forget=inference.forget,
        busy=lambda: parts.busy_seconds,
    )


def devices() -> list[str]:
    """Name what this framework can compute on: ``cpu``.

    Raises
    ------
    RuntimeUnavailableError
        When OpenVINO cannot be used.
    """
    import_keras("openvino")
    return ["cpu"]


def placed(device: str | None) -> Placed:
    """Find a device: the CPU is the only one.

    Parameters and errors are those of :func:`bottleneck.runtimes.placed`.
    """
    _require_cpu(device)
    import openvino as ov

    version = ov.__version__.partition("-")[0]
    return Placed("openvino", version, "cpu", scope=nullcontext, exact=_in_float32)


_COMPILING: Final = RLock()


@contextmanager
def _in_float32() -> Iterator[None]:
    """Have Keras compile in float32 what it computes for the first time.

    It leaves that to OpenVINO, which takes bfloat16 on CPUs that have it.
    """
    import openvino as ov

    def compile_model(model: Any, device_name: str = "AUTO", config: Any = None) -> Any:
        return made(model, device_name, {"INFERENCE_PRECISION_HINT": "f32", **(config or {})})

    with _COMPILING:
        made = ov.compile_model
        ov.compile_model = compile_model
        try:
            yield
        finally:
            ov.compile_model = made


def _require_cpu(device: str | None) -> None:
    if device is not None and gpu_index(device) is not None:
        raise OptionError(f"expected the device cpu: openvino has no other, got {device!r}")


class _Inference:
    """A graph that several threads compute parts with at the same time, all of one shape.

    One thread for each part needs no waiting for others after every layer, and a small part stays
    in the cache.

    Parameters
    ----------
    model : openvino.Model
    hint : str
        What it computes in.
    least : int
        Images of a part, at least: fewer are padded to as many.
    """

    def __init__(self, model: Any, hint: str, least: int = 0) -> None:
        self._model = model
        self._hint = hint
        self._least = least
        self._size = 0
        self._idle: SimpleQueue[Any] = SimpleQueue()
        self._one_compiles = Lock()

    def __call__(self, part: NDArray[Any]) -> list[NDArray[Any]]:
        count = len(part)
        size, idle = self._requests(max(count, self._least))
        if count < size:
            part = np.pad(part, [(0, size - count), (0, 0), (0, 0), (0, 0)])
        request = idle.get()
        try:
            request.infer([part])
            # What a request returns is overwritten when it is used again.
            return [tensor.data[:count].copy() for tensor in request.output_tensors]
        finally:
            idle.put(request)

    def forget(self) -> None:
        """Recompile for the next part's size."""
        with self._one_compiles:
            self._size = 0

    def _requests(self, size: int) -> "tuple[int, SimpleQueue[Any]]":
        """Return the shape's size and requests for it, as many as are best for the CPU."""
        with self._one_compiles:
            if size > self._size:
                compiled = _compiled(self._model, size, self._hint)
                self._idle = SimpleQueue()
                for _ in range(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")):
                    self._idle.put(compiled.create_infer_request())
                self._size = size
            return self._size, self._idle


def _compiled(model: Any, count: int, hint: str = "f32") -> Any:
    import openvino as ov

    fixed = model.clone()
    fixed.reshape([count, *(dim.get_length() for dim in list(model.input(0).partial_shape)[1:])])
    # Without the hint of a precision OpenVINO takes bfloat16 wherever the CPU has it.
    options = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": hint}
    return ov.Core().compile_model(fixed, "CPU", options)


def _graph(ov: Any, backbone: Network, take: Taken) -> Any:
    """Trace the function into a graph for batches of any size."""
    from keras.src.backend.openvino.core import OpenVINOKerasTensor
    from openvino._offline_transformations import apply_moc_transformations

    with isolated("openvino") as keras:
        images = ov.opset13.parameter([-1, *backbone.input.shape], backbone.input.dtype, "images")
        pixels = preprocessed(
            keras.ops, OpenVINOKerasTensor(images.output(0)), backbone.spec.preprocess
        )
        if backbone.form == "graph":
            if backbone.channels_first:
                pixels = keras.ops.transpose(pixels, (0, 3, 1, 2))
            names = [backbone.model.tensor(backbone.source(one)) for one in take.outputs]
            values = _read(ov, backbone.model, pixels.output, names)
            found = take.pooled(keras.ops, [OpenVINOKerasTensor(value) for value in values])
        else:
            network = keras.Model(backbone.model.input, keras_tensors(backbone, take))
            found = take.pooled(keras.ops, network(pixels, training=False))
    model = ov.Model([one.output for one in found], [images], backbone.spec.family)
    apply_moc_transformations(model, cf=True, smart_reshape=True)
    sink_transposes(ov, model)
    # Now that nothing stands between, normalisation is folded into convolutions.
    apply_moc_transformations(model, cf=True, smart_reshape=True)
    return model


def _read(ov: Any, file: OnnxFile, pixels: Any, names: list[str]) -> list[Any]:
    """Read a graph and put pixels where its input was; return the tensors that are taken."""
    graph = ov.Core().read_model(file.path)
    values = [graph.add_outputs(name)[0].get_node().input_value(0) for name in names]
    (parameter,) = (one for one in graph.inputs if file.input in one.get_names())
    wanted = parameter.get_element_type()
    given = pixels if wanted == ov.Type.f32 else ov.opset13.convert(pixels, wanted).output(0)
    for consumer in list(parameter.get_target_inputs()):
        consumer.replace_source_output(given)
    return values
