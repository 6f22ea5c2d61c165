"""What an image processor of transformers does, read from its configuration: no code of it runs.

``preprocessor_config.json`` holds numbers, and the name of a class that says in which order they
are used; what the file leaves out are the class's defaults. Classes whose order is the usual one
(resize, cut, rescale, normalise), and a few others, are translated; the rest is refused.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bottleneck.backbones.network import Preprocess
from bottleneck.backbones.torch_network import INTERPOLATIONS, Processor, standardised
from bottleneck.errors import BackboneError

_STEPS: Final = (
    *("_preprocess", "preprocess", "process_image"),
    *("resize", "center_crop", "rescale", "normalize", "pad"),
)

_USUAL: Final = {"BeitImageProcessor", "MobileNetV2ImageProcessor", "MobileViTImageProcessor"}
"""Their classes differ from the usual one in what they do to segmentation maps, and MobileViT's in
the order of channels, which its configuration says."""

_KEYS: Final = (
    *("do_resize", "size", "default_to_square", "resample", "crop_pct"),
    *("do_center_crop", "crop_size", "do_rescale", "rescale_factor", "do_normalize"),
    *("image_mean", "image_std", "do_pad", "do_flip_channel_order"),
)

_Config = Mapping[str, Any]


def read_processor(folder: Path) -> dict[str, Any] | None:
    """Read the configuration of a folder's processor; None where it has none."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        try:
            said = json.loads((folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise BackboneError(f"{folder / name}: expected JSON, got {error}") from error
        said = said.get("image_processor", said) if isinstance(said, dict) else None
        if isinstance(said, dict) and ("size" in said or "image_mean" in said or len(said) > 2):
            return said
    return None


def translate(transformers: Any, name: str, said: _Config, model_type: str) -> Processor:
    """Say what a processor does in our terms.

    Parameters
    ----------
    transformers : module
    name : str
        Of the backbone, for messages.
    said : mapping
        What its configuration says.
    model_type : str
        Of the network, for configurations that do not name their class.

    Raises
    ------
    BackboneError
        For what we do not do.
    """
    kind, found = _class(transformers, said, model_type)
    base = kind.removesuffix("Pil")
    convnext, dinov3 = base == "ConvNextImageProcessor", base == "DINOv3ViTImageProcessor"
    if not (convnext or dinov3 or base in _USUAL or _is_usual(transformers, found)):
        raise _refused(name, f"{kind}, whose steps are its own")
    values = {key: said.get(key, getattr(found, key, None)) for key in _KEYS}
    if not values["do_resize"]:
        raise _refused(name, "no resize")
    if values["do_pad"]:
        raise _refused(name, "padding")
    filter_ = INTERPOLATIONS.get(values["resample"])
    if filter_ is None:
        raise _refused(name, f"the filter {values['resample']}")
    if dinov3 and (filter_ == "nearest" or not values["do_rescale"]):
        # PyTorch's nearest takes other pixels than Pillow's; and what is not scaled, it rounds.
        raise _refused(name, f"{filter_} of PyTorch")
    rule, size, ratio = _geometry(name, values, convnext)
    return Processor(
        size=size[0] if size[0] == size[1] else size,
        preprocess=_preprocess(values),
        resize="crop" if rule == "crop" else "squash",
        crop_ratio=ratio,
        interpolation=filter_,
        halves="down",
        rounded=not dinov3,  # which scales first, and then resizes numbers as they are
    )


def _class(transformers: Any, said: _Config, model_type: str) -> tuple[str, Any]:
    kind = said.get("image_processor_type") or said.get("feature_extractor_type")
    if not kind:
        from transformers.models.auto import image_processing_auto as auto

        known = auto.IMAGE_PROCESSOR_MAPPING_NAMES.get(model_type) or {}
        kind = next(iter(known.values()), "") if isinstance(known, Mapping) else ""
    base = str(kind).replace("FeatureExtractor", "ImageProcessor")
    base = base.removesuffix("Fast").removesuffix("Pil")
    for one in (base + "Pil", base):
        found = getattr(transformers, one, None)
        if found is not None and not getattr(found, "is_dummy", False):
            return one, found
    return base or "no class", None


def _is_usual(transformers: Any, found: Any) -> bool:
    """Whether a class has the steps that all share."""
    from transformers import image_processing_backends as backends

    for base in (backends.PilBackend, backends.TorchvisionBackend):
        if isinstance(found, type) and issubclass(found, base):
            return all(getattr(found, one, None) is getattr(base, one, None) for one in _STEPS)
    return False


def _geometry(name: str, values: _Config, convnext: bool) -> tuple[str, tuple[int, int], float]:
    """Return the rule, height and width, and the part that the cut keeps."""
    size, crop = values["size"], values["crop_size"]
    square = values["default_to_square"] is not False
    if isinstance(size, int):
        size = {"height": size, "width": size} if square else {"shortest_edge": size}
    if isinstance(crop, int):
        crop = {"height": crop, "width": crop}
    size = {key: side for key, side in (size or {}).items() if side}
    if convnext and set(size) == {"shortest_edge"}:
        side = size["shortest_edge"]
        if side >= 384:
            return "squash", (side, side), 1.0
        return "crop", (side, side), side / int(side / values["crop_pct"])
    kept = (crop["height"], crop["width"]) if values["do_center_crop"] and crop else None
    if set(size) == {"shortest_edge"} and kept is not None:
        ratios = {side / size["shortest_edge"] for side in kept}
        # Of an oblong the longer side has to be covered, which is another rule than ours.
        if len(ratios) == 1 and (ratio := ratios.pop()) <= 1:
            return "crop", kept, ratio
    if set(size) == {"height", "width"}:
        drawn = size["height"], size["width"]
        ratios = {side / of for side, of in zip(kept or drawn, drawn, strict=True)}
        if len(ratios) == 1 and (ratio := ratios.pop()) <= 1:
            return "squash", kept or drawn, ratio
    raise _refused(name, f"a size of {size or 'nothing'}, cut to {crop if kept else 'nothing'}")


def _preprocess(values: _Config) -> Preprocess:
    scale = values["rescale_factor"] or 1 / 255
    if not values["do_rescale"]:
        scale = 1.0
    mean, std = values["image_mean"], values["image_std"]
    if not values["do_normalize"] or mean is None or std is None:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    found = standardised("hf", mean, std, scale)
    if values["do_flip_channel_order"]:
        return Preprocess(found.name, "bgr", found.scale, found.offset)
    return found


def _refused(name: str, received: str) -> BackboneError:
    return BackboneError(
        f"{name}: expected a processor that resizes to one size with nearest, bilinear, bicubic or "
        f"lanczos, cuts the centre and normalises, got {received}",
        hint="Say what the network wants instead: --preprocess 'mean=...;std=...;crop=...'.",
    )
