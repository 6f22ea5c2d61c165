"""PyTorch modules as networks: what can be taken from one, its weights, and its input as data."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bottleneck.backbones.declared import DeclaredInput
from bottleneck.backbones.network import (
    BackboneSpec,
    Map,
    Network,
    Preprocess,
    Shape,
    Tokens,
    Vector,
    WeightsInfo,
)
from bottleneck.errors import BackboneError, WeightsError, first_line
from bottleneck.fingerprint import fingerprint_parts
from bottleneck.images import Halves, ImageSize, Interpolation, ResizeRule, image_shape

Start = Callable[[Any, Sequence[str]], Any]

INTERPOLATIONS: Final[Mapping[str | int, Interpolation]] = {
    **{"nearest": "nearest", "bilinear": "bilinear", "bicubic": "bicubic", "lanczos": "lanczos"},
    # The numbers of Pillow.
    **{0: "nearest", 2: "bilinear", 3: "bicubic", 1: "lanczos"},
}
"""What other libraries call the filters that we have."""

PICKLED: Final = (
    "Pickled checkpoints are not opened: they may run code. Save its tensors with "
    "safetensors.torch.save_file."
)


@dataclass(frozen=True)
class Processor:
    """What a library does to an image before the network, read as data.

    Parameters
    ----------
    size : int or (int, int)
        Of the network's input, pixels.
    preprocess : Preprocess
    resize, crop_ratio, interpolation, whole, halves, rounded
        See :class:`bottleneck.images.Geometry`. Libraries draw the whole picture.
    """

    size: ImageSize
    preprocess: Preprocess
    resize: ResizeRule = "crop"
    crop_ratio: float = 1.0
    interpolation: Interpolation = "bicubic"
    whole: bool = True
    halves: Halves = "even"
    rounded: bool = True


def standardised(
    name: str, mean: Sequence[float], std: Sequence[float], scale: float = 1 / 255
) -> Preprocess:
    """Return ``(x * scale - mean) / std``."""
    return Preprocess(
        name,
        scale=(scale / std[0], scale / std[1], scale / std[2]),
        offset=(-mean[0] / std[0], -mean[1] / std[1], -mean[2] / std[2]),
    )


class TorchModel:
    """A module, and what can be taken from it.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode.
    outputs : mapping of str to callable
        What the model gives by itself: from what ``start`` returned to a tensor. The first is the
        one that is taken when none is named.
    start : callable
        From images (n, 3, height, width), and the names of what is wanted, to what all outputs are
        made of.
    channels_last : callable
        From a layer's name to whether its maps are NHWC.
    prefix : int or None
        Tokens before the patches; None where nobody knows.
    tokens : int, optional
        In what has so many tokens; by default as many as its first output.
    hooks : bool
        Whether its modules can be asked for what they give.
    """

    def __init__(
        self,
        module: Any,
        outputs: Mapping[str, Callable[[Any], Any]],
        *,
        start: Start,
        channels_last: Callable[[str], bool] = lambda _: False,
        prefix: int | None = 0,
        tokens: int | None = None,
        hooks: bool = True,
    ) -> None:
        self.module = module
        self._outputs = outputs
        self._start = start
        self._channels_last = channels_last
        self._prefix = prefix
        self._tokens = tokens
        self._hooks = hooks
        self.main = next(iter(outputs))

    @property
    def layers(self) -> tuple[str, ...]:
        """Name everything that can be taken: outputs first, then modules."""
        modules = [name for name, _ in self.module.named_modules() if name and self._hooks]
        return tuple(dict.fromkeys((*self._outputs, *modules)))

    def to(self, place: str) -> None:
        """Move it to a device: ``cpu``, ``cuda:0``."""
        self.module.to(place).eval()

    def take(self, images: Any, layers: Sequence[str]) -> list[Any]:
        """Compute what some layers give for images, (n, 3, height, width), in one pass."""
        caught: dict[str, Any] = {}
        modules = dict(self.module.named_modules())
        hooks = [
            modules[name].register_forward_hook(
                # What comes after may change it in place.
                lambda _module, _given, found, name=name: caught.__setitem__(name, _copy(found))
            )
            for name in dict.fromkeys(layers)
            if name not in self._outputs
        ]
        try:
            begun = self._start(images, layers)
            for name in dict.fromkeys(layers):
                if name in self._outputs:
                    caught[name] = self._outputs[name](begun)
        finally:
            for hook in hooks:
                hook.remove()
        return [caught.get(name) for name in layers]

    def shapes(self, layers: Sequence[str], size: ImageSize) -> list[Shape | None]:
        """Compute one grey image, and tell what some layers give."""
        import torch

        height, width, _ = image_shape(size)
        with torch.inference_mode():
            image = torch.full((1, 3, height, width), 0.5)
            first, *found = self.take(image, [self.main, *layers])
        tokens = self._tokens
        if tokens is None and getattr(first, "ndim", 0) == 3:
            tokens = first.shape[1]
        return [
            self._shape(name, one, tokens, (height, width))
            for name, one in zip(layers, found, strict=True)
        ]

    def _shape(
        self, name: str, value: Any, tokens: int | None, image: tuple[int, int]
    ) -> Shape | None:
        sides = tuple(getattr(value, "shape", ()))
        if len(sides) < 2 or sides[0] != 1 or not value.is_floating_point():
            return None
        if len(sides) == 2:
            return Vector(sides[1])
        if len(sides) == 3:
            return Tokens(*sides[1:], self._prefix if sides[1] == tokens else None)
        if len(sides) != 4:
            return None
        # Inside of a network layouts alternate; a map has the image's proportions.
        first, last = _like(image, sides[2:]), _like(image, sides[1:3])
        if last and (not first or self._channels_last(name)):
            return Map(*sides[1:])
        return Map(*sides[2:], sides[1], True)

    def fingerprint(self) -> str:
        """Return the SHA-256 of its tensors: names in order, types, shapes and bytes."""
        parts: list[bytes] = []
        for name, tensor in sorted(self.module.state_dict().items()):
            value = tensor.detach().cpu().contiguous()
            parts.append(f"{name} {value.dtype} {list(value.shape)}".encode())
            parts.append(np.ascontiguousarray(value.reshape(-1).view(_bits(value))).tobytes())
        return fingerprint_parts(parts)

    @property
    def parameters(self) -> int:
        """Count its parameters."""
        return sum(parameter.numel() for parameter in self.module.parameters())


@dataclass(frozen=True)
class Origin:
    """Where weights are from.

    Parameters
    ----------
    source : str
        ``hub``, ``none``, or the path of a file or folder.
    details : mapping
        Repository, commit, licence: what is known.
    unused : sequence of str
        Tensors of the checkpoint that the network has no place for: a head.
    """

    source: str
    details: Mapping[str, Any] = field(default_factory=dict)
    unused: Sequence[str] = ()


def network_of(
    name: str,
    model: TorchModel,
    processor: Processor,
    *,
    origin: Origin,
    facts: Mapping[str, Any],
    declared: DeclaredInput | None,
    size: ImageSize,
    own: str | None = None,
    last4: str | None = None,
    licence: str | None = None,
    itself: Callable[[Any], Any] | None = None,
) -> Network:
    """Describe a module that runtimes take.

    ``itself`` is the library's own processor: from a Pillow image to a tensor, (3, height, width).

    Raises
    ------
    BackboneError
        When it does not take images of that size.
    """

    def shapes(layers: Sequence[str | None]) -> list[Shape | None]:
        return model.shapes([layer or model.main for layer in layers], size)

    try:
        (main,) = shapes([None])
    except Exception as error:
        height, width, _ = image_shape(size)
        raise BackboneError(
            f"{name}: expected a network that takes images of {height} x {width}, got "
            f"{first_line(error)}",
            hint="Leave --size out.",
        ) from error
    spec = BackboneSpec(
        name=name,
        class_name=name,
        family=name.partition(":")[0],
        input_size=max(image_shape(size)),
        min_size=1,
        dim=main.channels if main is not None else 0,
        params=model.parameters,
        preprocess=processor.preprocess,
        licence=licence,
        resize=processor.resize,
        crop_ratio=processor.crop_ratio,
        interpolation=processor.interpolation,
        whole=processor.whole,
        halves=processor.halves,
        rounded=processor.rounded,
    )
    return Network(
        spec if declared is None else declared.applied(spec),
        model,
        size,
        WeightsInfo(origin.source, model.fingerprint()),
        form="torch",
        layers=model.layers,
        shapes=shapes,
        main=model.main,
        own=own,
        last4=last4,
        channels_first=True,
        processor=None if itself is None or declared is not None else _processed(itself, spec),
        facts=facts,
        details={
            "parameters": model.parameters,
            "licence": licence,
            **({"unused": list(origin.unused)} if origin.unused else {}),
            **origin.details,
        },
    )


def _processed(
    itself: Callable[[Any], Any], spec: BackboneSpec
) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    """Let a library's processor take arrays; the admission test compares its pixels with ours."""

    def processed(picture: NDArray[np.uint8]) -> NDArray[Any]:
        found: NDArray[Any] = np.asarray(itself(Image.fromarray(picture))).transpose(1, 2, 0)
        return found[..., ::-1] if spec.preprocess.channels == "bgr" else found

    return processed


