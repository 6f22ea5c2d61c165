"""Pixel arrays, in memory or stored as arrays: NPY, NPZ, HDF5, IDX."""

import math
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ManifestError, SourceError
from bottleneck.fingerprint import fingerprint_parts
from bottleneck.manifest import Manifest, split_code
from bottleneck.packed import PackedStrings
from bottleneck.sources.base import Listing, not_used
from bottleneck.sources.random_access import Blob
from bottleneck.sources.rules import label_of
from bottleneck.sources.shards import Sharded

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


class PixelSource:
    """Pixel arrays in memory, each ``(height, width)`` or ``(height, width, channels)``.

    Parameters
    ----------
    images : sequence of ndarray of uint8 or uint16
        Greyscale, RGB or RGBA; sizes may differ.
    """

    def __init__(self, images: Sequence[Pixels]) -> None:
        self.name = "arrays"
        self.manifest = Manifest.build([str(row) for row in range(len(images))])
        self.listing = Listing()
        self._images = images

    def __len__(self) -> int:
        return len(self.manifest)

    def __repr__(self) -> str:
        return f"<PixelSource {len(self)} images>"

    def read(self, row: int) -> Pixels:
        """Return a row's pixels.

        Raises
        ------
        SourceError
            When they are neither uint8 nor uint16.
        """
        image: Any = np.asarray(self._images[row])
        if image.dtype not in (np.uint8, np.uint16):
            raise SourceError(
                f"expected pixels of type uint8 or uint16, got {image.dtype} in row {row}",
                hint="Pixels are 0..255 before any preprocessing; the backbone does its own.",
            )
        pixels: Pixels = image
        return pixels

    def stamp(self) -> str:
        """Return a fingerprint of all pixels."""
        return fingerprint_parts(np.ascontiguousarray(image).tobytes() for image in self._images)


_PAIRS = (
    *(("images", "labels"), ("images", "label"), ("image", "label"), ("image", "labels")),
    *(("imgs", "labels"), ("img", "label"), ("img", "labels"), ("x", "y"), ("pixels", "labels")),
    *(("data", "labels"), ("data", "label"), ("data", "targets"), ("data", "target")),
)
"""What arrays of images are usually called, and their labels beside them."""


class PixelRows(Protocol):
    """A stored array of which single rows can be read.

    Attributes
    ----------
    name : str
        The file, and the array in it.
    shape : tuple of int
        Rows first.
    dtype : dtype
        Of its values.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, row: int) -> NDArray[Any]:
        """Return a row; raises :class:`~bottleneck.errors.ImageError`."""
        ...

    def load(self) -> NDArray[Any]:
        """Return the whole array; for labels."""
        ...

    def stamp(self) -> str:
        """Return what changes when the array does."""
        ...


class BlobRows:
    """An uncompressed array in C order inside a blob.

    Parameters
    ----------
    blob : Blob
        Where it is.
    offset : int
        Of its first value, in bytes.
    shape : tuple of int
        Rows first.
    dtype : dtype
        With its byte order.
    """

    def __init__(
        self, blob: Blob, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.name = blob.name
        self.shape = shape
        self.dtype = dtype
        self._blob = blob
        self._offset = offset
        self._row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize

    def read(self, row: int) -> NDArray[Any]:
        """Return a row in the machine's byte order."""
        data = self._blob.read(self._offset + row * self._row_bytes, self._row_bytes)
        pixels = np.frombuffer(data, self.dtype).reshape(self.shape[1:])
        return pixels.astype(self.dtype.newbyteorder("="), copy=False)

    def load(self) -> NDArray[Any]:
        """Return the whole array."""
        data = self._blob.read(self._offset, self.shape[0] * self._row_bytes)
        return np.frombuffer(data, self.dtype).reshape(self.shape)

    def stamp(self) -> str:
        """Return the stamp of the file."""
        return self._blob.stamp()


class ArraySource(Sharded):
    """Images that are rows of arrays.

    Parameters
    ----------
    name : str
        What was given.
    manifest : Manifest
        The images.
    arrays : sequence of PixelRows
        Arrays of pixels.
    listing : Listing, optional
        What was left out.
    """

    def __init__(
        self,
        name: str,
        manifest: Manifest,
        arrays: Sequence[PixelRows],
        listing: Listing | None = None,
    ) -> None:
        super().__init__(name, manifest, arrays, [array.shape[0] for array in arrays], listing)
        self._arrays = tuple(arrays)

    def read(self, row: int) -> Pixels:
        """Return an image's pixels.

        Raises
        ------
        ImageError
            ``MISSING``, ``UNREADABLE`` or ``TRUNCATED``, naming the file.
        """
        part, inside = self.locate(row)
        pixels: Pixels = self._arrays[part].read(inside)
        return pixels


