"""What every provider owes, checked for one network; prints what it does not keep, as JSON.

Run as ``python provider_conformance.py KIND FOLDER``: makes a small network of that kind in the
folder, and walks it as a user would. In a process of its own, since Keras has one backend in each.
"""

import json
import pickle
import sys
from pathlib import Path

import numpy as np

FAILED = []


def check(what, kept):
    if not kept:
        FAILED.append(what)


def lite(folder):
    return {"backbone": "efficientnet_lite0"}, "tensorflow"


def applications(folder):
    return {"backbone": "mobilenet_v3_small", "weights": "none", "size": 64}, "tensorflow"


def own_keras(folder):
    import keras

    keras.utils.set_random_seed(3)
    images = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(7, 3, strides=2, activation="relu", name="map")(images)
    keras.Model(images, x).save(folder / "own.keras")
    return {"backbone": f"keras:{folder / 'own.keras'}", "declared": "tf"}, "tensorflow"


def function(folder):
    (folder / "mine.py").write_text(
        "import keras\n\n\ndef build():\n"
        "    keras.utils.set_random_seed(3)\n"
        "    images = keras.Input((32, 32, 3))\n"
        "    return keras.Model(images, keras.layers.Conv2D(7, 3, activation='relu')(images))\n"
    )
    sys.path.insert(0, str(folder))
    return {"backbone": "python:mine:build", "declared": "tf"}, "tensorflow"


def graph(folder):
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import onnx_files

    path = onnx_files.transformer(folder / "graph.onnx")
    return {"backbone": f"onnx:{path}", "declared": "torch"}, "onnxruntime"


def timm(folder):
    return {"backbone": "timm:test_vit", "weights": "none"}, "torch"


def hf(folder):
    import torch
    import transformers

    torch.manual_seed(1)
    config = transformers.Dinov2WithRegistersConfig(
        **{"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2},
        **{"image_size": 32, "patch_size": 8, "num_register_tokens": 2},
    )
    transformers.Dinov2WithRegistersModel(config).save_pretrained(folder / "net")
    said = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    said |= {"do_resize": True, "resample": 2, "do_rescale": True, "rescale_factor": 1 / 255}
    (folder / "net" / "preprocessor_config.json").write_text(json.dumps(said))
    return {"backbone": f"hf:{folder / 'net'}"}, "torch"


def torchvision(folder):
    return {"backbone": "torchvision:squeezenet1_1", "weights": "none"}, "torch"


def openclip(folder):
    return {"backbone": "openclip:RN50/openai", "weights": "none"}, "torch"


def torch_file(folder):
    import torch

    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3, 2), torch.nn.ReLU()).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(
        module, (torch.zeros(2, 3, 32, 32),), dynamic_shapes=({0: batch},)
    )
    torch.export.save(program, folder / "net.pt2")
    return {"backbone": f"torch:{folder / 'net.pt2'}", "declared": "tf"}, "torch"


KINDS = {
    **{"lite": lite, "keras_applications": applications, "keras": own_keras, "python": function},
    **{"onnx": graph, "timm": timm, "hf": hf, "torchvision": torchvision, "openclip": openclip},
    "torch": torch_file,
}
ON_TORCH = ("timm", "hf", "torchvision", "openclip", "torch")


def walk(order, runtime):
    from bottleneck import backbones, runtimes
    from bottleneck.backbones import DeclaredInput, OutputSpec, registry
    from bottleneck.errors import BottleneckError
    from bottleneck.extraction.admission import admit
    from bottleneck.items import KINDS as ITEMS

    if "declared" in order:
        order["declared"] = DeclaredInput.parse(order["declared"])
    backend = runtime if "keras" in runtimes.forms(runtime) else None
    found = registry.find(order["backbone"])
    provider = found.provider
    check("a name of its own", registry.find(order["backbone"]).name == found.name)
    check("no folder in its name", "/tmp" not in found.name)
    check("forms that a runtime compiles", set(provider.FORMS) & set(runtimes.forms(runtime)))
    check("a syntax", provider.SYNTAX)

    def load(**more):
        return backbones.load(**{**order, **more}, backend=backend)

    network = load()
    check("a form it says", network.form in provider.FORMS)
    check("a fingerprint", len(network.weights.sha256) == 64 and load().weights.sha256)
    check("facts in JSON", json.loads(json.dumps(dict(network.facts))) == dict(network.facts))
    check("details in JSON", json.loads(json.dumps(dict(network.details))) is not None)
    check("a name of its recipe", network.spec.name.removeprefix("efficientnet:") == found.name)
    check("layers", len(network.layers) > 0 and len(set(network.layers)) == len(network.layers))
    travelled = pickle.loads(pickle.dumps(network.without_model()))
    check("it travels", (travelled.spec, travelled.size) == (network.spec, network.size))
    geometry = network.input
    check("a geometry in JSON", type(geometry).from_recipe(geometry.recipe()) == geometry)

    from bottleneck.backbones.network import POOLS

    shape, outputs = network.shape(None), []
    for pool in POOLS[type(shape)]:
        try:
            network.taken([OutputSpec(pool=pool)])
            outputs.append(OutputSpec(pool=pool))
        except BottleneckError:
            check(f"{pool} of {shape}", pool.startswith("cls") or getattr(shape, "prefix", 0) != 1)
    if network.own:
        outputs += [OutputSpec(pool="own")] if "own" not in [o.pool for o in outputs] else []
    step = runtimes.get(runtime).compile(network, outputs, device="cpu")
    images = ITEMS[network.input.item].trial(network.input)[:5]
    together = step(images)
    for name, values in together.items():
        check(f"the length of {name}", values.shape == (5, step.dims[name]))
        check(f"float32 of {name}", values.dtype == np.float32)
        alone = np.concatenate([step(image[None])[name] for image in images])
        scale = np.abs(values).max()
        check(f"alone as together: {name}", np.abs(alone - values).max() <= 1e-4 * scale)
    small = runtimes.get(runtime).compile(load(), outputs[:1], device="cpu")
    admit(network, small, load, precision="float32")
    for wrong in (OutputSpec("no_such_layer"), OutputSpec("no_such_layer", "cls")):
        try:
            network.taken([wrong])
            check("no layer of that name", False)
        except BottleneckError as error:
            check("the name in the message", "no_such_layer" in str(error))
    try:
        other = load(size=72)
        step = runtimes.get(runtime).compile(other, outputs[:1], device="cpu")
        images = ITEMS[other.input.item].trial(other.input)[:1]
        check("another size is computed", len(step(images)[outputs[0].name]) == 1)
    except BottleneckError:
        pass  # it is fixed, and that is said


def main():
    kind, folder = sys.argv[1], Path(sys.argv[2])
    if kind in ON_TORCH:
        import torch_alone  # noqa: F401
    order, runtime = KINDS[kind](folder)
    walk(order, runtime)
    print(json.dumps(FAILED))


if __name__ == "__main__":
    main()
