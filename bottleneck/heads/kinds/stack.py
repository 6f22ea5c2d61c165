"""A small network on any layer's map: declared layers, then one output per class; Keras runs it.

Features are maps with all their numbers (``extract --pool none``). Their channels are
standardised by constants, which are no parameters; what declares the layers is read once, so that
a head's file needs nothing but itself.
"""

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bottleneck.backbones.keras_scope import import_keras, isolated
from bottleneck.backbones.layer_files import apply_layers, require_layers
from bottleneck.errors import OptionError
from bottleneck.heads.kind import DamagedWeightsError, Learned, Params, Task, TrainingData
from bottleneck.heads.kinds.epochs import batches, cross_entropy, held_out_by_key, sides_of
from bottleneck.heads.kinds.estimator import EstimatorKind, StreamingClassifier, probabilities
from bottleneck.heads.matrix import map_shape
from bottleneck.heads.rows import FloatArray, Rows
from bottleneck.heads.solver.engines import keras_place

if TYPE_CHECKING:
    from bottleneck.runtimes import Placed

MAP: Final = "map"
"""The layer that makes maps of rows of numbers: the features are its input."""

_OWN: Final = (MAP, "standardised", "head", "features", "images", "found", "probabilities")
"""Names that declared layers cannot have, since they become parts of models."""

DEFAULT: Final = "default"
"""The word for the declaration in this folder."""

_BATCH: Final = 64
"""Rows of a forward pass."""

_COMPUTING: Final = Lock()
"""TensorFlow's networks are not for two threads on a CPU: see
:class:`bottleneck.runtimes.tensorflow.OneAtATime`."""

_SHAPE: Final = re.compile(r"(\d+)x(\d+)x(\d+)")


