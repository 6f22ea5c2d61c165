"""What a backbone is, as data and once loaded: the seam between providers and runtimes."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import BackboneError, OptionError
from bottleneck.images import (
    CROP_RATIO,
    Cut,
    Geometry,
    Halves,
    ImageSize,
    Interpolation,
    ResizeRule,
)
from bottleneck.items import Item, ItemInput

Pool = Literal["avg", "max", "avgmax", "gem", "none", "cls", "clsavg", "own", "last4", "tokens"]

Channels = Literal["rgb", "bgr", "grey"]

GREY: Final = (0.299, 0.587, 0.114)
"""What red, green and blue weigh in grey (ITU-R BT.601), as Pillow and OpenCV have it."""


@dataclass(frozen=True)
class Preprocess:
    """Per-channel ``x * scale + offset`` on 0..255 RGB, after putting channels in order.

    Parameters
    ----------
    name : str
        Short name for recipes and the catalogue (``tf``, ``caffe``, ``torch``, ``lite``, ``none``).
    channels : {"rgb", "bgr", "grey"}
        Order in which the network wants the channels; ``grey`` is one channel, the sum of
        :data:`GREY`.
    scale, offset : tuple of 3 floats
        In the network's channel order; of grey the first counts.
    """

    name: str
    channels: Channels = "rgb"
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Top:
    """The layer with which a network names things by itself, as it was trained.

    Parameters
    ----------
    layer : str
    names : tuple of str
        What each of its outputs, a probability, stands for.
    """

    layer: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class BackboneSpec:
    """One row of the catalogue.

    Parameters
    ----------
    name : str
        Snake-case name, ``mobilenet_v2``.
    class_name : str
        Name in ``keras.applications`` or of that kind, an accepted alias, ``MobileNetV2``.
    family : str
        Module of ``keras.applications`` that it comes from, or our own.
    input_size : int
        Default side of the square input, pixels; of a rectangle the longer side.
    min_size : int
        Smallest side the headless network accepts, pixels.
    dim : int
        Channels of the last feature map, so the length of an average-pooled feature.
    params : int
        Parameters of the headless network.
    preprocess : Preprocess
        What is done to the pixels before the network.
    bundled : str or None
        Import name of the package that carries the weights, if one does.
    weights_file : str or None
        File name under which Keras caches the headless ImageNet weights, if it offers any.
    licence : str or None
        Of the weights, as their makers say.
    resize, crop_ratio, interpolation, whole, halves, antialias, cut, rounded
        How it was evaluated; see :class:`bottleneck.images.Geometry`.
    provider : str
        Who brings it: the provider of a row of the catalogue.
    network : str or None
        Name in ``keras.applications`` of the same network under another row, if there is one.
    fixed : ItemInput or None
        Its input, where that is no image of a size: a spectrogram. The numbers above that say how
        images become its input then mean nothing.
    top : Top or None
        Its own top, where the pretrained weights bring it.
    alpha : float
        Of MobileNets: how wide the layers are, times those of the paper.
    depth_multiplier : int
        Of MobileNet 1: filters per channel of its depthwise layers.
    width_named : bool
        Whether somebody named the two; otherwise a file of weights may have others.
    """

    name: str
    class_name: str
    family: str
    input_size: int
    min_size: int
    dim: int
    params: int
    preprocess: Preprocess
    bundled: str | None = None
    weights_file: str | None = None
    licence: str | None = None
    resize: ResizeRule = "crop"
    crop_ratio: float | None = CROP_RATIO
    interpolation: Interpolation = "bicubic"
    whole: bool = False
    halves: Halves = "even"
    antialias: bool = True
    cut: Cut = "drawing"
    rounded: bool = True
    provider: str = "keras_applications"
    network: str | None = None
    fixed: ItemInput | None = None
    top: Top | None = None
    alpha: float = 1.0
    depth_multiplier: int = 1
    width_named: bool = False

    @property
    def item(self) -> Item:
        """What it takes: images or sounds."""
        return "image" if self.fixed is None else self.fixed.item

    def input(self, size: ImageSize, resize: ResizeRule | None = None) -> ItemInput:
        """Say how items become its input: images by its own rule, or another one at that size."""
        if self.fixed is not None:
            if resize is not None:
                raise OptionError(
                    f"{self.name}: expected no --resize, which is for images, got {resize}"
                )
            return self.fixed
        if resize is None or resize == self.resize:
            return Geometry(
                size,
                self.resize,
                self.crop_ratio,
                self.interpolation,
                whole=self.whole,
                halves=self.halves,
                antialias=self.antialias,
                cut=self.cut,
                rounded=self.rounded,
            )
        return Geometry(
            size,
            resize,
            interpolation=self.interpolation,
            antialias=self.antialias,
            rounded=self.rounded,
        )


@dataclass(frozen=True)
class OutputSpec:
    """One feature vector taken from the network: a layer and how its map is pooled.

    Parameters
    ----------
    layer : str or None
        Layer name; None stands for the network's own output.
    pool : Pool or None
        Of maps: ``avg``, ``max``, ``avgmax`` (both), ``gem`` (the generalised mean with p = 3),
        ``none`` (all numbers). Of tokens: ``cls`` (the class token), ``clsavg`` (it and the mean of
        the patches), ``tokens`` (all numbers), and the first four over patches alone. ``own``: a
        vector that the network pooled. ``last4``: the class tokens of the last four blocks, and
        the mean patch of the last. None: the usual one of what the layer gives.
    """

    layer: str | None = None
    pool: Pool | None = "avg"
    name: str = field(init=False)

    def __post_init__(self) -> None:
        if self.pool is not None and self.pool not in get_args(Pool):
            raise OptionError(f"expected a pool of {', '.join(get_args(Pool))}, got {self.pool!r}")
        # A slash would be a group of the feature file.
        layer = (self.layer or "").replace("/", ".").strip(".")
        object.__setattr__(self, "name", ".".join(filter(None, (layer, self.pool))))


Form = Literal["keras", "torch", "graph"]
"""What a network is made of: a Keras model, a PyTorch module, a graph in a file (ONNX)."""


@dataclass(frozen=True)
class Map:
    """A feature map: (n, height, width, channels), or channels before height."""

    height: int
    width: int
    channels: int
    channels_first: bool = False


@dataclass(frozen=True)
class Tokens:
    """Tokens of a transformer: (n, count, channels).

    Parameters
    ----------
    count, channels : int
    prefix : int or None
        How many tokens come before the patches: the class token first, then registers. None where
        the network does not tell; patches cannot be told from the others then.
    """

    count: int
    channels: int
    prefix: int | None = None


@dataclass(frozen=True)
class Vector:
    """One vector for an image: (n, channels), pooled by the network itself."""

    channels: int


Shape = Map | Tokens | Vector
"""What comes out of a layer, for one image."""

POOLS: Final[Mapping[type, tuple[Pool, ...]]] = {
    Map: ("avg", "max", "avgmax", "gem", "none"),
    Tokens: ("cls", "avg", "clsavg", "max", "avgmax", "gem", "tokens"),
    Vector: ("own",),
}
"""The pools of each kind of output, the usual one first."""


PARTIAL: Final = "partial:"
"""In front of a file of weights that need not have all of a network's."""


