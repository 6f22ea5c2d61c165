"""Frozen backbones: which there are, their weights, and headless networks made from them.

Nothing here imports Keras until a network is built.
"""

from bottleneck.backbones.catalogue import (
    DEFAULT,
    all_backbones,
    bundled_names,
    cache_folder,
    get,
    name_with_width,
    weights_at_hand,
)
from bottleneck.backbones.declared import DeclaredInput
from bottleneck.backbones.inspection import WeightsReport, inspect_weights
from bottleneck.backbones.keras_scope import import_keras
from bottleneck.backbones.network import (
    BackboneSpec,
    Form,
    Map,
    Network,
    OutputSpec,
    Pool,
    Preprocess,
    Shape,
    Tokens,
    Top,
    Vector,
    WeightsInfo,
)
from bottleneck.backbones.registry import find, item_of, list_items, load

__all__ = [
    "DEFAULT",
    "BackboneSpec",
    "DeclaredInput",
    "Form",
    "Map",
    "Network",
    "OutputSpec",
    "Pool",
    "Preprocess",
    "Shape",
    "Tokens",
    "Top",
    "Vector",
    "WeightsInfo",
    "WeightsReport",
    "all_backbones",
    "bundled_names",
    "cache_folder",
    "find",
    "get",
    "import_keras",
    "inspect_weights",
    "item_of",
    "list_items",
    "load",
    "name_with_width",
    "weights_at_hand",
]
