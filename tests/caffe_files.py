"""Networks of Caffe, written by hand: a prototxt and a caffemodel with the same layers."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


def varint(value: int) -> bytes:
    out = b""
    value &= (1 << 64) - 1
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def wire(number: int, value: int | bytes | str) -> bytes:
    """Write a field: an integer, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def blob(value: NDArray[np.float32], *, old: bool = False) -> bytes:
    data = wire(5, value.astype("<f4").tobytes())
    if old:
        sides = (1,) * (4 - value.ndim) + value.shape
        return b"".join(wire(i + 1, side) for i, side in enumerate(sides)) + data
    return wire(7, wire(1, b"".join(varint(side) for side in value.shape))) + data


def caffe_layer(name: str, kind: str, *blobs: bytes, more: bytes = b"") -> bytes:
    inner = wire(1, name) + wire(2, kind) + more + b"".join(wire(7, b) for b in blobs)
    return wire(100, inner)


def caffe_layer_v1(name: str, kind: int, *blobs: bytes, more: bytes = b"") -> bytes:
    inner = wire(4, name) + wire(5, kind) + more + b"".join(wire(6, b) for b in blobs)
    return wire(2, inner)


@dataclass
class Written:
    """A network as it grows."""

    name: str
    shape: tuple[int, int, int]
    seed: int = 0
    text: list[str] = field(default_factory=list)
    layers: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        dims = " ".join(f"dim: {side}" for side in (1, *self.shape))
        self.text.append(f'name: "{self.name}"\ninput: "data"\ninput_shape {{ {dims} }}')
        self.rng = np.random.default_rng(self.seed)

    def add(
        self,
        kind: str,
        name: str,
        bottoms: str | Sequence[str],
        settings: str = "",
        blobs: Sequence[NDArray[np.float32]] = (),
        tops: str | Sequence[str] = "",
    ) -> str:
        """Add a layer; returns the blob it gives, which has its name."""
        below = [bottoms] if isinstance(bottoms, str) else bottoms
        above = [tops or name] if isinstance(tops, str) else tops
        ends = "".join(f' bottom: "{one}"' for one in below)
        ends += "".join(f' top: "{one}"' for one in above)
        self.text.append(f'layer {{ name: "{name}" type: "{kind}"{ends} {settings} }}')
        between = b"".join(wire(3, one) for one in below) + b"".join(wire(4, one) for one in above)
        self.layers.append(caffe_layer(name, kind, *map(blob, blobs), more=between))
        return above[0]

    def conv(
        self, name: str, bottom: str, inputs: int, count: int, kernel: int, more: str = "", *,
        groups: int = 1, relu: bool = True,
    ) -> str:  # fmt: skip
        fan = inputs // groups * kernel * kernel
        weights = self.rng.normal(0, (2 / fan) ** 0.5, (count, inputs // groups, kernel, kernel))
        bias = self.rng.normal(0, 0.1, count)
        group = f"group: {groups} " if groups > 1 else ""
        settings = f"num_output: {count} kernel_size: {kernel} {group}{more}"
        self.add(
            "Convolution", name, bottom, f"convolution_param {{ {settings} }}", [weights, bias]
        )
        if relu:
            self.add("ReLU", f"{name}/relu", name, tops=name)
        return name

    def dense(self, name: str, bottom: str, inputs: int, count: int) -> str:
        weights = self.rng.normal(0, inputs**-0.5, (count, inputs)).astype(np.float32)
        settings = f"inner_product_param {{ num_output: {count} }}"
        return self.add(
            "InnerProduct", name, bottom, settings, [weights, self.rng.normal(0, 0.1, count)]
        )

    def pool(self, name: str, bottom: str, more: str) -> str:
        return self.add("Pooling", name, bottom, f"pooling_param {{ {more} }}")

    def save(self, folder) -> tuple[str, str]:
        """Write both files; returns their paths."""
        text, model = folder / "deploy.prototxt", folder / "net.caffemodel"
        text.write_text("\n".join(self.text))
        shape = wire(1, b"".join(varint(side) for side in (1, *self.shape)))
        start = wire(1, self.name) + wire(3, "data") + wire(8, shape)
        model.write_bytes(start + b"".join(self.layers))
        return str(text), str(model)


def alexnet() -> Written:
    """AlexNet as BVLC published it (bvlc_alexnet): one tower in two groups."""
    net = Written("AlexNet", (3, 227, 227))
    norm = "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }"
    net.conv("conv1", "data", 3, 96, 11, "stride: 4")
    net.add("LRN", "norm1", "conv1", norm)
    net.pool("pool1", "norm1", "pool: MAX kernel_size: 3 stride: 2")
    net.conv("conv2", "pool1", 96, 256, 5, "pad: 2", groups=2)
    net.add("LRN", "norm2", "conv2", norm)
    net.pool("pool2", "norm2", "pool: MAX kernel_size: 3 stride: 2")
    net.conv("conv3", "pool2", 256, 384, 3, "pad: 1")
    net.conv("conv4", "conv3", 384, 384, 3, "pad: 1", groups=2)
    net.conv("conv5", "conv4", 384, 256, 3, "pad: 1", groups=2)
    net.pool("pool5", "conv5", "pool: MAX kernel_size: 3 stride: 2")
    for name, bottom, inputs in (("fc6", "pool5", 9216), ("fc7", "fc6", 4096)):
        net.dense(name, bottom, inputs, 4096)
        net.add("ReLU", f"relu{name[2]}", name, tops=name)
        net.add(
            "Dropout", f"drop{name[2]}", name, "dropout_param { dropout_ratio: 0.5 }", tops=name
        )
    net.dense("fc8", "fc7", 4096, 1000)
    net.add("Softmax", "prob", "fc8")
    return net


INCEPTION = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}
"""GoogLeNet's modules (Szegedy et al. 2015, table 1): inputs, 1x1, 3x3 reduce, 3x3, 5x5 reduce,
5x5, pool proj."""


def googlenet() -> Written:
    """GoogLeNet as BVLC published it (bvlc_googlenet), without the heads of training."""
    net = Written("GoogleNet", (3, 224, 224))
    norm = "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }"
    halve = "pool: MAX kernel_size: 3 stride: 2"
    net.conv("conv1/7x7_s2", "data", 3, 64, 7, "stride: 2 pad: 3")
    net.pool("pool1/3x3_s2", "conv1/7x7_s2", halve)
    net.add("LRN", "pool1/norm1", "pool1/3x3_s2", norm)
    net.conv("conv2/3x3_reduce", "pool1/norm1", 64, 64, 1)
    net.conv("conv2/3x3", "conv2/3x3_reduce", 64, 192, 3, "pad: 1")
    net.add("LRN", "conv2/norm2", "conv2/3x3", norm)
    bottom = net.pool("pool2/3x3_s2", "conv2/norm2", halve)
    for name, (inputs, one, before3, three, before5, five, pooled) in INCEPTION.items():
        at = f"inception_{name}"
        net.conv(f"{at}/1x1", bottom, inputs, one, 1)
        net.conv(f"{at}/3x3_reduce", bottom, inputs, before3, 1)
        net.conv(f"{at}/3x3", f"{at}/3x3_reduce", before3, three, 3, "pad: 1")
        net.conv(f"{at}/5x5_reduce", bottom, inputs, before5, 1)
        net.conv(f"{at}/5x5", f"{at}/5x5_reduce", before5, five, 5, "pad: 2")
        net.pool(f"{at}/pool", bottom, "pool: MAX kernel_size: 3 stride: 1 pad: 1")
        net.conv(f"{at}/pool_proj", f"{at}/pool", inputs, pooled, 1)
        towers = [f"{at}/1x1", f"{at}/3x3", f"{at}/5x5", f"{at}/pool_proj"]
        bottom = net.add("Concat", f"{at}/output", towers)
        if name in ("3b", "4e"):
            bottom = net.pool(f"pool{name[0]}/3x3_s2", bottom, halve)
    net.pool("pool5/7x7_s1", bottom, "pool: AVE kernel_size: 7 stride: 1")
    net.add("Dropout", "pool5/drop_7x7_s1", "pool5/7x7_s1", tops="pool5/7x7_s1")
    net.dense("loss3/classifier", "pool5/7x7_s1", 1024, 1000)
    net.add("Softmax", "prob", "loss3/classifier")
    return net
