"""What the providers on PyTorch refuse; prints what each said, as JSON.

Run as ``python torch_refusals.py FOLDER``, with HF_HUB_OFFLINE=1.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import torch_alone

FOLDER = Path(sys.argv[1])
os.environ["HF_HUB_CACHE"] = str(FOLDER / "cache")

import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from bottleneck import backbones, runtimes  # noqa: E402
from bottleneck.backbones import OutputSpec  # noqa: E402
from bottleneck.backbones.declared import DeclaredInput  # noqa: E402
from bottleneck.errors import BottleneckError  # noqa: E402
from bottleneck.extraction.admission import admit  # noqa: E402
from bottleneck.items import KINDS  # noqa: E402

WIDE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
WIDE |= {"intermediate_size": 48, "image_size": 32, "patch_size": 8}
PROCESSOR = {
    **{"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}},
    **{"do_resize": True, "resample": 2, "do_normalize": True, "do_rescale": True},
    **{"rescale_factor": 1 / 255, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
}
FOUND = {}


def folder(name, network, processor=PROCESSOR, change=None):
    place = FOLDER / name.replace(" ", "_")
    network.save_pretrained(place)
    if processor is not None:
        (place / "preprocessor_config.json").write_text(json.dumps(processor))
    if change is not None:
        file = place / "model.safetensors"
        tensors = change(load_file(file))
        save_file({key: value.contiguous() for key, value in tensors.items()}, file)
    return place


def vit():
    torch.manual_seed(1)
    return transformers.ViTModel(transformers.ViTConfig(**WIDE))


def refused(case, name, *, pool="cls", weights=None, declared=None):
    """Load, compile and admit, and keep what the error said."""
    try:

        def again():
            return backbones.load(name, weights=weights, declared=declared)

        network = again()
        step = runtimes.get("torch").compile(network, [OutputSpec(pool=pool)], device="cpu")
        admit(network, step, again, precision="float32")
        FOUND[case] = "not refused"
    except BottleneckError as error:
        FOUND[case] = str(error)


def without_block(tensors):
    return {key: value for key, value in tensors.items() if "layer.1." not in key}


def with_block(tensors):
    more = {
        key.replace("layer.1.", "layer.2."): value + 0
        for key, value in tensors.items()
        if "layer.1." in key
    }
    return {**tensors, **more}


def widened(tensors):
    return {
        key: torch.cat([value, value]) if key.endswith("intermediate.dense.weight") else value
        for key, value in tensors.items()
    }


def main():
    torch.manual_seed(1)
    classifier = transformers.ViTForImageClassification(transformers.ViTConfig(**WIDE)).eval()
    place = folder("classifier", classifier)
    refused("random pooler", f"hf:{place}", pool="own")
    network = backbones.load(f"hf:{place}")
    step = runtimes.get("torch").compile(network, [OutputSpec(pool="cls")], device="cpu")
    images = KINDS["image"].trial(network.input)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        tokens = classifier.vit(pixels).last_hidden_state[:, 0].numpy()
    FOUND["without pooler"] = float(abs(step(images)["cls"] - tokens).max())

    masking = transformers.ViTMAEModel(transformers.ViTMAEConfig(**WIDE))
    refused("random masking", f"hf:{folder('mae', masking)}", pool="max")
    refused("missing layer", f"hf:{folder('missing', vit(), change=without_block)}")
    refused("more layers", f"hf:{folder('more', vit(), change=with_block)}")
    refused("other network", f"hf:{folder('wide', vit(), change=widened)}")

    place = folder("pickled", vit())
    torch.save(vit().state_dict(), place / "pytorch_model.bin")
    (place / "model.safetensors").unlink()
    refused("pickled", f"hf:{place}")

    place = folder("code", vit())
    config = json.loads((place / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}
    (place / "config.json").write_text(json.dumps(config))
    (place / "mine.py").write_text(f"open({str(FOLDER / 'ran')!r}, 'w').close()\n")
    refused("code of its own", f"hf:{place}")
    assert not (FOLDER / "ran").exists()

    place = folder("damaged", vit())
    data = (place / "model.safetensors").read_bytes()
    (place / "model.safetensors").write_bytes(data[: len(data) // 2])
    refused("damaged", f"hf:{place}")

    place = folder("bare", vit(), processor=None)
    refused("no processor", f"hf:{place}")
    said = DeclaredInput.parse("tf;crop=1.0")
    assert backbones.load(f"hf:{place}", declared=said).spec.preprocess.name == "tf"
    own_steps = {**PROCESSOR, "image_processor_type": "DonutImageProcessor"}
    refused("own steps", f"hf:{folder('steps', vit(), own_steps)}")
    unfit = {**PROCESSOR, "size": {"shortest_edge": 32}}
    refused("unfit size", f"hf:{folder('unfit', vit(), unfit)}")
    refused("box filter", f"hf:{folder('box', vit(), {**PROCESSOR, 'resample': 4})}")
    refused("no such folder", "hf:./nowhere")
    refused("no such name", "hf:a/b/c/d e")
    refused("offline", "hf:me/other")

    commit = "0123456789" * 4
    cached = FOLDER / "cache" / "models--me--net"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    shutil.copytree(folder("cached", vit()), cached / "snapshots" / commit)
    for case, name in (("commit", "hf:me/net"), ("pinned", f"hf:me/net@{commit}")):
        details = backbones.load(name).details
        FOUND[case] = {key: details[key] for key in ("hub", "commit")}

    import timm

    refused("timm offline", "timm:resnet18")
    refused("timm unknown", "timm:resnet1801")
    module = timm.create_model("resnet18", num_classes=0)
    tensors = {key: value for key, value in module.state_dict().items() if "layer4.1" not in key}
    save_file(tensors, FOLDER / "part.safetensors")
    refused("timm missing", "timm:resnet18", pool="own", weights=FOLDER / "part.safetensors")
    print(json.dumps(FOUND))


if __name__ == "__main__":
    assert torch_alone.KEPT is not False
    main()
