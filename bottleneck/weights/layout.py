"""Weights as every reader hands them on: named layers of named tensors in one layout.

Kernels are (height, width, in, out) and correlated, not flipped; dense kernels are (in, out);
statistics are called ``moving_mean`` and ``moving_variance`` and hold a variance.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import WeightsError
from bottleneck.fingerprint import fingerprint_parts

MAX_LAYERS: Final = 100_000
"""No network has more layers; a file that claims more is damaged."""

TAKEN: Final = (
    "Keras: .weights.h5, .h5 of any version, .keras; Caffe: .caffemodel; TensorFlow: a checkpoint's"
    " prefix, folder or .tar.gz, a frozen .pb; .npz and .safetensors."
)
"""What can be read, for hints."""


@dataclass(frozen=True)
class Layer:
    """The tensors of one layer.

    Parameters
    ----------
    name : str
        As in the file.
    tensors : dict of str to array
        By role (``kernel``, ``bias``, ``gamma``, ...), in the file's order.
    kind : str
        Class of the layer where the file tells, else empty.
    """

    name: str
    tensors: dict[str, NDArray[Any]]
    kind: str = ""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor, by role."""
        return {role: tuple(value.shape) for role, value in self.tensors.items()}


@dataclass(frozen=True)
class Weights:
    """What a weights file holds.

    Parameters
    ----------
    path : Path
    format : str
        Short name of the layout, ``keras-1``.
    writer : str
        Who wrote it, in words.
    version : str or None
        Of the writer, where the file tells.
    layers : tuple of Layer
        Those that have tensors, in the file's order.
    chained : bool
        Whether the file itself says that each layer feeds the next.
    remarks : tuple of str
        What was converted, and what the reader had to decide.
    listed : tuple of str
        Names of all layers, those without tensors too.
    """

    path: Path
    format: str
    writer: str
    version: str | None
    layers: tuple[Layer, ...]
    chained: bool = False
    remarks: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """Number of values in all tensors."""
        return sum(value.size for layer in self.layers for value in layer.tensors.values())

    @property
    def sha256(self) -> str:
        """Fingerprint of names, types, shapes and bytes, whatever file they came from."""
        parts = []
        for layer in sorted(self.layers, key=lambda layer: layer.name):
            for role, value in sorted(layer.tensors.items()):
                parts.append(f"{layer.name}/{role} {value.dtype.str}{list(value.shape)}".encode())
                parts.append(np.ascontiguousarray(value).tobytes())
        return fingerprint_parts(parts)


def damaged(path: Path, received: str) -> WeightsError:
    """Make the error for a file whose content contradicts itself."""
    return WeightsError(
        f"{path}: expected a sound weights file, got {received}",
        hint="It may be cut short: compare its size with the original's and copy it again.",
    )
