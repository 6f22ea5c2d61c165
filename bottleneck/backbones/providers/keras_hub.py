"""Presets of KerasHub: ``keras_hub:NAME``, ``keras_hub:FOLDER``, ``keras_hub:hf://owner/name@commit``.

Its image converter is read as data, and called in the admission test alone, to compare.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.backbones.declared import DeclaredInput
from bottleneck.backbones.hub import hub_folder
from bottleneck.backbones.keras_network import image_size, network_of
from bottleneck.backbones.keras_scope import import_keras, isolated
from bottleneck.backbones.network import (
    BackboneSpec,
    Form,
    Network,
    Preprocess,
    Shape,
    Tokens,
)
from bottleneck.errors import (
    BackboneError,
    OptionError,
    WeightsError,
    first_line,
    not_importable,
)
from bottleneck.fingerprint import fingerprint
from bottleneck.images import ImageSize, Interpolation, ResizeRule, image_shape
from bottleneck.location import expanded

FORMS: Final[tuple[Form, ...]] = ("keras",)
SYNTAX: Final = "PRESET or FOLDER"

_FILES: Final = ("*.json", "*.safetensors", "*.weights.h5")
"""Of a repository of the hub: pickled checkpoints are not fetched."""

_HUB: Final = "hf://"

_PREFIX: Final[Mapping[str, Callable[[Any], int]]] = {
    "ViTBackbone": lambda encoder: int(encoder.use_class_token),
    "DeiTBackbone": lambda _: 2,  # the class token, and the one that learnt from a teacher
    "DINOV2Backbone": lambda encoder: 1 + encoder.num_register_tokens,
    "DINOV3Backbone": lambda encoder: 1 + encoder.num_register_tokens,
    "CLIPVisionEncoder": lambda _: 1,
    "MetaCLIP2VisionEncoder": lambda _: 1,
    "SigLIPVisionEncoder": lambda _: 0,
}
"""Tokens before the patches, by what the classes say of themselves."""


_RESAMPLED: Final = ("interpolated_position_embeddings",)
"""What KerasHub makes of the table of positions, where that does not fit, beside the table."""


@dataclass(frozen=True)
class _Input:
    """What an image converter does, as data."""

    size: tuple[int, int] | None
    resize: ResizeRule
    interpolation: Interpolation
    antialias: bool
    preprocess: Preprocess
    converter: Any


def canonical(name: str) -> str:
    """Return the name of a preset, or that of a folder without where it lies."""
    return name if "://" in name else Path(name).name


def load(
    name: str,
    *,
    weights: str | Path | None = None,
    size: ImageSize | None = None,
    declared: DeclaredInput | None = None,
    backend: str | None = None,
) -> Network:
    """Build a network; see :class:`bottleneck.backbones.registry.Provider`.

    ``weights``: ``hub`` (the default: the cache, else a download), ``none`` (random, the same
    every time), or a folder that the preset was saved to.
    """
    hub = _imported(backend)
    owner = f"keras_hub:{canonical(name)}"
    source = "hub" if weights is None else str(weights)
    preset, details = _place(owner, name, source)
    with isolated(backend) as keras:
        keras.utils.set_random_seed(0)
        backbone = _built(hub, owner, preset, source, size)
        encoder = getattr(backbone, "vision_encoder", backbone)
        model, main, own, last4 = _image_model(keras, owner, backbone, encoder)
        model.trainable = False
        side = image_size(owner, model, size)
        said = _input_of(hub, preset, encoder)
        positions = _positions(encoder, side)
        spec = BackboneSpec(
            name=owner,
            class_name=owner,
            family="keras_hub",
            input_size=max(image_shape(side)),
            min_size=1,
            dim=0,
            params=int(model.count_params()),
            preprocess=Preprocess("none") if said is None else said.preprocess,
            **_geometry(owner, said, declared),
        )
        network = network_of(
            spec if declared is None else declared.applied(spec),
            model,
            side,
            source=preset if Path(preset).is_dir() and source != "none" else source,
            main=main,
            facts={
                "library": "keras_hub",
                "architecture": type(encoder).__name__,
                "architecture_sha256": fingerprint(_plain(backbone.get_config())),
                **positions,
            },
            derived=_RESAMPLED if positions.get("positions", "stored") != "stored" else (),
        )
    found = replace(
        network,
        shapes=_with_prefix(network.shapes, _prefix_of(encoder), _patches(encoder, side)),
        own=own,
        last4=last4,
        processor=None if said is None or declared is not None else _processor(said, side),
        details={**network.details, **details, "keras_hub": hub.__version__},
    )
    return replace(found, spec=replace(found.spec, dim=found.shape(None).channels))


def _imported(backend: str | None) -> Any:
    import_keras(backend)
    try:
        import keras_hub
    except ImportError as error:
        raise not_importable("KerasHub", "keras_hub", error) from error
    return keras_hub


def _place(owner: str, name: str, source: str) -> tuple[str, dict[str, Any]]:
    """Say what KerasHub is to read, and where it is from."""
    if source not in ("hub", "none"):
        folder = expanded(source)
        if not (folder / "config.json").is_file():
            raise WeightsError(
                f"{owner}: expected hub, none or a folder with config.json, got {source!r}"
            )
        return str(folder.resolve()), {}
    if expanded(name).is_dir():
        return str(expanded(name).resolve()), {}
    if name.startswith(_HUB):
        found = hub_folder(name.removeprefix(_HUB), _FILES)
        return str(found.path), {"hub": found.repository, "commit": found.commit}
    return name, {}


def _built(hub: Any, owner: str, preset: str, source: str, size: ImageSize | None) -> Any:
    options: dict[str, Any] = {"load_weights": source != "none", "dtype": "float32"}
    if size is not None:
        options["image_shape"] = image_shape(size)
    try:
        return hub.models.Backbone.from_preset(preset, **options)
    except Exception as error:
        said = first_line(error)
        if Path(preset).is_dir():
            raise WeightsError(
                f"{owner}: expected a preset of KerasHub in {preset}, got: {said}",
                hint=None if size is None else "It may fix its input: leave --size out.",
            ) from error
        known = preset in hub.models.Backbone.presets
        raise WeightsError(
            f"{owner}: expected a preset in the cache of kagglehub, or a network to download it, "
            f"got: {said}"
            if known
            else f"{owner}: expected the name of a preset of KerasHub, or a folder, got {preset!r}",
            hint="Where there is a network: keras_hub.models.Backbone.from_preset("
            f"{preset!r}).save_to_preset('folder'), and the same of its image converter; then "
            "-b keras_hub:folder."
            if known
            else 'python -c "import keras_hub; print(*keras_hub.models.Backbone.presets)"',
        ) from error


def _image_model(
    keras: Any, owner: str, backbone: Any, encoder: Any
) -> tuple[Any, str, str | None, str | None]:
    """Make a model of one image tensor, and name its main output and those that join others."""
    inputs = list(encoder.inputs)
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise BackboneError(
            f"{owner}: expected a network of images, got {type(backbone).__name__}",
        )
    last = list(encoder.outputs)[-1]
    named = {"output": last}
    pyramid = getattr(encoder, "pyramid_outputs", None) or {}
    named |= {name: tensor for name, tensor in pyramid.items() if hasattr(tensor, "shape")}
    own = last4 = None
    if encoder is not backbone:
        embedding = last
        if hasattr(backbone, "vision_pooler"):
            embedding = backbone.vision_projection(backbone.vision_pooler(last))
        if len(embedding.shape) == 2:
            own = "embedding"
            named[own] = embedding
    blocks = [pyramid[name] for name in pyramid if name.startswith("stage")][-4:]
    norm = getattr(encoder, "layernorm", None)
    if len(blocks) == 4 and norm is not None and _prefix_of(encoder):
        # As linear probes of DINOv2 do: the norm of the end on every block.
        normed = [norm(block) for block in blocks]
        patches = normed[-1][:, _prefix_of(encoder) :]
        means = keras.ops.mean(patches, axis=1)
        last4 = "last4"
        named[last4] = keras.ops.concatenate([*(block[:, 0] for block in normed), means], -1)
    taken = {layer.name for layer in encoder.layers}
    ends = {
        name: keras.layers.Identity(name=name if name not in taken else f"{name}_")(tensor)
        for name, tensor in named.items()
    }
    return keras.Model(inputs[0], list(ends.values())), own or "output", own, last4


def _positions(encoder: Any, size: ImageSize) -> dict[str, str]:
    """Say whose rule made the table of positions, where that differs between libraries."""
    stored = getattr(encoder, "position_embedding_shape", None)
    if stored is None:
        return {}
    if tuple(stored[:2]) == image_shape(size)[:2]:
        return {"positions": "stored"}
    antialias = bool(getattr(encoder, "antialias_in_interpolation", False))
    return {"positions": f"resampled by keras_hub, {'with' if antialias else 'no'} antialias"}


def _prefix_of(encoder: Any) -> int | None:
    known = _PREFIX.get(type(encoder).__name__)
    return None if known is None else int(known(encoder))


def _patches(encoder: Any, size: ImageSize) -> int:
    side = getattr(encoder, "patch_size", None)
    if side is None:
        return 0
    high, wide = side if isinstance(side, tuple | list) else (side, side)
    height, width, _ = image_shape(size)
    return int((height // high) * (width // wide))


def _with_prefix(
    shapes: Callable[[Sequence[str | None]], list[Shape | None]],
    prefix: int | None,
    patches: int,
) -> Callable[[Sequence[str | None]], list[Shape | None]]:
    """Tell which tokens are patches, where there are as many as the network has."""

    def told(layers: Sequence[str | None]) -> list[Shape | None]:
        return [
            replace(one, prefix=prefix)
            if isinstance(one, Tokens)
            and prefix is not None
            and one.count == prefix + (patches or 0)
            else one
            for one in shapes(layers)
        ]

    return told


def _input_of(hub: Any, preset: str, encoder: Any) -> _Input | None:
    """Read what the preset does to images; None where it does not say."""
    try:
        converter = hub.layers.ImageConverter.from_preset(preset)
    except Exception:  # noqa: BLE001  # of any kind: there is none
        return None
    if converter is None:
        return None
    given = converter.get_config()
    if given.get("pad_to_aspect_ratio"):
        rule: ResizeRule = "pad"
    else:
        rule = "crop" if given["crop_to_aspect_ratio"] else "squash"
    size = given["image_size"]
    return _Input(
        None if size is None else (int(size[0]), int(size[1])),
        rule,
        given["interpolation"],
        bool(given["antialias"]),
        Preprocess("keras_hub", "rgb", _three(given["scale"], 1.0), _three(given["offset"], 0.0)),
        converter,
    )


def _processor(said: _Input, size: ImageSize) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    """Return what the image converter makes of a picture, at the size of the network."""

    def converted(picture: NDArray[np.uint8]) -> NDArray[Any]:
        said.converter.image_size = image_shape(size)[:2]
        found: NDArray[Any] = np.asarray(said.converter(picture[None].astype(np.float32)))[0]
        return found

    return converted


def _geometry(owner: str, said: _Input | None, declared: DeclaredInput | None) -> dict[str, Any]:
    """Translate the converter's resizing; what has no equal is refused, unless somebody says it."""
    if said is None:
        if declared is None or declared.preprocess is None:
            raise OptionError(
                f"{owner}: expected its preprocessing, which the preset does not say, got none",
                hint="--preprocess torch, for example.",
            )
        return {}
    if said.resize == "pad" and (declared is None or declared.resize is None):
        raise BackboneError(
            f"{owner}: expected images that are cropped or squashed, got padded ones, which "
            "KerasHub pads another way",
            hint="Say how: --preprocess resize=pad (or crop, squash).",
        )
    # Bilinear, or no antialias, are equal to a 255th; others clip and round in another order.
    exact = said.interpolation == "bilinear"
    if not exact and (declared is None or declared.interpolation is None):
        raise BackboneError(
            f"{owner}: expected a bilinear resize, got {said.interpolation}, which KerasHub does "
            "another way by up to some 255ths at edges",
            hint="Take ours: --preprocess interpolation=bicubic (or lanczos, nearest, bilinear).",
        )
    return {
        "resize": said.resize,
        "crop_ratio": None if said.resize == "pad" else 1.0,
        "interpolation": "bilinear",
        "whole": True,
        "antialias": said.antialias,
        "cut": "picture" if said.resize == "crop" else "drawing",
    }


def _three(value: Any, default: float) -> tuple[float, float, float]:
    if value is None:
        return (default, default, default)
    if isinstance(value, int | float):
        return (float(value), float(value), float(value))
    first, second, third = (float(one) for one in value)
    return first, second, third


def _plain(value: Any) -> Any:
    """Make JSON of a configuration; names of layers and objects of Keras play no part."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items() if key not in ("name", "dtype")}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(type(value))
