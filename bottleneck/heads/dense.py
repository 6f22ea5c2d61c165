"""A head as layers: what graphs of other programs, and models with its backbone, are made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import HeadError
from bottleneck.heads.head import Head
from bottleneck.heads.registry import head_kind

Answer = Literal["softmax", "sigmoid", "scores"]
"""What becomes of the sums of the last layer."""


@dataclass(frozen=True, eq=False)
class DenseForm:
    """Dense layers with ReLU between them, and how their sums are read.

    Parameters
    ----------
    layers : sequence of (ndarray of float64, ndarray of float64)
        Weights (in, out) and biases (out,); features are taken as they are, what standardised
        them is in the first weights. The last has a column per class, of two classes too.
    answer : {"softmax", "sigmoid", "scores"}
        ``scores``: of heads without probabilities, and numbers.
    factor : float
        What makes logits of the sums.
    """

    layers: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]
    answer: Answer
    factor: float


@dataclass(frozen=True, eq=False)
class NetworkForm:
    """A head that is a network of Keras, and how what it gives is read.

    Parameters
    ----------
    applied : callable
        From Keras and a tensor of features to logits, through new layers with the head's weights.
    named_weights : callable
        Returns the weights of each of its layers by name.
    answer : {"softmax", "sigmoid", "scores"}
    """

    applied: Callable[[Any, Any], Any]
    named_weights: Callable[[], Mapping[str, Sequence[NDArray[Any]]]]
    answer: Answer = "softmax"


def head_form(head: Head) -> DenseForm | NetworkForm:
    """Take a head apart into what a Keras model can be made of.

    Raises
    ------
    HeadError
        For a head that is neither dense layers nor a network of Keras.
    """
    estimator: Any = head.estimator
    if hasattr(estimator, "applied"):
        return NetworkForm(estimator.applied, estimator.named_weights)
    return dense_form(head)


def dense_form(head: Head) -> DenseForm:
    """Take a head apart.

    Raises
    ------
    HeadError
        For a head that is no dense layers.
    """
    layers = [
        (np.asarray(weights, np.float64), np.asarray(bias, np.float64))
        for weights, bias in head_kind(head.kind).layers(head.estimator)
    ]
    if not layers:
        raise HeadError(
            f"expected a head of dense layers, which ONNX can hold, got {head.kind}",
            hint="The linear heads and mlp are; a stack is exported with its backbone (--deploy);"
            " skl2onnx converts classifiers of scikit-learn.",
        )
    coef, intercept = layers[-1]
    two = head.task == "classes" and coef.shape[1] == 1
    if two:  # the columns of Head.scores
        coef = np.concatenate([-coef, coef], axis=1)
        intercept = np.concatenate([-intercept, intercept])
        layers[-1] = coef, intercept
    if head.task == "labels":
        return DenseForm(layers, "sigmoid", 1.0)
    factor = _factor(head, two) if head.task == "classes" else None
    return DenseForm(layers, "scores" if factor is None else "softmax", factor or 1.0)


def _factor(head: Head, two: bool) -> float | None:
    """Return what makes logits of scores; None where there are no probabilities."""
    temperature = head.report.get("temperature")
    if temperature is not None:
        return 1 / float(temperature)
    if not hasattr(head.estimator, "predict_proba"):
        return None
    return 0.5 if two else 1.0  # softmax(-z / 2, z / 2) is the logistic function of z
