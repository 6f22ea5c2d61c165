"""Features of libraries on PyTorch, ours and their own, in a process of its own.

Run as ``python torch_features.py OUTPUT.npz PROVIDER NAME...``. Photographs go through our pixels
and our runtime, and through the library's own processor and forward pass; nothing is shared.
"""

import io
import sys

import numpy as np
import torch
import torch_alone
from PIL import Image

from bottleneck import backbones, runtimes
from bottleneck.backbones import OutputSpec
from bottleneck.images import decode


def opened(file):
    return Image.open(io.BytesIO(file)).convert("RGB")


def awaken(module):
    """Let branches count that begin at a hundred-thousandth: features would not see the image."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1 and 0 < float(parameter.abs().max()) < 1e-3:
                parameter.fill_(0.3)


def last_blocks(blocks, norm, forward):
    """What the last four blocks of a transformer give, through its final norm."""
    given = []
    hooks = [
        block.register_forward_hook(lambda _module, _in, out: given.append(out))
        for block in blocks[-4:]
    ]
    forward()
    for hook in hooks:
        hook.remove()
    return [norm(one[0] if isinstance(one, tuple) else one) for one in given]


def timm_itself(network, name, files):
    """timm's transform, timm's forward."""
    import timm

    module = network.model.module
    config = timm.data.resolve_data_config(module.pretrained_cfg)
    transform = timm.data.create_transform(**config, is_training=False)
    pixels = torch.stack([transform(opened(file)) for file in files])
    features = module.forward_features(pixels)
    found = {"own": module.forward_head(features, pre_logits=True)}
    if features.ndim == 3:
        prefix = module.num_prefix_tokens
        found["avg"] = features[:, prefix:].mean(1)
        if prefix:
            found["cls"] = features[:, 0]
    elif module.__class__.__name__.startswith("Swin"):
        found["avg"] = features.mean((1, 2))
    else:
        found["avg"] = features.mean((2, 3))
    if network.last4:
        four = last_blocks(module.blocks, module.norm, lambda: module.forward_features(pixels))
        patches = four[-1][:, module.num_prefix_tokens :].mean(1)
        found["last4"] = torch.cat([*(block[:, 0] for block in four), patches], dim=1)
    return pixels, found


ITSELF = {"timm": timm_itself}


def main():
    output, provider, *names = sys.argv[1:]
    files = torch_alone.photographs()
    found = {}
    for name in names:
        network = backbones.load(f"{provider}:{name}", weights="none")
        awaken(network.model.module)
        with torch.inference_mode():
            pixels, expected = ITSELF[provider](network, name, files)
        geometry = network.spec.geometry(network.size)
        images = np.stack([decode(file, geometry) for file in files])
        step = runtimes.get("torch").compile(
            network, [OutputSpec(pool=pool) for pool in expected], device="cpu"
        )
        ours = step(images)
        scale, offset = (
            np.array(value)
            for value in (network.spec.preprocess.scale, network.spec.preprocess.offset)
        )
        theirs = (pixels.numpy().transpose(0, 2, 3, 1).astype(float) - offset) / scale
        found[f"{name}/pixels"] = np.abs(theirs - images).max()
        found[f"{name}/contrast"] = images.std()
        for pool, tensor in expected.items():
            value = tensor.numpy()
            found[f"{name}/{pool}"] = np.abs(ours[pool] - value).max() / np.abs(value).max()
            found[f"{name}/{pool}/spread"] = np.ptp(value, axis=0).max() / np.abs(value).max()
        if network.spec.params < 30e6:
            again = backbones.load(f"{provider}:{name}", weights="none")
            found[f"{name}/hashes"] = [network.weights.sha256, again.weights.sha256]
    np.savez(output, **found)


if __name__ == "__main__":
    main()
