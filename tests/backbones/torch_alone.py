"""PyTorch's libraries in a process of a test: beside a PyTorch from the CPU's own wheel.

Programs beside this file import it first; they run as ``python PROGRAM ...``.
"""

import importlib.util
import io
import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def define_missing_operators():
    """Let torchvision be imported beside a PyTorch it was not built for: timm imports it.

    Only names are needed: nothing here calls these operators.
    """
    root = Path(importlib.util.find_spec("torchvision").origin).parent
    text = (root / "_meta_registrations.py").read_text()
    library = torch.library.Library("torchvision", "DEF")
    for name in {"nms", "qnms", *re.findall(r'register_meta\("(\w+)"\)', text)}:
        try:
            library.define(f"{name}(Tensor a) -> Tensor")
        except RuntimeError:
            return None  # torchvision has its own
    return library


KEPT = define_missing_operators()
"""Operators are gone with their library."""


def photographs(count=4):
    """Cut JPEG files of many shapes out of the two photographs that come with scikit-learn."""
    from sklearn.datasets import load_sample_images

    scenes = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    rng = np.random.default_rng(7)
    files = []
    for i in range(count):
        scene = scenes[i % 2]
        width, height = int(rng.integers(150, 640)), int(rng.integers(150, 427))
        left = int(rng.integers(0, scene.width - width + 1))
        top = int(rng.integers(0, scene.height - height + 1))
        file = io.BytesIO()
        part = scene.crop((left, top, left + width, top + height))
        part.save(file, "JPEG", quality=95)
        files.append(file.getvalue())
    return files
