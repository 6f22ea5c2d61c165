"""Any classifier or regressor of scikit-learn as a head, by its import path, in memory.

Features are standardised in front of it, as for the heads of the catalogue. There is no grid:
its parameters are given, and cross-validation says what they are worth.
"""

import inspect
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Literal

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from bottleneck.errors import HeadError, OptionError
from bottleneck.exhaustion import raise_if_exhausted
from bottleneck.heads.kind import DamagedWeightsError, Learned, Params, Task, TrainingData
from bottleneck.heads.kinds.estimator import columns_of
from bottleneck.heads.selection.targets import score_of
from bottleneck.heads.solver.engine import EngineName
from bottleneck.memory import available_memory


def dump(estimator: Any) -> bytes:
    """Write a fitted pipeline as skops does, without pickle.

    Raises
    ------
    HeadError
        For what skops would not read without being told to trust it.
    """
    from skops import io

    content: bytes = io.dumps(estimator)
    untrusted = io.get_untrusted_types(data=content)
    if untrusted:
        raise HeadError(
            f"cannot save this head without pickle: it holds {', '.join(untrusted)}",
            hint="Choose another classifier; the catalogue's heads can always be saved.",
        )
    return content


def load(content: bytes) -> Any:
    """Read what :func:`dump` wrote; builds types that skops trusts by itself, no others."""
    from skops import io

    untrusted = io.get_untrusted_types(data=content)
    if untrusted:
        raise HeadError(f"the head holds types that are not trusted: {', '.join(untrusted)}")
    return io.loads(content)


_COPIES = 3
"""Matrices in memory at once: the rows, those of a fold, and them standardised."""

_PARALLEL_SECONDS = 10.0
"""Seconds of fits above which worker processes do them, which take a second or two to start."""

_HINT = "Give the path of a classifier or regressor: --head sklearn.svm.SVC --set kernel=rbf."


def estimator_class(path: str) -> type:
    """Import a classifier or regressor of scikit-learn.

    Raises
    ------
    OptionError
        For what is not there or is neither.
    """
    module, _, name = path.rpartition(".")
    if module.partition(".")[0] != "sklearn":
        raise OptionError(f"expected an estimator of scikit-learn, got {path!r}", hint=_HINT)
    from sklearn.base import ClassifierMixin, RegressorMixin

    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise OptionError(f"there is no {path!r}: {error}", hint=_HINT) from error
    if not (inspect.isclass(found) and issubclass(found, (ClassifierMixin, RegressorMixin))):
        raise OptionError(f"expected a classifier or regressor, got {path!r}", hint=_HINT)
    return found