class StackedNetwork(StreamingClassifier):
    """Declared layers behind standardised maps, and ``Dense(classes)`` behind them, streamed.

    Trained by Keras with Adam on the cross entropy, in shuffled batches read from the rows. The
    weights of the epoch of the least loss on held-out rows are kept.

    Parameters
    ----------
    net : str
        What declares the layers: ``FILE.toml``, ``FILE.keras`` or ``module:function``; ``default``:
        a convolution of 64, pooling, 256 dense units, dropout. Or the description of a fitted
        network (:attr:`description_`), whose layers and scaling are taken.
    shape : str
        ``HEIGHTxWIDTHxCHANNELS`` of the maps; by default what the rows say.
    epochs : int
        Passes over the training rows at most.
    lr : float
        Learning rate of Adam.
    batch_size : int
        Rows per training step.
    patience : int
        Epochs without a smaller loss on the held-out rows, after which training ends.
    seed : int
        Decides first weights, order of the rows and dropout.
    device : str, optional
        What it is fitted on and computes on: ``cpu``, ``gpu`` or ``gpu:N``; see
        :func:`bottleneck.runtimes.placed`. In another process: the default.
        A loaded one: see :meth:`bottleneck.heads.Head.load`.

    Attributes
    ----------
    description_ : str
        JSON: ``shape``, ``offset`` and ``scale`` of each channel, and ``layers``: the declared
        ones as Keras describes them.
    weights_ : list of ndarray
        Of the whole network, as Keras has them.
    classes_ : ndarray, shape (classes,)
    losses_ : list of float
        Loss on the held-out rows after every epoch.
    epoch_ : int
        The epoch whose weights were kept, from 1.
    """

    description_: str
    weights_: list[NDArray[Any]]
    losses_: list[float]
    epoch_: int

    def __init__(
        self,
        net: str = DEFAULT,
        *,
        shape: str = "",
        epochs: int = 50,
        lr: float = 1e-3,
        batch_size: int = 64,
        patience: int = 5,
        seed: int = 0,
        device: str | None = None,
    ) -> None:
        self.net = net
        self.shape = shape
        self.epochs = epochs
        self.lr = lr
        self.batch_size = batch_size
        self.patience = patience
        self.seed = seed
        self.device = device

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
        X : array-like, h5py.Dataset or FeatureStore, shape (n, height x width x channels)
        y : array-like, shape (n,)
            Classes.
        members : ndarray of bool, shape (n,), optional
            Rows to use; all by default.
        held_out : ndarray of bool, shape (n,), optional
            Those of them that tell when to stop and are not learnt from; by default a tenth of
            each class.
        """
        rows, codes, _ = self._begin(X, y, None)
        learnt, judged = sides_of(codes, members, held_out, seed=self.seed)
        self._network = None
        place = keras_place(self.device)
        with place.scope(), isolated(place.framework) as keras:
            random.seed(self.seed)  # which first weights and dropout are drawn from
            about, start = self._about(keras, rows, learnt)
            self.description_ = json.dumps(about)
            model = _network(keras, about, len(self.classes_))
            for name, weights in start.items():
                model.get_layer(name).set_weights(weights)
            self._train(keras, model, place, rows=rows, codes=codes, learnt=learnt, judged=judged)
        return self

    def _about(
        self, keras: Any, rows: Rows, learnt: NDArray[np.bool_]
    ) -> tuple[dict[str, Any], dict[str, list[NDArray[Any]]]]:
        """Describe the network; also return first weights of its layers by name."""
        if self.net.startswith("{"):
            return dict(json.loads(self.net)), {}
        known = map_shape(rows)
        sides = parse_shape(self.shape) if self.shape else known
        if known is not None and sides != known:
            raise OptionError(
                f"expected the shape {'x'.join(map(str, known))}, of which these maps are, got"
                f" {self.shape}",
                hint="Leave shape out.",
            )
        if sides is None:
            raise OptionError(
                "expected features that are maps (extract --pool none), or the shape of the maps "
                "they are, got neither",
                hint="--set shape=HEIGHTxWIDTHxCHANNELS.",
            )
        if int(np.prod(sides)) != rows.shape[1]:
            raise OptionError(
                f"expected maps of {rows.shape[1]} numbers, got the shape"
                f" {'x'.join(map(str, sides))}, which has {int(np.prod(sides))}"
            )
        given = keras.Input(sides, name="maps")
        found = apply_layers(keras, _file(self.net), given, set(_OWN))
        if len(found.shape) != 2 or found.shape[1] is None:
            raise OptionError(
                f"{self.net}: expected layers that end in a vector, got the shape"
                f" {tuple(found.shape[1:])}",
                hint="Flatten or GlobalAveragePooling2D makes one of a map.",
            )
        declared = keras.Model(given, found, name="declared")
        layers = json.loads(declared.to_json())
        strange = _strange(layers)
        if strange is not None:
            raise OptionError(
                f"{self.net}: expected layers of Keras, which a head's file can hold, got {strange}"
            )
        mean, scale = channels_of(rows, learnt, sides[-1])
        about = {
            "shape": list(sides),
            "offset": (-mean / scale).tolist(),
            "scale": (1 / scale).tolist(),
            "layers": layers,
        }
        return about, {one.name: one.get_weights() for one in declared.layers if one.weights}

    def _train(
        self,
        keras: Any,
        model: Any,
        place: "Placed",
        *,
        rows: Rows,
        codes: NDArray[np.int64],
        learnt: NDArray[np.bool_],
        judged: NDArray[np.bool_],
    ) -> None:
        model.compile(
            optimizer=keras.optimizers.Adam(self.lr),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=keras.backend.backend() == "jax",
        )
        rng = np.random.default_rng(self.seed)
        self.losses_, self.epoch_, least = [], 0, float("inf")
        for _ in range(self.epochs):
            for X, truth in batches(rows, codes, learnt, self.batch_size, rng):
                model.train_on_batch(X.astype(np.float32, copy=False), truth)
            with place.exact():
                self.losses_.append(_loss(model, rows, codes, judged))
            if self.losses_[-1] < least:
                least, self.epoch_ = self.losses_[-1], len(self.losses_)
                self.weights_ = [np.array(w) for w in model.get_weights()]
            stale = len(self.losses_) - self.epoch_ >= self.patience
            if stale or not np.isfinite(self.losses_[-1]):
                break
        if not self.epoch_:
            raise ValueError("expected a finite loss, training diverged: give a smaller lr")

    def applied(self, keras: Any, features: Any) -> Any:
        """Put the fitted layers, made anew, behind a tensor of features; return the logits."""
        network = _network(keras, json.loads(self.description_), len(self.classes_))
        network.set_weights(self.weights_)
        return network._run_through_graph([features], operation_fn=_itself)

    def named_weights(self) -> dict[str, list[NDArray[Any]]]:
        """Return the weights of each layer by its name."""
        with self._computing() as network:
            return {layer.name: layer.get_weights() for layer in network.layers if layer.weights}

    def count_params(self) -> int:
        """Return how many parameters it has; all are trained."""
        with self._computing() as network:
            return int(network.count_params())

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return logits, float64 of shape (n, classes), also for two classes.

        Parameters
        ----------
        X : array-like, h5py.Dataset or FeatureStore, shape (n, height x width x channels)
        """
        rows = self._check_rows(X)
        scratch: dict[str, FloatArray] = {}
        n = rows.shape[0]
        logits = np.empty((n, len(self.classes_)))
        with self._computing() as network:
            for start in range(0, n, _BATCH):
                block = rows.read(start, min(start + _BATCH, n), scratch)
                logits[start : start + len(block)] = _logits(network, block)
        return logits

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return probabilities, float64 of shape (n, classes), rows summing to one."""
        return probabilities(self.decision_function(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the class of each row, shape (n,)."""
        predicted: NDArray[Any] = self.classes_[self.decision_function(X).argmax(axis=1)]
        return predicted

    def compute_on(
        self, device: str | None, tell: Callable[[str], None] = lambda told: None
    ) -> None:
        """Compute on a device from now on; see :func:`bottleneck.runtimes.placed`."""
        _place(device, tell)  # refused here, not when it is asked
        self.device, self._network = device, None

    @contextmanager
    def _computing(self) -> Iterator[Any]:
        """Enter the device it computes on, in float32; yield the network, which is made there."""
        place = _place(self.device)
        with place.scope():
            if getattr(self, "_network", None) is None:
                with isolated(place.framework) as keras:
                    about = json.loads(self.description_)
                    network = _network(keras, about, len(self.classes_))
                    network.set_weights(self.weights_)
                self._network = network
            with place.exact(), _COMPUTING:
                yield self._network

    def __getstate__(self) -> Any:
        """Leave out the network, made again of its description, and the device: of this process."""
        return {**super().__getstate__(), "_network": None, "device": None}


