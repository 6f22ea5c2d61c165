"""From the bytes of an image file to the pixels a backbone sees, or a named refusal."""

from bottleneck.images.decoder import (
    CHANGES,
    DECODER,
    MAX_PIXELS,
    Drawing,
    decode,
    decode_all,
    draw_pixels,
    from_pixels,
)
from bottleneck.images.frames import has_more_frames
from bottleneck.images.geometry import (
    CROP_RATIO,
    Cut,
    Geometry,
    Halves,
    ImageSize,
    Interpolation,
    ResizeRule,
    View,
    image_shape,
    make_view,
    parse_size,
    views_recipe,
)

__all__ = [
    "CHANGES",
    "CROP_RATIO",
    "DECODER",
    "MAX_PIXELS",
    "Cut",
    "Drawing",
    "Geometry",
    "Halves",
    "ImageSize",
    "Interpolation",
    "ResizeRule",
    "View",
    "decode",
    "decode_all",
    "draw_pixels",
    "from_pixels",
    "has_more_frames",
    "image_shape",
    "make_view",
    "parse_size",
    "views_recipe",
]
