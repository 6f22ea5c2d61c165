"""JPEGs by the libjpeg-turbo of torchvision, in threads; no GPU is needed."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cores import available_cores
from bottleneck.exhaustion import out_of_memory
from bottleneck.images.decoders.trial import trial


def missing() -> str | None:
    """See :class:`~bottleneck.images.decoders.registry.Opener`."""
    return problem("cpu")


def problem(place: str) -> str | None:
    """Say why torchvision does not decode on a device; None where it does."""

    def decode(file: NDArray[np.uint8]) -> Any:
        import torch
        from torchvision.io import ImageReadMode, decode_jpeg

        return decode_jpeg([torch.from_numpy(file)], ImageReadMode.RGB, device=place)

    return trial("torchvision", place, decode)


def open_decoder(place: str) -> "TorchvisionDecoder":
    """See :class:`~bottleneck.images.decoders.registry.Opener`."""
    return TorchvisionDecoder(place)


class TorchvisionDecoder:
    """Decodes with a thread for each core: several at a time for a GPU, else in those that draw.

    Parameters
    ----------
    place : str
        The device that pixels are copied to.
    """

    tells_memory = True

    def __init__(self, place: str) -> None:
        self._place = place
        self._pool = ThreadPoolExecutor(available_cores(), thread_name_prefix="jpeg")
        self.threads = available_cores() if place == "cpu" else 1

    def __call__(self, files: Sequence[NDArray[np.uint8]]) -> list[Any]:
        """See :class:`~bottleneck.images.decoders.drawing.BatchDecoder`."""
        if self._place == "cpu":
            return [_decoded(file) for file in files]
        found = self._pool.map(_decoded, files)
        return [one if one is None else one.to(self._place, non_blocking=True) for one in found]

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


def _decoded(file: NDArray[np.uint8]) -> Any:
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    try:
        return decode_jpeg(torch.from_numpy(file), ImageReadMode.RGB)
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        return None