def _place(device: str | None, tell: Callable[[str], None] = lambda told: None) -> "Placed":
    """Find a device of Keras, which may be one that only computes."""
    from bottleneck.runtimes import placed  # late, as in keras_place

    return placed(str(import_keras().backend.backend()), device, tell)


def _logits(network: Any, block: FloatArray) -> NDArray[np.float64]:
    said = network.predict_on_batch(block.astype(np.float32, copy=False))
    return np.asarray(said, np.float64)


def _loss(network: Any, rows: Rows, codes: NDArray[np.int64], judged: NDArray[np.bool_]) -> float:
    """Mean cross entropy on the held-out rows."""
    total = 0.0
    order = np.random.default_rng(0)
    for X, truth in batches(rows, codes, judged, _BATCH, order):
        total += float(cross_entropy(_logits(network, X), truth).sum())
    return total / int(judged.sum())


def _file(net: str) -> str:
    return str(Path(__file__).with_name("stack.toml")) if net == DEFAULT else net


def _network(keras: Any, about: Mapping[str, Any], classes: int) -> Any:
    """Make the network, from rows of numbers to logits."""
    sides = tuple(about["shape"])
    given = keras.Input((int(np.prod(sides)),), name="features")
    x = keras.layers.Reshape(sides, name=MAP)(given)
    x = keras.layers.Rescaling(about["scale"], about["offset"], name="standardised")(x)
    declared = keras.models.model_from_json(json.dumps(about["layers"]))
    x = declared._run_through_graph([x], operation_fn=_itself)
    x = keras.layers.Dense(classes, name="head")(x)
    return keras.Model(given, x, name="stack")


def _itself(operation: Any) -> Any:
    return operation


def _strange(config: Any) -> str | None:
    """Name what is not of Keras, or runs code, in a description of a model; None if nothing is."""
    if isinstance(config, list):
        return next((found for one in config if (found := _strange(one)) is not None), None)
    if not isinstance(config, dict):
        return None
    name, module = config.get("class_name"), config.get("module")
    if "module" in config and not (module is None or re.match(r"keras(\.|$)", str(module))):
        return f"{module}.{name}"
    if name in ("Lambda", "function") or (
        name is not None and "module" not in config and not str(name).startswith("__")
    ):
        return str(name)
    return _strange(list(config.values()))


def parse_shape(text: str) -> tuple[int, int, int]:
    """Read ``40x40x128``.

    Raises
    ------
    OptionError
        For anything else.
    """
    found = _SHAPE.fullmatch(str(text).lower())
    if found is None or not all(int(side) for side in found.groups()):
        raise OptionError(f"expected shape=HEIGHTxWIDTHxCHANNELS, got {text!r}")
    height, width, channels = map(int, found.groups())
    return height, width, channels


