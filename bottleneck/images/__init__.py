"""From the bytes of an image file to the pixels a backbone sees, or a named refusal."""

from bottleneck.images.decoder import DECODER, MAX_PIXELS, decode, from_pixels
from bottleneck.images.geometry import Geometry, ResizeRule

__all__ = ["DECODER", "MAX_PIXELS", "Geometry", "ResizeRule", "decode", "from_pixels"]
