"""JPEGs by NVIDIA's nvImageCodec (``nvidia-nvimgcodec-cu13``), on a GPU."""

import os
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import first_line
from bottleneck.exhaustion import out_of_memory
from bottleneck.images.decoders.trial import trial

_NO_GPU: Final = -99999
"""``NVIMGCODEC_DEVICE_CPU_ONLY`` of nvimgcodec.h."""


def missing() -> str | None:
    """See :class:`~bottleneck.images.decoders.registry.Opener`."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return f"nvidia.nvimgcodec needs PyTorch: {first_line(error)}"
    place = "cuda:0" if torch.cuda.is_available() else "cpu"

    def decode(file: NDArray[np.uint8]) -> Any:
        decoder = open_decoder(place)
        (found,) = decoder([file])
        decoder.close()
        return found

    return trial("nvidia.nvimgcodec", place, decode)


def open_decoder(place: str) -> "NvimgcodecDecoder":
    """See :class:`~bottleneck.images.decoders.registry.Opener`."""
    return NvimgcodecDecoder(place)


def _library() -> Any:
    # It writes a line to the terminal for every file that it cannot decode.
    os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")
    from nvidia import nvimgcodec

    return nvimgcodec


class NvimgcodecDecoder:
    """Decodes files all at once.

    Parameters
    ----------
    place : str
        Which GPU; ``cpu`` computes on the CPU, for trials.
    """

    threads = 1

    def __init__(self, place: str) -> None:
        library = self._library = _library()
        self._place = place
        self.tells_memory = place == "cpu"  # a GPU's says None of a file that fails, and no more
        kinds = library.BackendKind
        if place == "cpu":
            number, chosen = _NO_GPU, [kinds.CPU_ONLY]
        else:
            # Not its decoder for the CPU alone: what the card cannot decode is Pillow's.
            number = int(place.partition(":")[2] or 0)
            chosen = [kinds.HW_GPU_ONLY, kinds.GPU_ONLY, kinds.HYBRID_CPU_GPU]
        self._decoder = library.Decoder(
            device_id=number,
            backends=[library.Backend(kind) for kind in chosen],
            # As libjpeg: without it, chroma samples are repeated.
            options=":fancy_upsampling=1",
        )
        self._params = library.DecodeParams(
            apply_exif_orientation=False,
            color_spec=library.ColorSpec.SRGB,
            sample_format=library.SampleFormat.P_RGB,
        )

    def __call__(self, files: Sequence[NDArray[np.uint8]]) -> list[Any]:
        """See :class:`~bottleneck.images.decoders.drawing.BatchDecoder`."""
        import torch

        streams = [self._stream(file) for file in files]
        sound = [stream for stream in streams if stream is not None]
        if not sound:
            return [None] * len(files)
        if self._place == "cpu":
            decoded = iter(self._decoder.decode(sound, params=self._params))
        else:
            ours = torch.cuda.current_stream(self._place).cuda_stream
            decoded = iter(self._decoder.decode(sound, params=self._params, cuda_stream=ours))
        return [None if stream is None else self._tensor(next(decoded)) for stream in streams]

    def _stream(self, file: NDArray[np.uint8]) -> Any:
        try:
            return self._library.CodeStream(file)
        except (RuntimeError, ValueError) as error:
            if out_of_memory(error):
                raise
            return None

    def _tensor(self, image: Any) -> Any:
        import torch

        if image is None:
            return None
        if self._place == "cpu":
            return torch.from_numpy(np.asarray(image))
        return torch.from_dlpack(image)

    def close(self) -> None:
        """Give up the decoder, with its memory on the device."""
        del self._decoder
