"""From the bytes of many JPEGs to inputs of networks: decoded by a library, drawn by PyTorch.

All of a batch is done on one device, a GPU if there is one, beside what else that computes. Columns
are resized before rows, and rounded to 8 bits in between, as Pillow does it but for high pictures:
what the libraries decode alike is so drawn alike, on a CPU (where PyTorch has such a function) and
on a GPU.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import DeviceMemoryError, first_line
from bottleneck.exhaustion import out_of_memory
from bottleneck.gpus import number_here
from bottleneck.images.decoders.registry import DECODERS, opener
from bottleneck.images.geometry import Geometry, Placement
from bottleneck.images.plain_jpeg import EncodedJpeg

_MOST_DRAWN: Final = 1 << 24
"""Pixels of the largest drawing. A strip of a picture would be drawn as something far larger than
itself; those are Pillow's."""

_MOST_AT_ONCE: Final = 1 << 26
"""Pixels that are decoded at a time, which take three bytes each: twelve as they are drawn."""

_PER_PIXEL: Final = 32
_BESIDE: Final = 1 << 26
"""Bytes that a GPU's decoder needs for a file, at most: for coefficients, planes and the picture;
and for tables and what its driver keeps."""

_SHARE: Final = 4
"""Files that a thread takes at a time, where several decode."""


class BatchDecoder(Protocol):
    """Decodes JPEGs, many at a time.

    Attributes
    ----------
    threads : int
        How many threads may call it at once.
    tells_memory : bool
        Whether it raises where memory does not suffice, for certain: what it returns None for
        cannot be decoded. Libraries that decode on a GPU often tell a number, or nothing.
    """

    threads: int
    tells_memory: bool

    def __call__(self, files: Sequence[NDArray[np.uint8]]) -> list[Any]:
        """Decode files.

        Parameters
        ----------
        files : sequence of ndarray of uint8
            Whole files, as :func:`~bottleneck.images.plain_jpeg.read_plain_jpeg` lets through. They
            stay as they are until this has returned.

        Returns
        -------
        list
            For each a tensor of uint8, shape (3, height, width), red, green, blue, not turned; None
            for one that cannot be decoded.

        Raises
        ------
        Exception
            One that :func:`~bottleneck.exhaustion.out_of_memory` knows where memory does not
            suffice; another where decoding as such does not work.
        """
        ...

    def close(self) -> None:
        """End it."""
        ...