@dataclass(frozen=True)
class LabelledArray:
    """Images, and what is known of them.

    Parameters
    ----------
    images : PixelRows
        Pixels, shape (n, H, W) or (n, H, W, C).
    labels : PixelRows, optional
        Shape (n,) or (n, 1).
    prefix : str
        What the images' keys begin with, before the number of the row.
    split : str
        ``train``, ``val``, ``test`` or empty.
    classes : mapping of str to str
        Names of labels that are numbers, where they are known.
    """

    images: PixelRows
    labels: PixelRows | None
    prefix: str
    split: str
    classes: Mapping[str, str] = field(default_factory=dict)


def open_arrays(
    name: str,
    arrays: Sequence[LabelledArray],
    unused: Iterable[str] = (),
    notes: Sequence[str] = (),
) -> ArraySource:
    """Make a source of arrays, one behind the other.

    Parameters
    ----------
    name : str
        What was given.
    arrays : sequence of LabelledArray
        One or more.
    unused : iterable of str
        Names of arrays that might have been meant as well, see :func:`unused_arrays`.
    notes : sequence of str
        What else people may want to know.

    Raises
    ------
    SourceError
        When an array is not of pixels: of another type or shape.
    ManifestError
        When the labels do not fit.
    """
    for array in arrays:
        require_pixels(array.images)
    keys = PackedStrings.pack(
        f"{array.prefix}{row}" for array in arrays for row in range(array.images.shape[0])
    )
    splits = (array.split for array in arrays for _ in range(array.images.shape[0]))
    labelled = any(array.labels is not None for array in arrays)
    try:
        manifest = Manifest.build(keys, _labels(arrays) if labelled else None, splits)
    except ManifestError as error:
        raise ManifestError(f"{name}: {error.message}", hint=error.hint) from error
    listing = Listing(notes=(*not_used("arrays", unused), *notes))
    return ArraySource(name, manifest, [array.images for array in arrays], listing)


def require_pixels(rows: PixelRows) -> None:
    """Refuse an array that cannot be images.

    Raises
    ------
    SourceError
        With the type or shape that came, and how to make it one that fits.
    """
    if rows.dtype not in (np.uint8, np.uint16):
        raise SourceError(
            f"expected pixels of type uint8 or uint16, got {rows.dtype} in {rows.name}",
            hint="Pixels are 0..255 before any preprocessing; the backbone does its own. "
            "Save (255 * x).round().astype('uint8') if they are 0..1.",
        )
    shape = rows.shape
    if len(shape) == 3 and shape[2] in (1, 3, 4) and min(shape[:2]) > 4:
        raise SourceError(
            f"expected images of shape (n, height, width) or (n, height, width, channels), got "
            f"{shape} in {rows.name}: one picture, or {shape[0]} grey ones of width {shape[2]}",
            hint="One picture: save x[numpy.newaxis], or it as PNG. Grey ones: save "
            "x[..., numpy.newaxis].",
        )
    if len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3, 4)):
        return
    channels_first = len(shape) == 4 and shape[1] in (1, 3, 4)
    raise SourceError(
        f"expected images of shape (n, height, width) or (n, height, width, 1, 3 or 4), got "
        f"{shape} in {rows.name}",
        hint="Its channels come first: save numpy.moveaxis(x, 1, -1)." if channels_first else None,
    )


