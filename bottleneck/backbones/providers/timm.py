"""Networks of timm: ``timm:NAME``, ``timm:NAME.TAG``.

timm's own transforms are never called: its configuration is read as data.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bottleneck.backbones.declared import DeclaredInput
from bottleneck.backbones.network import Form, Network, Shape, WeightsInfo
from bottleneck.backbones.spec import BackboneSpec, Preprocess
from bottleneck.backbones.torch_network import TorchModel
from bottleneck.errors import BackboneError, RuntimeUnavailableError, WeightsError
from bottleneck.images import ImageSize, Interpolation, ResizeRule, image_shape

FORMS: Final[tuple[Form, ...]] = ("torch",)
SYNTAX: Final = "NAME"

_RULES: Final[dict[str, ResizeRule]] = {"center": "crop", "squash": "squash"}
_INTERPOLATIONS: Final[dict[str, Interpolation]] = {
    "nearest": "nearest",
    "bilinear": "bilinear",
    "bicubic": "bicubic",
    "lanczos": "lanczos",
}


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

    ``weights``: ``hub`` (the default: timm's own cache, else its hub), ``none`` (random, the same
    every time), or a ``.safetensors`` file of its tensors.
    """
    timm, torch = _imported()
    source = "hub" if weights is None else str(weights)
    if source not in ("hub", "none") and Path(source).suffix != ".safetensors":
        raise WeightsError(
            f"timm:{name}: expected hub, none or a .safetensors file, got {source!r}",
            hint="Pickled checkpoints are not opened: they may run code.",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            module = timm.create_model(name, pretrained=source == "hub", num_classes=0)
        except Exception as error:
            said = (str(error).strip() or repr(error)).splitlines()[0]
            kind = BackboneError if "nknown model" in said else WeightsError
            raise kind(
                f"timm:{name}: expected a network of timm, got {said}",
                hint="`python -c \"import timm; print(timm.list_models('*WORD*'))\"` lists them. "
                "Without a network: --weights FILE.safetensors.",
            ) from error
    module.eval()
    if source not in ("hub", "none"):
        _fill(name, module, Path(source))
    config = dict(module.pretrained_cfg)
    own = tuple(config["input_size"][1:])
    size = _size(name, module, own, size)
    model = TorchModel(
        module,
        {
            "features": lambda features: features,
            "pooled": lambda features: module.forward_head(features, pre_logits=True),
        },
        start=module.forward_features,
        channels_last=getattr(module, "output_fmt", "NCHW") == "NHWC",
        prefix=getattr(module, "num_prefix_tokens", 0),
    )

    def shapes(layers: Sequence[str | None]) -> list[Shape | None]:
        return model.shapes([layer or model.main for layer in layers], size)

    (main,) = shapes([None])
    spec = BackboneSpec(
        name=f"timm:{name}",
        class_name=f"timm:{name}",
        family="timm",
        input_size=max(image_shape(size)),
        min_size=1,
        dim=main.channels if main is not None else 0,
        params=model.parameters,
        preprocess=_preprocess(config),
        licence=config.get("license"),
        **_geometry(name, config, own),
    )
    return Network(
        spec if declared is None else declared.applied(spec),
        model,
        size,
        WeightsInfo(source if source in ("hub", "none") else str(Path(source).resolve()),
                    model.fingerprint()),
        form="torch",
        layers=model.layers,
        shapes=shapes,
        main=model.main,
        own="pooled",
        channels_first=True,
        facts={"library": "timm", "architecture": str(config.get("architecture") or name)},
        details={
            "parameters": model.parameters,
            "licence": config.get("license"),
            "timm": timm.__version__,
            "hub": config.get("hf_hub_id") if source == "hub" else None,
        },
    )  # fmt: skip


def _imported() -> tuple[Any, Any]:
    try:
        import timm
        import torch
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"expected timm and PyTorch, got {error}",
            hint="`pip install 'bottleneck-features[timm]'`",
        ) from error
    return timm, torch


def _fill(name: str, module: Any, path: Path) -> None:
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        missing, unexpected = module.load_state_dict(tensors, strict=False)
    except Exception as error:
        said = (str(error).strip() or repr(error)).splitlines()[0]
        raise WeightsError(f"{path}: expected tensors of timm:{name}, got {said}") from error
    if missing or unexpected:
        heads = [key for key in unexpected if not key.startswith(("head", "fc", "classifier"))]
        if missing or heads:
            raise WeightsError(
                f"{path}: expected the tensors of timm:{name}, got none called "
                f"{', '.join(list(missing)[:3]) or '-'}, and {', '.join(heads[:3]) or '-'} besides"
            )


def _size(name: str, module: Any, own: tuple[int, int], asked: ImageSize | None) -> ImageSize:
    height, width, _ = image_shape(own if asked is None else asked)
    if (height, width) != own and module.pretrained_cfg.get("fixed_input_size"):
        raise BackboneError(
            f"timm:{name}: expected images of {own[0]} x {own[1]} pixels, which the network fixes"
            f", got {height} x {width}",
            hint="Leave --size out.",
        )
    return height if height == width else (height, width)


def _preprocess(config: dict[str, Any]) -> Preprocess:
    mean, std = config["mean"], config["std"]
    return Preprocess(
        "timm",
        scale=(1 / (255 * std[0]), 1 / (255 * std[1]), 1 / (255 * std[2])),
        offset=(-mean[0] / std[0], -mean[1] / std[1], -mean[2] / std[2]),
    )


def _geometry(name: str, config: dict[str, Any], own: tuple[int, int]) -> dict[str, Any]:
    mode, interpolation = config.get("crop_mode", "center"), config["interpolation"]
    if mode not in _RULES or interpolation not in _INTERPOLATIONS:
        raise BackboneError(
            f"timm:{name}: expected a crop of {', '.join(_RULES)} and an interpolation of "
            f"{', '.join(_INTERPOLATIONS)}, got {mode} and {interpolation}"
        )
    # timm rounds the short side down; as a ratio of what comes out that is exact.
    short = math.floor(min(own) / config["crop_pct"])
    return {
        "resize": _RULES[mode],
        "crop_ratio": min(own) / short,
        "interpolation": _INTERPOLATIONS[interpolation],
    }
