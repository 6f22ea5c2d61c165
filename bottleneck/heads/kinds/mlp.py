"""The classic bottleneck head: one hidden layer with dropout. Keras trains it, NumPy runs it.

Keras is imported when a network is built: predicting needs none of this.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bottleneck.backbones.keras_scope import import_training_keras
from bottleneck.errors import OptionError
from bottleneck.heads.kind import DamagedWeightsError, Learned, Params, Task, TrainingData
from bottleneck.heads.kinds.epochs import batches, cross_entropy, held_out_by_key, sides_of
from bottleneck.heads.kinds.estimator import (
    EstimatorKind,
    StreamingClassifier,
    StreamingEstimator,
    probabilities,
    probability_of_each,
)
from bottleneck.heads.kinds.linear_kind import taken
from bottleneck.heads.rows import FloatArray, Rows
from bottleneck.heads.selection.targets import strata
from bottleneck.heads.solver.row_pass import passes
from bottleneck.heads.solver.scaling import Weighting, scaled_targets, standardise


@dataclass(frozen=True)
class Loss:
    """What a network is trained by: in Keras, and in NumPy on the rows that tell when to stop.

    Parameters
    ----------
    keras : str
        The class in ``keras.losses``.
    options : mapping
        Of that class.
    of_rows : callable
        From what the network gives, float64 (n, outputs), and the truth to the loss of each row.
    """

    keras: str
    options: Params
    of_rows: Callable[[NDArray[np.float64], NDArray[Any]], NDArray[np.float64]]


def _cross_entropy_of_each(logits: NDArray[np.float64], holds: NDArray[Any]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = (np.logaddexp(0, logits) - holds * logits).mean(axis=1)
    return found


def _squared_error(said: NDArray[np.float64], truth: NDArray[Any]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = ((said - truth) ** 2).mean(axis=1)
    return found


class Perceptron(StreamingEstimator):
    """Base of the networks: ``Dense(hidden, relu), Dropout(dropout), Dense(outputs)``, streamed.

    Trained by Keras (whichever backend it uses) with Adam, in shuffled batches read from the rows;
    memory does not grow with their number. Features are standardised. The weights of the epoch of
    the least loss on held-out rows are kept, on the features as they are, so that predicting
    needs NumPy only.

    Parameters
    ----------
    hidden : int
        Units of the hidden layer.
    dropout : float
        Share of them left out in every training step, 0 or more and below 1.
    epochs : int
        Passes over the training rows at most.
    lr : float
        Learning rate of Adam.
    batch_size : int
        Rows per training step.
    patience : int
        Epochs without a smaller loss on the held-out rows, after which training ends.
    seed : int
        Decides first weights, order of the rows and dropout. On a CPU the same seed gives the
        same head with the same versions of the libraries.
    threads : int, optional
        Threads that read rows for predicting; one per core by default.

    Attributes
    ----------
    hidden_coef_, hidden_intercept_ : ndarray of float64, shapes (d, hidden) and (hidden,)
    coef_, intercept_ : ndarray of float64, shapes (hidden, outputs) and (outputs,)
    losses_ : list of float
        Loss on the held-out rows after every epoch.
    epoch_ : int
        The epoch whose weights were kept, from 1.
    """

    loss: ClassVar[Loss]

    hidden_coef_: NDArray[np.float64]
    hidden_intercept_: NDArray[np.float64]
    coef_: NDArray[np.float64]
    intercept_: NDArray[np.float64]
    losses_: list[float]
    epoch_: int

    def __init__(
        self,
        hidden: int = 256,
        *,
        dropout: float = 0.5,
        epochs: int = 50,
        lr: float = 1e-3,
        batch_size: int = 256,
        patience: int = 5,
        seed: int = 0,
        threads: int | None = None,
    ) -> None:
        self.hidden = hidden
        self.dropout = dropout
        self.epochs = epochs
        self.lr = lr
        self.batch_size = batch_size
        self.patience = patience
        self.seed = seed
        self.threads = threads

    def _check_options(self) -> None:
        counts = (self.hidden, self.epochs, self.batch_size, self.patience)
        if not all(isinstance(count, int) and count >= 1 for count in counts):
            raise ValueError(
                "expected hidden, epochs, batch_size and patience to be whole numbers of 1 or "
                f"more, got {', '.join(map(repr, counts))}"
            )
        if not (0 <= self.dropout < 1 and self.lr > 0):
            raise ValueError(
                f"expected a dropout of 0 or more and below 1 and lr above 0, got "
                f"{self.dropout!r} and {self.lr!r}"
            )

    def forward(self, block: FloatArray) -> NDArray[np.float64]:
        """Return what the last layer gives, float64 (n, outputs), of plain features (n, d)."""
        hidden = block.astype(np.float64) @ self.hidden_coef_
        hidden += self.hidden_intercept_
        np.maximum(hidden, 0, out=hidden)
        given: NDArray[np.float64] = hidden @ self.coef_ + self.intercept_
        return given

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return what the last layer gives, float64 of shape (n, outputs).

        Logits of classes, also of two, or of labels; numbers as they are.

        Parameters
        ----------
        X : array-like, h5py.Dataset or FeatureStore, shape (n, d)
        """
        rows = self._check_rows(X)
        given = np.empty((rows.shape[0], len(self.intercept_)))

        def visit(_: None, start: int, stop: int, block: FloatArray, scratch: object) -> None:
            given[start:stop] = self.forward(block)

        with passes(rows, threads=self.threads) as run:
            run.run(lambda: None, visit)
        return given


