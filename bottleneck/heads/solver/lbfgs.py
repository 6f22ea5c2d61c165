"""L-BFGS as a machine that is told values: many of them advance in lock-step, one pass each.

Formulas: J. Nocedal and S. J. Wright, Numerical Optimization, 2nd ed., section 3.1 (sufficient
decrease); the test that accepts a step once values differ by rounding only is W. W. Hager's and
H. Zhang's approximate Wolfe condition (SIAM J. Optim. 16, 2005, eq. 4.1).
"""

import numpy as np

from bottleneck.heads.solver.pairs import Inverse, Pairs, Vector

MEMORY = 50
"""Pairs of steps and gradient changes remembered. 10, as in SciPy, take a fifth more steps for
one fit, and 20 take a third more than 50 on a path of strengths."""

_DECREASE = 1e-4
_CURVATURE = 0.9
_ROUNDING = 3e-7
"""Relative error of a loss summed up from float32 rows."""
_MAX_TRIALS = 25

CERTAIN = 1e-3
"""Share of the value by which the minimum may lie below it at the end, whatever the model of the
curvature says: ``gradient^2 / (2 convexity)`` bounds that. The model has only seen where steps
went, and called 37 times the minimum of a squared hinge the end."""

_FREE_TOLERANCES = 5.0
"""Gradients, in tolerances, of components without known convexity, such as an intercept's, up to
which the bound by the others' counts."""

_NOTHING = 1e-30
"""A value that counts as zero: shares of it mean nothing where only an intercept can lower it
further, as with rows of a single class."""


