"""What can be taken from a PyTorch module: what its parts give, in one pass."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bottleneck.backbones.network import Map, Shape, Tokens, Vector
from bottleneck.fingerprint import fingerprint_parts
from bottleneck.images import ImageSize, image_shape


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
        From images (n, 3, height, width) to what all outputs are made of.
    channels_last : bool
        Whether its maps are NHWC.
    prefix : int
        Tokens before the patches, in what has as many tokens as its first output.
    """

    def __init__(
        self,
        module: Any,
        outputs: Mapping[str, Callable[[Any], Any]],
        *,
        start: Callable[[Any], Any],
        channels_last: bool = False,
        prefix: int = 0,
    ) -> None:
        self.module = module
        self._outputs = outputs
        self._start = start
        self._channels_last = channels_last
        self._prefix = prefix
        self.main = next(iter(outputs))

    @property
    def layers(self) -> tuple[str, ...]:
        """Name everything that can be taken: outputs first, then modules."""
        return (*self._outputs, *(name for name, _ in self.module.named_modules() if name))

    def take(self, images: Any, layers: Sequence[str]) -> list[Any]:
        """Compute what some layers give for images, (n, 3, height, width), in one pass."""
        caught: dict[str, Any] = {}
        modules = dict(self.module.named_modules())
        hooks = [
            modules[name].register_forward_hook(
                lambda _module, _given, found, name=name: caught.__setitem__(name, found)
            )
            for name in dict.fromkeys(layers)
            if name not in self._outputs
        ]
        try:
            begun = self._start(images)
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
        tokens = first.shape[1] if first.ndim == 3 else None
        return [self._shape(value, tokens) for value in found]

    def _shape(self, value: Any, tokens: int | None) -> Shape | None:
        sides = tuple(getattr(value, "shape", ()))
        if len(sides) < 2 or sides[0] != 1 or not value.is_floating_point():
            return None
        if len(sides) == 2:
            return Vector(sides[1])
        if len(sides) == 3:
            return Tokens(*sides[1:], self._prefix if sides[1] == tokens else None)
        if len(sides) != 4:
            return None
        if self._channels_last:
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


def _bits(value: Any) -> Any:
    """Return a type that NumPy has, of the same width: it has no bfloat16."""
    import torch

    return torch.uint8 if value.element_size() and value.numel() else value.dtype
