"""Frozen backbones: which there are, their weights, and headless networks made from them.

Nothing here imports Keras until a network is built.
"""

from bottleneck.backbones.builders import Backbone, WeightsInfo, layer_output, layers, load
from bottleneck.backbones.catalogue import (
    DEFAULT,
    bundled_names,
    cache_folder,
    catalogue,
    get,
    weights_at_hand,
)
from bottleneck.backbones.inspection import WeightsReport, inspect_weights
from bottleneck.backbones.keras_scope import import_keras
from bottleneck.backbones.spec import BackboneSpec, OutputSpec, Pool, Preprocess

__all__ = [
    "DEFAULT",
    "Backbone",
    "BackboneSpec",
    "OutputSpec",
    "Pool",
    "Preprocess",
    "WeightsInfo",
    "WeightsReport",
    "bundled_names",
    "cache_folder",
    "catalogue",
    "get",
    "import_keras",
    "inspect_weights",
    "layer_output",
    "layers",
    "load",
    "weights_at_hand",
]
