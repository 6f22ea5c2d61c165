"""Training of what is behind the frozen part: rates, schedule, checkpoints, the best epoch."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.adapt.maps import Maps
from bottleneck.errors import HeadError
from bottleneck.npy import load_arrays
from bottleneck.progress import Progress
from bottleneck.writing import written_whole

CHECKPOINT_VERSION: Final = 1


@dataclass(frozen=True)
class Rates:
    """How fast weights move.

    Parameters
    ----------
    backbone, head : float
        Highest rates of the backbone's layers, low, and of the head's.
    warmup : float
        Share of all steps in which rates rise from zero; then they fall by a cosine.
    weight_decay : float
        Of kernels, per step, times the rate (decoupled, as AdamW has it).
    """

    backbone: float
    head: float
    warmup: float
    weight_decay: float

    def at(self, step: int, steps: int) -> float:
        """Return the share of the rates at a step of so many (I. Loshchilov, F. Hutter, 2017)."""
        warm = max(1, round(self.warmup * steps))
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


@dataclass(frozen=True, eq=False)
class Rows:
    """Labelled images.

    Parameters
    ----------
    rows : ndarray of int64, shape (n,)
        In the source, ascending.
    y : ndarray of int64, shape (n,)
        Codes of classes.
    """

    rows: NDArray[np.int64]
    y: NDArray[np.int64]

    def labels(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the codes of some of the rows."""
        found: NDArray[np.int64] = self.y[np.searchsorted(self.rows, rows)]
        return found


@dataclass(frozen=True)
class Plan:
    """How long, in which batches, with which loss.

    Parameters
    ----------
    epochs, patience, batch_size, views, seed : int
    label_smoothing : float
    class_weights : sequence of float
        Weight of a row by its class.
    rates : Rates
    """

    epochs: int
    patience: int
    batch_size: int
    views: int
    seed: int
    label_smoothing: float
    class_weights: Sequence[float]
    rates: Rates


@dataclass
class Checkpoint:
    """What a run has done so far, on disk after every epoch.

    Parameters
    ----------
    path : Path
    identity : str
        Changes with whatever decides the weights; another one is not resumed.
    finished : dict
        By the name of a training, its outcome.
    current : dict
        State of the training that was under way, empty between trainings.
    arrays : dict of str to ndarray
        Its weights.
    failed : dict of int to str
        Rows of images that failed, with the reason: a training that is finished is not run again,
        and its images are not looked at.
    """

    path: Path
    identity: str
    finished: dict[str, Any] = field(default_factory=dict)
    current: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)

    @classmethod
    def opened(cls, path: Path, identity: str) -> "Checkpoint":
        """Read what an earlier run left, if it was the same run."""
        if path.exists():
            try:
                arrays = load_arrays(path)
                told = json.loads(str(arrays.pop("told")))
            except (OSError, ValueError, KeyError) as error:
                raise HeadError(
                    f"expected a checkpoint of an earlier run in {path}, got: {error}",
                    hint="Remove it to start over.",
                ) from error
            if told["identity"] == identity and told["version"] == CHECKPOINT_VERSION:
                failed = {int(row): why for row, why in told.get("failed", {}).items()}
                return cls(path, identity, told["finished"], told["current"], arrays, failed)
        return cls(path, identity)

    def save(self) -> None:
        """Write it whole or not at all."""
        told = {
            "version": CHECKPOINT_VERSION,
            "identity": self.identity,
            "finished": self.finished,
            "current": self.current,
            "failed": self.failed,
        }
        with written_whole(self.path) as temporary, temporary.open("wb") as stream:
            arrays: dict[str, Any] = {"told": np.array(json.dumps(told)), **self.arrays}
            np.savez(stream, **arrays)


