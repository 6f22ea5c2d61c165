"""Networks that a function builds: ``python:module:function``.

The function takes no arguments and returns a ``keras.Model`` of images, or a
:class:`bottleneck.backbones.Network`. The module is looked for where Python looks, and in the
current folder.
"""

from pathlib import Path
from typing import Any, Final

from bottleneck.backbones.declared import DeclaredInput, file_spec
from bottleneck.backbones.keras_network import image_size, network_of
from bottleneck.backbones.keras_scope import isolated
from bottleneck.backbones.layer_files import imported_function
from bottleneck.backbones.network import Form, Network
from bottleneck.errors import BackboneError, OptionError
from bottleneck.images import ImageSize

FORMS: Final[tuple[Form, ...]] = ("keras", "graph")
SYNTAX: Final = "module:function"


def canonical(name: str) -> str:
    """Return the name as it is."""
    return name


def load(
    name: str,
    *,
    weights: str | Path | None = None,
    size: ImageSize | None = None,
    declared: DeclaredInput | None = None,
    backend: str | None = None,
) -> Network:
    """Call a function; see :class:`bottleneck.backbones.registry.Provider`."""
    if weights not in (None, "function"):
        raise OptionError(
            f"python:{name}: the function brings the weights, --weights has nothing to say."
        )
    build = _function(name)
    with isolated(backend) as keras:
        made = build()
        if isinstance(made, Network):
            return made
        if not isinstance(made, keras.Model):
            raise BackboneError(
                f"python:{name}: expected a keras.Model or a Network from the function, got "
                f"{type(made).__module__}.{type(made).__qualname__}"
            )
        made.trainable = False
        size = image_size(f"python:{name}", made, size)
        spec = file_spec(
            f"python:{name}",
            size=size,
            dim=int(made.output_shape[-1] or 0) if isinstance(made.output_shape, tuple) else 0,
            params=int(made.count_params()),
            declared=declared,
        )
        return network_of(
            spec,
            made,
            size,
            source="function",
            facts={"library": "keras", "function": name},
        )


def _function(name: str) -> Any:
    module, colon, function = name.partition(":")
    if not colon or not module or not function:
        raise BackboneError(
            f"python:{name}: expected python:MODULE:FUNCTION, for example python:mine:build"
        )
    try:
        return imported_function(name)
    except OptionError as error:
        raise BackboneError(f"python:{error.message}.") from error
