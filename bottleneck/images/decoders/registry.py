"""Which decoders ``--decoder`` takes, and what each is in a recipe. Imports none of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Literal, Protocol, get_args

from bottleneck.errors import RuntimeUnavailableError

DecoderName = Literal["pillow", "torchvision", "nvjpeg", "nvimgcodec"]

NAMES: Final[tuple[str, ...]] = get_args(DecoderName)

PILLOW: Final = "pillow"
"""Decodes everything, in the workers; the other decoders only JPEGs."""

LARGEST: Final = 1 << 20
"""Bytes of the largest JPEG that another decoder gets. Pillow decodes larger ones at reduced
scale, where the others would decode all of their pixels."""

RULES_VERSION: Final = 1
"""Raised by one whenever other files are handed to another decoder, or are drawn differently."""


@dataclass(frozen=True)
class DecoderSpec:
    """A decoder of JPEGs.

    Parameters
    ----------
    jpeg : str
        What decodes, for the recipe. Two decoders of one library that give other pixels differ.
    module : str
        The module of this package with its :class:`Opener`.
    packages : mapping of str to str
        What has to be installed: names of distributions, by what is imported.
    extra : str
        What brings them: an extra of this package.
    gpu : bool
        Whether it needs an NVIDIA GPU.
    """

    jpeg: str
    module: str
    packages: Mapping[str, str]
    extra: str
    gpu: bool


class Opener(Protocol):
    """What the module of a decoder has."""

    def missing(self) -> str | None:
        """Say what it lacks here, though its packages are installed; None where it works."""
        ...

    def open_decoder(self, place: str) -> Any:
        """Make a :class:`~bottleneck.images.decoders.drawing.BatchDecoder`.

        Parameters
        ----------
        place : str
            PyTorch's name of the device that it is to leave the pixels on.
        """
        ...


DECODERS: Final[Mapping[str, DecoderSpec]] = {
    "torchvision": DecoderSpec(
        "libjpeg-turbo",
        "torchvision",
        {"torch": "torch", "torchvision": "torchvision"},
        "torchvision",
        gpu=False,
    ),
    "nvjpeg": DecoderSpec(
        "nvJPEG of torchvision",
        "nvjpeg",
        {"torch": "torch", "torchvision": "torchvision"},
        "torchvision",
        gpu=True,
    ),
    "nvimgcodec": DecoderSpec(
        "nvImageCodec",
        "nvimgcodec",
        {"torch": "torch", "nvidia.nvimgcodec": "nvidia-nvimgcodec-cu13"},
        "nvimgcodec",
        gpu=True,
    ),
}
"""By name; Pillow is none of them."""


def decoder_recipe(name: str) -> dict[str, Any]:
    """Describe a decoder, as JSON values, for the identity part of a recipe."""
    return {
        "name": name,
        "version": RULES_VERSION,
        "jpeg": DECODERS[name].jpeg,
        "resize": "torch, antialias, 8 bits between columns and rows",
        "at_most_bytes": LARGEST,
        "others": PILLOW,
    }


def decoder_versions(name: str) -> str:
    """Name what a decoder consists of, with versions, for the execution part of a recipe."""
    from importlib.metadata import PackageNotFoundError, version  # a tenth of a worker's start

    found = []
    for package in DECODERS[name].packages.values():
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(package)
    return ", ".join(found)


def opener(name: str) -> Opener:
    """Import the module of a decoder; what it decodes with is imported when it is used."""
    found: Any = import_module(f"bottleneck.images.decoders.{DECODERS[name].module}")
    opener: Opener = found
    return opener


def require_decoder(name: str) -> None:
    """Refuse a decoder that cannot be had here.

    Raises
    ------
    RuntimeUnavailableError
        Naming what is missing.
    """
    if name == PILLOW:
        return
    spec = DECODERS[name]
    lacking = [package for module, package in spec.packages.items() if not _is_there(module)]
    problem = f"{', '.join(lacking)} is not installed" if lacking else None
    hint = f"`pip install 'bottleneck-features[{spec.extra}]'`"
    if problem is None and spec.gpu:
        import torch

        if not torch.cuda.is_available():
            problem = f"PyTorch {torch.__version__} sees no NVIDIA GPU"
            hint = "`bottleneck doctor` shows what is seen"
    if problem is None:
        problem = opener(name).missing()
    if problem is not None:
        raise RuntimeUnavailableError(
            f"expected the decoder {name} ({spec.jpeg}), but {problem}",
            hint=f"{hint}. Features of another decoder have other pixels: --decoder {PILLOW} works "
            "everywhere, for all images anew.",
        )


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package that is not there either
        return False