@contextmanager
def watched(torch: Any) -> Iterator[list[tuple[list[str], list[str]]]]:
    """Tell which tensors were missing and which left over, while a library loads weights.

    Libraries keep that to themselves, or log it: a network with random layers looks like any
    other. All of them load by ``Module.load_state_dict``.
    """
    seen: list[tuple[list[str], list[str]]] = []
    original = torch.nn.Module.load_state_dict

    def load(self: Any, *given: Any, **options: Any) -> Any:
        found = original(self, *given, **options)
        seen.append((list(found.missing_keys), list(found.unexpected_keys)))
        return found

    torch.nn.Module.load_state_dict = load
    try:
        yield seen
    finally:
        torch.nn.Module.load_state_dict = original


def check_complete(
    name: str, module: Any, missing: Sequence[str], unexpected: Sequence[str]
) -> list[str]:
    """Refuse weights that leave tensors random, or that have more layers than the network.

    Returns
    -------
    list of str
        What is left over of parts that the network does not have: a head.

    Raises
    ------
    WeightsError
    """
    if missing:
        raise WeightsError(
            f"{name}: expected all tensors of the network in its weights, got none for "
            f"{_some(missing)}, which would be random",
        )
    parts = {part for part, _ in module.named_children()}
    parts |= {part for part, _ in module.named_parameters(recurse=False)}
    strange = [
        key
        for key in unexpected
        if key.partition(".")[0] in parts and not key.startswith(("head.", "fc.", "classifier."))
    ]
    if strange:
        raise WeightsError(
            f"{name}: expected weights of this network, got ones with {_some(strange)} besides"
        )
    return sorted(unexpected)