class MultilayerPerceptron(StreamingClassifier, Perceptron):
    """The network with a softmax over classes, trained by the cross entropy.

    Parameters and learned attributes are those of :class:`Perceptron`.

    Attributes
    ----------
    classes_ : ndarray, shape (classes,)
    """

    loss = Loss("SparseCategoricalCrossentropy", {"from_logits": True}, cross_entropy)

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        *,
        members: NDArray[np.bool_] | None = None,
        held_out: NDArray[np.bool_] | None = None,
    ) -> Self:
        """Train.

        Parameters
        ----------
        X : array-like, h5py.Dataset or FeatureStore, shape (n, d)
        y : array-like, shape (n,)
            Classes.
        members : ndarray of bool, shape (n,), optional
            Rows to use; all by default. The others are read past.
        held_out : ndarray of bool, shape (n,), optional
            Those of them that tell when to stop and are not learnt from; by default a tenth
            of each class.

        Raises
        ------
        ValueError
            For options out of range, a single class, or no rows on either side.
        """
        self._check_options()
        rows, codes, _ = self._begin(X, y, None)
        train(self, rows, codes, *sides_of(codes, members, held_out, seed=self.seed))
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return probabilities, float64 of shape (n, classes), rows summing to one."""
        return probabilities(self.decision_function(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the class of each row, shape (n,)."""
        predicted: NDArray[Any] = self.classes_[self.decision_function(X).argmax(axis=1)]
        return predicted


class MultiLabelPerceptron(Perceptron):
    """The network with a probability for each label, trained by the mean cross entropy of each.

    Parameters and learned attributes are those of :class:`Perceptron`.
    """

    loss = Loss("BinaryCrossentropy", {"from_logits": True}, _cross_entropy_of_each)

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        *,
        members: NDArray[np.bool_] | None = None,
        held_out: NDArray[np.bool_] | None = None,
    ) -> Self:
        """Train.

        Parameters
        ----------
        X : array-like, h5py.Dataset or FeatureStore, shape (n, d)
        y : array-like, shape (n, labels)
            1 where a label holds, else 0.
        members, held_out : ndarray of bool, shape (n,), optional
            As of :meth:`MultilayerPerceptron.fit`.

        Raises
        ------
        ValueError
            For options out of range, other values than 0 and 1, or no rows on either side.
        """
        self._check_options()
        rows, given = self._rows_and_targets(X, y, several=True)
        flags = np.asarray(given)
        if flags.ndim != 2 or not np.isin(flags, (0, 1)).all():
            raise ValueError("expected labels of 0 and 1, of shape (rows, labels)")
        sides = sides_of(strata(flags, "labels"), members, held_out, seed=self.seed)
        train(self, rows, flags.astype(np.float64), *sides)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of every label by itself, float64 of shape (n, labels)."""
        return probability_of_each(self.decision_function(X))

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return 1 where a label holds, else 0: shape (n, labels)."""
        return (self.decision_function(X) > 0).astype(np.int64)


