"""Features of libraries on PyTorch, ours and their own, in a process of its own.

Run as ``python torch_features.py OUTPUT.npz PROVIDER NAME...``. Photographs go through our pixels
and our runtime, and through the library's own processor and forward pass; nothing is shared.
"""

import io
import sys
from pathlib import Path

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


def hf_itself(network, name, files):
    """transformers' processor (Pillow's, where it has one), its network from the same folder."""
    import transformers

    folder = FOLDER / name
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    pixels = processor([opened(file) for file in files], return_tensors="pt")["pixel_values"]
    module = transformers.AutoModel.from_pretrained(folder).eval()
    given = getattr(module, "get_image_features", module)(pixel_values=pixels)
    state, pooled = given.last_hidden_state, given.pooler_output
    found = {} if pooled is None else {"own": pooled.flatten(1)}
    if state.ndim == 4:
        found["avg"] = state.mean((2, 3))
    else:
        prefix = HF_PREFIX.get(name, 0)
        found["avg"] = state[:, prefix:].mean(1)
        if prefix:
            found["cls"] = state[:, 0]
    if network.last4:
        part = getattr(module, "vision_model", module)
        norms = ("layernorm", "norm", "post_layernorm")
        norm = next(getattr(part, one) for one in norms if hasattr(part, one))
        blocks = [m for m in part.modules() if isinstance(m, torch.nn.ModuleList)]
        (blocks,) = [m for m in blocks if len(m) == 5]
        four = last_blocks(blocks, norm, lambda: part(pixel_values=pixels))
        patches = four[-1][:, prefix:].mean(1)
        found["last4"] = torch.cat([*(block[:, 0] for block in four), patches], dim=1)
    return pixels, found


HF_PREFIX = {"vit": 1, "deit": 2, "dinov2": 1, "registers": 5, "dinov3": 5, "beit": 1, "clip": 1}

FOLDER = None


def hf_folder(name):
    """Write a folder of a small network with random weights, as `save_pretrained` does."""
    import json

    import transformers

    torch.manual_seed(3)
    wide = {"hidden_size": 48, "num_hidden_layers": 5, "num_attention_heads": 4}
    wide |= {"intermediate_size": 96, "image_size": 64, "patch_size": 16}
    clip = {**wide, "patch_size": 16}
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"intermediate_size": 32, "vocab_size": 99}
    imagenet = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    half = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    exact = {"do_resize": True, "size": {"height": 64, "width": 64}, "resample": 2}
    cut = {"do_resize": True, "size": {"shortest_edge": 73}, "resample": 3}
    cut |= {"do_center_crop": True, "crop_size": {"height": 64, "width": 64}}
    usual = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
    t = transformers
    network, processor = {
        "vit": lambda: (
            t.ViTModel(t.ViTConfig(**wide)),
            # As the oldest files are: a number, and no class.
            {"do_resize": True, "size": 64, "do_normalize": True, **half},
        ),
        "deit": lambda: (
            t.DeiTModel(t.DeiTConfig(**wide)),
            {
                **{"image_processor_type": "DeiTImageProcessor", "do_resize": True, "resample": 3},
                **{"size": {"height": 73, "width": 73}, "do_center_crop": True},
                **{"crop_size": {"height": 64, "width": 64}, **usual, **imagenet},
            },
        ),
        "dinov2": lambda: (
            t.Dinov2Model(t.Dinov2Config(**wide, mlp_ratio=2)),
            {"image_processor_type": "BitImageProcessor", **cut, **usual, **imagenet},
        ),
        "registers": lambda: (
            t.Dinov2WithRegistersModel(
                t.Dinov2WithRegistersConfig(**wide, mlp_ratio=2, num_register_tokens=4)
            ),
            {"image_processor_type": "BitImageProcessor", **cut, **usual, **imagenet},
        ),
        "dinov3": lambda: (
            t.DINOv3ViTModel(t.DINOv3ViTConfig(**wide, num_register_tokens=4)),
            {"image_processor_type": "DINOv3ViTImageProcessorFast", **exact, **usual, **imagenet},
        ),
        "beit": lambda: (
            t.BeitModel(t.BeitConfig(**wide)),
            {"image_processor_type": "BeitImageProcessor", **cut, **usual, **half},
        ),
        "convnextv2": lambda: (
            t.ConvNextV2Model(
                t.ConvNextV2Config(hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 1, 1])
            ),
            {
                **{"image_processor_type": "ConvNextImageProcessor", "crop_pct": 0.875},
                **{"do_resize": True, "size": {"shortest_edge": 64}, "resample": 3},
                **{**usual, **imagenet},
            },
        ),
        "siglip": lambda: (
            t.SiglipModel(t.SiglipConfig(text_config=text, vision_config=wide)),
            {"image_processor_type": "SiglipImageProcessor", **exact, **usual, **half},
        ),
        "clip": lambda: (
            t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=clip, projection_dim=24)),
            {"image_processor_type": "CLIPImageProcessor", **cut, **usual},
        ),
        "swin": lambda: (
            t.SwinModel(
                t.SwinConfig(
                    image_size=64, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4
                )
            ),
            {"image_processor_type": "ViTImageProcessor", **exact, **usual, **imagenet},
        ),
        "mobilenet_v2": lambda: (
            t.MobileNetV2Model(t.MobileNetV2Config(image_size=64, depth_multiplier=0.5)),
            {"image_processor_type": "MobileNetV2ImageProcessor", **cut, **usual, **half},
        ),
        "mobilevit": lambda: (
            t.MobileViTModel(t.MobileViTConfig(image_size=64, hidden_sizes=[24, 32, 40])),
            {
                **{"image_processor_type": "MobileViTImageProcessor", "do_rescale": True},
                **{"do_flip_channel_order": True, **cut},
            },
        ),
    }[name]()
    awaken(network)
    if name == "mobilevit":  # as it begins, nothing comes through
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0, (2 / parameter[0].numel()) ** 0.5)
    network.save_pretrained(FOLDER / name)
    (FOLDER / name / "preprocessor_config.json").write_text(json.dumps(processor))
    return FOLDER / name


