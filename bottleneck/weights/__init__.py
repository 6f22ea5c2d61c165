"""Weights files of all ages, read by content: named layers of named tensors in one layout.

Nothing here knows a network or imports a framework.
"""

from bottleneck.weights.layout import TAKEN, Layer, Weights
from bottleneck.weights.reading import Release, is_certainly_weights, is_weights, read, release_of

__all__ = [
    "TAKEN",
    "Layer",
    "Release",
    "Weights",
    "is_certainly_weights",
    "is_weights",
    "read",
    "release_of",
]
