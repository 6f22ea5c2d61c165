"""The kinds of items that networks take, and what each brings to the way of an item.

A source gives bytes, a decoder makes an array of them, a network makes features of that. What
differs between an image and a sound on this way is here, and nowhere else: the rest asks the
network's input of which kind it is, and this table for the rest.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bottleneck import audio, images
from bottleneck.errors import SoundError
from bottleneck.status import RowStatus

Item = Literal["image", "sound"]


class ItemInput(Protocol):
    """What every item becomes: the input of a network, as numbers only. Hashable."""

    @property
    def item(self) -> Item:
        """Of which kind the items are."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the array of one item."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its type."""
        ...

    def recipe(self) -> dict[str, Any]:
        """Describe, as JSON values, everything that decides the numbers."""
        ...


Drawing = tuple[Any, Any]
"""An :class:`ItemInput` of a kind, and which view of the item; None for the plain one."""


@dataclass(frozen=True)
class Kind:
    """What a kind of item brings.

    Parameters
    ----------
    name : Item
        Also the key of its input in recipes.
    from_recipe : callable
        Reads what ``ItemInput.recipe`` wrote.
    view : callable
        From the hash of an item, the number of a view and how many there are, to what ``decode``
        takes for it.
    views_recipe : callable
        Describes so many views per item, as JSON values; None for one.
    decode : callable
        From the bytes of an item, or an array where the source keeps arrays, to an array for each
        drawing; raises :class:`~bottleneck.errors.ItemError` and nothing else.
    has_more : callable
        Whether an item holds more than is taken: pages, frames.
    decoder : callable
        Names what decodes for an input, with its version.
    changes : mapping
        By version of the decoding, from 2 on: endings of the files of which some have decoded to
        something else before.
    trial : callable
        Draws eight items that differ, always the same ones, as an input has them: what a network
        is tested with that nobody knows.
    """

    name: Item
    from_recipe: Callable[[Mapping[str, Any]], ItemInput]
    view: Callable[[bytes, int, int], Any]
    views_recipe: Callable[[int], dict[str, Any] | None]
    decode: Callable[[Any, Sequence[Drawing]], Sequence[NDArray[Any]]]
    has_more: Callable[[bytes], bool]
    decoder: Callable[[Any], str]
    changes: Mapping[int, tuple[str, ...]]
    trial: Callable[[Any], NDArray[Any]]

    @property
    def decoding(self) -> int:
        """Version of the decoding, for the execution part of a recipe."""
        return max(self.changes, default=1)

    def changed_since(self, decoding: int) -> tuple[str, ...]:
        """Return the endings, with their dot, that have changed since a version."""
        changed = (names for version, names in self.changes.items() if version > decoding)
        return tuple(f".{name}" for names in changed for name in names)


def input_of(identity: Mapping[str, Any]) -> ItemInput:
    """Return the input of the network that a recipe's identity describes."""
    name = next(name for name in KINDS if name in identity)
    return KINDS[name].from_recipe(identity[name])


def _decoded_image(
    item: bytes | NDArray[Any], drawings: Sequence[Drawing]
) -> Sequence[NDArray[Any]]:
    wanted = [images.Drawing(*one) for one in drawings]
    if isinstance(item, bytes):
        return images.decode_all(item, wanted)
    return images.draw_pixels(item, wanted)


def _decoded_sound(
    item: bytes | NDArray[Any], drawings: Sequence[Drawing]
) -> Sequence[NDArray[np.float32]]:
    if not isinstance(item, bytes):
        raise SoundError(RowStatus.NOT_A_SOUND, "expected the bytes of a sound file, got pixels")
    return audio.decode_all(item, drawings)


def _windows(count: int) -> dict[str, Any] | None:
    return None if count == 1 else {"count": count, "windows": "centres of equal parts"}


def _pictures(given: images.Geometry) -> NDArray[Any]:
    """Draw smooth colours, coarse noise, fine noise and edges."""
    height, width, _ = given.shape
    rng = np.random.default_rng(13)
    y, x = np.mgrid[0:height, 0:width]
    drawn = []
    for i, cells in enumerate(_CELLS):
        coarse = rng.uniform(0, 255, (cells, cells, 3))
        blocks = coarse[(y * cells) // height, (x * cells) // width]
        slope = (x / width if i % 2 else y / height)[..., None] * rng.uniform(-80, 80, 3)
        drawn.append(blocks + slope + rng.normal(0, 4 * i, (height, width, 3)))
    found: NDArray[Any] = np.clip(np.stack(drawn), 0, 255).astype(np.uint8)
    return found.astype(given.dtype)


def _chords(given: audio.MelSpectrogram) -> NDArray[np.float32]:
    """Sound a few tones and some noise, each time others."""
    rng = np.random.default_rng(13)
    time = np.arange(given.samples) / given.rate
    sounds = [
        sum(np.sin(2 * np.pi * hertz * time) for hertz in rng.uniform(60, given.high, tones))
        + rng.normal(0, 0.02 * tones, given.samples)
        for tones in _CELLS
    ]
    return np.stack([given.of(0.2 * np.asarray(sound)) for sound in sounds])


_CELLS: Final = (2, 3, 5, 8, 13, 21, 34, 55)

KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind(
            "image",
            images.Geometry.from_recipe,
            lambda digest, number, _: images.make_view(digest, number),
            images.views_recipe,
            _decoded_image,
            images.has_more_frames,
            lambda given: images.decoder_name(given.decoder),
            images.CHANGES,
            _pictures,
        ),
        Kind(
            "sound",
            audio.MelSpectrogram.from_recipe,
            lambda _, number, of: audio.Window(number, of),
            _windows,
            _decoded_sound,
            lambda _: False,
            lambda _: audio.decoder_name(),
            {},
            _chords,
        ),
    )
}
"""By name."""
