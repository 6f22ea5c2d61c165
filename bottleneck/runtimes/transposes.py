"""Keep an OpenVINO graph in one layout.

Keras computes with channels last, and puts a transpose before and behind every convolution,
because OpenVINO's want channels first. They cost more than the convolutions (MobileNetV2: two
thirds of the time), and stand between a convolution and the normalisation that would be folded
into it. Here the transposes move down through the graph, until they meet another that undoes
them, or the pooling, which then only needs other axes.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

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
