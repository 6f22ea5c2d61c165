"""Networks of timm: ``timm:NAME``, ``timm:NAME.TAG``.

timm's own transforms are called in the admission test alone: its configuration is read as data.
"""

import math
from pathlib import Path
from typing import Any, Final

from bottleneck.backbones.declared import DeclaredInput
from bottleneck.backbones.hub import SAFE, hub_file
from bottleneck.backbones.network import Form, Network
from bottleneck.backbones.torch_network import (
    INTERPOLATIONS,
    PICKLED,
    Origin,
    Processor,
    TorchModel,
    check_complete,
    network_of,
    seeded,
    standardised,
    watched,
)
from bottleneck.errors import BackboneError, WeightsError, first_line, not_importable
from bottleneck.images import ImageSize, ResizeRule, image_shape
from bottleneck.location import expanded

FORMS: Final[tuple[Form, ...]] = ("torch",)
SYNTAX: Final = "NAME"

_RULES: Final[dict[str, ResizeRule]] = {"center": "crop", "squash": "squash"}


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
    """Build a network; see :class:`bottleneck.backbones.registry.Provider`.

    ``weights``: ``hub`` (the default: the cache of the Hugging Face hub, else the hub), ``none``
    (random, the same every time), or a ``.safetensors`` file of its tensors.
    """
    timm, torch = _imported()
    known = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if known is None:
        raise BackboneError(
            f"timm:{name}: expected a network of timm, got none of that name",
            hint="`python -c \"import timm; print(timm.list_models('*WORD*'))\"` lists them.",
        )
    config = known.to_dict()
    own = tuple(config["input_size"][1:])
    height, width, _ = image_shape(own if size is None else size)
    size = height if height == width else (height, width)
    origin, file = _origin(name, config, "hub" if weights is None else str(weights))
    module, unused = _built(
        timm, torch, name, file, (height, width) if config.get("fixed_input_size") else None
    )
    final_norm = type(getattr(module, "norm", None)).__name__ not in ("Identity", "NoneType")
    blocks = (
        final_norm
        and hasattr(module, "forward_intermediates")
        and getattr(module, "cls_token", None) is not None
    )
    model = TorchModel(
        module,
        {
            "features": lambda begun: begun[0],
            "pooled": lambda begun: module.forward_head(begun[0], pre_logits=True),
            **({"last4": lambda begun: _last4(torch, begun[1])} if blocks else {}),
        },
        start=lambda images, names: (
            module.forward_intermediates(
                images, indices=4, return_prefix_tokens=True, norm=True, output_fmt="NLC"
            )
            if "last4" in names
            else (module.forward_features(images), None)
        ),
        channels_last=lambda _: getattr(module, "output_fmt", "NCHW") == "NHWC",
        prefix=getattr(module, "num_prefix_tokens", 0),
    )
    facts = {"library": "timm", "architecture": str(config.get("architecture") or name)}
    if any("pos_embed" in part for part, _ in module.named_parameters()):
        # Resampled where the size is another one; libraries do that by rules of their own.
        own_size = (height, width) == own if file is None else _same_positions(file, module)
        facts["positions"] = "stored" if own_size else "resampled by timm"
    return network_of(
        f"timm:{name}",
        model,
        _processor(name, config, (height, width), size, declared),
        origin=Origin(origin.source, {**origin.details, "timm": timm.__version__}, unused),
        facts=facts,
        declared=declared,
        size=size,
        own="pooled",
        last4="last4" if blocks else None,
        licence=config.get("license"),
        itself=timm.data.create_transform(
            **timm.data.resolve_data_config({"input_size": (3, height, width)}, config)
        ),
    )


def _imported() -> tuple[Any, Any]:
    try:
        import timm
        import torch
    except ImportError as error:
        raise not_importable("timm and PyTorch", "timm", error) from error
    return timm, torch


