"""The head: a fitted classifier together with the recipe of the features it understands."""

import json
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bottleneck import __version__
from bottleneck.errors import (
    HeadError,
    OptionError,
    RecipeMismatchError,
    RuntimeUnavailableError,
)
from bottleneck.frames import html_table
from bottleneck.heads.archive import damaged, read_head, write_head
from bottleneck.heads.kind import (
    TASKS,
    Classifier,
    DamagedWeightsError,
    HeadKind,
    Learned,
    OnDevice,
    Task,
)
from bottleneck.heads.kinds.estimator import columns_of
from bottleneck.heads.registry import head_kind, head_names
from bottleneck.heads.rows import FloatArray, Rows, as_feature_rows, block_rows
from bottleneck.heads.solver.engine import EngineName
from bottleneck.heads.solver.engines import require_cpu
from bottleneck.heads.solver.finite import require_finite
from bottleneck.heads.trained_on import TrainingRows
from bottleneck.recipe import Recipe

_SHOWN: Final = 12
"""Names of classes that a notebook shows."""

NO_RECIPE = Recipe(identity={}, execution={})
"""Of features that nothing is known of."""


@dataclass(frozen=True, eq=False, repr=False)
class Head:
    """A fitted head: features in, class codes, scores and probabilities out.

    :func:`~bottleneck.heads.select` makes one of features alone; :meth:`of` adds how those were
    made, without which it cannot be saved.

    Parameters
    ----------
    kind : str
        Name in the registry, or an import path.
    estimator : Classifier
        Fitted classifier of features as they are, over codes ``0 .. len(classes) - 1``.
    classes : tuple of str
        Class names; a code is an index into them. Or the names of the targets.
    dim : int
        Length of the features.
    report : mapping
        JSON values: ``best`` (the chosen parameters), ``cv`` (``params``, ``mean`` and ``std``
        over the folds, population, of the ``metric``, for everything tried), ``rows``, ``folds``,
        ``seed``, ``notes``, ``seconds``; where asked for ``nested``, ``curve``, ``shots`` and
        ``temperature``; ``versions`` of the libraries, and what the caller adds (rows left out,
        the manifest's fingerprint, the hold-out, the test).
    task : {"classes", "labels", "numbers"}
        What it predicts: one class, labels of which any may hold, or numbers.
    engine : {"numpy", "keras"}
        What it was fitted with.
    recipe : Recipe
        How the features it was trained on were made; of the network's outputs only its own.
    output : str
        Which output of the backbone, ``avg``.
    trained_on : TrainingRows, optional
        What it was fitted on, so that it is not judged by the same rows; None of heads that
        were saved without.
    """

    kind: str
    estimator: Classifier
    classes: tuple[str, ...]
    dim: int
    report: Mapping[str, Any]
    task: Task = "classes"
    engine: EngineName = "numpy"
    recipe: Recipe = NO_RECIPE
    output: str = ""
    trained_on: TrainingRows | None = None

    @classmethod
    def of(
        cls,
        fitted: "Head",
        *,
        recipe: Recipe,
        output: str,
        trained_on: TrainingRows | None = None,
        **about: Any,
    ) -> "Head":
        """Tell a head that :func:`~bottleneck.heads.select` found what its features are.

        Parameters
        ----------
        fitted : Head
            The selection's result.
        recipe : Recipe
            Recipe of the feature file.
        output : str
            Name of the output the features came from.
        trained_on : TrainingRows, optional
            The rows it was fitted on.
        **about
            More JSON values for the report: ``left_out``, ``manifest_sha256``, ``holdout``,
            ``test``.
        """
        return replace(
            fitted,
            recipe=_recipe_of(recipe, output),
            output=output,
            trained_on=trained_on,
            report={**fitted.report, **about, "versions": _versions(fitted.engine)},
        )

    @property
    def best(self) -> Mapping[str, Any]:
        """The chosen parameters."""
        return dict(self.report["best"])

    @property
    def cv(self) -> tuple[Mapping[str, Any], ...]:
        """Scores of everything tried; empty without cross-validation."""
        return tuple(self.report["cv"])

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know of the fit."""
        return tuple(self.report["notes"])

    @property
    def seconds(self) -> float:
        """Wall time of the selection."""
        return float(self.report["seconds"])

    def __repr__(self) -> str:
        return (
            f"<Head {self.kind} {self._chosen}{self._origin}"
            f"{self.dim} -> {len(self.classes)} {self.task}>"
        )

    def _repr_html_(self) -> str:
        best, metric = dict(self.report["best"]), self.report.get("metric", "score")
        tried = [
            (
                ", ".join(f"{name}={value}" for name, value in one["params"].items()),
                f"{one['mean']:.4f}",
                f"{one['std']:.4f}",
            )
            for one in self.report["cv"]
        ]
        return html_table(
            f"Head {self.kind}",
            {
                "task": self.task,
                "chosen": ", ".join(f"{name}={value}" for name, value in best.items()) or None,
                "of features": f"{self._origin}{self.dim}",
                "into": f"{len(self.classes)}: {_some(self.classes)}",
                "rows": self.report.get("rows"),
                "notes": "; ".join(self.notes) or None,
            },
            tried,
            ("tried", f"{metric}, mean of the folds", "std"),
        )

    @property
    def _chosen(self) -> str:
        return "".join(
            f"{name}={value:g} "
            for name, value in self.report["best"].items()
            if name in ("C", "k", "shrinkage") and isinstance(value, (int, float))
        )

    @property
    def _origin(self) -> str:
        return f"{self.recipe.backbone}/{self.output} " if self.output else ""

    def predict(self, X: ArrayLike | Rows) -> NDArray[Any]:
        """Return the likeliest class of each row, or its targets.

        Parameters
        ----------
        X : array or Rows, float32 or float16, shape (n, dim)
            Features of the head's recipe; rows of a file are read block by block.

        Returns
        -------
        ndarray of int64, shape (n,)
            Indices into :attr:`classes`. For labels int64 of shape (n, labels), 1 where one
            holds; for numbers float64 of shape (n, targets).

        Raises
        ------
        HeadError
            For another length or features that are not finite.
        """
        if self.task == "numbers":
            return self.scores(X)
        parts = self._in_blocks(X, lambda block: self.estimator.predict(block).astype(np.int64))
        if self.task == "labels":
            return self._matrix(parts).astype(np.int64)
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def predict_proba(self, X: ArrayLike | Rows) -> NDArray[np.float64] | None:
        """Return class probabilities, float64 of shape (n, classes), rows summing to one.

        None when the head has none: ``svm`` and ``ridge``, unless they were calibrated. Labels
        have a probability each, which do not sum to one. Parameters and errors as in
        :meth:`predict`.
        """
        temperature = self.report.get("temperature")
        if temperature is not None:
            from bottleneck.heads.kinds.estimator import probabilities as of_scores

            return of_scores(self.scores(X) / temperature)
        probabilities = getattr(self.estimator, "predict_proba", None)
        if probabilities is None or self.task == "numbers":
            return None
        if self.task == "labels":
            return self._matrix(self._in_blocks(X, probabilities))
        return self._matrix(self._in_blocks(X, lambda block: _normal(probabilities(block))))

    def scores(self, X: ArrayLike | Rows) -> NDArray[np.float64]:
        """Return the decision function, float64 of shape (n, classes); the largest wins.

        For labels those above zero hold; numbers are their own scores. With two classes the
        columns are the negative and the positive of the one score there is. Parameters and
        errors as in :meth:`predict`.
        """
        return self._matrix(self._in_blocks(X, self._columns))

    def answers(
        self, X: ArrayLike | Rows
    ) -> tuple[NDArray[np.float64] | None, NDArray[np.float64]]:
        """Return probabilities (None where it has none) and scores, asking once.

        As :meth:`predict_proba` and :meth:`scores`, which both search all rows of a head of
        nearest neighbours.
        """
        if self.task != "classes" or hasattr(self.estimator, "decision_function"):
            return self.predict_proba(X), self.scores(X)
        scores = self.scores(X)
        if self.report.get("temperature") is not None:
            return self.predict_proba(X), scores
        return (_normal(scores) if len(scores) else scores), scores

    def _columns(self, block: NDArray[np.float32]) -> NDArray[np.float64]:
        return columns_of(self.estimator, block, self.task)

    def _matrix(self, parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.concatenate(parts) if parts else np.empty((0, len(self.classes)))

    def _in_blocks(self, X: ArrayLike | Rows, function: Any) -> list[Any]:
        rows = as_feature_rows(X)
        self._require_dim(rows.shape[1], "the features given")
        require_finite(rows)
        scratch: dict[str, FloatArray] = {}
        n, step = rows.shape[0], block_rows(rows.shape[1])
        return [
            function(rows.read(start, min(start + step, n), scratch)) for start in range(0, n, step)
        ]

    def require_features(self, recipe: Recipe, output: str, dim: int) -> list[str]:
        """Refuse features this head does not understand; return what is only worth a warning.

        Parameters
        ----------
        recipe : Recipe
            Recipe of the features at hand.
        output : str
            Name of their output.
        dim : int
            Their length.

        Returns
        -------
        list of str
            Warnings: another precision class.

        Raises
        ------
        RecipeMismatchError
            For another identity or output, naming both values.
        HeadError
            For another length.
        """
        hint = "Extract features with the head's recipe, or train a head on these features."
        if output != self.output:
            raise RecipeMismatchError(
                f"the head was trained on output {self.output!r}, the features are of {output!r}",
                hint=hint,
            )
        theirs = _recipe_of(recipe, output)
        self.recipe.require_same_identity(theirs, ours="head", theirs="features", hint=hint)
        self._require_dim(dim, "the features")
        differences = {d.field: d for d in self.recipe.execution_differences(theirs)}
        if "precision" in differences:
            ours, found = differences["precision"].ours, differences["precision"].theirs
            return [f"the head was trained on {ours} features, these are {found}"]
        if "calibration_sha256" in differences:
            return ["the head was trained on int8 features that were calibrated on other images"]
        return []

    def _require_dim(self, dim: int, what: str) -> None:
        if dim != self.dim:
            raise HeadError(
                f"the head expects features of length {self.dim}, {what} have {dim}",
                hint=f"It was trained on output {self.output!r} of {self.recipe.backbone}.",
            )

    def save(self, path: Path | str) -> None:
        """Write the head to one file, atomically and without pickle; the same head, same bytes.

        Raises
        ------
        HeadError
            When it cannot be written.
        """
        description = {
            "kind": self.kind,
            "task": self.task,
            "classes": list(self.classes),
            "output": self.output,
            "dim": self.dim,
            "report": dict(self.report),
            "recipe": json.loads(self.recipe.to_json()),
        }
        arrays: dict[str, Any] = {}
        if self.trained_on is not None:
            arrays |= self.trained_on.arrays()
        weights = head_kind(self.kind).weights(self.estimator)
        write_head(Path(path), description, arrays | dict(weights.arrays), weights.whole)

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        device: str | None = None,
        tell: Callable[[str], None] = lambda told: None,
    ) -> "Head":
        """Read a head; needs no TensorFlow.

        Parameters
        ----------
        path : str or Path
            Its file.
        device : str, optional
            What computes a head that a framework computes (``stack``): ``cpu``, ``gpu`` or
            ``gpu:N``; by default the first GPU, else the CPU.
        tell : callable, optional
            Is told that there is a GPU, and the CPU computes such a head all the same.

        Raises
        ------
        HeadError
            For a file that is missing, damaged, not a head or of a newer format.
        OptionError
            For a GPU, of a head that NumPy computes.
        RuntimeUnavailableError
            When the framework has no such GPU.
        """
        head = cls._read(Path(path))
        if isinstance(head.estimator, OnDevice):
            head.estimator.compute_on(device, tell)
        else:
            hint = "Heads of networks (stack) are computed on a GPU; or leave the device out."
            require_cpu(device, f"the head {head.kind}", hint)
        head._require_consistent(Path(path))
        return head

    @classmethod
    def load_beside(
        cls, path: Path | str, devices: Sequence[str], tell: Callable[[str], None]
    ) -> "Head":
        """Read a head that works beside a backbone, and computes on the same GPU where it can.

        Parameters
        ----------
        path : str or Path
            Its file.
        devices : sequence of str
            Of the backbone; the first one counts. A head that NumPy computes takes no notice.
        tell : callable
            Is also told why it computes elsewhere: the backbone may be computed by a framework
            that sees a GPU which that of the head does not see.

        Raises
        ------
        HeadError
            As for :meth:`load`.
        OptionError
            For a device that is not known.
        """
        from bottleneck.runtimes.protocol import gpu_index  # imports no framework

        device = None
        if devices:  # TensorRT's are GPUs to others
            gpu = gpu_index(devices[0])
            device = "cpu" if gpu is None else f"gpu:{gpu}"
        head = cls._read(Path(path))
        if isinstance(head.estimator, OnDevice):
            try:
                head.estimator.compute_on(device, tell)
            except (OptionError, RuntimeUnavailableError) as error:
                if device is None:
                    raise
                head.estimator.compute_on(None, tell)
                tell(f"the head {head.kind} is not computed where the backbone is: {error.message}")
        head._require_consistent(Path(path))
        return head

    @classmethod
    def _read(cls, path: Path) -> "Head":
        """Read a head, which may be inconsistent and has computed nothing yet."""
        description, arrays, whole = read_head(path)
        try:
            kind, report = str(description["kind"]), dict(description["report"])
            trained_on = TrainingRows.taken_from(arrays)
            task = _task(description.get("task", "classes"))
            classes, dim = tuple(map(str, description["classes"])), int(description["dim"])
            head = cls(
                kind=kind,
                estimator=_kind_of(kind, path).restore(
                    Learned(arrays, whole), task, report["best"], len(classes), dim
                ),
                classes=classes,
                recipe=Recipe(**description["recipe"]),
                output=str(description["output"]),
                dim=dim,
                report=report,
                task=task,
                trained_on=trained_on,
            )
            repr(head)
        except DamagedWeightsError as error:
            raise damaged(path, str(error)) from error
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(path, f"{type(error).__name__} {error} in its description") from error
        return head

    def _require_consistent(self, path: Path) -> None:
        """Refuse weights that are not what the description says."""
        estimator: Any = self.estimator
        if self.task == "classes" and len(estimator.classes_) != len(self.classes):
            raise damaged(
                path, f"{len(self.classes)} classes named, {len(estimator.classes_)} fitted"
            )
        if estimator.n_features_in_ != self.dim:
            raise damaged(path, f"features of {self.dim} named, {estimator.n_features_in_} fitted")
        try:
            shape = self.scores(np.zeros((1, self.dim), np.float32)).shape
        except (ValueError, IndexError, AttributeError, TypeError) as error:
            raise damaged(path, f"its weights do not fit together: {error}") from error
        if shape != (1, len(self.classes)):
            raise damaged(path, f"{len(self.classes)} classes named, {shape[1]} fitted")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _kind_of(name: str, path: Path) -> HeadKind:
    """Return the kind of a saved head."""
    try:
        return head_kind(name)
    except OptionError as error:
        raise HeadError(
            f"expected a head of {', '.join(head_names())}, got {name!r} in {path}",
            hint="Install the package that has it, or update this one: pip install --upgrade"
            " bottleneck-features",
        ) from error


def _recipe_of(recipe: Recipe, output: str) -> Recipe:
    """Return the part of a recipe that decides one output, as it reads from a file.

    A head does not care what else was taken from the network; in a file, tuples are lists.
    """
    plain = Recipe.from_json(recipe.to_json())
    outputs = plain.identity.get("outputs")
    if not isinstance(outputs, Mapping) or output not in outputs:
        return plain
    return replace(plain, identity={**plain.identity, "outputs": {output: outputs[output]}})


def _normal(probabilities: Any) -> NDArray[np.float64]:
    """Widen float32 probabilities and let them sum to one again."""
    wide: NDArray[np.float64] = np.array(probabilities, np.float64)
    wide /= wide.sum(axis=1, keepdims=True)
    return wide


def _versions(engine: str) -> dict[str, str]:
    from importlib.metadata import version

    libraries: Sequence[str] = ("scikit-learn", "numpy", "scipy")
    keras = sys.modules.get("keras") if engine == "keras" else None
    used = ("keras", keras.backend.backend()) if keras else ()
    return {
        "bottleneck": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in libraries},
        # Keras's backends are in packages of several names: tensorflow, tensorflow-cpu.
        **{name: str(sys.modules[name].__version__) for name in used},
    }


def _task(name: Any) -> Task:
    for task in TASKS:
        if name == task:
            return task
    raise ValueError(f"expected a task of {', '.join(TASKS)}, got {name!r}")