class Drawer:
    """Decodes JPEGs and draws them.

    Parameters
    ----------
    decode : BatchDecoder
    place : str
        PyTorch's name of the device that draws.
    """

    def __init__(self, decode: BatchDecoder, place: str) -> None:
        self._decode = decode
        self._place = place
        self._stream = _own_stream(place)
        self._threads = ThreadPoolExecutor(decode.threads, thread_name_prefix="jpeg")

    def __repr__(self) -> str:
        return f"<Drawer {type(self._decode).__name__} {self._place}>"

    def draw(
        self,
        jpegs: Sequence[EncodedJpeg],
        targets: Sequence[tuple[Geometry, NDArray[Any]]],
        at: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Draw each of some files for each of some inputs.

        Parameters
        ----------
        jpegs : sequence of EncodedJpeg, n of them
        targets : sequence of (Geometry, ndarray)
            Each input, and where its images belong: shape (rows, *shape of an input).
        at : ndarray of int64, shape (n,)
            The row of each file, ascending.

        Returns
        -------
        ndarray of bool, shape (n,)
            Which files were drawn; of the others nothing was.

        Raises
        ------
        DeviceMemoryError
            When the memory does not suffice for one of them.
        """
        drawn = np.zeros(len(jpegs), bool)
        sizes = [one.plain.width * one.plain.height for one in jpegs]
        parts = _portions(sizes, len(sizes) if self._decode.threads == 1 else _SHARE)
        draw = partial(self._draw, jpegs=jpegs, targets=targets, at=at, drawn=drawn)
        list(self._threads.map(draw, parts))
        return drawn

    def _draw(
        self,
        part: Sequence[int],
        jpegs: Sequence[EncodedJpeg],
        targets: Sequence[tuple[Geometry, NDArray[Any]]],
        at: NDArray[np.int64],
        drawn: NDArray[np.bool_],
    ) -> None:
        try:
            with self._stream():
                decoded = self._decoded([jpegs[i] for i in part])
                upright = {
                    i: _turned(image, jpegs[i].plain.orientation)
                    for i, image in zip(part, decoded, strict=True)
                    if image is not None and _is_drawable(image, [g for g, _ in targets], jpegs[i])
                }
                places = np.array(list(upright), np.int64)
                for geometry, target in targets if upright else ():
                    _put(_drawn(list(upright.values()), geometry), target, at[places])
            drawn[places] = True
            return
        except Exception as error:
            if not out_of_memory(error):
                raise
            if len(part) == 1:  # Pillow has what a decoder cannot draw, never for want of memory
                raise DeviceMemoryError(
                    f"{self._place} has not enough memory to draw a JPEG of "
                    f"{jpegs[part[0]].plain.width} x {jpegs[part[0]].plain.height}",
                    hint="A smaller --batch-size leaves more of it; what is done is kept. "
                    f"The decoder says: {first_line(error)}",
                ) from error
        # Outside, where the error no longer holds what was decoded.
        _give_back()
        middle = len(part) // 2
        for half in (part[:middle], part[middle:]):
            self._draw(half, jpegs, targets, at, drawn)

    def _decoded(self, jpegs: Sequence[EncodedJpeg]) -> list[Any]:
        """Decode files; None for one that cannot be, whatever memory there is."""
        found = self._decode([one.data for one in jpegs])
        if not self._decode.tells_memory:
            for i, one in enumerate(jpegs):
                if found[i] is None:
                    found[i] = self._alone(one)
        return found

    def _alone(self, jpeg: EncodedJpeg) -> Any:
        """Decode a file once more, of which a GPU's decoder did not say why it failed.

        Raises
        ------
        MemoryError
            When it fails again, and there is so little memory that this may be why.
        """
        needed = _needed(jpeg.plain.width * jpeg.plain.height)
        free = _free(self._place)
        if free < needed:
            _give_back()
            free = _free(self._place)
        (found,) = self._decode([jpeg.data])
        # The network beside it may have taken some meanwhile, or given it back.
        free = min(free, _free(self._place))
        if found is None and free < needed:
            raise MemoryError(f"nothing, with {free >> 20} MiB free")
        return found

    def close(self) -> None:
        """End the threads and the decoder."""
        self._threads.shutdown()
        self._decode.close()


def open_drawer(name: str, device: str = "") -> Drawer:
    """Make what draws for a decoder.

    Parameters
    ----------
    name : str
        One of :data:`~bottleneck.images.decoders.registry.DECODERS`.
    device : str
        What computes the network, as recipes name it; the pictures are drawn there, on the first
        of several. On another device than a GPU a decoder that needs one has the first.
    """
    import torch

    gpu = re.search(r":(\d+)", device)
    if gpu and torch.cuda.is_available():
        place = f"cuda:{number_here(int(gpu[1]))}"
    else:
        place = "cuda:0" if DECODERS[name].gpu else "cpu"
    return Drawer(opener(name).open_decoder(place), place)


def _own_stream(place: str) -> Any:
    """Return what makes the context in which a device works beside the network."""
    if place == "cpu":
        return nullcontext
    import torch

    # First come its small kernels: the network waits for what they draw.
    stream = torch.cuda.Stream(place, priority=-1)
    return lambda: torch.cuda.stream(stream)


def _needed(pixels: int) -> int:
    return pixels * _PER_PIXEL + _BESIDE


def is_full(place: str, pixels: int) -> bool:
    """Tell whether a device has so little memory that a file may fail for want of it."""
    if place == "cpu":
        return False
    try:
        return _free(place) < _needed(pixels)
    except Exception as error:  # noqa: BLE001  # not even what the driver itself needs, mostly
        return out_of_memory(error)


def _free(place: str) -> int:
    """Return the bytes that a GPU has left, as its driver says."""
    import torch

    free: int = torch.cuda.mem_get_info(place)[0]
    return free


def _give_back() -> None:
    """Give back what PyTorch keeps of a GPU's memory for later."""
    import torch

    torch.cuda.empty_cache()


def _portions(sizes: Sequence[int], most: int) -> Iterator[list[int]]:
    """Cut a list into runs of ``most`` numbers whose sizes add up to little enough, or of one."""
    run: list[int] = []
    total = 0
    for i, size in enumerate(sizes):
        if run and (len(run) == most or total + size > _MOST_AT_ONCE):
            yield run
            run, total = [], 0
        run.append(i)
        total += size
    if run:
        yield run


def _is_drawable(image: Any, geometries: Sequence[Geometry], jpeg: EncodedJpeg) -> bool:
    """Whether the decoder found the size that the header says, and drawings are of a usual size."""
    height, width = jpeg.plain.height, jpeg.plain.width
    if tuple(image.shape) != (3, height, width):
        return False
    if jpeg.plain.orientation >= 5:
        width, height = height, width
    sides = [geometry.place(width, height).drawn for geometry in geometries]
    return all(across * down <= _MOST_DRAWN for across, down in sides)


def _turned(image: Any, orientation: int) -> Any:
    """Turn a picture upright, shape (3, height, width), by the number that EXIF gives it."""
    if orientation >= 5:
        image = image.transpose(1, 2)
    # Behind the exchange: 2, 3, 7 and 6 have their first column last, 3, 4, 7 and 8 the first row.
    mirrored = [
        axis for axis, known in ((2, (2, 3, 6, 7)), (1, (3, 4, 7, 8))) if orientation in known
    ]
    return image.flip(mirrored) if mirrored else image


def _drawn(images: Sequence[Any], geometry: Geometry) -> Any:
    """Draw upright pictures: a tensor of shape (n, height, width, 3), of the input's type."""
    import torch

    alike = defaultdict[tuple[int, int], list[int]](list)
    for i, image in enumerate(images):
        alike[tuple(image.shape[1:])].append(i)
    order: list[int] = []
    windows = []
    for (height, width), members in alike.items():
        place = geometry.place(width, height)
        for some in _portions([height * width] * len(members), len(members)):
            chosen = [members[i] for i in some]
            windows.append(_window([images[i] for i in chosen], geometry, place))
            order += chosen
    found = windows[0] if len(windows) == 1 else torch.cat(windows)
    if order != sorted(order):
        found = found[torch.from_numpy(np.argsort(order)).to(found.device)]
    return found.permute(0, 2, 3, 1).contiguous()


def _window(images: Sequence[Any], geometry: Geometry, place: Placement) -> Any:
    """Draw pictures of one size, of the input's type: shape (n, 3, height, width)."""
    import torch

    picture = torch.stack(list(images)) if len(images) > 1 else images[0][None]
    if geometry.cuts_picture:
        left, top, right, bottom = geometry.cut_window(picture.shape[3], picture.shape[2])
        picture = picture[:, :, top:bottom, left:right]
    left, top, right, bottom = place.window
    if not geometry.rounded:
        window = _resized(picture.float(), place.drawn, geometry)[:, :, top:bottom, left:right]
    elif picture.device.type == "cpu":
        window = _resized(picture, place.drawn, geometry)[:, :, top:bottom, left:right]
    else:
        window = in_two_passes(picture, geometry, place)
    height, width, _ = geometry.shape
    if tuple(window.shape[2:]) == (height, width):
        return window
    colour = torch.tensor(geometry.padding, dtype=window.dtype, device=window.device)
    canvas = colour[None, :, None, None].repeat(len(window), 1, height, width)
    across, down = place.at
    canvas[:, :, down : down + bottom - top, across : across + right - left] = window
    return canvas


def _resized(picture: Any, size: tuple[int, int], geometry: Geometry) -> Any:
    """Resize to a width and a height; uint8 stays uint8, on a CPU."""
    import torch

    return torch.nn.functional.interpolate(
        picture, size=size[::-1], mode=geometry.interpolation, antialias=True, align_corners=False
    )


def in_two_passes(picture: Any, geometry: Geometry, place: Placement) -> Any:
    """Draw the window that is kept as a CPU does it, where there is no function for 8 bits.

    Parameters
    ----------
    picture : tensor of uint8, shape (n, 3, height, width)
    geometry : Geometry
        Its filter.
    place : Placement
        Where the picture goes.

    Returns
    -------
    tensor of uint8, shape (n, 3, height of the window, width of the window)
    """
    import torch

    left, top, right, bottom = place.window
    across = _resized(picture.float(), (place.drawn[0], picture.shape[2]), geometry)
    across = _rounded(across[:, :, :, left:right])
    down = _resized(across, (right - left, place.drawn[1]), geometry)
    return _rounded(down[:, :, top:bottom]).to(torch.uint8)


def _rounded(numbers: Any) -> Any:
    # Halves go up, as in Pillow.
    return (numbers + 0.5).floor_().clamp_(0, 255)


def _put(found: Any, target: NDArray[Any], at: NDArray[np.int64]) -> None:
    """Copy images to the rows where they belong, at once where those lie in one run."""
    import torch

    if at[-1] - at[0] + 1 == len(at):
        torch.from_numpy(target[at[0] : at[-1] + 1]).copy_(found)
    else:
        target[at] = found.cpu().numpy()
