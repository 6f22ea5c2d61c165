"""The pass of stacked problems through Keras operations: TensorFlow, JAX or Torch, for a GPU.

Blocks go to the device that is asked for, where scores, losses and both products are computed
in float32 (not in TensorFloat-32). Classes travel as one number per row; the sums of blocks are
added there too, with what each addition rounds off, and come back once per pass. On a GPU the
first blocks stay there for the next pass, in up to :data:`KEPT_SHARE` of the memory that is free.

Shards are gone through one by one, and their sums added along the tree of their numbers, as with
NumPy: on devices of one kind it does not matter who holds which of them.
"""

from collections.abc import Callable, Container, Hashable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from bottleneck.backbones.keras_scope import import_training_keras
from bottleneck.errors import OptionError
from bottleneck.heads.rows import FloatArray, Rows
from bottleneck.heads.solver.engine import Loss, Sums, Work
from bottleneck.heads.solver.question import Tree
from bottleneck.heads.solver.row_pass import Pass
from bottleneck.heads.solver.scaling import Weighting, shifted
from bottleneck.runtimes import Placed, placed

BLOCK_ROWS = 8192
"""Rows per block, at most."""

BLOCK_BYTES = 40 << 20
"""Bytes per block, at most: 8192 rows of 1280 float32, which keep a large device busy."""

KEPT_SHARE = 0.6
"""Share of a GPU's free memory in which features stay between passes; the rest is for scores."""

KEPT_UNKNOWN = 4 << 30
"""Bytes for them where neither the framework nor the driver tells what is free."""

_Kernel: TypeAlias = Callable[[Any, Any, Any], tuple[Any, Any]]
"""From ops, scores (k, p, rows) and targets (k, 1, rows) to losses (p, rows) and derivatives."""


