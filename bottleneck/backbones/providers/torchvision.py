"""Networks of torchvision: ``torchvision:NAME``, ``torchvision:NAME/WEIGHTS``.

Its transforms are read as data, and called in the admission test alone. The last linear layer,
which gives classes, is taken off.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError

from bottleneck.backbones.declared import DeclaredInput
from bottleneck.backbones.network import Form, Network
from bottleneck.backbones.torch_network import (
    INTERPOLATIONS,
    Origin,
    Processor,
    TorchModel,
    catching,
    network_of,
    read_tensors,
    seeded,
    standardised,
)
from bottleneck.errors import BackboneError, WeightsError, first_line, not_importable
from bottleneck.images import ImageSize, image_shape
from bottleneck.location import expanded

FORMS: Final[tuple[Form, ...]] = ("torch",)
SYNTAX: Final = "NAME/WEIGHTS"

_AUXILIARY: Final = ("AuxLogits", "aux1", "aux2")
"""Heads that are there in training only."""


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

    ``weights``: ``hub`` (the default: torchvision's cache, else its server), ``none`` (random, the
    same every time), or a ``.safetensors`` or ``.pth`` file of the tensors of ``WEIGHTS``.
    """
    torchvision, torch = _imported()
    architecture, _, tag = name.partition("/")
    shown = f"torchvision:{name}"
    entry = _entry(torchvision, shown, architecture, tag)
    transforms = entry.transforms()
    own = int(transforms.crop_size[0])
    height, width, _ = image_shape(own if size is None else size)
    size = height if height == width else (height, width)
    source = "hub" if weights is None else str(weights)
    module = _built(torchvision, torch, shown, architecture, entry, source=source)
    model, own_vector = _model(torch, shown, module, (height, width))
    origin = {"weights": f"{type(entry).__name__}.{entry.name}", "url": entry.url}
    return network_of(
        shown,
        model,
        _processor(shown, transforms, size),
        origin=Origin(
            source if source in ("hub", "none") else str(expanded(source).resolve()),
            {**(origin if source == "hub" else {}), "torchvision": torchvision.__version__},
        ),
        facts={"library": "torchvision", "architecture": architecture},
        declared=declared,
        size=size,
        own=own_vector,
        itself=transforms if size == own else None,
    )


def _imported() -> tuple[Any, Any]:
    try:
        import torch
        import torchvision
    except ImportError as error:
        raise not_importable("torchvision and PyTorch", "torchvision", error) from error
    return torchvision, torch


def _entry(torchvision: Any, shown: str, architecture: str, tag: str) -> Any:
    """Find the weights of a classifier by name; they say what its input is."""
    models = torchvision.models
    known = models.list_models(module=models)
    if architecture not in known:
        raise BackboneError(
            f"{shown}: expected a classifier of torchvision, got {architecture!r}",
            hint=f"There are {', '.join(known)}.",
        )
    entries = models.get_model_weights(architecture)
    if tag and tag not in entries.__members__:
        raise BackboneError(
            f"{shown}: expected weights of {', '.join(entries.__members__)}, got {tag!r}"
        )
    return entries[tag] if tag else entries.DEFAULT


def _built(
    torchvision: Any, torch: Any, shown: str, architecture: str, entry: Any, *, source: str
) -> Any:
    def tensors() -> Mapping[str, Any]:
        if source != "hub":
            return _from_file(torch, shown, expanded(source))
        try:
            found: Mapping[str, Any] = torch.hub.load_state_dict_from_url(
                entry.url, progress=False, check_hash=True, weights_only=True, map_location="cpu"
            )
        except (URLError, OSError) as error:
            folder = Path(torch.hub.get_dir()) / "checkpoints"
            raise WeightsError(
                f"{shown}: expected {entry.url.rpartition('/')[2]} in {folder}, or a network to "
                f"download it, got {first_line(error)}",
                hint=f"Where there is a network: download {entry.url}; then put it there, or name "
                "it with --weights.",
            ) from error
        return found

    options: dict[str, Any] = {"weights": entry}
    if source == "none":
        options = {"weights": None}
        if architecture.startswith("vit_"):
            options["image_size"] = int(entry.transforms().crop_size[0])
    with seeded(torch), _tensors_from(tensors):
        try:
            module = torchvision.models.get_model(architecture, **options)
        except RuntimeError as error:
            raise WeightsError(
                f"{shown}: expected tensors of {entry}, got {first_line(error)}"
            ) from error
    return module.eval()