def train(
    name: str,
    model: Any,
    *,
    keras: Any,
    fast: Sequence[Any],
    maps: Maps,
    plan: Plan,
    rows: Rows,
    validation: Rows | None,
    checkpoint: Checkpoint,
    progress: Progress,
    until: int | None = None,
) -> dict[str, Any]:
    """Train a model from the weights it has; leave it with those of its best epoch.

    Parameters
    ----------
    name : str
        Of this training, among those of the run.
    model : keras.Model
        From maps to probabilities; what is to stay is not trainable.
    keras : module
    fast : sequence of variables
        Those with the head's rate.
    maps : Maps
    plan : Plan
    rows, validation : Rows
        Rows to train on; rows that decide which epoch is the best, where there are any.
    checkpoint : Checkpoint
        Resumed from, if it was in this training, and written after every epoch.
    progress : Progress
    until : int, optional
        Epochs after which to stop, of a schedule of ``plan.epochs``; without validation.

    Returns
    -------
    dict
        ``best_epoch`` (0: before the first step), ``history`` with an entry for every epoch,
        and ``right``: whether each validation row is right at the best epoch.
    """
    optimizer = _optimizer(keras, plan.rates, fast)
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=plan.label_smoothing),
        jit_compile=keras.backend.backend() == "jax",
    )
    optimizer.build(model.trainable_variables)
    state = _Learning(keras, model, optimizer)
    history: list[dict[str, Any]] = []
    best: dict[str, Any] = {"epoch": 0, "log_loss": math.inf, "right": []}
    if checkpoint.current.get("name") == name:
        history, best = checkpoint.current["history"], checkpoint.current["best"]
        state.restore(checkpoint.arrays)
        progress.note(f"resumed {name} after epoch {len(history) - 1}")
    steps_each = -(-len(rows.rows) // plan.batch_size)
    identity = np.eye(len(plan.class_weights), dtype=np.float32)
    weights = np.asarray(plan.class_weights, np.float32)

    def judged(entry: dict[str, Any]) -> None:
        if validation is not None:
            found, y = answers(model, maps, validation)
            loss = -np.log(np.maximum(found[np.arange(len(y)), y], 1e-12)).mean()
            right = found.argmax(axis=1) == y
            entry |= {"val_log_loss": float(loss), "val_accuracy": float(right.mean())}
            if loss < best["log_loss"]:
                best.update(epoch=entry["epoch"], log_loss=float(loss), right=right.tolist())
                state.keep()
        history.append(entry)
        checkpoint.current = {"name": name, "history": history, "best": best}
        checkpoint.arrays = state.arrays()
        checkpoint.save()
        progress.working(_told(name, entry, plan.epochs))

    if not history:
        state.keep()
        judged({"epoch": 0, "loss": None, "rate": 0.0})
    for epoch in range(len(history), (until or plan.epochs) + 1):
        if validation is not None and epoch - 1 - best["epoch"] >= plan.patience:
            break
        order = np.random.default_rng([plan.seed, epoch]).permutation(rows.rows)
        view = (epoch - 1) % plan.views
        step, total, count = (epoch - 1) * steps_each, 0.0, 0
        for part, values in maps.batches(order, view, plan.batch_size):
            share = plan.rates.at(step, steps_each * plan.epochs)
            optimizer.learning_rate = plan.rates.backbone * share
            y = rows.labels(part)
            model.reset_metrics()  # the loss is else the mean of all batches so far
            loss = model.train_on_batch(values, identity[y], sample_weight=weights[y])
            total, count, step = total + float(loss) * len(part), count + len(part), step + 1
            progress.working(f"{name}: epoch {epoch}, {count} of {len(order)} images")
        judged({
            "epoch": epoch,
            "loss": total / max(count, 1),
            "rate": plan.rates.backbone * plan.rates.at(step - 1, steps_each * plan.epochs),
        })  # fmt: skip
        if not math.isfinite(total):
            if validation is None:
                raise HeadError(
                    f"expected a finite loss, got {total} in epoch {epoch} of {name}",
                    hint="Lower --rate and --head-rate.",
                )
            break
    if validation is not None:
        state.return_best()
    return {"best_epoch": best["epoch"], "history": history, "right": best["right"]}


def answers(model: Any, maps: Maps, rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return probabilities of plain images, and the labels of those that could be decoded."""
    found: list[NDArray[np.float64]] = []
    y: list[NDArray[np.int64]] = []
    for part, values in maps.batches(rows.rows, 0, 64):
        found.append(np.asarray(model.predict_on_batch(values), np.float64))
        y.append(rows.labels(part))
    return np.concatenate(found), np.concatenate(y)


def _told(name: str, entry: Mapping[str, Any], epochs: int) -> str:
    told = f"{name}: epoch {entry['epoch']} of {epochs}"
    if "val_accuracy" in entry:
        told += f", {entry['val_accuracy']:.1%} right, log loss {entry['val_log_loss']:.4f}"
    return told


class _Learning:
    """A model and its optimiser as arrays: saved, restored, and the best ones kept."""

    def __init__(self, keras: Any, model: Any, optimizer: Any) -> None:
        self._numpy = keras.ops.convert_to_numpy
        # What random layers draw from is among the variables, not among the weights.
        self._model = _unique(model.variables)
        self._optimizer = list(optimizer.variables)
        self._best: list[NDArray[Any]] = []

    def _array(self, variable: Any) -> NDArray[Any]:
        return np.array(self._numpy(variable))

    def keep(self) -> None:
        """Take the present weights for the best."""
        self._best = [self._array(one) for one in self._model]

    def return_best(self) -> None:
        """Go back to the best weights."""
        for variable, value in zip(self._model, self._best, strict=True):
            variable.assign(value)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all of it by name."""
        groups: Mapping[str, list[NDArray[Any]]] = {
            "model": [self._array(one) for one in self._model],
            "optimizer": [self._array(one) for one in self._optimizer],
            "best": self._best,
        }
        return {f"{group}_{i}": one for group, of in groups.items() for i, one in enumerate(of)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Become what :meth:`arrays` returned."""
        for group, variables in (("model", self._model), ("optimizer", self._optimizer)):
            for i, variable in enumerate(variables):
                variable.assign(arrays[f"{group}_{i}"])
        self._best = [arrays[f"best_{i}"] for i in range(len(self._model))]


def _unique(variables: Sequence[Any]) -> list[Any]:
    return list({id(one): one for one in variables}.values())


def _optimizer(keras: Any, rates: Rates, fast: Sequence[Any]) -> Any:
    """Make Adam with two rates and decoupled weight decay that follows them."""
    quick: set[Any] = set()
    ratio = rates.head / rates.backbone

    class TwoRates(keras.optimizers.Adam):  # type: ignore[misc]  # untyped base
        """Adam whose rate depends on the variable."""

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            """Move one variable."""
            own = learning_rate * (ratio if self._var_key(variable) in quick else 1.0)
            if rates.weight_decay and len(variable.shape) > 1:
                self.assign_sub(variable, variable * own * rates.weight_decay)
            super().update_step(gradient, variable, own)

    optimizer = TwoRates(learning_rate=rates.backbone)
    # A framework's own variable stands for Keras's in a step; this key is the same of both.
    quick.update(optimizer._var_key(one) for one in fast)
    return optimizer
