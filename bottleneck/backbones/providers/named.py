"""The networks of the catalogue: those of ``keras.applications``, and EfficientNet-Lite.

Their builders differ, and :mod:`bottleneck.backbones.builders` tells them apart by the row.
"""

from pathlib import Path
from typing import Final

from bottleneck.backbones import builders
from bottleneck.backbones.catalogue import get
from bottleneck.backbones.declared import DeclaredInput
from bottleneck.backbones.network import Form, Network
from bottleneck.images import ImageSize

FORMS: Final[tuple[Form, ...]] = ("keras",)
SYNTAX: Final = "NAME"
FILLS_PARTLY: Final = True


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
    """Load a network; see :class:`bottleneck.backbones.registry.Provider`."""
    spec = get(name)
    return builders.load(spec, weights=weights, size=size, declared=declared, backend=backend)
