"""From the bytes of an image file to the pixels a backbone sees, or a named refusal."""

from bottleneck.images.decoder import (
    CHANGES,
    MAX_PIXELS,
    Drawing,
    decode,
    decode_all,
    decoder_name,
    draw_pixels,
    from_pixels,
)
from bottleneck.images.decoders.registry import PILLOW, DecoderName, require_decoder
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
from bottleneck.images.plain_jpeg import EncodedJpeg, PlainJpeg, read_plain_jpeg

__all__ = [
    "CHANGES",
    "CROP_RATIO",
    "MAX_PIXELS",
    "PILLOW",
    "Cut",
    "DecoderName",
    "Drawing",
    "EncodedJpeg",
    "Geometry",
    "Halves",
    "ImageSize",
    "Interpolation",
    "PlainJpeg",
    "ResizeRule",
    "View",
    "decode",
    "decode_all",
    "decoder_name",
    "draw_pixels",
    "from_pixels",
    "has_more_frames",
    "image_shape",
    "make_view",
    "parse_size",
    "read_plain_jpeg",
    "require_decoder",
    "views_recipe",
]