def looks_like_images(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether an array may be images, whatever the type of its values."""
    return len(shape) in (3, 4) and dtype.kind in "uif" and shape[0] > 0


def labels_beside(images: str, names: Iterable[str]) -> str | None:
    """Find the name of the labels of an array of images: ``y_train`` beside ``x_train``."""
    folded = {name.lower(): name for name in names}
    called = (name.lower() for name in names_of_labels(images))
    return next((folded[name] for name in called if name in folded), None)


def names_of_labels(images: str) -> Iterator[str]:
    """Yield what the labels of an array of images may be called, the likeliest first."""
    for ours, theirs in _PAIRS:
        name = re.sub(rf"(?<![a-z]){ours}(?![a-z])", theirs, images, flags=re.IGNORECASE)
        if name != images:
            yield name


def choose_images(arrays: dict[str, tuple[tuple[int, ...], np.dtype[Any]]], name: str) -> list[str]:
    """Find the arrays of images in a file of several arrays.

    Those are meant that have labels beside them, and those called like them but for the split
    (``x_test`` of a contest keeps its labels secret); failing that, those that are called images;
    failing that, the only one that may be images.

    Parameters
    ----------
    arrays : dict
        Shape and type of each array.
    name : str
        The file, for messages.

    Raises
    ------
    SourceError
        When there is none, or no telling which; lists what there is.
    """
    candidates = [key for key, (shape, dtype) in arrays.items() if looks_like_images(shape, dtype)]
    listed = ", ".join(f"{key} {dtype}{list(shape)}" for key, (shape, dtype) in arrays.items())
    if not candidates:
        raise SourceError(
            f"expected an array of images in {name}, got {listed or 'no array at all'}",
            hint="Images are of shape (n, height, width) or (n, height, width, channels).",
        )
    called = [key for key in candidates if is_called_images(key)]
    labelled = {_without_split(key) for key in candidates if labels_beside(key, arrays)}
    chosen = [key for key in candidates if _without_split(key) in labelled] or called or candidates
    if len(chosen) > 1 and chosen == candidates and not called:
        raise SourceError(
            f"cannot tell which array of {name} holds the images: {listed}",
            hint=f"Name it, and its labels if it has some: {name}::{chosen[0]},LABELS",
        )
    return chosen


def is_called_images(name: str) -> bool:
    """Whether an array is called as arrays of images usually are."""
    words = "|".join(sorted({ours for ours, _ in _PAIRS}))
    return re.search(rf"(?<![a-z])({words})(?![a-z])", name.lower()) is not None


def _without_split(name: str) -> str:
    return re.sub("[a-z]+", lambda word: "" if split_code(word[0]) else word[0], name.lower())


def unused_arrays(
    arrays: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]], used: Sequence[str | None]
) -> list[str]:
    """Return the names of arrays that may be images, or something about each of those used.

    Parameters
    ----------
    arrays : mapping
        Shape and type of each array.
    used : sequence of str
        Names of the images and labels.
    """
    rows = {arrays[key][0][:1] for key in used if key}
    return [
        key
        for key, (shape, dtype) in arrays.items()
        if key not in used
        and (shape[:1] in rows or (looks_like_images(shape, dtype) and dtype.kind == "u"))
    ]


def _labels(arrays: Sequence[LabelledArray]) -> Iterator[str | None]:
    for array in arrays:
        rows = array.images.shape[0]
        if array.labels is None:
            yield from (None for _ in range(rows))
        else:
            _refuse_other_shape(array.labels, rows)
            for label in label_names(array.labels.load(), array.labels.name):
                yield label if label is None else array.classes.get(label, label)


def _refuse_other_shape(labels: PixelRows, rows: int) -> None:
    """Refuse labels that are not one per image, before they are loaded."""
    if labels.shape[:1] != (rows,) or math.prod(labels.shape) != rows:
        one_hot = len(labels.shape) == 2 and labels.shape[0] == rows
        raise ManifestError(
            f"expected {rows} labels, one per image, got {labels.dtype} of shape "
            f"{labels.shape} in {labels.name}",
            hint="One-hot labels: save labels.argmax(axis=1)." if one_hot else None,
        )


def label_names(labels: NDArray[Any], name: str) -> Iterator[str | None]:
    """Yield the class of each value of an array, None for no label.

    Raises
    ------
    ManifestError
        When one is no label.
    """
    try:
        values = labels.ravel().tolist()
    except (SystemError, ValueError) as error:  # letters that there are not
        raise ManifestError(f"{name}: expected labels, got texts that are none: {error}") from error
    known: dict[Hashable, str | None] = {}
    for row, value in enumerate(values):
        if not isinstance(value, str | bytes | bool | int):  # a NaN is never found again
            yield label_of(value, f"{name}, row {row}")
            continue
        if value not in known:
            known[value] = label_of(value, f"{name}, row {row}")
        yield known[value]
