"""Graphs in ONNX files: ``onnx:FILE`` or ``onnx:FILE#tensor``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bottleneck.backbones.declared import DeclaredInput, file_and_layer, file_spec
from bottleneck.backbones.network import Form, Network, Shape, WeightsInfo
from bottleneck.backbones.onnx_file import read_onnx
from bottleneck.images import ImageSize
from bottleneck.location import expanded

FORMS: Final[tuple[Form, ...]] = ("graph",)
SYNTAX: Final = "FILE#tensor"


def canonical(name: str) -> str:
    """Return the file's name without its folder, and the tensor."""
    return file_and_layer(name)


def load(
    name: str,
    *,
    weights: str | Path | None = None,
    size: ImageSize | None = None,
    declared: DeclaredInput | None = None,
    backend: str | None = None,  # no Keras here
) -> Network:
    """Read a graph; see :class:`bottleneck.backbones.registry.Provider`."""
    given, _, tensor = name.partition("#")
    path = expanded(given if weights is None else weights)
    file = read_onnx(path, tensor or None)
    size = file.size(size)

    def shapes(layers: Sequence[str | None]) -> list[Shape | None]:
        return file.shapes([file.tensor(layer) for layer in layers], size)

    (main,) = shapes([None])
    spec = file_spec(
        f"onnx:{canonical(name)}",
        size=size,
        dim=main.channels if main is not None else 0,
        params=file.parameters,
        declared=declared,
    )
    return Network(
        spec,
        file,
        size,
        WeightsInfo(str(path.resolve()), file.weights_sha256),
        form="graph",
        layers=file.tensors,
        shapes=shapes,
        main=file.main,
        channels_first=file.channels_first,
        facts={"library": "onnx", "graph_sha256": file.graph_sha256, "tensor": file.main},
        details={"parameters": file.parameters, "licence": None},
    )
