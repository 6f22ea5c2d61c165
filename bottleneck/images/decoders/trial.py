"""Whether a library decodes here, by a file that every decoder can decode."""

import io
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bottleneck.errors import DeviceMemoryError, first_line
from bottleneck.exhaustion import out_of_memory
from bottleneck.images.decoders.drawing import is_full

_SIDE: Final = 16


def trial(name: str, place: str, decode: Callable[[NDArray[np.uint8]], Any]) -> str | None:
    """Decode a small file.

    Parameters
    ----------
    name : str
        The library's, for the message.
    place : str
        PyTorch's name of the device.
    decode : callable
        From a file to its picture, or None.

    Returns
    -------
    str or None
        Why it does not decode; None where it does.

    Raises
    ------
    DeviceMemoryError
        When there is so little memory that this may be why.
    """
    why: Exception | None = None
    try:
        if decode(_jpeg()) is not None:
            return None
        # Without nvJPEG's library nvImageCodec decodes nothing: None of every file is all it says.
        problem = f"{name} decodes no JPEG on {place}"
    except ImportError as error:
        return f"{name} does not decode: {first_line(error)}"
    except (MemoryError, OSError, RuntimeError) as error:
        # Built for another PyTorch, or without libraries: it says so in many ways.
        problem, why = f"{name} does not decode: {first_line(error)}", error
    if (why is not None and out_of_memory(why)) or is_full(place, _SIDE * _SIDE):
        raise DeviceMemoryError(
            f"{place} has not enough memory to begin to decode: {problem}",
            hint="Others may use it: `nvidia-smi` shows them. What is done is kept.",
        ) from why
    return problem


def _jpeg() -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.new("RGB", (_SIDE, _SIDE)).save(file, "JPEG")
    return np.frombuffer(bytearray(file.getvalue()), np.uint8)