class Lbfgs:
    """Minimises one smooth convex function that the caller evaluates.

    Evaluate at :attr:`trial`, :meth:`tell` value and gradient, until :attr:`done`.

    Parameters
    ----------
    x : ndarray of float64, shape (n,)
        Where to begin.
    tolerance : float
        Done when no component of the gradient is larger than this; may be changed while it runs.
    gap : float
        And when the decrease to be expected is at most this share of the value.
    convexity : ndarray of float64, shape (n,), optional
        Least curvature along every component, as a penalty gives it, zero where it gives none:
        bounds how far below the minimum may be.
    certain : float
        Share of the value by which that may be at the end; see :data:`CERTAIN`.
    proven : float
        Share of the value by which that may be for the gradient not to matter any more.
    scale : callable, optional
        Applies an estimate of the inverse Hessian to a vector; by default a multiple of
        the identity, from the last step. May be replaced while it runs.
    pairs : Pairs
        What is known of the curvature, added to; none at first.

    Attributes
    ----------
    trial : ndarray of float64, shape (n,)
        Where the function is to be evaluated next.
    x, value, gradient, size
        The best point so far, the function's value and gradient there, and the largest component of
        that.
    direction : ndarray
        The way from there to the minimum, by the quadratic model.
    expected : float
        Decrease to be expected from there, by the quadratic model.
    done : bool
        Whether the tolerance was reached.
    stuck : bool
        Whether no step leads further down within rounding: nothing more can be had. The
        tolerance may then be missed.
    iterations, evaluations : int
        Steps taken and values told.
    pairs : Pairs
        The memory.
    """

    def __init__(
        self,
        x: Vector,
        *,
        tolerance: float,
        gap: float = np.inf,
        convexity: Vector | None = None,
        certain: float = CERTAIN,
        proven: float = 0.0,
        scale: Inverse | None = None,
        pairs: Pairs | None = None,
    ) -> None:
        self.trial = self.x = x
        self.value = np.inf
        self.gradient = np.zeros_like(x)
        self.size = self.expected = np.inf
        self.done = self.stuck = False
        self.iterations = self.evaluations = 0
        self.scale = scale
        self.tolerance, self._gap = tolerance, gap
        self._convexity, self._certain, self._proven = convexity, certain, proven
        self.pairs = Pairs(MEMORY, len(x), x.dtype) if pairs is None else pairs
        self.direction = np.zeros_like(x)
        self._slope = 0.0
        self._low, self._high, self._step = 0.0, np.inf, 1.0
        self._trials = 0
        self._restarted_at = np.inf

    @property
    def converged(self) -> bool:
        """Whether it is done near the minimum, not for want of a step that leads down."""
        return self.done and self._near()

    def _near(self) -> bool:
        """Whether the gradient is small, by itself and for how far the minimum may be below.

        Or so small for the latter that its components do not matter.
        """
        small = self.size <= self.tolerance
        if self._convexity is None or abs(self.value) <= _NOTHING:
            return small
        if not small and self._proven == 0:
            return False
        bounded = self._convexity > 0
        below = float((self.gradient[bounded] ** 2 / self._convexity[bounded]).sum()) / 2
        if small:
            return below <= self._certain * abs(self.value)
        free = float(np.abs(self.gradient[~bounded]).max(initial=0))
        return below <= self._proven * abs(self.value) and free <= _FREE_TOLERANCES * self.tolerance

    def tell(self, value: float, gradient: Vector) -> None:
        """Take the function's value and gradient at :attr:`trial`."""
        self.evaluations += 1
        if np.isinf(self.value):
            self._arrive(value, gradient)
            return
        slope = float(gradient @ self.direction)
        decrease = value <= self.value + _DECREASE * self._step * self._slope
        flat = value <= self.value + _ROUNDING * abs(self.value)
        level = slope <= (2 * _DECREASE - 1) * self._slope  # not beyond the far side
        self._trials += 1
        if not (decrease or (flat and level)) or not np.isfinite(value):
            self._high = self._step
            # The parabola through value, slope and this value; kept off the ends.
            drop = value - self.value - self._step * self._slope
            best = -self._slope * self._step**2 / (2 * drop) if np.isfinite(drop) else 0.0
            low, high = self._low, self._high
            self._try(float(np.clip(best, low + 0.1 * (high - low), low + 0.5 * (high - low))))
        elif slope < _CURVATURE * self._slope and self._trials < _MAX_TRIALS // 2:
            self._low = self._step
            high = self._high
            self._try(4 * self._step if np.isinf(high) else (self._low + high) / 2)
        else:
            self.pairs.add(self.trial - self.x, gradient - self.gradient)
            self.iterations += 1
            self.x = self.trial
            self._arrive(value, gradient)

    def _try(self, step: float) -> None:
        if self._trials >= _MAX_TRIALS or step * float(np.abs(self.direction).max()) == 0:
            # Restart without memory, unless the last restart gained no more than rounding.
            gained = self.value < self._restarted_at - _ROUNDING * abs(self.value)
            if self.pairs and gained:
                self._restarted_at = self.value
                self.pairs = self.pairs.none()
                self._arrive(self.value, self.gradient)
            else:
                self.done = self.stuck = True
            return
        self._step = step
        self.trial = self.x + step * self.direction

    def _arrive(self, value: float, gradient: Vector) -> None:
        self.value, self.gradient = value, gradient
        self.size = float(np.abs(gradient).max())
        self.direction = -self.pairs.inverse(gradient, self.scale)
        self._slope = float(gradient @ self.direction)
        if self._slope >= 0 and self.pairs:  # nothing but rounding leads up
            self.pairs = self.pairs.none()
            self.direction = -self.pairs.inverse(gradient, self.scale)
            self._slope = float(gradient @ self.direction)
        self.expected = -self._slope / 2
        # Without pairs or a scale the model knows no curvature, and expects what it likes.
        known = bool(self.pairs) or self.scale is not None or self.size == 0
        little = self.expected <= self._gap * abs(value) or abs(value) <= _NOTHING
        if known and self._near() and little:
            self.done = True
            return
        self._low, self._high, self._trials = 0.0, np.inf, 0
        first = not self.pairs and self.scale is None
        self._step = 1.0
        self._try(min(1.0, 1.0 / float(np.linalg.norm(gradient))) if first else 1.0)
