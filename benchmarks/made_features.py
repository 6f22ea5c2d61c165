"""Features as a backbone pools them, made up: any number of rows, features and classes.

A random network reads points around the centres of the classes. What it gives is not negative,
sparse and correlated: a few directions hold most of the variance and hundreds share the rest, as
with pooled features of images, so that solvers need about as many steps as on those. Some labels
are wrong, so that the best strength is inside the grid.
"""

import numpy as np

_LATENT = 200
_HIDDEN = 800
_APART = 0.6
"""Deviation of the classes' centres; that of their points is 1."""
_NOISE = 0.05
_WRONG = 0.04
"""Share of the labels that are drawn anew."""


def made_features(rows, features, classes, *, seed=0):
    """Return features (rows, features), float32 and not negative, and codes (rows,)."""
    rng = np.random.default_rng(seed)
    spread = 1 / np.arange(1, _LATENT + 1)
    centres = _APART * rng.standard_normal((classes, _LATENT)) * spread
    inner = rng.standard_normal((_LATENT, _HIDDEN))
    outer = rng.standard_normal((_HIDDEN, features)) / _HIDDEN**0.5
    y = rng.integers(classes, size=rows)
    X = np.empty((rows, features), np.float32)
    for start in range(0, rows, 4096):
        block = X[start : start + 4096]
        points = centres[y[start : start + 4096]]
        points = points + rng.standard_normal(points.shape) * spread
        hidden = np.maximum(points @ inner, 0)
        block[:] = np.maximum(hidden @ outer + _NOISE * rng.standard_normal(block.shape), 0)
    wrong = rng.random(rows) < _WRONG
    y[wrong] = rng.integers(classes, size=int(wrong.sum()))
    return X, y
