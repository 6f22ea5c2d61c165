"""Networks of Caffe: ``caffe:deploy.prototxt``, or ``caffe:FILE.caffemodel`` alone; ``#blob``.

A prototxt has its weights beside it in another file, which ``--weights`` names. Means and the order
of channels are what the zoo's own networks were trained with, unless the file says it, or
``--preprocess``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from bottleneck.backbones.architectures.caffe_kinds import KINDS, Blob, Building, made
from bottleneck.backbones.builders import draw_weights
from bottleneck.backbones.catalogue import BVLC, CAFFE
from bottleneck.backbones.declared import DeclaredInput, file_and_layer
from bottleneck.backbones.keras_network import network_of
from bottleneck.backbones.keras_scope import isolated
from bottleneck.backbones.network import (
    GREY,
    PARTIAL,
    BackboneSpec,
    Form,
    Network,
    Preprocess,
    partial_source,
)
from bottleneck.errors import BackboneError, OptionError, WeightsError
from bottleneck.images import ImageSize, Interpolation, ResizeRule, image_shape
from bottleneck.location import expanded
from bottleneck.weights import Layer, read
from bottleneck.weights.caffe_net import Net, is_text, read_net

FORMS: Final[tuple[Form, ...]] = ("keras",)
SYNTAX: Final = "FILE.prototxt#blob"
FILLS_PARTLY: Final = True

_OXFORD: Final = ("vgg", "resnet-")
"""How names of networks begin that were judged as VGG's: the shape of images is kept, and another
mean taken than BVLC's. (He's ResNets subtract a mean image, which is not published with them.)"""

_WEIGHTED: Final = ("Convolution", "InnerProduct")


def canonical(name: str) -> str:
    """Return the file's name without its folder, and the blob."""
    return file_and_layer(name)


def load(
    name: str,
    *,
    weights: str | Path | None = None,
    size: ImageSize | None = None,
    declared: DeclaredInput | None = None,
    backend: str | None = None,
) -> Network:
    """Build a network; see :class:`bottleneck.backbones.registry.Provider`.

    ``weights``: the caffemodel of a prototxt; ``none`` draws them, the same every time. A prototxt
    that is not where it was is looked for beside its weights.
    """
    given, mark, blob = name.partition("#")
    named, partial = partial_source(weights)
    path, source = _files(expanded(given), named)
    net = read_net(path)
    found = None if source is None else _weights(source)
    channels, *sides = _shape(path, net, size, found)
    with isolated(backend) as keras:
        built = build(
            keras,
            net,
            (channels, sides[0], sides[1]),
            owner=str(path),
            weights=found,
            partial=partial,
        )
        built.model.trainable = False
        side: ImageSize = sides[0] if sides[0] == sides[1] else (sides[0], sides[1])
        main = blob or features_of(net)
        spec, said = _spec(f"caffe:{canonical(name)}", path, net, (channels, *sides), declared)
        return network_of(
            replace(spec, params=int(built.model.count_params())),
            built.model,
            side,
            source=(PARTIAL if partial else "")
            + ("none" if source is None else str(source.resolve())),
            main=main,
            names=built.names,
            facts={
                "library": "caffe",
                "graph_sha256": net.sha256,
                "layer": main,
                **({"random": built.partly["random"]} if partial else {}),
            },
            details={
                "found": f"caffe:{path.resolve()}{mark}{blob}",
                "network": net.name,
                "preprocess": said,
                **({"partial": built.partly} if partial else {}),
            },
        )


def _files(path: Path, weights: str | Path | None) -> tuple[Path, Path | None]:
    """Return the file that says the network, and the one that has its weights."""
    source = None if weights in (None, "none") else expanded(str(weights))
    if not path.is_file() and source is not None and (source.parent / path.name).is_file():
        path = source.parent / path.name
    if not path.is_file():
        raise BackboneError(
            f"{path}: expected a prototxt or a caffemodel, which is not there",
            hint="-b caffe:deploy.prototxt --weights FILE.caffemodel, or -b caffe:FILE.caffemodel.",
        )
    if weights is None:
        if is_text(path):
            raise WeightsError(
                f"{path}: expected its weights, got none",
                hint="--weights FILE.caffemodel; --weights none draws them.",
            )
        source = path
    return path, source