class PerceptronRegressor(Perceptron):
    """The network that gives numbers, trained by their squared errors, each target standardised.

    Parameters and learned attributes are those of :class:`Perceptron`; ``losses_`` are of the
    standardised targets.
    """

    loss = Loss("MeanSquaredError", {}, _squared_error)

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        *,
        members: NDArray[np.bool_] | None = None,
        held_out: NDArray[np.bool_] | None = None,
    ) -> Self:
        """Train.

        Parameters
        ----------
        X : array-like, h5py.Dataset or FeatureStore, shape (n, d)
        y : array-like of numbers, shape (n, targets)
        members, held_out : ndarray of bool, shape (n,), optional
            As of :meth:`MultilayerPerceptron.fit`; by default a tenth of the rows is held out.

        Raises
        ------
        ValueError
            For options out of range, targets that are not finite, or no rows on either side.
        """
        self._check_options()
        rows, given = self._rows_and_targets(X, y, several=True, numeric=True)
        numbers = np.asarray(given, np.float64)
        if numbers.ndim != 2 or not np.isfinite(numbers).all():
            raise ValueError("expected finite numbers, of shape (rows, targets)")
        codes = strata(numbers, "numbers")
        learnt, judged = sides_of(codes, members, held_out, seed=self.seed)
        _, mean, scale = scaled_targets(numbers[learnt])
        train(self, rows, (numbers - mean) / scale, learnt, judged)
        self.coef_, self.intercept_ = self.coef_ * scale, self.intercept_ * scale + mean
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return numbers, float64 of shape (n, targets)."""
        return self.decision_function(X)


_ESTIMATORS: dict[Task, type[Perceptron]] = {
    "classes": MultilayerPerceptron,
    "labels": MultiLabelPerceptron,
    "numbers": PerceptronRegressor,
}


def _build(task: Task, params: Params) -> Any:
    return _ESTIMATORS[task](**params)


def _layers(estimator: Any) -> Sequence[tuple[NDArray[Any], NDArray[Any]]]:
    return [
        (estimator.hidden_coef_, estimator.hidden_intercept_),
        (estimator.coef_, estimator.intercept_),
    ]


@dataclass(frozen=True)
class NetworkKind(EstimatorKind):
    """The small network, which needs rows to tell when to stop."""

    def check(self, params: Params) -> None:
        """Refuse values out of range."""
        for name in ("hidden", "epochs", "batch_size"):
            if type(params[name]) is not int or params[name] < 1:
                raise OptionError(f"expected {name} to be 1 or more, got {params[name]!r}")
        for name, least in (("dropout", 0.0), ("lr", 1e-12)):
            if type(params[name]) not in (int, float) or not least <= params[name] < 1:
                raise OptionError(
                    f"expected {name} from {least:g} to below 1, got {params[name]!r}"
                )

    def fit(self, data: TrainingData, params: Params, member: NDArray[np.bool_]) -> Any:
        """Hold out a tenth of the rows, stratified and by their keys, and train on the others."""
        codes = data.y if data.task == "classes" else strata(data.y, data.task)
        held = held_out_by_key(data, codes, member)
        made = self.build(data.task, {**params, "seed": data.seed, "threads": data.threads})
        return made.fit(data.rows, data.y, members=member, held_out=held)

    def notes(self, estimator: Any) -> list[str]:
        """Say that training was cut short."""
        if estimator.epoch_ < estimator.epochs:
            return []
        return [f"the loss still fell in the last of {estimator.epochs} epochs: more may help"]

    def restore(self, weights: Learned, task: Task, params: Params, outputs: int, dim: int) -> Any:
        """Put the weights of two layers back."""
        names = ("hidden_coef", "hidden_intercept", "coef", "intercept")
        found = taken(weights, names)
        shapes = [array.shape for array in found]
        first, bias, second, last = shapes
        fit = len(first) == len(second) == 2 and bias == first[1:] == second[:1] == bias
        if not fit or last != second[1:] or any(array.dtype != np.float64 for array in found):
            raise DamagedWeightsError(f"expected float64 weights of two layers, found {shapes}")
        estimator = self.build(task, params)
        for name, array in zip(names, found, strict=True):
            setattr(estimator, f"{name}_", array)
        if task == "classes":
            estimator.classes_ = np.arange(last[0])
        estimator.n_features_in_ = first[0]
        return estimator


KIND = NetworkKind(
    name="mlp",
    description="one hidden layer with dropout, trained by Keras; gives probabilities",
    tasks=("classes", "labels", "numbers"),
    build=_build,
    settings={"hidden": 256, "dropout": 0.5, "epochs": 50, "lr": 1e-3, "batch_size": 256},
    learned=("hidden_coef_", "hidden_intercept_", "coef_", "intercept_"),
    engines=("keras",),
    few_rows=0,
    dense=_layers,
)


def train(
    head: Perceptron,
    rows: Rows,
    y: NDArray[Any],
    learnt: NDArray[np.bool_],
    judged: NDArray[np.bool_],
) -> None:
    """Train a head on some rows until the loss on others falls no more, and give it its weights.

    Parameters
    ----------
    head : Perceptron
        Its options decide; its learned attributes are set.
    rows : Rows, shape (n, d)
        Features.
    y : ndarray of int64, shape (n,); or of float64, shape (n, targets)
        Codes; or labels of 0 and 1, or numbers.
    learnt, judged : ndarray of bool, shape (n,)
        Rows to learn from, and to judge every epoch by.

    Raises
    ------
    RuntimeUnavailableError
        When Keras or its backend cannot be imported.
    """
    with passes(rows, threads=head.threads) as run:
        scaling = standardise(run, Weighting(y, learnt[None]))
    mean, scale = scaling.mean[0], scaling.scale[0]
    model = build(rows.shape[1], int(y.max()) + 1 if y.ndim == 1 else y.shape[1], head)
    rng = np.random.default_rng(head.seed)
    best: list[NDArray[np.float64]] = []
    least, epoch = float("inf"), 0  # not from the losses: one that is NaN would be their minimum
    losses: list[float] = []
    for _ in range(head.epochs):
        for X, truth in batches(rows, y, learnt, head.batch_size, rng):
            Z = (X - mean.astype(X.dtype)) / scale.astype(X.dtype)
            model.train_on_batch(Z.astype(np.float32, copy=False), truth)
        weights = _unscaled([np.asarray(w, np.float64) for w in model.get_weights()], mean, scale)
        _take(head, weights)
        losses.append(_loss(head, rows, y, judged))
        if losses[-1] < least:
            best, least, epoch = weights, losses[-1], len(losses)
        if not np.isfinite(losses[-1]) or len(losses) - epoch >= head.patience:
            break
    if not best:
        raise ValueError("expected a finite loss, training diverged: give a smaller lr")
    _take(head, best)
    head.losses_, head.epoch_ = losses, epoch


def build(dim: int, outputs: int, head: Perceptron) -> Any:
    """Build the Keras model, from standardised features to logits or numbers, compiled."""
    keras = import_training_keras()
    seeds = np.random.SeedSequence(head.seed).generate_state(3).tolist()
    first, second = (keras.initializers.GlorotUniform(seed=seed) for seed in seeds[:2])
    layers = [
        keras.layers.Input((dim,)),
        keras.layers.Dense(head.hidden, "relu", kernel_initializer=first, dtype="float32"),
        keras.layers.Dropout(head.dropout, seed=seeds[2], dtype="float32"),
        keras.layers.Dense(outputs, kernel_initializer=second, dtype="float32"),
    ]
    model = keras.Sequential(layers)
    model.compile(
        optimizer=keras.optimizers.Adam(head.lr),
        loss=getattr(keras.losses, head.loss.keras)(**head.loss.options),
        jit_compile=keras.backend.backend() == "jax",
    )
    return model


def _unscaled(
    weights: list[NDArray[np.float64]], mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Fold the standardisation into the first layer."""
    first, bias, second, intercept = weights
    folded = first / scale[:, None]
    return [folded, bias - mean @ folded, second, intercept]


def _take(head: Perceptron, weights: list[NDArray[np.float64]]) -> None:
    head.hidden_coef_, head.hidden_intercept_, head.coef_, head.intercept_ = weights


def _loss(head: Perceptron, rows: Rows, y: NDArray[Any], judged: NDArray[np.bool_]) -> float:
    """Mean loss on the held-out rows, by the forward pass that predicts."""

    def visit(
        total: NDArray[np.float64], start: int, stop: int, block: FloatArray, scratch: object
    ) -> None:
        chosen = np.flatnonzero(judged[start:stop])
        if len(chosen):
            given = head.forward(block[chosen])
            total += head.loss.of_rows(given, y[start:stop][chosen]).sum()

    with passes(rows, threads=head.threads) as run:
        parts = run.run(lambda: np.zeros(1), visit)
    return float(sum(float(part[0]) for part in parts) / judged.sum())
