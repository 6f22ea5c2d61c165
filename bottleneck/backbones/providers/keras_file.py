"""Keras models in files: ``keras:FILE`` or ``keras:FILE#layer``; own models too."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bottleneck.backbones.channels_last import channels_last, is_channels_first, layers_of
from bottleneck.backbones.declared import DeclaredInput, file_and_layer, file_spec
from bottleneck.backbones.keras_network import image_size, network_of
from bottleneck.backbones.keras_scope import isolated
from bottleneck.backbones.network import BackboneSpec, Form, Network
from bottleneck.errors import WeightsError, first_line
from bottleneck.fingerprint import fingerprint
from bottleneck.images import Geometry, ImageSize
from bottleneck.location import expanded
from bottleneck.weights import keras_rules
from bottleneck.weights.hdf5 import MAGIC, is_flipped
from bottleneck.writing import written_whole

FORMS: Final[tuple[Form, ...]] = ("keras",)
SYNTAX: Final = "FILE#layer"

ABOUT: Final = "backbone.json"
"""In the archive of a backbone that ``bottleneck edit`` wrote: what is known of its input."""

_VERSION: Final = 1
"""Of that document."""


def canonical(name: str) -> str:
    """Return the file's name without its folder, and the layer."""
    return file_and_layer(name)


def load(
    name: str,
    *,
    weights: str | Path | None = None,
    size: ImageSize | None = None,
    declared: DeclaredInput | None = None,
    backend: str | None = None,
) -> Network:
    """Read a model; see :class:`bottleneck.backbones.registry.Provider`.

    Code inside the file (Lambda layers) is never run.
    """
    given, _, layer = name.partition("#")
    path = expanded(given if weights is None else weights)
    if not path.is_file():
        raise WeightsError(f"{path}: expected a .keras file, which is not there")
    flipped = _is_flipped(path)
    with isolated(backend) as keras:
        try:
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:
            raise WeightsError(
                f"{path}: expected a model that Keras opens, got {first_line(error)}"
            ) from error
        architecture = _architecture(path, model)
        if flipped:
            _turn_back(model)
        if is_channels_first(model):
            model = channels_last(keras, model, str(path))
        model.trainable = False
        about = written_about(path)
        if about is not None:
            written = DeclaredInput.from_identity(about)
            declared = declared if written is None else written.completed(declared)
            size = Geometry.from_recipe(about["image"]).size if size is None else size
        size = image_size(str(path), model, size)
        spec = file_spec(
            f"keras:{canonical(name)}",
            size=size,
            dim=int(model.output_shape[-1] or 0) if isinstance(model.output_shape, tuple) else 0,
            params=int(model.count_params()),
            declared=declared,
        )
        return network_of(
            spec if about is None else _as_written(spec, about),
            model,
            size,
            source=str(path.resolve()),
            main=layer or None,
            facts={"library": "keras", "architecture_sha256": architecture},
            details=None if about is None else {"edited": about["edited"]},
        )


def write(model: Any, place: Path, about: Mapping[str, Any]) -> None:
    """Write a backbone of our own making, whole or not at all, with what is known of its input.

    Parameters
    ----------
    model : keras.Model
    place : Path
    about : mapping
        JSON values: ``image`` and ``preprocess`` as in a recipe's identity, and ``edited``: what
        it was made of.
    """
    with written_whole(place) as lent:
        temporary = lent.with_name(f"{lent.name}.keras")
        try:
            model.save(temporary)
            with zipfile.ZipFile(temporary, "a") as archive:
                told = json.dumps({**about, "version": _VERSION}, ensure_ascii=False)
                archive.writestr(ABOUT, told)
            temporary.rename(lent)
        finally:
            temporary.unlink(missing_ok=True)


def written_about(path: Path) -> Mapping[str, Any] | None:
    """Return what :func:`write` kept beside the model; None for models of other programs."""
    try:
        with zipfile.ZipFile(path) as archive:
            if ABOUT not in archive.namelist():
                return None
            about = json.loads(archive.read(ABOUT))
        if about["version"] > _VERSION:
            raise WeightsError(
                f"{path}: expected a backbone of version {_VERSION}, got {about['version']}",
                hint="Update: pip install --upgrade bottleneck-features",
            )
        DeclaredInput.from_identity(about)
        return {key: about[key] for key in ("image", "preprocess", "edited")}
    except zipfile.BadZipFile:
        return None  # an older file of Keras, HDF5
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{path}: {ABOUT} in it is damaged: {error!r}") from error


def _as_written(spec: BackboneSpec, about: Mapping[str, Any]) -> BackboneSpec:
    """Resize as it was trained, in what ``--preprocess`` has no words for."""
    given = Geometry.from_recipe(about["image"])
    if spec.resize != given.resize:
        return spec
    return replace(
        spec, whole=given.whole, halves=given.halves, antialias=given.antialias, cut=given.cut
    )


def _is_flipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC and is_flipped(path)


def _turn_back(model: Any) -> None:
    """Turn the kernels that Theano flipped; Keras 3 takes them as they are stored."""
    for layer in layers_of(model):
        kind = type(layer).__name__
        if keras_rules.is_flipped(kind):
            names = [variable.name for variable in layer.weights]
            values = dict(zip(names, layer.get_weights(), strict=True))
            layer.set_weights([*keras_rules.flip_convolution(values, kind).values()])


def _architecture(path: Path, model: Any) -> str:
    """Fingerprint what the file says of the model besides its weights."""
    try:
        with zipfile.ZipFile(path) as archive:
            said = json.loads(archive.read("config.json"))["config"]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        said = json.loads(model.to_json())["config"]
    return fingerprint(said)