def channels_of(
    rows: Rows, member: NDArray[np.bool_], channels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of each channel over the places of some rows' maps."""
    total, squares, count = np.zeros(channels), np.zeros(channels), 0
    scratch: dict[str, FloatArray] = {}
    n = rows.shape[0]
    for start in range(0, n, _BATCH):
        stop = min(start + _BATCH, n)
        if not member[start:stop].any():
            continue
        block = rows.read(start, stop, scratch)[member[start:stop]]
        places = block.reshape(-1, channels).astype(np.float64)
        total += places.sum(axis=0)
        squares += np.square(places).sum(axis=0)
        count += len(places)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return mean, np.where(deviation > 0, deviation, 1.0)


def _build(task: Task, params: Params) -> StackedNetwork:
    return StackedNetwork(**params)


@dataclass(frozen=True)
class StackKind(EstimatorKind):
    """The declared network."""

    def check(self, params: Params) -> None:
        """Refuse values out of range, and what declares no layers."""
        for name in ("epochs", "batch_size", "patience"):
            if type(params[name]) is not int or params[name] < 1:
                raise OptionError(f"expected {name} to be 1 or more, got {params[name]!r}")
        if type(params["lr"]) not in (int, float) or not 0 < params["lr"] < 1:
            raise OptionError(f"expected lr above 0 and below 1, got {params['lr']!r}")
        net = params["net"]
        if not isinstance(net, str):  # --set reads numbers, lists and tables
            raise OptionError(
                f"expected net to be what declares layers, got {net!r}",
                hint="FILE.toml, FILE.keras or module:function.",
            )
        if not net.startswith("{"):
            require_layers(_file(net))
        if params["shape"]:
            parse_shape(params["shape"])

    def fit(self, data: TrainingData, params: Params, member: NDArray[np.bool_]) -> Any:
        """Hold out a tenth of the rows, stratified and by their keys, and train on the others."""
        held = held_out_by_key(data, data.y, member)
        made = StackedNetwork(**params, seed=data.seed, device=data.device)
        return made.fit(data.rows, data.y, members=member, held_out=held)

    def notes(self, estimator: Any) -> list[str]:
        """Say that training was cut short, and how large the network is."""
        told = [f"{estimator.count_params():,} parameters, best after epoch {estimator.epoch_}"]
        if estimator.epoch_ == estimator.epochs:
            told.append("the loss still fell in the last epoch: more may help")
        return told

    def weights(self, estimator: Any) -> Learned:
        """Return what describes the network, and its weights."""
        told = np.frombuffer(estimator.description_.encode(), np.uint8)
        arrays = {f"weight_{i:03}": one for i, one in enumerate(estimator.weights_)}
        return Learned({"description": told, **arrays})

    def restore(self, weights: Learned, task: Task, params: Params, outputs: int, dim: int) -> Any:
        """Describe the network again; it is made when it is asked."""
        arrays = dict(weights.arrays)
        told = arrays.get("description")
        if told is None or told.dtype != np.uint8:
            raise DamagedWeightsError("no description of its network")
        about = json.loads(told.tobytes())
        strange = _strange(about["layers"])
        if strange is not None:
            raise DamagedWeightsError(f"layers that are not of Keras: {strange}")
        if int(np.prod(about["shape"])) != dim:
            raise DamagedWeightsError(f"maps of {about['shape']} for features of {dim}")
        estimator = StackedNetwork(**params)
        estimator.description_ = told.tobytes().decode()
        names = sorted(name for name in arrays if name.startswith("weight_"))
        estimator.weights_ = [arrays[name] for name in names]
        if not all(np.isfinite(one).all() for one in estimator.weights_):
            raise DamagedWeightsError("weights that are not finite")
        estimator.classes_, estimator.n_features_in_ = np.arange(outputs), dim
        return estimator


KIND = StackKind(
    name="stack",
    description="a declared network on a layer's map, trained by Keras; gives probabilities",
    build=_build,
    settings={
        "net": DEFAULT,
        "shape": "",
        "epochs": 50,
        "lr": 1e-3,
        "batch_size": 64,
        "patience": 5,
    },
    learned=(),
    engines=("keras",),
    few_rows=0,
)
