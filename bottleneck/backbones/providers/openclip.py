"""Image encoders of OpenCLIP: ``openclip:ARCHITECTURE/TAG``.

Its transforms are read as data, and called in the admission test alone. The part that reads text
is let go of.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from bottleneck.backbones.declared import DeclaredInput
from bottleneck.backbones.hub import hub_file
from bottleneck.backbones.network import Form, Network
from bottleneck.backbones.torch_network import (
    INTERPOLATIONS,
    PICKLED,
    Origin,
    Processor,
    TorchModel,
    catching,
    network_of,
    seeded,
    standardised,
)
from bottleneck.errors import BackboneError, WeightsError, first_line, not_importable
from bottleneck.images import ImageSize, image_shape
from bottleneck.location import expanded

FORMS: Final[tuple[Form, ...]] = ("torch",)
SYNTAX: Final = "ARCHITECTURE/TAG"

_FILE: Final = "open_clip_model.safetensors"


def canonical(name: str) -> str:
    """Return the name as it is."""
    return name


def load(
    name: str,
    *,
    weights: str | Path | None = None,
    size: ImageSize | None = None,
    declared: DeclaredInput | None = None,
    backend: str | None = None,  # no Keras here
) -> Network:
    """Build an encoder; see :class:`bottleneck.backbones.registry.Provider`.

    ``weights``: ``hub`` (the default: the cache of the Hugging Face hub, else the hub), ``none``
    (random, the same every time), or a ``.safetensors`` file of all tensors of the pair.
    """
    open_clip, torch = _imported()
    shown = f"openclip:{name}"
    architecture, _, tag = name.partition("/")
    known = _known(open_clip, shown, architecture, tag)
    origin, file = _origin(shown, known, "hub" if weights is None else str(weights))
    said = {**(open_clip.get_model_config(architecture) or {})}
    quick = bool(known.get("quick_gelu", False))
    if said.get("quick_gelu", False) and not quick:
        raise BackboneError(
            f"{shown}: expected weights trained with QuickGELU, which the architecture has, got "
            f"{tag}, trained with GELU",
            hint="The architecture without -quickgelu in its name fits.",
        )
    both = _built(open_clip, torch, shown, architecture, file, quick=quick, size=size)
    config = {**open_clip.get_model_preprocess_cfg(both), **_stated(known)}
    visual = both.visual.eval()
    side = getattr(visual, "image_size", None) or config["size"]
    height, width, _ = image_shape(tuple(side) if isinstance(side, list | tuple) else int(side))
    size = height if height == width else (height, width)
    facts = {
        "library": "open_clip",
        "architecture": architecture,
        "activation": "quick_gelu" if quick else "of the architecture",
    }
    if size != said.get("vision_cfg", {}).get("image_size", 224):
        facts["positions"] = "resampled by open_clip"
    return network_of(
        shown,
        _model(visual),
        _processor(shown, config, size),
        origin=Origin(origin.source, {**origin.details, "open_clip": open_clip.__version__}),
        facts=facts,
        declared=declared,
        size=size,
        own="image_embeds",
        itself=open_clip.transform.image_transform_v2(
            open_clip.transform.PreprocessCfg(**{**config, "size": size}), is_train=False
        ),
    )


def _imported() -> tuple[Any, Any]:
    try:
        import open_clip
        import torch
    except ImportError as error:
        raise not_importable("OpenCLIP and PyTorch", "openclip", error) from error
    return open_clip, torch


def _known(open_clip: Any, shown: str, architecture: str, tag: str) -> Mapping[str, Any]:
    if architecture not in open_clip.list_models():
        raise BackboneError(
            f"{shown}: expected an architecture of open_clip, got {architecture!r}",
            hint=f"There are {', '.join(open_clip.list_models())}.",
        )
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if tag not in tags:
        raise BackboneError(
            f"{shown}: expected one of the weights of {architecture}, got {tag or 'none'}",
            hint=f"There are {', '.join(f'openclip:{architecture}/{one}' for one in tags)}.",
        )
    found: Mapping[str, Any] = open_clip.get_pretrained_cfg(architecture, tag)
    return found


def _stated(known: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("mean", "std", "interpolation", "resize_mode", "size")
    return {key: known[key] for key in keys if known.get(key) is not None}


def _origin(shown: str, known: Mapping[str, Any], weights: str) -> tuple[Origin, Path | None]:
    """Find the file of the weights."""
    if weights == "none":
        return Origin("none"), None
    if weights != "hub":
        path = expanded(weights)
        if path.suffix != ".safetensors" or not path.is_file():
            raise WeightsError(
                f"{shown}: expected hub, none or a .safetensors file, got {weights!r}",
                hint=PICKLED if path.is_file() else None,
            )
        return Origin(str(path.resolve())), path
    place = str(known.get("hf_hub") or "")
    if not place:
        raise WeightsError(
            f"{shown}: expected weights on the Hugging Face hub, got {known.get('url') or 'none'}",
            hint=f"{PICKLED} Then --weights FILE.safetensors.",
        )
    repository, _, file = place.rpartition("/")
    found = hub_file(repository, [f"{file.rpartition('.')[0]}.safetensors" if file else _FILE])
    return Origin("hub", {"hub": found.repository, "commit": found.commit}), found.path


def _built(
    open_clip: Any,
    torch: Any,
    shown: str,
    architecture: str,
    file: Path | None,
    *,
    quick: bool,
    size: ImageSize | None,
) -> Any:
    with seeded(torch):
        try:
            return open_clip.create_model(
                architecture,
                pretrained=None if file is None else str(file),
                force_quick_gelu=quick,
                force_image_size=size,
                pretrained_image=False,
                pretrained_text=False,
            )
        except Exception as error:
            raise WeightsError(
                f"{file or shown}: expected tensors of {shown}, got {first_line(error)}"
            ) from error


def _model(visual: Any) -> TorchModel:
    """Say what can be taken: the embedding, and tokens where there are some."""
    trunk = getattr(visual, "trunk", None)
    if trunk is not None:
        prefix, last = getattr(trunk, "num_prefix_tokens", None), getattr(trunk, "norm", None)
        table = getattr(trunk, "pos_embed", None)
        count = None if table is None or prefix is None else trunk.patch_embed.num_patches + prefix
    else:
        prefix, last = 1, getattr(visual, "transformer", None)
        table = getattr(visual, "positional_embedding", None)
        count = None if table is None else int(table.shape[0])
    tokens = last is not None and count is not None
    outputs: dict[str, Callable[[Any], Any]] = {"image_embeds": lambda begun: _embedding(begun[0])}
    if tokens:
        outputs["tokens"] = lambda begun: begun[1][-1]
    return TorchModel(
        visual,
        outputs,
        start=lambda images, names: catching(
            lambda: visual(images), [last] if tokens and "tokens" in names else []
        ),
        prefix=prefix if tokens else None,
        tokens=count,
    )


def _embedding(found: Any) -> Any:
    """Return the embedding of what an encoder gave: CoCa's gives tokens besides."""
    return found[0] if isinstance(found, tuple | list) else found


def _processor(shown: str, config: Mapping[str, Any], size: ImageSize) -> Processor:
    mode, interpolation = config["resize_mode"], INTERPOLATIONS.get(config["interpolation"])
    oblong = mode == "shortest" and isinstance(size, tuple)
    if mode not in ("shortest", "squash") or interpolation is None or oblong:
        raise BackboneError(
            f"{shown}: expected a centre crop of a square, or squash, by nearest, bilinear or "
            f"bicubic, got {mode} of {size} by {config['interpolation']}"
        )
    return Processor(
        size,
        standardised("openclip", config["mean"], config["std"]),
        "crop" if mode == "shortest" else "squash",
        1.0,
        interpolation,
    )