def _weights(path: Path) -> dict[str, Layer]:
    found = read(path)
    layers: dict[str, Layer] = {}
    for layer in found.layers:
        layers.setdefault(layer.name, layer)
    return layers


@dataclass(frozen=True)
class Built:
    """A network in Keras.

    Parameters
    ----------
    model : keras.Model
        Gives what no layer takes.
    names : dict of str to str
        Blobs and layers of Caffe, to layers of the model. A blob that layers change in place is
        what the last of them leaves.
    partly : dict of str to list of str
        Which layers were ``filled``, which are ``random``, and which of the file are
        ``left_over``.
    """

    model: Any
    names: dict[str, str]
    partly: dict[str, list[str]]


def build(
    keras: Any,
    net: Net,
    shape: tuple[int, int, int],
    *,
    owner: str,
    weights: Mapping[str, Layer] | None,
    partial: bool = False,
) -> Built:
    """Build a network for images of (channels, height, width) and fill it.

    Raises
    ------
    BackboneError
        For a layer that is not known, or a setting that cannot be honoured; names it.
    WeightsError
        For weights that are missing or do not fit.
    """
    channels, height, width = shape
    batch = net.shape[0] if len(net.shape) == 4 else 1
    building = Building(keras, owner, weights, batch, partial)
    images = keras.Input((height, width, channels), name=building.name(net.input))
    blobs, named = {net.input: Blob(images, shape)}, {}
    left = {net.input}
    for layer in net.layers:
        if layer.kind not in KINDS:
            raise BackboneError(
                f"{owner}: expected layers of the kinds {', '.join(KINDS)}, got {layer.kind!r}"
                f" ({layer.name!r})",
                hint="Another tool may convert it to ONNX: -b onnx:FILE.",
            )
        tops = made(building, layer, [blobs[name] for name in layer.bottoms])
        left.difference_update(layer.bottoms)
        left.update(layer.tops)
        blobs.update(zip(layer.tops, tops, strict=True))
        named[layer.name] = tops[0]
    outputs = [blobs[name].tensor for name in sorted(left)]
    model = keras.Model(images, outputs[0] if len(outputs) == 1 else outputs)
    if weights is None or building.random:
        draw_weights(model)
    if partial and not building.filled:
        raise WeightsError(f"{owner}: expected weights of some of its layers, got none")
    building.fill_all()
    left_over = [name for name in weights or () if name not in building.filled]
    partly = {"filled": building.filled, "random": building.random, "left_over": left_over}
    known = {layer.name for layer in model.layers[1:]}
    names = {
        name: blob.tensor._keras_history.operation.name for name, blob in {**named, **blobs}.items()
    }
    return Built(model, {name: one for name, one in names.items() if one in known}, partly)


def features_of(net: Net) -> str:
    """Name the blob that is taken when none is named: what the classifier takes, if it has one.

    A network that ends in probabilities, or had a loss behind it, ends in a classifier: its last
    layer with a kernel. Of any other the last blob is taken.
    """
    if net.judged or any(layer.kind == "Softmax" for layer in net.layers):
        for layer in reversed(net.layers):
            if layer.kind in _WEIGHTED:
                if layer.bottoms[0] != net.input:
                    return layer.bottoms[0]
                break
    return net.layers[-1].tops[0]