def read_tensors(name: str, path: Path) -> dict[str, Any]:
    """Read a ``.safetensors`` file.

    Raises
    ------
    WeightsError
        When it is another file, or damaged.
    """
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"{name}: expected hub, none or a .safetensors file, got {str(path)!r}", hint=PICKLED
        )
    from safetensors.torch import load_file

    try:
        found: dict[str, Any] = load_file(path)
    except Exception as error:
        raise WeightsError(
            f"{path}: expected tensors of {name}, got {first_line(error)}"
        ) from error
    return found


def fill(name: str, module: Any, tensors: Mapping[str, Any]) -> list[str]:
    """Put tensors into a module; see :func:`check_complete`."""
    try:
        missing, unexpected = module.load_state_dict(tensors, strict=False)
    except Exception as error:
        raise WeightsError(f"{name}: expected its tensors, got {first_line(error)}") from error
    return check_complete(name, module, missing, unexpected)


@contextmanager
def seeded(torch: Any) -> Iterator[None]:
    """Let what is random be the same every time, and nothing outside change."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _like(image: tuple[int, int], sides: Sequence[int]) -> bool:
    """Whether a map has an image's proportions, but for rounding."""
    return abs(sides[0] * image[1] - sides[1] * image[0]) < max(image)


def catching(run: Callable[[], Any], modules: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Compute something, and keep what some modules gave on the way.

    Returns
    -------
    found : object
        What ``run`` returned.
    caught : list
        A tensor of each module, in the order in which they ran.
    """
    caught: list[Any] = []
    hooks = [
        one.register_forward_hook(lambda _module, _given, found: caught.append(_copy(found)))
        for one in modules
    ]
    try:
        return run(), caught
    finally:
        for hook in hooks:
            hook.remove()


def _copy(found: Any) -> Any:
    """Copy the tensor of what a module gave: many give a tuple, features first."""
    first = found[0] if isinstance(found, tuple | list) and found else found
    return first.clone() if hasattr(first, "clone") else first


def _bits(value: Any) -> Any:
    """Return a type that NumPy has, of the same width: it has no bfloat16."""
    import torch

    return torch.uint8 if value.element_size() and value.numel() else value.dtype
