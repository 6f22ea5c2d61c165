"""JPEGs by nvJPEG through torchvision: by the card's own decoders where it has some."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.exhaustion import out_of_memory
from bottleneck.images.decoders.torchvision import problem


def missing() -> str | None:
    """See :class:`~bottleneck.images.decoders.registry.Opener`."""
    return problem("cuda:0")


def open_decoder(place: str) -> "NvjpegDecoder":
    """See :class:`~bottleneck.images.decoders.registry.Opener`."""
    return NvjpegDecoder(place)


class NvjpegDecoder:
    """Decodes files on a GPU, all at once.

    Parameters
    ----------
    place : str
        Which GPU.
    """

    threads = 1
    tells_memory = False  # of its own allocations nvJPEG tells a number, as of a damaged file

    def __init__(self, place: str) -> None:
        self._place = place

    def __call__(self, files: Sequence[NDArray[np.uint8]]) -> list[Any]:
        """See :class:`~bottleneck.images.decoders.drawing.BatchDecoder`."""
        import torch
        from torchvision.io import ImageReadMode, decode_jpeg

        try:
            found: list[Any] = decode_jpeg(
                [torch.from_numpy(file) for file in files], ImageReadMode.RGB, device=self._place
            )
            return found
        except RuntimeError as error:
            if out_of_memory(error):
                raise  # of no file: who asked takes fewer, with what is kept given back
            # It gives nothing of a batch in which one file fails. Halves find which one it is.
            if len(files) == 1:
                return [None]
        middle = len(files) // 2
        return self(files[:middle]) + self(files[middle:])

    def close(self) -> None:
        """Nothing is to be ended: torchvision has one decoder per process."""
