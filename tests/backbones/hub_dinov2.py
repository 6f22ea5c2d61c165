"""A DINOv2 with trained weights through KerasHub and through its graph.

Run as ``python hub_dinov2.py FOLDER BACKEND``: writes FOLDER/BACKEND.npz with the class tokens of
32 photographs, and prints the identities of the recipes. With ``onnxruntime`` it writes the folders
that KerasHub reads too: positions at 224 pixels as the graph makes them, and as they are stored.
"""

import json
import sys
from pathlib import Path

import numpy as np
from torch_dinov2 import CONFIG, TENSOR, package, tensors

POSITIONS = "/backbone/embeddings/Concat_6_output_0"


def graphs_positions():
    """The table of positions as the graph resamples it for 224 pixels."""
    import onnx
    import onnxruntime

    graph = onnx.load(package())
    graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(POSITIONS))
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    (given,) = session.get_inputs()
    return session.run([POSITIONS], {given.name: np.zeros((1, 3, 224, 224), np.float32)})[0]


def write(folder):
    from safetensors.numpy import save_file

    found = tensors()
    for name, size, positions in (
        ("same", 224, graphs_positions()),
        ("stored", 518, found["embeddings.position_embeddings"]),
    ):
        place = folder / name
        place.mkdir()
        more = {"layerscale_value": 1.0, "use_swiglu_ffn": False, "hidden_dropout_prob": 0.0}
        config = {**CONFIG, **more, "drop_path_rate": 0.0, "image_size": size}
        (place / "config.json").write_text(json.dumps(config))
        values = {**found, "embeddings.position_embeddings": positions}
        save_file(values, place / "model.safetensors", {"format": "pt"})


def photographs(count=32):
    """Parts of real photographs, 224 pixels wide and high."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(8)
    images, found = load_sample_images().images, []
    for i in range(count):
        picture = images[i % 2]
        top, left = (rng.integers(0, side - 224) for side in picture.shape[:2])
        found.append(picture[top : top + 224, left : left + 224])
    return np.stack(found)


def main():
    folder, backend = Path(sys.argv[1]), sys.argv[2]
    if backend == "onnxruntime":
        write(folder)
    from bottleneck import backbones, runtimes
    from bottleneck.backbones import DeclaredInput, OutputSpec

    said = DeclaredInput.parse("torch")
    orders = {
        name: {"backbone": f"keras_hub:{folder / name}", "size": size, "backend": backend}
        for name, size in (("same", None), ("stored", 224))
    }
    if backend == "onnxruntime":
        orders = {"graph": {"backbone": f"onnx:{package()}#{TENSOR}"}}
    pixels, found, identities = photographs(), {}, {}
    for name, order in orders.items():
        network = backbones.load(**order, declared=said)
        step = runtimes.get(backend).compile(network, [OutputSpec(pool="cls")], device="cpu")
        found[name] = np.concatenate([step(pixels[i : i + 8])["cls"] for i in range(0, 32, 8)])
        identities[name] = {"weights": network.weights.sha256, **network.facts}
    np.savez(folder / f"{backend}.npz", **found)
    print(json.dumps(identities))


if __name__ == "__main__":
    main()