def torchvision_itself(network, name, files):
    """torchvision's transforms, its network with random weights of the same seed, whole."""
    import torchvision

    architecture = name.partition("/")[0]
    transform = torchvision.models.get_model_weights(architecture).DEFAULT.transforms()
    pixels = torch.stack([transform(opened(file)) for file in files])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = torchvision.models.get_model(architecture, weights=None).eval()
    awaken(module)
    linear = [one for one in module.modules() if isinstance(one, torch.nn.Linear)]
    given = {}
    hooks = [
        one.register_forward_pre_hook(lambda _module, values: given.update(own=values[0]))
        for one in linear[-1:]
    ]
    if architecture == "vit_b_16":
        tokens = module.encoder
        hooks.append(tokens.register_forward_hook(lambda _m, _in, out: given.update(tokens=out)))
    elif hasattr(module, "avgpool") and architecture != "densenet121":
        place = module.avgpool
        hooks.append(
            place.register_forward_pre_hook(lambda _m, values: given.update(map=values[0]))
        )
    module(pixels)
    for hook in hooks:
        hook.remove()
    found = {"own": given["own"]} if linear else {"avg": module.features(pixels).mean((2, 3))}
    if "tokens" in given:
        found |= {"cls": given["tokens"][:, 0], "avg": given["tokens"][:, 1:].mean(1)}
    if "map" in given:
        found["avg"] = given["map"].mean((2, 3))
    if architecture == "densenet121":
        found["avg"] = given["own"]
    return pixels, found


def openclip_itself(network, name, files):
    """open_clip's transform, its encoder of images with random weights of the same seed."""
    import open_clip

    architecture, _, tag = name.partition("/")
    known = open_clip.get_pretrained_cfg(architecture, tag)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = open_clip.create_model(
            architecture, force_quick_gelu=known.get("quick_gelu", False), pretrained_text=False
        ).eval()
    awaken(module.visual)
    config = open_clip.transform.PreprocessCfg(
        **{
            **open_clip.get_model_preprocess_cfg(module),
            **{key: known[key] for key in ("mean", "std", "interpolation", "resize_mode")},
        }
    )
    transform = open_clip.transform.image_transform_v2(config, is_train=False)
    pixels = torch.stack([transform(opened(file)) for file in files])
    # (As it comes: CoCa scales it to length one unless it is told not to.)
    return pixels, {"own": module.encode_image(pixels, normalize=False)}


ITSELF = {
    **{"timm": timm_itself, "hf": hf_itself},
    **{"torchvision": torchvision_itself, "openclip": openclip_itself},
}


def in_pixels(network, theirs, ours):
    """The largest difference between what two processors made, in 255ths."""
    preprocess = network.spec.preprocess
    back = theirs.numpy().transpose(0, 2, 3, 1).astype(float)
    back = (back - np.array(preprocess.offset)) / np.array(preprocess.scale)
    return np.abs((back[..., ::-1] if preprocess.channels == "bgr" else back) - ours).max()


def main():
    global FOLDER  # noqa: PLW0603
    output, provider, *names = sys.argv[1:]
    FOLDER = Path(output).parent
    files, found = torch_alone.photographs(), {}
    for name in names:
        given = hf_folder(name) if provider == "hf" else name
        weights = None if provider == "hf" else "none"
        network = backbones.load(f"{provider}:{given}", weights=weights)
        awaken(network.model.module)
        geometry = network.spec.input(network.size)
        with torch.inference_mode():
            pixels, expected = ITSELF[provider](network, name, files)
        images = np.stack([decode(file, geometry) for file in files])
        step = runtimes.get("torch").compile(
            network, [OutputSpec(pool=pool) for pool in expected], device="cpu"
        )
        ours = step(images)
        found[f"{name}/pixels"] = in_pixels(network, pixels, images)
        found[f"{name}/contrast"] = images.std()
        for pool, tensor in expected.items():
            value = tensor.numpy()
            found[f"{name}/{pool}"] = np.abs(ours[pool] - value).max() / np.abs(value).max()
            found[f"{name}/{pool}/spread"] = np.ptp(value, axis=0).max() / np.abs(value).max()
        print(name, {key: float(found[f"{name}/{key}"]) for key in ("pixels", *expected)})
        if network.spec.params < 10e6:
            again = backbones.load(f"{provider}:{given}", weights=weights)
            found[f"{name}/hashes"] = [network.weights.sha256, again.weights.sha256]
    np.savez(output, **found)


if __name__ == "__main__":
    main()
