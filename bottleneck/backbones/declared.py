"""What is said of a network's input by hand, where its file says nothing: ``--preprocess``."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self, cast, get_args

from bottleneck.backbones.catalogue import BVLC, CAFFE, LITE, NONE, RGB_MEAN, TF, TORCH
from bottleneck.backbones.network import BackboneSpec, Channels, Preprocess
from bottleneck.errors import OptionError
from bottleneck.images import Geometry, ImageSize, Interpolation, ResizeRule, image_shape
from bottleneck.location import expanded
from bottleneck.weights.caffe import read_mean

NAMED: Final = {one.name: one for one in (TORCH, TF, CAFFE, BVLC, RGB_MEAN, LITE, NONE)}
"""Preprocessing that many networks share, by name."""

MEAN_IMAGE: Final = ".binaryproto"
"""How files of Caffe's mean images end."""

HELP: Final = (
    f"{', '.join(NAMED)}, or numbers: 'mean=0.5,0.5,0.5;std=0.5,0.5,0.5'; with them or alone"
    " 'scale=1/255', 'channels=bgr', 'crop=1.0', 'interpolation=bilinear', 'resize=squash'"
)

_KEYS: Final = ("mean", "std", "scale", "channels", "crop", "interpolation", "resize")


@dataclass(frozen=True)
class DeclaredInput:
    """The input of a network, as far as somebody has said it.

    Parameters
    ----------
    preprocess : Preprocess, optional
    resize, crop_ratio, interpolation : optional
        See :class:`bottleneck.images.Geometry`.
    """

    preprocess: Preprocess | None = None
    resize: ResizeRule | None = None
    crop_ratio: float | None = None
    interpolation: Interpolation | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what ``--preprocess`` takes.

        A name (``torch``, ``tf``, ``caffe``, ``rgb_mean``, ``lite``, ``none``) or numbers: pixels
        of 0 to 255 are multiplied by ``scale`` (1/255), then ``mean`` is subtracted and the rest
        divided by ``std``, all in the order of ``channels`` (rgb). ``mean`` may be a mean image of
        Caffe, ``FILE.binaryproto``: the mean of each channel is taken, and ``scale`` is 1.
        ``crop``, ``interpolation`` and
        ``resize`` say how the network was evaluated.

        Raises
        ------
        OptionError
            For anything else.
        WeightsError
            For a mean image that is not there, or damaged.
        """
        name, given = None, {}
        for part in filter(None, (part.strip() for part in text.split(";"))):
            key, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals and name is None:
                name = key
            elif key in _KEYS and value and key not in given:
                given[key] = value
            else:
                raise _wrong(text, f"{part!r}")
        if name is not None and name not in NAMED:
            raise _wrong(text, repr(name))
        numbers = {key: given.pop(key) for key in _KEYS[:4] if key in given}
        if name is not None and numbers:
            raise _wrong(text, f"both {name} and {', '.join(numbers)}")
        return cls(
            _from_numbers(text, numbers) if numbers else NAMED.get(name or ""),
            _choice(text, given.get("resize"), ResizeRule),
            _ratio(text, given.get("crop")),
            _choice(text, given.get("interpolation"), Interpolation),
        )

    @classmethod
    def from_identity(cls, identity: Mapping[str, Any]) -> Self | None:
        """Read what a recipe says of it; None where it is no input of images."""
        if "image" not in identity:
            return None
        geometry = Geometry.from_recipe(identity["image"])
        said = identity["preprocess"]
        return cls(
            Preprocess(said["name"], said["channels"], tuple(said["scale"]), tuple(said["offset"])),
            geometry.resize,
            geometry.crop_ratio,
            geometry.interpolation,
        )

    def completed(self, other: "DeclaredInput | None") -> "DeclaredInput":
        """Return what somebody else said, and this where they said nothing."""
        if other is None:
            return self
        said = {field: value for field, value in vars(other).items() if value is not None}
        return replace(self, **said)

    def applied(self, spec: BackboneSpec) -> BackboneSpec:
        """Return a backbone with this input; what is not said stays."""
        resize = self.resize or spec.resize
        own = spec.crop_ratio if resize == spec.resize else None
        return replace(
            spec,
            preprocess=self.preprocess or spec.preprocess,
            resize=resize,
            crop_ratio=own if self.crop_ratio is None else self.crop_ratio,
            interpolation=self.interpolation or spec.interpolation,
        )


def file_and_layer(name: str) -> str:
    """Return what recipes keep of ``FILE#layer``: the file without its folder, and the layer."""
    file, mark, layer = name.partition("#")
    return f"{Path(file).name}{mark}{layer}"


