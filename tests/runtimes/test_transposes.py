"""Graphs keep their function when their transposes move."""

from collections import Counter

import numpy as np
import pytest

ov = pytest.importorskip("openvino", reason="openvino is not installed")

from bottleneck.runtimes.openvino import sink_transposes  # noqa: E402

ops = ov.opset13
LAST, FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def turn(x, order):
    return ops.transpose(x, np.array(order, np.int64))


def constant(*shape):
    rng = np.random.default_rng(len(shape))
    return ops.constant(rng.normal(size=shape).astype(np.float32))


def network(body):
    """Make ``x -> body(x)``, where x is the channels-last transpose of an input (2, 3, 4, 5)."""
    x = ops.parameter([2, 3, 4, 5], np.float32, "x")
    return ov.Model([body(turn(x, LAST)).output(0)], [x], "graph")


def counted(model):
    return Counter(node.get_type_name() for node in model.get_ops())["Transpose"]


def axes(*values):
    return ops.constant(np.array(values, np.int64))


CASES = {
    "unary": (lambda x: turn(ops.relu(x), FIRST), 0),
    "chain of odd orders": (
        lambda x: turn(ops.clamp(turn(x, (0, 1, 3, 2)), 0, 1), (0, 2, 1, 3)),
        0,
    ),
    "constant of every rank": (
        lambda x: turn((x * constant(3)) + constant(5, 3) - constant(1, 4, 1, 3), FIRST),
        0,
    ),
    "constant first": (lambda x: turn(ops.divide(constant(4, 5, 3), x), FIRST), 0),
    "both operands": (lambda x: turn(ops.add(ops.relu(x), ops.sigmoid(x)), FIRST), 0),
    "operands of other orders": (
        lambda x: turn(x + turn(turn(ops.relu(x), FIRST), LAST), FIRST),
        0,
    ),
    "concat": (lambda x: turn(ops.concat([x, ops.relu(x)], -1), FIRST), 0),
    "concat along rows": (lambda x: turn(ops.concat([x, ops.relu(x)], 1), FIRST), 0),
    "pad": (
        lambda x: turn(ops.pad(x, axes(0, 1, 2, 0), axes(0, 3, 0, 1), "constant"), FIRST),
        0,
    ),
    "pooled": (lambda x: ops.reduce_mean(x, axes(1, 2), False), 0),
    "pooled, other order": (lambda x: ops.reduce_max(turn(x, (3, 0, 1, 2)), axes(2, 3), False), 1),
    "axes kept": (lambda x: turn(ops.reduce_mean(x, axes(-1), True), FIRST), 0),
    "normalised": (lambda x: turn(x - ops.reduce_mean(x, axes(-1), True), FIRST), 0),
    "left behind": (lambda x: ops.matmul(x, constant(3, 6), False, False), 1),
    "result": (ops.relu, 1),
    "used twice": (
        lambda x: ops.reduce_mean(x, axes(1, 2), True) * turn(turn(x, FIRST), LAST),
        1,
    ),
}


@pytest.mark.parametrize(("body", "left"), CASES.values(), ids=CASES)
def test_the_function_stays(body, left):
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    model = network(body)
    expected = ov.compile_model(model, "CPU")(x)[0].copy()
    sink_transposes(ov, model)
    found = ov.compile_model(model, "CPU")(x)[0]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert counted(model) == left
