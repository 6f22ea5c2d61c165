"""From the bytes of an image file to the pixels a backbone sees, or a named refusal."""

from bottleneck.images.decoder import (
    DECODER,
    MAX_PIXELS,
    Drawing,
    decode,
    decode_all,
    draw_pixels,
    from_pixels,
)
from bottleneck.images.geometry import Geometry, ResizeRule
from bottleneck.images.views import View, make_view, views_recipe

__all__ = [
    "DECODER",
    "MAX_PIXELS",
    "Drawing",
    "Geometry",
    "ResizeRule",
    "View",
    "decode",
    "decode_all",
    "draw_pixels",
    "from_pixels",
    "make_view",
    "views_recipe",
]
