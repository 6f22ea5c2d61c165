"""A model of Keras whose maps have channels first, as the same function with channels last.

Such models are of Theano's time, or were trained on GPUs with ``image_data_format`` set. Every
4-d tensor is turned, and each layer is made to fit: layers that know a data format change it, those
that name an axis change that, those that look at each number by itself stay, and around what reads
a whole map in its order (Flatten, Reshape) the order that it was trained with is put back.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from bottleneck.errors import BackboneError

_FIRST: Final = "channels_first"

_BY_ITSELF: Final = frozenset(
    {
        *("Activation", "ReLU", "LeakyReLU", "ELU", "ThresholdedReLU", "Identity"),
        *("Dropout", "GaussianDropout", "GaussianNoise", "AlphaDropout", "ActivityRegularization"),
        *("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Masking"),
    }
)
"""Layers that compute each number of a map from the one at its place."""

_ON_AXIS: Final = frozenset(
    {"BatchNormalization", "LayerNormalization", "UnitNormalization", "Concatenate", "Softmax"}
)

_PLACE: Final = {1: 3, 2: 1, 3: 2}
"""Where an axis of (n, channels, height, width) goes."""

_ALONG_LAST: Final = frozenset({"softmax", "log_softmax"})
"""Activations that look along the last axis."""


def is_channels_first(model: Any) -> bool:
    """Tell whether a model's maps have channels first."""
    shape = getattr(model, "input_shape", None)
    return (
        isinstance(shape, tuple)
        and len(shape) == 4
        and any(
            getattr(layer, "data_format", None) == _FIRST and type(layer).__name__ != "Flatten"
            for layer in layers_of(model)
        )
    )


def channels_last(keras: Any, model: Any, owner: str) -> Any:
    """Make the model that gives the same for images whose channels are last.

    Raises
    ------
    BackboneError
        For a layer of which that cannot be told; names it.
    """
    made: dict[str, Any] = {}

    def clone(layer: Any) -> Any:
        made[layer.name] = _turned(keras, layer, owner)
        return made[layer.name]

    batch, channels, height, width = model.input_shape
    given = keras.Input(
        batch_shape=(batch, height, width, channels), dtype=model.inputs[0].dtype, name="images"
    )
    # The graph of a Sequential is that of a model too.
    outputs = model.outputs if len(model.outputs) > 1 else model.outputs[0]
    graph = keras.Model(model.inputs[0], outputs, name=model.name)
    copy = keras.models.clone_model(graph, input_tensors=given, clone_function=clone)
    for layer in graph.layers:
        if layer.weights and not hasattr(layer, "layers"):
            made[layer.name].set_weights(_values(layer))
    return copy


def layers_of(model: Any) -> Iterator[Any]:
    """Walk the layers of a model and of the models inside it."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from layers_of(layer)
        else:
            yield layer


def _turned(keras: Any, layer: Any, owner: str) -> Any:
    """Make a layer for turned maps."""
    node = layer._inbound_nodes[0]
    given, found = ({len(one.shape) for one in part} for part in _ends(node))
    if max(given | found) > 4:
        raise _unknown(owner, layer, "more than height and width")
    if 4 not in given | found:
        return layer if hasattr(layer, "layers") else type(layer).from_config(layer.get_config())
    if is_channels_first(layer):
        return channels_last(keras, layer, owner)
    config = None if hasattr(layer, "layers") else _config(layer, owner)
    if config is not None and len(given) == 1:
        return type(layer).from_config(config)
    if len(node.input_tensors) != 1:
        raise _unknown(owner, layer, "several maps, or maps and vectors")
    # It sees, and gives, what it did.
    inner = layer if hasattr(layer, "layers") else type(layer).from_config(layer.get_config())
    parts = [keras.layers.Permute((3, 1, 2)), inner] if 4 in given else [inner]
    if 4 in found:
        parts.append(keras.layers.Permute((2, 3, 1)))
    return keras.Sequential(parts, name=layer.name)


def _config(layer: Any, owner: str) -> dict[str, Any] | None:
    """Return the settings of a layer of turned maps; None for one that has none such."""
    kind, config = type(layer).__name__, layer.get_config()
    known = {"data_format", "axis", "shared_axes"} & set(config) or kind in _BY_ITSELF
    if known and config.get("activation") in _ALONG_LAST:
        raise _unknown(owner, layer, f"maps, with {config['activation']} along their width")
    if getattr(layer, "data_format", None) == _FIRST:
        # (Flatten with channels first puts them last by itself before it flattens.)
        return {**config, "data_format": "channels_last"}
    if kind in _BY_ITSELF:
        return {**config}
    if kind in _ON_AXIS:
        many = isinstance(config["axis"], list | tuple)
        axes = [_PLACE[one % 4] for one in (config["axis"] if many else [config["axis"]])]
        if axes != sorted(axes):
            raise _unknown(owner, layer, f"axes {config['axis']}")
        return {**config, "axis": axes if many else axes[0]}
    if kind == "PReLU":
        return {**config, "shared_axes": sorted(map(_PLACE.get, config["shared_axes"] or ()))}
    return None


def _ends(node: Any) -> tuple[Any, Any]:
    return node.input_tensors, node.output_tensors


def _values(layer: Any) -> list[Any]:
    """Return the weights of a layer as those of turned maps."""
    values: list[Any] = layer.get_weights()
    if type(layer).__name__ == "PReLU" and values[0].ndim == 3:  # a number for each place
        return [np.transpose(values[0], (1, 2, 0))]
    return values


def _unknown(owner: str, layer: Any, what: str) -> BackboneError:
    return BackboneError(
        f"{owner}: expected layers that can be turned to channels last, got {layer.name}"
        f" ({type(layer).__name__}) of {what}",
        hint="Rebuild the model with channels last and load its weights into that.",
    )