def partial_source(weights: str | Path | None) -> tuple[str | None, bool]:
    """Take the mark of a file that need not have all weights off its path."""
    text = None if weights is None else str(weights)
    if text is None or not text.startswith(PARTIAL):
        return text, False
    return text.removeprefix(PARTIAL), True


@dataclass(frozen=True)
class WeightsInfo:
    """Which weights a network has.

    Parameters
    ----------
    source : str
        ``bundled``, ``imagenet``, ``none``, or the path of a file, behind :data:`PARTIAL` if
        some weights are not from it.
    sha256 : str
        Fingerprint of the weights, whatever file they came from; 64 hex digits.
    """

    source: str
    sha256: str


@dataclass(frozen=True)
class Network:
    """A headless network with weights.

    Parameters
    ----------
    spec : BackboneSpec
        Its name, preprocessing and the geometry it was evaluated with.
    model : object
        What runtimes compile: a ``keras.Model`` (float NHWC input, to which ``spec.preprocess``
        was applied), a ``torch.nn.Module``, or an ``OnnxFile``.
    size : int or (int, int)
        Side of the square input, or height and width, pixels; bands and frames of a spectrogram.
    weights : WeightsInfo
    form : {"keras", "torch", "graph"}
        What ``model`` is.
    layers : sequence of str
        What features can be taken from, by name.
    shapes : callable
        From names of layers to what comes out of them; None for one that pools do not take.
    main : str or None
        The layer that is taken when none is named; None: the model's own output.
    own, last4 : str or None
        The layer that gives the vector of the network's own pooling, taken for the pool ``own``;
        and the one that joins the class tokens of the last four blocks and the mean patch.
    channels_first : bool
        Whether the input is NCHW.
    names : mapping of str to str
        What a Keras model calls layers that have other names elsewhere.
    facts : mapping
        JSON values that decide features besides weights and input, for the recipe's identity.
    details : mapping
        JSON values worth knowing of it: parameters, licence, origin. Not part of the identity.
    tested : bool
        Whether our own tests cover it, so that it need not be admitted before a run.
    processor : callable, optional
        What its provider itself makes of a picture, (height, width, 3): the network's input. Asked
        in the admission test alone.
    """

    spec: BackboneSpec
    model: Any
    size: ImageSize
    weights: WeightsInfo
    form: Form
    layers: Sequence[str]
    shapes: Callable[[Sequence[str | None]], list[Shape | None]]
    main: str | None = None
    own: str | None = None
    last4: str | None = None
    channels_first: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    tested: bool = False
    processor: Callable[[NDArray[np.uint8]], NDArray[Any]] | None = None

    def __repr__(self) -> str:
        return (
            f"<Network {self.spec.name} {self.form} {self.size}px {self.weights.source}"
            f" {self.weights.sha256[:12]}>"
        )

    @property
    def input(self) -> ItemInput:
        """What items become for it."""
        return self.spec.input(self.size)

    def shape(self, layer: str | None) -> Shape:
        """Say what comes out of a layer, or of the network.

        Raises
        ------
        BackboneError
            For a layer that does not exist or has no features; lists the nearest ones.
        """
        name = layer if layer is not None else self.main
        known = name is None or name in self.layers
        found = self.shapes([name])[0] if known else None
        if found is None:
            near = difflib.get_close_matches(str(name), self.layers, n=3, cutoff=0.4)
            raise BackboneError(
                f"{self.spec.name}: expected a layer with a map of height x width x channels,"
                f" tokens or a vector, got {name!r}",
                hint=f"Nearest: {', '.join(near or list(self.layers)[-3:])}.",
            )
        return found

    def source(self, output: OutputSpec) -> str | None:
        """Name the layer that an output is pooled from; None is the model's own output."""
        if output.layer is None:
            joined = {"own": self.own, "last4": self.last4}.get(str(output.pool))
            return joined or self.main
        return output.layer

    def taken(self, outputs: Sequence[OutputSpec]) -> list[tuple[OutputSpec, Shape]]:
        """Pair outputs with what they are pooled from; where no pool is named, the usual one.

        Raises
        ------
        BackboneError
            For no or repeated outputs, a layer that does not exist, or a pool it does not have.
        """
        found = [self._pooled(output, self.shape(self.source(output))) for output in outputs]
        names = [output.name for output, _ in found]
        if not names or len(set(names)) != len(names):
            raise BackboneError(
                f"{self.spec.name}: expected one or more different outputs, got {names}"
            )
        return found

    def _pooled(self, output: OutputSpec, shape: Shape) -> tuple[OutputSpec, Shape]:
        able = list(POOLS[type(shape)])
        if output.layer is None and output.pool == "last4" and self.last4:
            return output, shape
        if isinstance(shape, Tokens) and shape.prefix is None:
            able = ["max", "tokens"]
        elif isinstance(shape, Tokens) and shape.prefix == 0:
            able = [pool for pool in able if not pool.startswith("cls")]
        if output.pool is None:
            return replace(output, pool=able[0]), shape
        if output.pool not in able:
            what = f"{type(shape).__name__.lower()} of {output.layer or self.main or 'its output'}"
            if isinstance(shape, Tokens) and shape.prefix is None:
                what += " (which of them are patches, the network does not tell)"
            lacking = self.details.get("without")
            if output.pool == "own" and lacking:
                what += f" (the weights have no {', '.join(lacking)}: it would be random)"
            raise BackboneError(
                f"{self.spec.name}: expected a pool for the {what}: {', '.join(able)}"
                f", got {output.pool}",
            )
        return output, shape

    def without_model(self) -> Self:
        """Return what can travel to another process."""
        return replace(self, model=None, shapes=_unknown, processor=None)


def _unknown(layers: Sequence[str | None]) -> list[Shape | None]:
    return [None for _ in layers]