def _shape(
    path: Path, net: Net, size: ImageSize | None, found: Mapping[str, Layer] | None
) -> tuple[int, int, int]:
    """Say how large its images are: as asked for, else as the file has it."""
    if net.shape and len(net.shape) != 4:
        raise BackboneError(
            f"{path}: expected an input of n x channels x height x width, got {list(net.shape)}"
        )
    channels, *sides = net.shape[1:] or (_channels(net, found), 0, 0)
    transform = net.transform
    crop = transform.one("crop_size", 0)
    if not all(sides):
        sides = [transform.one("crop_h", crop), transform.one("crop_w", crop)]
    if size is not None:
        sides = list(image_shape(size)[:2])
    if channels not in (1, 3):
        raise BackboneError(
            f"{path}: expected images of 3 channels, or grey ones, got {channels} channels"
        )
    if not all(0 < side <= 1 << 14 for side in sides):
        raise BackboneError(
            f"{path}: expected the size of its images, which the file does not say, got"
            f" {sides[0]} x {sides[1]}",
            hint="Say what it was trained with: --size N.",
        )
    return channels, sides[0], sides[1]


def _channels(net: Net, found: Mapping[str, Layer] | None) -> int:
    """Count the channels of images by the first kernel, where the file does not say."""
    for layer in net.layers:
        kernel = (found or {}).get(layer.name)
        if layer.kind == "Convolution" and kernel is not None and "kernel" in kernel.tensors:
            groups = int(layer.settings.one("group", 1))
            return int(kernel.tensors["kernel"].shape[-2]) * groups
    return 3


def _spec(
    name: str,
    path: Path,
    net: Net,
    shape: tuple[int, ...],
    declared: DeclaredInput | None,
) -> tuple[BackboneSpec, str]:
    """Describe the network; also says in words where its preprocessing comes from."""
    preprocess, said = _preprocess(path, net, shape[0])
    keeps_shape = net.name.lower().startswith(_OXFORD)
    longest = max(shape[1:])
    resize: ResizeRule = "crop" if keeps_shape else "squash"
    interpolation: Interpolation = "bicubic" if keeps_shape else "bilinear"
    spec = BackboneSpec(
        name=name,
        class_name=name,
        family="caffe",
        input_size=longest,
        min_size=1,
        dim=0,
        params=0,
        preprocess=preprocess,
        resize=resize,
        # A part of an image of 256 pixels, as the zoo's networks were judged.
        crop_ratio=longest / 256 if 192 <= longest < 256 else 0.875,
        interpolation=interpolation,
    )
    if declared is None:
        return spec, said
    return declared.applied(spec), "--preprocess" if declared.preprocess else said


def _preprocess(path: Path, net: Net, channels: int) -> tuple[Preprocess, str]:
    transform = net.transform
    scale = float(transform.one("scale", 1.0))
    means = tuple(float(mean) for mean in transform.all("mean_value"))
    if means and len(means) not in (1, channels):
        raise OptionError(
            f"{path}: expected a mean for each of {channels} channels, got {len(means)}",
            hint="Say it by hand: --preprocess 'mean=...;channels=bgr;scale=1'.",
        )
    if means:
        said = "mean_value and scale of its data layer"
    elif transform.values and not transform.all("mean_file"):
        means, said = (0.0,), "scale of its data layer, which takes no mean"
    elif channels == 3 and scale == 1:
        known = CAFFE if net.name.lower().startswith(_OXFORD) else BVLC
        return known, "mean pixel of ImageNet, as the zoo's networks take it"
    else:
        means, said = tuple(-one for one in BVLC.offset), "mean pixel of ImageNet"
    if channels == 1:
        # Grey is what blue, green and red weigh; so is its mean.
        parts = zip(means, GREY[::-1], strict=True) if len(means) == 3 else [(means[0], 1.0)]
        mean = sum(value * weight for value, weight in parts)
        return Preprocess("numbers", "grey", (scale,) * 3, (-mean * scale,) * 3), said
    blue, green, red = means * 3 if len(means) == 1 else means
    offset = (-blue * scale, -green * scale, -red * scale)
    return Preprocess("numbers", "bgr", (scale,) * 3, offset), said
