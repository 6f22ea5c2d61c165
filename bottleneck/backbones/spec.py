"""What a backbone is, as data: its input, its preprocessing, its features."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from bottleneck.errors import OptionError
from bottleneck.images import CROP_RATIO, Geometry, Halves, ImageSize, Interpolation, ResizeRule

Pool = Literal["avg", "max", "avgmax", "gem", "none", "cls", "clsavg", "own", "last4", "tokens"]


@dataclass(frozen=True)
class Preprocess:
    """Per-channel ``x * scale + offset`` on 0..255 RGB, after putting channels in order.

    Parameters
    ----------
    name : str
        Short name for recipes and the catalogue (``tf``, ``caffe``, ``torch``, ``lite``, ``none``).
    channels : {"rgb", "bgr"}
        Order in which the network wants the channels.
    scale, offset : tuple of 3 floats
        In the network's channel order.
    """

    name: str
    channels: Literal["rgb", "bgr"] = "rgb"
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class BackboneSpec:
    """One row of the catalogue.

    Parameters
    ----------
    name : str
        Snake-case name, ``mobilenet_v2``.
    class_name : str
        Name in ``keras.applications``, an accepted alias, ``MobileNetV2``.
    family : str
        Module of ``keras.applications`` whose ``preprocess_input`` belongs to it, or our own.
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
    resize, crop_ratio, interpolation, whole, halves
        How it was evaluated; see :class:`bottleneck.images.Geometry`.
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

    @property
    def provider(self) -> str:
        """The provider of a row of the catalogue."""
        return "lite" if self.family == "efficientnet_lite" else "keras_applications"

    def geometry(self, size: ImageSize, resize: ResizeRule | None = None) -> Geometry:
        """Say how images become its input: by its own rule, or by another one at that size."""
        if resize is None or resize == self.resize:
            return Geometry(
                size,
                self.resize,
                self.crop_ratio,
                self.interpolation,
                whole=self.whole,
                halves=self.halves,
            )
        return Geometry(size, resize, interpolation=self.interpolation)


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
