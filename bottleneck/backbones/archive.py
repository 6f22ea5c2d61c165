"""Weights from ``.keras`` archives: the backbone may be all of it, have a head, or lie inside."""

import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bottleneck.backbones import rescaling
from bottleneck.backbones.spec import BackboneSpec
from bottleneck.backbones.weights import wrong_file
from bottleneck.errors import WeightsError


@dataclass(frozen=True)
class Archive:
    """An opened ``.keras`` file.

    Parameters
    ----------
    path : Path
    spec : BackboneSpec
        What it is expected to hold.
    model : keras.Model
        All of it.
    """

    path: Path
    spec: BackboneSpec
    model: Any

    @property
    def size(self) -> int | None:
        """Side of the input if the saved network fixes one, pixels."""
        for network, _ in _networks(self.model):
            shape = getattr(network, "input_shape", None)
            if isinstance(shape, tuple) and len(shape) == 4:
                height, width = shape[1:3]
                if height != width:
                    raise wrong_file(
                        self.path, self.spec, f"a network for images of {width}x{height} pixels"
                    )
                if height is not None:
                    return int(height)
        return None

    def fill(self, model: Any) -> bool:
        """Copy the weights into a freshly built backbone.

        The backbone is found by its layers' kinds and shapes, in order; what follows it is a
        head and is dropped.

        Returns
        -------
        bool
            Whether the saved network has EfficientNet's extra rescaling.

        Raises
        ------
        WeightsError
            When the archive does not contain this backbone, or pixels pass other layers first.
        """
        wanted = [type(layer).__name__ for layer in model.layers]
        for network, before in _networks(self.model):
            kinds = [type(layer).__name__ for layer in network.layers]
            if kinds[: len(wanted)] == wanted:
                layers, rescaled = network.layers[: len(wanted)], False
            elif self.spec.family == rescaling.FAMILY and (
                kinds[: len(wanted) + 1] == [*wanted[:3], "Rescaling", *wanted[3:]]
            ):
                layers, rescaled = [*network.layers[:3], *network.layers[4 : len(wanted) + 1]], True
            else:
                continue
            if before:
                raise wrong_file(
                    self.path,
                    self.spec,
                    f"a model in which {', '.join(before)} come before the backbone",
                    hint="Preprocessing is done here: save the backbone alone, `base.save(...)`.",
                )
            self._copy(layers, model.layers)
            return rescaled
        raise wrong_file(
            self.path, self.spec, f"{self.model.name}, in which no such network was found"
        )

    def _copy(self, sources: list[Any], targets: list[Any]) -> None:
        for source, target in zip(sources, targets, strict=True):
            values = source.get_weights()
            expected = [tuple(weight.shape) for weight in target.weights]
            received = [value.shape for value in values]
            if expected != received:
                raise wrong_file(
                    self.path, self.spec, f"{source.name} of shapes {received}, not {expected}"
                )
            if values:
                target.set_weights(values)
            if hasattr(target, "finalize_state"):  # Normalization computes from its weights
                target.finalize_state()


def is_archive(path: Path) -> bool:
    """Tell a ``.keras`` file by its content, whatever it is called."""
    try:
        with zipfile.ZipFile(path) as file:
            return {"config.json", "metadata.json"} <= set(file.namelist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, struct.error):
        return path.suffix == ".keras"


def open_archive(keras: Any, path: Path, spec: BackboneSpec) -> Archive:
    """Open a ``.keras`` file; code inside it (Lambda layers) is never run.

    Raises
    ------
    WeightsError
        When the file is damaged, unsafe, or needs classes that are not Keras's.
    """
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except WeightsError:
        raise
    except Exception as error:
        said = str(error).strip() or repr(error)
        raise wrong_file(
            path, spec, f"an archive Keras cannot open ({said.splitlines()[0]})"
        ) from error
    return Archive(path, spec, model)


def _networks(model: Any) -> Iterator[tuple[Any, list[str]]]:
    """Walk a model and the models inside it, each with the kinds of layers in front of it."""
    yield model, []
    before: list[str] = []
    for layer in model.layers:
        kind = type(layer).__name__
        if hasattr(layer, "layers"):
            for inner, more in _networks(layer):
                yield inner, [*before, *more]
        if kind != "InputLayer":
            before.append(kind)