class KerasEngine:
    """Does the work of a pass on Keras's backend. An engine belongs to one matrix of rows, or to
    several that have names.

    Parameters
    ----------
    device : str, optional
        ``cpu``, ``gpu`` or ``gpu:N``; see :func:`bottleneck.runtimes.placed`.

    Attributes
    ----------
    backend : str
        ``tensorflow``, ``jax`` or ``torch``.
    device : str
        Where it computes: ``cpu``, ``gpu:0`` and the like.

    Raises
    ------
    OptionError
        For a device that is not known.
    RuntimeUnavailableError
        When Keras or its backend cannot be imported, or there is no such GPU.
    """

    def __init__(self, device: str | None = None) -> None:
        keras = import_training_keras()
        self._ops = keras.ops
        self.backend: str = keras.backend.backend()
        self.place = placed(self.backend, device)
        self.device = self.place.name
        self._steps: dict[str, Any] = {}
        self._kept: dict[tuple[Hashable, int], Any] = {}
        self._kept_for: bytes | None = None
        self._used = 0
        self._room = _room(self.place)

    def __repr__(self) -> str:
        return f"<KerasEngine {self.backend} on {self.device}, {len(self._kept)} blocks kept>"

    def __call__(self, run: Pass, work: Work, weighting: Weighting) -> Sums:
        """Go through all rows once; see :class:`~bottleneck.heads.solver.engine.Engine`."""
        layout = run.rows.layout
        if layout is not None and layout.workers is not None:
            sums: Sums = run.ask(work, weighting)  # each by the engine of who holds the rows
            return sums
        run.count += 1
        if layout is None or not layout.shards:
            return self.sums(run.rows, work, weighting, 0, run.rows.shape[0])
        tree: Tree[Sums] = Tree([shard.number for shard in layout.shards], work.merge)
        for shard in layout.shards:
            found = self.sums(run.rows, work, weighting, shard.start, shard.stop)
            tree.put((0, shard.number), found)
        return tree.root()

    def sums(
        self,
        rows: Rows,
        work: Work,
        weighting: Weighting,
        start: int,
        stop: int,
        *,
        name: Hashable = None,
    ) -> Sums:
        """Go through some rows.

        Parameters
        ----------
        rows : Rows
            The matrix.
        work : Work
            What is summed up.
        weighting : Weighting
            Of the rows of the matrix.
        start, stop : int
            Which rows.
        name : hashable
            What tells the matrix from others of this engine.
        """
        if rows.dtype != np.float32:
            raise OptionError(
                f"expected float32 or float16 features for the Keras engine, got {rows.dtype}",
                hint="The NumPy engine computes in float64.",
            )
        prepared = None if work.shift is None else work.shift.tobytes()
        if self._kept_for != prepared:
            self.keep_only(())
            self._kept_for = prepared
        k, p, d = work.weights.shape
        # Programs are compiled for shapes: problems are padded to few different numbers.
        width = _padded(p)
        weights = np.zeros((k, width, d), np.float32)
        weights[:, :p] = work.weights
        intercepts = np.zeros((k, width), np.float32)
        intercepts[:, :p] = work.intercepts
        with self.place.scope(), self.place.exact():
            flat = self._ops.convert_to_tensor(weights.reshape(k * width, d))
            added = self._ops.convert_to_tensor(intercepts)
            step = self._step(work.loss)
            shapes = (width,), (k, width), (k * width, d)
            sums = [self._ops.zeros(shape, "float32") for shape in shapes for _ in range(2)]
            for begin, end, X in self._blocks(rows, work, start, stop, name):
                counts = np.zeros((width, int(X.shape[0])), np.float32)
                counts[:p, : end - begin] = work.row_weights(weighting, slice(begin, end))
                own = weighting.y[begin:end]
                # What is no class stands in the rows that are none.
                classes = np.full((counts.shape[1], *own.shape[1:]), -1, np.int32)
                classes[: end - begin] = own
                given = map(self._ops.convert_to_tensor, (classes, counts))
                sums = list(step(flat, added, X, *given, *sums))
            parts = [np.asarray(self._ops.convert_to_numpy(part), np.float64) for part in sums]
        loss, residual, raw = map(np.add, parts[::2], parts[1::2])
        raw = raw.reshape(k, width, d)[:, :p]
        return loss[:p], residual[:, :p], raw.reshape(k * p, d)

    def keep_only(self, names: Container[Hashable]) -> None:
        """Let go of blocks of matrices that have other names."""
        self._kept = {at: block for at, block in self._kept.items() if at[0] in names}
        self._used = sum(map(_bytes_of, self._kept.values()))

    def _blocks(
        self, rows: Rows, work: Work, start: int, stop: int, name: Hashable
    ) -> Iterator[tuple[int, int, Any]]:
        """Yield runs of rows with their features on the device, padded to one length."""
        d = rows.shape[1]
        # Few different lengths, where shards are short.
        size = min(_padded(stop - start), BLOCK_ROWS, max(1, BLOCK_BYTES // (4 * d)))
        scratch: dict[str, FloatArray] = {}
        for begin in range(start, stop, size):
            end = min(begin + size, stop)
            kept = self._kept.get((name, begin))
            if kept is None:
                block = np.zeros((size, d), np.float32)
                block[: end - begin] = shifted(rows.read(begin, end, scratch), work.shift)
                kept = self._ops.convert_to_tensor(block)
                if self._used + block.nbytes <= self._room:
                    self._kept[name, begin] = kept
                    self._used += block.nbytes
            yield begin, end, kept

    def _step(self, loss: Loss) -> Any:
        """Return the program of a block, compiled where the backend compiles."""
        if loss.name not in self._steps:
            ops, kernel = self._ops, _KERNELS[loss.name]

            def step(flat: Any, added: Any, X: Any, y: Any, weights: Any, *sums: Any) -> Any:
                k, p = added.shape
                targets = _targets(ops, loss, y, k)
                scores = ops.matmul(flat, ops.transpose(X))
                Z = ops.reshape(scores, (k, p, X.shape[0])) + added[:, :, None]
                losses, derivatives = kernel(ops, Z, targets[:, None, :])
                weighted = derivatives * weights
                raw = ops.matmul(ops.reshape(weighted, (k * p, X.shape[0])), X)
                found = ops.sum(losses * weights, axis=1), ops.sum(weighted, axis=2), raw
                return [
                    part
                    for total, lost, one in zip(sums[::2], sums[1::2], found, strict=True)
                    for part in _added(total, lost, one)
                ]

            self._steps[loss.name] = _compiled(step, self.backend)
        return self._steps[loss.name]


def _bytes_of(block: Any) -> int:
    rows, length = block.shape
    return 4 * int(rows) * int(length)


def _added(total: Any, lost: Any, one: Any) -> tuple[Any, Any]:
    """Add to a sum, and to what it has lost by rounding (Knuth's two-sum)."""
    after = total + one
    part = after - total
    return after, lost + ((total - (after - part)) + (one - part))


def _targets(ops: Any, loss: Loss, y: Any, k: int) -> Any:
    """Make the targets of a block on the device, shape (k, rows), of classes or labels."""
    if loss.per_label:
        return ops.cast(ops.equal(ops.transpose(y), 1), "float32")
    names = ops.arange(1, 2) if k == 1 else ops.arange(k)  # one column stands for class 1
    found = ops.cast(ops.equal(ops.cast(names, "int32")[:, None], y[None, :]), "float32")
    return 2 * found - 1 if loss.name == "squared_hinge" else found


def _softmax(ops: Any, Z: Any, targets: Any) -> tuple[Any, Any]:
    # As the NumPy engine: nothing small is the difference of two ones.
    Z = Z - ops.max(Z, axis=0, keepdims=True)
    own = ops.sum(Z * targets, axis=0)
    mine, rest = ops.exp(own), ops.exp(Z) * (1 - targets)
    others = ops.sum(rest, axis=0)
    losses = ops.log1p(others + (mine - 1)) - own
    return losses, (rest - targets * others) / (others + mine)


def _logistic(ops: Any, Z: Any, targets: Any) -> tuple[Any, Any]:
    sign = 1 - 2 * targets
    return ops.sum(ops.softplus(sign * Z), axis=0), sign * ops.sigmoid(sign * Z)


def _squared_hinge(ops: Any, Z: Any, targets: Any) -> tuple[Any, Any]:
    beyond = ops.maximum(1 - targets * Z, 0.0)
    return ops.sum(beyond * beyond, axis=0), -2 * targets * beyond


_KERNELS: Mapping[str, _Kernel] = {
    "softmax": _softmax,
    "logistic": _logistic,
    "logistic_each": _logistic,
    "squared_hinge": _squared_hinge,
}


def _padded(p: int) -> int:
    """Round up to 1, 2, 4, 6, 8, 12, 16, 24, ...: at most half as much again."""
    width = 1
    while width < p:
        width *= 2
    return width // 4 * 3 if width > 4 and p <= width // 4 * 3 else width


def _room(place: Placed) -> int:
    """Say how many bytes of features may stay; none on a CPU, where they are at hand already."""
    if place.name == "cpu":
        return 0
    free = place.free_bytes()
    return KEPT_UNKNOWN if free is None else int(KEPT_SHARE * free)


def _compiled(step: Any, backend: str) -> Any:
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(step)
    if backend == "jax":
        import jax

        return jax.jit(step)
    if backend == "torch":
        import torch

        return torch.no_grad()(step)
    return step
