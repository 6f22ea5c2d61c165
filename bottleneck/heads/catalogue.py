"""The heads as data: name, strength grid, and how the estimator is built.

Every head's strength is called ``C``, the inverse of the L2 regularisation in scikit-learn's
convention, ``0.5 * |w|^2 + C * sum of losses``: a small C is a strong regularisation. Ridge
regression minimises ``sum of squares + alpha * |w|^2``, so its ``alpha`` is ``1 / (2 C)``
(scikit-learn's user guide states the same relation), and both values are recorded.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from bottleneck.errors import OptionError

Task: TypeAlias = Literal["classes", "labels", "numbers"]
"""What a head predicts: one class, labels of which any may hold, or numbers."""

TASKS: tuple[Task, ...] = ("classes", "labels", "numbers")


class Classifier(Protocol):
    """What selection and the saved head need of an estimator: scikit-learn's interface.

    ``fit`` takes features (n, d) and integer codes (n,) and returns the estimator; ``predict``
    returns codes; ``decision_function`` returns scores (n,) for two classes, else (n, k);
    ``classes_`` holds the codes in column order. ``predict_proba`` is optional.
    """

    classes_: Any

    def fit(self, X: Any, y: Any) -> Any:
        """Learn from the rows."""

    def predict(self, X: Any) -> Any:
        """Return a code per row."""

    def decision_function(self, X: Any) -> Any:
        """Return scores per row."""


@dataclass(frozen=True)
class HeadSpec:
    """One row of the catalogue.

    Parameters
    ----------
    name : str
        The name people type.
    description : str
        One line for help texts.
    estimator : str
        Name of the class that does the work, for reports and to check a loaded file.
    default_grid : tuple of float
        Values of ``C`` tried by default, ascending; they suit standardised features.
    build : callable
        From parameters to the unfitted estimator, which standardises the features.
    parameters : callable
        From C to the parameters as they are recorded, in the estimator's terms too.
    probabilities : bool
        Whether the head gives probabilities.
    linear : bool
        Whether it is linear and has a strength C; another one is given settings instead.
    """

    name: str
    description: str
    estimator: str
    default_grid: tuple[float, ...]
    build: Callable[[Mapping[str, float]], Any]
    parameters: Callable[[float], dict[str, float]]
    probabilities: bool = False
    linear: bool = True


def _logreg(params: Mapping[str, float]) -> Any:
    from bottleneck.heads.kinds.logreg import LogisticRegression

    return LogisticRegression(C=params["C"], standardize=True)


def _svm(params: Mapping[str, float]) -> Any:
    from bottleneck.heads.kinds.svm import LinearSVC

    return LinearSVC(C=params["C"], standardize=True)


def _ridge(params: Mapping[str, float]) -> Any:
    from bottleneck.heads.kinds.ridge import RidgeClassifier

    return RidgeClassifier(alpha=params["alpha"], standardize=True)


def _mlp(params: Mapping[str, float]) -> Any:
    from bottleneck.heads.kinds.mlp import MultilayerPerceptron

    return MultilayerPerceptron(**params)  # type: ignore[arg-type]


def _nothing(c: float) -> dict[str, float]:
    return {}


def _only_c(c: float) -> dict[str, float]:
    return {"C": c}


def _c_and_alpha(c: float) -> dict[str, float]:
    return {"C": c, "alpha": float(f"{1 / (2 * c):.12g}")}  # 50000, not 49999.99999999999


_SPECS = (
    HeadSpec(
        name="logreg",
        description="multinomial logistic regression, L2; gives probabilities",
        estimator="LogisticRegression",
        default_grid=(1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0),
        build=_logreg,
        parameters=_only_c,
        probabilities=True,
    ),
    HeadSpec(
        name="svm",
        description="linear support vector machine, squared hinge, one against the rest",
        estimator="LinearSVC",
        default_grid=(1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1),
        build=_svm,
        parameters=_only_c,
    ),
    HeadSpec(
        name="ridge",
        description="ridge regression on one-hot targets; the fastest",
        estimator="RidgeClassifier",
        default_grid=(1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0),
        build=_ridge,
        parameters=_c_and_alpha,
    ),
    HeadSpec(
        name="mlp",
        description="one hidden layer with dropout, trained by Keras; gives probabilities",
        estimator="MultilayerPerceptron",
        default_grid=(),
        build=_mlp,
        parameters=_nothing,
        probabilities=True,
        linear=False,
    ),
)

NO_STRENGTH = "It has settings instead: --set hidden=256; in Python heads.select_mlp."
"""What to do about a head that has no C."""

HEADS: Mapping[str, HeadSpec] = {spec.name: spec for spec in _SPECS}
"""The catalogue, by name."""

HEAD_NAMES: tuple[str, ...] = tuple(HEADS)
"""The names, for option choices."""


def strength(best: Mapping[str, Any]) -> str:
    """Write C for a repr, with a space behind it; nothing for a head without one."""
    return f"C={best['C']:g} " if isinstance(best.get("C"), float) else ""


def head_spec(name: str) -> HeadSpec:
    """Return the head of a name; case does not matter.

    Raises
    ------
    OptionError
        For an unknown name; the hint lists the nearest ones.
    """
    spec = HEADS.get(name.lower())
    if spec is None:
        near = difflib.get_close_matches(name.lower(), HEAD_NAMES) or HEAD_NAMES
        raise OptionError(
            f"expected a head of {', '.join(HEAD_NAMES)}, got {name!r}",
            hint=f"Did you mean {' or '.join(near)}? Any other classifier of scikit-learn goes by "
            "its import path: sklearn.svm.SVC.",
        )
    return spec