def _from_file(torch: Any, shown: str, path: Path) -> Mapping[str, Any]:
    if path.suffix not in (".pth", ".pt") or not path.is_file():
        return read_tensors(shown, path)
    try:
        # PyTorch's restricted loader: tensors, and no code.
        found: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"{path}: expected tensors of {shown}, got {first_line(error)}"
        ) from error
    return found


@contextmanager
def _tensors_from(tensors: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
    """Let the builder of an architecture, which knows what its weights want, take our tensors."""
    from torchvision.models import WeightsEnum

    original = WeightsEnum.get_state_dict
    WeightsEnum.get_state_dict = lambda *_, **__: tensors()
    try:
        yield
    finally:
        WeightsEnum.get_state_dict = original


def _processor(shown: str, transforms: Any, size: ImageSize) -> Processor:
    if type(transforms).__name__ != "ImageClassification" or transforms.antialias is False:
        raise BackboneError(
            f"{shown}: expected the transforms of a classifier, got {type(transforms).__name__}"
        )
    interpolation = INTERPOLATIONS.get(transforms.interpolation.value)
    crop, short = transforms.crop_size, transforms.resize_size
    if interpolation is None or len(crop) != 1 or len(short) != 1 or crop[0] > short[0]:
        raise BackboneError(
            f"{shown}: expected a centre crop of what nearest, bilinear or bicubic drew, got "
            f"{crop} of {short} by {transforms.interpolation.value}"
        )
    return Processor(
        size,
        standardised("torchvision", transforms.mean, transforms.std),
        "crop",
        crop[0] / short[0],
        interpolation,
    )


def _model(
    torch: Any, shown: str, module: Any, sides: tuple[int, int]
) -> tuple[TorchModel, str | None]:
    """Take the head off, and find the last map or tokens before the network pools."""
    for name in _AUXILIARY:
        if hasattr(module, name):
            setattr(module, name, None)
    heads = [name for name, one in module.named_modules() if isinstance(one, torch.nn.Linear)]
    if heads or hasattr(module, "classifier"):
        # Where classes come from a convolution (SqueezeNet), the map before is what is left.
        module.set_submodule(heads[-1] if heads else "classifier", torch.nn.Identity())
    last = _last_before_pooling(torch, shown, module, sides)
    rectified = type(module).__name__ == "DenseNet"  # outside of any module
    outputs: dict[str, Callable[[Any], Any]] = {
        "features": lambda begun: torch.relu(begun[1][-1]) if rectified else begun[1][-1]
    }
    if heads:
        outputs["pooled"] = lambda begun: begun[0]
    prefix = 1 if type(module).__name__ == "VisionTransformer" else 0
    model = TorchModel(
        module,
        outputs,
        start=lambda images, _: catching(lambda: module(images), [last]),
        prefix=prefix,
    )
    return model, "pooled" if heads else None


def _last_before_pooling(torch: Any, shown: str, module: Any, sides: tuple[int, int]) -> Any:
    order: list[Any] = []

    def seen(one: Any, _given: Any, found: Any) -> None:
        shape = tuple(getattr(found, "shape", ()))
        if (len(shape) == 4 and shape[2] * shape[3] > 1) or (len(shape) == 3 and shape[1] > 1):
            order.append(one)

    hooks = [one.register_forward_hook(seen) for name, one in module.named_modules() if name]
    try:
        with torch.inference_mode():
            module(torch.full((1, 3, *sides), 0.5))
    except Exception as error:
        raise BackboneError(
            f"{shown}: expected a network that takes images of {sides[0]} x {sides[1]}, got "
            f"{first_line(error)}",
            hint="Leave --size out.",
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    # One that only passes on what it was given, as dropout does, is as good.
    return order[-1]
