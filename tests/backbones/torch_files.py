"""Networks in files of PyTorch, and what their modules compute; prints JSON.

Run as ``python torch_files.py FOLDER``.
"""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch

SIDE, PATCH, WIDTH = 32, 8, 12


class Tokens(torch.nn.Module):
    """A small transformer: a class token, two registers, patches; also a pooled vector."""

    def __init__(self, *, last=False):
        super().__init__()
        self.last = last
        self.cut = torch.nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.first = torch.nn.Parameter(torch.randn(1, 3, WIDTH))
        self.block = torch.nn.TransformerEncoderLayer(WIDTH, 2, 24, batch_first=True)
        self.norm = torch.nn.BatchNorm1d(WIDTH)
        self.norm.running_mean.normal_()
        self.register_buffer("gain", torch.randn(WIDTH))

    def forward(self, images):
        x = self.cut(images.permute(0, 3, 1, 2) if self.last else images)
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1)
        x = self.block(x) * self.gain
        return x, self.norm(x.mean(1))


class Maps(torch.nn.Module):
    """A convolution whose map is changed in place, in a dictionary."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 5, 3, 2, 1)

    def forward(self, images):
        x = self.first(images)
        return {"map": x.relu_(), "vector": x.mean((2, 3))}


class Evil:
    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return open, (str(self.place), "w")


def main():
    folder = Path(sys.argv[1])
    torch.manual_seed(2)
    tokens, last, maps = Tokens().eval(), Tokens(last=True).eval(), Maps().eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    example = torch.zeros(2, 3, SIDE, SIDE)
    dynamic = ({0: batch},)
    programs = {
        "dynamic": torch.export.export(tokens, (example,), dynamic_shapes=dynamic),
        "fixed": torch.export.export(tokens, (torch.zeros(4, 3, SIDE, SIDE),)),
        "last": torch.export.export(last, (example.permute(0, 2, 3, 1),), dynamic_shapes=dynamic),
    }
    for name, program in programs.items():
        torch.export.save(program, folder / f"{name}.pt2")
    torch.jit.script(maps).save(str(folder / "maps.pt"))
    torch.save(maps, folder / "pickled.pt")
    ran = folder / "ran"
    torch.save({"weight": Evil(ran)}, folder / "evil.pt")
    with (
        zipfile.ZipFile(folder / "dynamic.pt2") as good,
        zipfile.ZipFile(folder / "evil.pt2", "w") as bad,
    ):
        for member in good.namelist():
            data = good.read(member)
            if "sample_inputs" in member:
                data = (folder / "evil.pt").read_bytes()
            bad.writestr(member, data)

    from bottleneck import backbones, runtimes
    from bottleneck.backbones import OutputSpec
    from bottleneck.backbones.declared import DeclaredInput
    from bottleneck.errors import BottleneckError

    pixels = np.random.default_rng(1).integers(0, 256, (6, SIDE, SIDE, 3), np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    said = DeclaredInput.parse("tf")
    with torch.inference_mode():
        state, vector = (one.numpy() for one in tokens(images))
        last_state, _ = (one.numpy() for one in last(images.permute(0, 2, 3, 1)))
        convolved, found = tokens.cut(images).numpy(), maps(images.clone())
    expected = {
        "dynamic.pt2": {"cls": state[:, 0], "avg": state[:, 3:].mean(1)},
        "fixed.pt2": {"cls": state[:, 0], "clsavg": np.hstack([state[:, 0], state[:, 3:].mean(1)])},
        "last.pt2": {"cls": last_state[:, 0], "avg": last_state[:, 3:].mean(1)},
        "maps.pt": {
            "avg": found["map"].numpy().mean((2, 3)),
            "max": found["map"].numpy().max((2, 3)),
        },
        "maps.pt#vector": {"own": found["vector"].numpy()},
    }
    differences, hashes = {}, {}
    for name, pools in expected.items():
        size = SIDE if ".pt2" not in name else None
        network = backbones.load(f"torch:{folder / name}", declared=said, size=size)
        hashes[name] = network.weights.sha256
        outputs = [OutputSpec(pool=pool) for pool in pools]
        ours = runtimes.get("torch").compile(network, outputs, device="cpu")(pixels)
        for pool, value in pools.items():
            differences[f"{name} {pool}"] = float(np.abs(ours[pool] - value).max())
            assert ours[pool].shape == value.shape, (name, pool)
    network = backbones.load(f"torch:{folder / 'dynamic.pt2'}", declared=said)
    inner = dict(zip(network.layers, network.shapes(network.layers), strict=True))
    (cut,) = [layer for layer in network.layers if "conv2d" in layer]
    step = runtimes.get("torch").compile(network, [OutputSpec(cut, "avg")], device="cpu")
    (values,) = step(pixels).values()
    differences["a node"] = float(np.abs(values - convolved.mean((2, 3))).max())
    pooled = [layer for layer in network.layers if str(inner[layer]) == f"Vector(channels={WIDTH})"]
    named = backbones.load(f"torch:{folder / 'dynamic.pt2'}#{pooled[0]}", declared=said)
    step = runtimes.get("torch").compile(named, [OutputSpec(pool="own")], device="cpu")
    differences["a vector"] = float(np.abs(step(pixels)["own"] - vector).max())

    refused = {}
    for name, options in {
        "pickled.pt": {"size": SIDE},
        "evil.pt": {"size": SIDE},
        "evil.pt2": {},
        "nowhere.pt2": {},
        "maps.pt": {},
        "dynamic.pt2": {"size": 48},
        "dynamic.pt2#nothing": {},
    }.items():
        try:
            backbones.load(f"torch:{folder / name}", declared=said, **options)
            refused[name] = "not refused"
        except BottleneckError as error:
            refused[name] = str(error)
    assert not ran.exists()
    try:
        backbones.load(f"torch:{folder / 'dynamic.pt2'}")
    except BottleneckError as error:
        refused["no preprocessing"] = str(error)
    print(json.dumps({"differences": differences, "hashes": hashes, "refused": refused}))


if __name__ == "__main__":
    main()
