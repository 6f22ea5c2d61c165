"""Small pictures and their encodings."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def encode() -> Encode:
    def to_bytes(picture: Any, kind: str = "PNG", **options: Any) -> bytes:
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        return stream.getvalue()

    return to_bytes


@pytest.fixture(scope="session")
def noise() -> np.ndarray:
    """Random RGB: any misplaced pixel shows."""
    return np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)


@pytest.fixture(scope="session")
def scene() -> Callable[[int, int], np.ndarray]:
    """A smooth picture without any symmetry, as JPEG likes it."""

    def paint(width: int, height: int) -> np.ndarray:
        y, x = np.mgrid[0 : 1 : 1j * height, 0 : 1 : 1j * width]
        bands = [
            255 * x**1.5,
            255 * (1 - y) * (0.3 + 0.7 * x),
            127 + 120 * np.sin(9 * x + 4 * y * y),
        ]
        return np.stack(bands, axis=2).round().astype(np.uint8)

    return paint