def file_spec(
    name: str, *, size: ImageSize, dim: int, params: int, declared: DeclaredInput | None
) -> BackboneSpec:
    """Describe a network from a file, whose preprocessing somebody has to say.

    Raises
    ------
    OptionError
        When nobody has.
    """
    if declared is None or declared.preprocess is None:
        raise OptionError(
            f"{name}: expected its preprocessing, which the file does not say, got none",
            hint=f"--preprocess {HELP}.",
        )
    spec = BackboneSpec(
        name=name,
        class_name=name,
        family=name.partition(":")[0],
        input_size=max(image_shape(size)),
        min_size=1,
        dim=dim,
        params=params,
        preprocess=declared.preprocess,
    )
    return declared.applied(spec)


def _from_numbers(text: str, numbers: Mapping[Any, str]) -> Preprocess:
    channels = numbers.get("channels", "rgb")
    if channels not in get_args(Channels):
        raise _wrong(text, f"channels={channels}")
    image = numbers.get("mean", "").endswith(MEAN_IMAGE)
    scale = _three(text, numbers.get("scale", "1" if image else "1/255"))
    if image:
        if scale != (1.0, 1.0, 1.0):
            raise _wrong(text, "a mean image, which is of 0 to 255, beside another scale than 1")
        mean = _mean_image(text, expanded(numbers["mean"]), channels)
    else:
        mean = _three(text, numbers.get("mean", "0"))
    std = _three(text, numbers.get("std", "1"))
    if 0 in std:
        raise _wrong(text, "a std of 0")
    return Preprocess(
        "numbers",
        cast(Channels, channels),
        (scale[0] / std[0], scale[1] / std[1], scale[2] / std[2]),
        (-mean[0] / std[0], -mean[1] / std[1], -mean[2] / std[2]),
    )


def _mean_image(text: str, path: Path, channels: str) -> tuple[float, float, float]:
    found = [float(one) for one in read_mean(path)]
    if channels != ("bgr" if len(found) == 3 else "grey"):
        what = "blue, green and red: channels=bgr" if len(found) == 3 else "grey: channels=grey"
        raise _wrong(text, f"channels={channels} beside a mean image of {what}")
    return (found[0], found[0], found[0]) if len(found) == 1 else (found[0], found[1], found[2])


def _three(text: str, value: str) -> tuple[float, float, float]:
    found = [_number(text, part) for part in value.split(",")]
    if len(found) == 1:
        found *= 3
    if len(found) != 3:
        raise _wrong(text, f"{len(found)} numbers, not 1 or 3")
    return found[0], found[1], found[2]


def _number(text: str, value: str) -> float:
    above, _, below = value.partition("/")
    try:
        found = float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        raise _wrong(text, repr(value)) from None
    if not abs(found) < float("inf"):
        raise _wrong(text, repr(value))
    return found


def _ratio(text: str, value: str | None) -> float | None:
    return None if value is None else _number(text, value)


def _choice(text: str, value: str | None, known: Any) -> Any:
    if value is not None and value not in get_args(known):
        raise _wrong(text, f"{value!r}, not one of {', '.join(get_args(known))}")
    return value


def _wrong(text: str, received: str) -> OptionError:
    return OptionError(
        f"expected a preprocessing, got {received} in {text!r}", hint=f"It takes {HELP}"
    )
