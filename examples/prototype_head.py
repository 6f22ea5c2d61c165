"""A head of your own: the class whose prototype is nearest by cosine, in one file.

Make it known by one line in your package's ``pyproject.toml``::

    [project.entry-points."bottleneck.heads"]
    prototypes = "prototype_head:KIND"

From then on ``bottleneck train F.h5 --head prototypes -o HEAD`` knows it, and so do ``evaluate``,
``predict`` and ``compare --heads prototypes,logreg``; it is saved without pickle.
"""

import numpy as np

from bottleneck.heads import EstimatorKind


class Prototypes:
    """Scores are cosines between a row, from the centre of all, and the mean of each class."""

    def fit(self, X, y):
        """Add up the rows of each class; ``X`` is read some thousand rows at a time."""
        self.classes_ = np.unique(y)
        sums, whole = np.zeros((len(self.classes_), X.shape[1])), np.zeros(X.shape[1])
        for start in range(0, X.shape[0], 4096):
            stop = min(start + 4096, X.shape[0])
            block = X.read(start, stop, {}).astype(np.float64)
            own = y[start:stop] == self.classes_[:, None]
            sums += own @ block
            whole += block.sum(axis=0)
        counts = (y == self.classes_[:, None]).sum(axis=1)
        self.centre_ = whole / X.shape[0]
        prototypes = sums / counts[:, None] - self.centre_
        self.prototypes_ = prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)
        self.n_features_in_ = X.shape[1]
        return self

    def decision_function(self, X):
        """Return cosines, shape (n, classes)."""
        rows = np.asarray(X, np.float64) - self.centre_
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows @ self.prototypes_.T / np.where(lengths > 0, lengths, 1)

    def predict(self, X):
        """Return the class of the largest cosine."""
        return self.classes_[self.decision_function(X).argmax(axis=1)]


KIND = EstimatorKind(
    name="prototypes",
    description="the class whose mean points the same way",
    build=lambda task, params: Prototypes(),
    learned=("prototypes_", "centre_"),
)