@dataclass(frozen=True)
class ImportedKind:
    """An estimator of scikit-learn as a kind of head; see :class:`~bottleneck.heads.kind.HeadKind`.

    Parameters
    ----------
    name : str
        Its import path.
    """

    name: str
    description: ClassVar[str] = "an estimator of scikit-learn, by its import path"
    parameter: ClassVar[str] = ""
    prefers: ClassVar[Literal["smallest"]] = "smallest"
    engines: ClassVar[tuple[EngineName, ...]] = ("numpy",)
    few_rows: ClassVar[int] = 1
    by_shards: ClassVar[bool] = False

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Classes of a classifier, numbers of a regressor."""
        from sklearn.base import ClassifierMixin

        return (
            "classes" if issubclass(estimator_class(self.name), ClassifierMixin) else "numbers",
        )

    def candidates(
        self, grid: Sequence[float] | None, settings: Params
    ) -> tuple[dict[str, Any], ...]:
        """Return the settings, which the estimator has to have."""
        if grid is not None:
            raise OptionError(
                f"expected no --C for {self.name}", hint="Use --set name=value for its settings."
            )
        _pipeline(estimator_class(self.name), self.name, settings, seed=0)
        return (dict(settings),)

    def require_savable(self, settings: Params) -> None:
        """Refuse an estimator that could not be saved, by a trial on a few made-up rows.

        Raises
        ------
        HeadError
            As :func:`bottleneck.heads.kinds.imported.dump`.
        OptionError
            For an unknown estimator or parameter.
        """
        made = _pipeline(estimator_class(self.name), self.name, settings, seed=0)
        try:
            made.fit(np.random.default_rng(0).normal(size=(40, 4)), np.arange(40) % 2)
        except (ValueError, TypeError):
            return  # it has more to say on real rows
        dump(made)

    def require_size(self, rows: int, features: int) -> None:
        """Refuse rows that do not fit into memory."""
        _require_memory(rows, features, self.name)

    @contextmanager
    def trainer(self, data: TrainingData) -> "Iterator[ImportedTrainer]":
        """Read the rows into memory."""
        matrix: NDArray[np.float32] = np.array(
            data.rows.read(0, data.rows.shape[0], {}), np.float32
        )
        yield ImportedTrainer(self.name, data, matrix)

    def weights(self, estimator: Any) -> Learned:
        """Return what skops writes."""
        return Learned(whole=dump(estimator))

    def restore(self, weights: Learned, task: Task, params: Params, outputs: int, dim: int) -> Any:
        """Read an estimator that skops wrote; whatever it raises is damage."""
        if weights.whole is None:
            raise DamagedWeightsError(f"no estimator of {self.name}")
        try:
            return load(weights.whole)
        except HeadError:
            raise
        except Exception as error:
            raise_if_exhausted(error)
            raise DamagedWeightsError(f"{type(error).__name__}: {error}") from error

    def layers(self, estimator: Any) -> Sequence[tuple[NDArray[Any], NDArray[Any]]]:
        """Return none."""
        return ()


class ImportedTrainer:
    """Fits an estimator of scikit-learn on rows in memory, folds in parallel where that pays.

    Parameters
    ----------
    path : str
        Its import path.
    data : TrainingData
        What it is fitted on.
    matrix : ndarray of float32, shape (n, d)
        Its features. Worker processes of joblib map them, they do not copy them.
    """

    def __init__(self, path: str, data: TrainingData, matrix: NDArray[np.float32]) -> None:
        self.path, self.data, self.matrix = path, data, matrix
        # Many regressors take one target only, and take it flat.
        single = data.task == "numbers" and data.y.shape[1] == 1
        self._truth = data.y[:, 0] if single else data.y

    def score(
        self,
        members: NDArray[np.bool_],
        candidates: Sequence[Params],
        parts: NDArray[np.int32],
    ) -> "ImportedScored":
        """Fit every candidate on every subset.

        The first fit tells how long one takes: processes cost a second or two to start.
        """
        cases = [(params, member) for member in members for params in candidates]
        started = time.perf_counter()
        found = [self._judged(*cases[0], parts)]
        took = time.perf_counter() - started
        rest = cases[1:]
        jobs = 1 if took * len(rest) < _PARALLEL_SECONDS else self.data.jobs
        with self._explained():
            found += Parallel(n_jobs=jobs, max_nbytes="1M", mmap_mode="r")(
                delayed(fold_scores)(
                    self._made(params), self.matrix, self._truth, member, parts, task=self.data.task
                )
                for params, member in rest
            )
        shape = (len(members), len(candidates), int(parts.max()) + 1)
        return ImportedScored(self, np.reshape(found, shape), members, candidates)

    def final(self, candidate: Params, scored: Any, at: int) -> tuple[Any, list[str]]:
        """Fit on all rows."""
        return self.fit(candidate, np.ones(len(self.data.y), bool)), []

    def fit(self, params: Params, member: NDArray[np.bool_]) -> Any:
        """Fit on a subset of the rows."""
        with self._explained():
            return self._made(params).fit(self.matrix[member], self._truth[member])

    def _judged(
        self, params: Params, member: NDArray[np.bool_], parts: NDArray[np.int32]
    ) -> NDArray[np.float64]:
        with self._explained():
            return fold_scores(
                self._made(params), self.matrix, self._truth, member, parts, task=self.data.task
            )

    def _made(self, params: Params) -> Any:
        return _pipeline(estimator_class(self.path), self.path, params, self.data.seed)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError) as error:
            several = self.data.task == "numbers" and self._truth.ndim == 2
            raise HeadError(
                f"{self.path} refused its parameters or rows: {error}",
                hint="It may take one --target only." if several else None,
            ) from error


@dataclass(frozen=True, eq=False)
class ImportedScored:
    """What estimators on subsets came to; they themselves are not kept."""

    trainer: ImportedTrainer
    metric: NDArray[np.float64]
    members: NDArray[np.bool_]
    candidates: Sequence[Params]
    notes: Sequence[str] = ()

    def scores(self, at: int) -> NDArray[np.float64]:
        """Score every row by the estimator that lacks it: they are fitted again."""
        data = self.trainer.data
        found = np.empty((len(data.y), data.outputs))
        for member in self.members:
            made = self.trainer.fit(self.candidates[at], member)
            scores = columns_of(made, self.trainer.matrix[~member], data.task)
            columns = made.classes_ if data.task == "classes" else slice(None)
            wide = np.repeat(scores.min(axis=1, keepdims=True), data.outputs, axis=1)
            wide[:, columns] = scores
            found[~member] = wide
        return found


def fold_scores(
    made: Any,
    X: NDArray[np.float32],
    y: NDArray[Any],
    member: NDArray[np.bool_],
    parts: NDArray[np.int32],
    *,
    task: Task,
) -> NDArray[np.float64]:
    """Fit on a subset; return the score on the rows left out, for each fold."""
    found = np.full(int(parts.max()) + 1, np.nan)
    made.fit(X[member], y[member])
    if member.all():
        return found
    truth, said, left = y[~member], made.predict(X[~member]), parts[~member]
    if truth.ndim == 1 and task == "numbers":
        truth, said = truth[:, None], said[:, None]
    score = score_of(task)
    for part in np.unique(left):
        found[part] = score(truth[left == part], said[left == part])
    return found


def _pipeline(kind: type, path: str, settings: Mapping[str, Any], seed: int) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known = set(inspect.signature(kind).parameters)
    unknown = sorted(set(settings) - known)
    if unknown:
        raise OptionError(
            f"{path} has no parameter {unknown[0]!r}", hint=f"It has: {', '.join(sorted(known))}"
        )
    drawn = {"random_state": seed} if "random_state" in known else {}
    try:
        return make_pipeline(StandardScaler(), kind(**{**drawn, **settings}))
    except TypeError as error:
        raise OptionError(f"{path} cannot be made by its parameters alone: {error}") from error


def _require_memory(rows: int, features: int, head: str) -> None:
    needed = _COPIES * 4 * rows * features
    available = available_memory()
    if needed > available:
        raise HeadError(
            f"{head} needs all rows in memory: {rows} x {features} features take "
            f"about {needed / 1e9:.1f} GB with copies, {available / 1e9:.1f} GB are available",
            hint="The heads that go by a name of their own stream their rows; or use fewer rows.",
        )
