"""How Keras's layouts of all ages become one: orders of axes, flips, gates, names.

Sources: Keras 2.2.4 ``engine/saving.py`` (``preprocess_weights_for_loading``,
``_need_convert_kernel``) and Keras 1.2.2 ``engine/topology.py`` for the rules.
"""

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Ordering = Literal["tf", "th"]

MERGED: Final = ("kernel", "recurrent_kernel", "bias")

_GATES: Final = {9: ("z", "r", "h"), 12: ("i", "f", "c", "o")}
"""Gates in the order of Keras 2, by how many tensors Keras 1 stored; GRU, then LSTM."""

_RENAMED: Final = {
    "W": "kernel",
    "b": "bias",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",  # the name is history: since 1.0.6 it holds the variance
}

_FIRST_ROLES: Final = {
    # By the number of tensors: what Keras 0.x stored per layer, whose tensors have no names.
    1: ("kernel",),
    2: ("kernel", "bias"),
    4: ("gamma", "beta", "moving_mean", "moving_variance"),
}

_LARGEST_WINDOW: Final = 15


def role_of(name: str, layer: str) -> str:
    """Name what a tensor is for: ``conv1_W_1:0`` of layer ``conv1`` is its ``kernel``."""
    last = name.rpartition("/")[2].partition(":")[0].removeprefix(f"{layer}_")
    stem, _, number = last.rpartition("_")
    if number.isdecimal() and stem:  # TensorFlow numbers names that it has seen before
        last = stem
    for old, new in _RENAMED.items():
        if last == old or last.endswith(f"_{old}"):
            return new
    return next(
        (
            role
            for role in ("gamma", "beta")
            if last.endswith(f"_{role}")  # the layer was called otherwise when it was made
        ),
        last,
    )


def unnamed_roles(count: int) -> tuple[str, ...]:
    """Name the tensors of a layer whose file has only numbers."""
    return _FIRST_ROLES.get(count) or tuple(str(i) for i in range(count))


def merge_gates(tensors: dict[str, Array]) -> dict[str, Array]:
    """Join the tensors per gate of Keras 1's GRU (9) and LSTM (12) into three.

    Returns the tensors as they are where they are no gates.
    """
    gates = _GATES.get(len(tensors))
    if gates is None:
        return tensors
    merged = {}
    for role, letter in zip(MERGED, "WUb", strict=True):
        parts = [
            next((v for n, v in tensors.items() if n.endswith(f"{letter}_{gate}")), None)
            for gate in gates
        ]
        if any(part is None for part in parts):
            return tensors
        merged[role] = np.concatenate([part for part in parts if part is not None], axis=-1)
    return merged


def ordering_of(kernels: list[tuple[int, ...]]) -> Ordering | None:
    """Tell the order of axes from the shapes of all kernels of a file; None where it is open.

    A kernel whose window can only stand first was stored (height, width, in, out); one whose
    window can only stand last, (out, in, height, width).

    Raises
    ------
    ValueError
        When kernels contradict each other.
    """
    votes: set[Ordering] = set()
    for shape in kernels:
        first, last = _is_window(shape[:2]), _is_window(shape[2:])
        if first != last:
            votes.add("tf" if first else "th")
    if len(votes) > 1:
        raise ValueError("kernels of both orders, (height, width, in, out) and (out, in, ...)")
    return votes.pop() if votes else None


def _is_window(sides: tuple[int, ...]) -> bool:
    return max(sides) <= _LARGEST_WINDOW


def kernel(value: Array, *, ordering: Ordering, flipped: bool, transposed: bool = False) -> Array:
    """Bring a kernel of Keras 0.x or 1.x into (height, width, in, out), correlated.

    Parameters
    ----------
    value : array, 4-d
    ordering : {"tf", "th"}
        Axes (height, width, in, out), or (out, in, height, width).
    flipped : bool
        Whether it was written for a convolution in the strict sense: Theano's.
    transposed : bool
        Whether it is a ``Deconvolution2D``'s, which has (height, width, out, in) today.
    """
    if value.ndim != 4:
        return value
    if ordering == "th":
        value = value.transpose((2, 3, 0, 1) if transposed else (2, 3, 1, 0))
    elif transposed:
        value = value.transpose(0, 1, 3, 2)
    return value[::-1, ::-1] if flipped else value


def kernel_1d(value: Array) -> Array:
    """Bring a ``Convolution1D`` kernel of Keras 1 into (length, in, out).

    It was 4-d with an axis of length one: (length, 1, in, out), or (out, in, length, 1).
    """
    if value.ndim != 4:
        return value
    if value.shape[1] == 1 and value.shape[3] != 1:
        return value[:, 0]
    return value.transpose(2, 3, 1, 0)[:, 0]


_FLIPPED: Final = ("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "ConvLSTM2D")


def is_flipped(kind: str) -> bool:
    """Whether layers of a class have kernels that Keras 2 on Theano stored flipped."""
    return kind in _FLIPPED


def flip_convolution(tensors: dict[str, Array], kind: str) -> dict[str, Array]:
    """Undo Theano's flip in a file of Keras 2: kernels have today's axes, turned in space.

    Depthwise kernels were turned back by Keras itself, and recurrent kernels only of ConvLSTM.
    """

    def turned(role: str, value: Array) -> Array:
        wanted = {"kernel"} | ({"recurrent_kernel"} if kind == "ConvLSTM2D" else set())
        if role not in wanted or value.ndim < 3:
            return value
        return value[(slice(None, None, -1),) * (value.ndim - 2)]

    return {role: turned(role, value) for role, value in tensors.items()}


def dense_after_flatten(value: Array, shape: tuple[int, int, int]) -> Array:
    """Reorder a dense kernel that saw a flattened channels-first map, for a channels-last one.

    Parameters
    ----------
    value : array, (channels * height * width, out)
    shape : tuple
        (channels, height, width) of the map.
    """
    channels, height, width = shape
    parts = value.reshape(channels, height, width, -1)
    return parts.transpose(1, 2, 0, 3).reshape(value.shape)