def _origin(name: str, config: dict[str, Any], weights: str) -> tuple[Origin, Path | None]:
    """Find the file of the weights."""
    if weights == "none":
        return Origin("none"), None
    if weights != "hub":
        path = expanded(weights)
        if path.suffix != ".safetensors" or not path.is_file():
            raise WeightsError(
                f"timm:{name}: expected hub, none or a .safetensors file, got {weights!r}",
                hint=PICKLED if path.is_file() else None,
            )
        return Origin(str(path.resolve())), path
    repository, file = config.get("hf_hub_id"), config.get("hf_hub_filename") or SAFE
    if not repository:
        raise WeightsError(
            f"timm:{name}: expected weights on the Hugging Face hub, got "
            f"{config.get('url') or 'none'}",
            hint=f"{PICKLED} Then --weights FILE.safetensors.",
        )
    found = hub_file(repository, [f"{file.rpartition('.')[0]}.safetensors"])
    return Origin("hub", {"hub": found.repository, "commit": found.commit}), found.path


def _built(
    timm: Any, torch: Any, name: str, file: Path | None, fixed: tuple[int, int] | None
) -> tuple[Any, list[str]]:
    options: dict[str, Any] = {"num_classes": 0}
    if fixed is not None:
        options["img_size"] = fixed
    if file is not None:
        # Any layout that timm knows of this architecture; its head is left out.
        overlay = {"file": str(file), "custom_load": False}
        options |= {"pretrained": True, "pretrained_cfg_overlay": overlay}
    with seeded(torch), watched(torch) as loaded:
        try:
            try:
                module = timm.create_model(name, **options)
            except TypeError:
                if fixed is None:
                    raise
                del options["img_size"]
                module = timm.create_model(name, **options)
        except Exception as error:
            raise WeightsError(
                f"{file or 'timm:' + name}: expected tensors of timm:{name}, got "
                f"{first_line(error)}"
            ) from error
    module.eval()
    missing, unexpected = loaded[-1] if loaded else ([], [])
    return module, check_complete(f"timm:{name}", module, missing, unexpected)


def _same_positions(file: Path, module: Any) -> bool:
    """Whether a file's table of positions has the network's shape; timm resamples others."""
    from safetensors import safe_open

    sizes = {
        parameter.shape for name, parameter in module.named_parameters() if "pos_embed" in name
    }
    with safe_open(file, "pt") as stored:
        found = [stored.get_slice(key).get_shape() for key in stored.keys() if "pos_embed" in key]  # noqa: SIM118
    return {tuple(shape) for shape in found} == {tuple(shape) for shape in sizes}


def _last4(torch: Any, blocks: Any) -> Any:
    """Join the class tokens of the last four blocks and the mean patch of the last one."""
    return torch.cat([*(prefix[:, 0] for _, prefix in blocks), blocks[-1][0].mean(1)], -1)


def _processor(
    name: str,
    config: dict[str, Any],
    sides: tuple[int, int],
    size: ImageSize,
    declared: DeclaredInput | None,
) -> Processor:
    mode, interpolation = config.get("crop_mode") or "center", config["interpolation"]
    said = declared is not None and declared.resize is not None
    oblong = mode == "center" and sides[0] != sides[1]
    if (mode not in _RULES or oblong) and not said:
        # Where the sides differ, timm rounds what it draws by another rule.
        raise BackboneError(
            f"timm:{name}: expected a crop of {', '.join(_RULES)} of a square, got {mode} of "
            f"{sides[0]} x {sides[1]}",
            hint="Say one: --preprocess resize=squash (or crop, pad).",
        )
    if interpolation not in INTERPOLATIONS:
        raise BackboneError(
            f"timm:{name}: expected an interpolation of nearest, bilinear, bicubic, lanczos, got "
            f"{interpolation}"
        )
    # timm rounds the short side down; as a ratio of what comes out that is exact.
    short = math.floor(min(sides) / config["crop_pct"])
    return Processor(
        size,
        standardised("timm", config["mean"], config["std"]),
        _RULES.get(mode, "squash"),
        min(sides) / short,
        INTERPOLATIONS[interpolation],
    )
