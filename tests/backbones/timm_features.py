"""Features of timm's networks, ours and its own, in a process of its own.

Run as ``python timm_features.py OUTPUT.npz FOLDER NAME...``.
"""

import importlib.util
import re
import sys
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


def own(module, name, files):
    """What timm computes by itself: its transform, its forward."""
    import timm

    config = timm.data.resolve_data_config(module.pretrained_cfg)
    transform = timm.data.create_transform(**config, is_training=False)
    pixels = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
    with torch.inference_mode():
        features = module.forward_features(pixels)
        pooled = module.forward_head(features, pre_logits=True)
    return pixels.numpy(), features.numpy(), pooled.numpy()


def main():
    library = define_missing_operators()
    output, folder, *names = sys.argv[1:]
    files = sorted(Path(folder).iterdir())
    import timm  # noqa: F401

    from bottleneck import backbones, runtimes
    from bottleneck.backbones import Map, OutputSpec
    from bottleneck.images import decode

    found = {}
    for name in names:
        network = backbones.load(f"timm:{name}", weights="none")
        geometry = network.spec.geometry(network.size)
        images = np.stack([decode(file.read_bytes(), geometry) for file in files])
        compiler = runtimes.get("torch")
        pools = ["avg"] if isinstance(network.shape(None), Map) else ["cls", "avg"]
        if getattr(network.shape(None), "prefix", 1) == 0:
            pools.remove("cls")
        step = compiler.compile(
            network, [OutputSpec(pool=pool) for pool in (*pools, "own")], device="cpu"
        )
        ours = step(images)
        pixels, features, pooled = own(network.model.module, name, files)
        scale, offset = (np.array(v) for v in (
            network.spec.preprocess.scale, network.spec.preprocess.offset))  # fmt: skip
        found[f"{name}/pixels"] = images
        found[f"{name}/their_pixels"] = (pixels.transpose(0, 2, 3, 1) - offset) / scale
        found[f"{name}/features"], found[f"{name}/pooled"] = features, pooled
        found[f"{name}/nhwc"] = getattr(network.model.module, "output_fmt", "NCHW") == "NHWC"
        found[f"{name}/prefix"] = getattr(network.model.module, "num_prefix_tokens", 0)
        found[f"{name}/sha256"] = network.weights.sha256
        found[f"{name}/again"] = backbones.load(f"timm:{name}", weights="none").weights.sha256
        found |= {f"{name}/ours/{pool}": value for pool, value in ours.items()}
    del library
    np.savez(output, **found)


if __name__ == "__main__":
    main()
