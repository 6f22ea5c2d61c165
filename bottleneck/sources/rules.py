"""What endings, names and values mean, the same in every kind of source.

Which files and folders are hidden, which names are images or labels, and what a label's value says.
What the folders of a path mean is in :mod:`bottleneck.sources.layout`.
"""

import math
import numbers
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import numpy as np

from bottleneck.errors import ManifestError

_IMAGES = (
    *("apng", "avif", "bmp", "dib", "gif", "heic", "heif", "j2k", "jfif", "jp2", "jpe"),
    *("jpeg", "jpg", "jpx", "pbm", "pgm", "png", "pnm", "ppm", "tga", "tif", "tiff", "webp"),
)
_SOUNDS = (
    *("aac", "aif", "aifc", "aiff", "au", "caf", "flac", "m4a", "mp3", "oga", "ogg", "opus"),
    *("rf64", "snd", "w64", "wav", "wave", "wma"),
)
"""Those that cannot be decoded are among them: a row that says so is no loss in silence."""

LABEL_SUFFIXES = (".cls", ".json", ".txt")
"""Files (in any case) that may name the class of the image of the same name, the first first."""

CONTAINER_ENDINGS = {
    "CSV": ("csv", "tsv", "txt"),
    "JSON lines": ("jsonl", "ndjson"),
    "tar": ("tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst", "tgz", "tbz", "tbz2", "txz"),
    "zip": ("zip",),
    "HDF5": ("h5", "hdf", "hdf5"),
    "NPZ": ("npz",),
    "NPY": ("npy",),
    "Parquet": ("parquet", "pq"),
    "TFRecord": ("tfrecord", "tfrecords"),
}
"""Endings of tables and containers, by the name of their kind."""

_UNPACK = "Unpack it, and give the folder; or pack the images as .zip or .tar."
_FRAMES = "Take frames out of it first: ffmpeg -i {name} frames/%06d.png"
_CONVERT = "Convert it to PNG or TIFF first."
_AS_NPZ = "Save the arrays as .npz: numpy.savez(path, images=x, labels=y), images first, uint8."

WHAT_TO_DO = {
    **dict.fromkeys(("7z", "rar", "gz", "bz2", "xz", "zst", "lz4", "iso", "dmg", "cab"), _UNPACK),
    **dict.fromkeys(("mp4", "avi", "mov", "mkv", "webm", "mpg", "mpeg", "m4v", "wmv"), _FRAMES),
    **dict.fromkeys(
        ("svg", "pdf", "eps", "ai", "psd", "xcf", "jxl", "ico", "dcm", "nii", "nrrd", "exr", "hdr",
         "cr2", "cr3", "nef", "arw", "dng", "raf", "orf", "svs", "ndpi", "mrxs", "czi", "fits"),
        _CONVERT,
    ),
    **dict.fromkeys(("mat", "pkl", "pickle", "pt", "pth", "joblib", "rds", "mdb"), _AS_NPZ),
    **dict.fromkeys(("xls", "xlsx", "ods", "numbers"), "Save the table as CSV."),
    **dict.fromkeys(
        ("arrow", "feather"), "Write it as Parquet: dataset.to_parquet(path) in Hugging Face's."
    ),
    "json": "Give a table: .csv or .jsonl with a column 'path' and one for the class.",
    "xml": "Give a table: .csv or .jsonl with a column 'path' and one for the class.",
    "yaml": "Give the folder of images that it speaks of.",
    "yml": "Give the folder of images that it speaks of.",
    "md": "Give the folder that it lies in.",
    "lnk": "Give what the shortcut leads to.",
    "url": "Give the address itself.",
}  # fmt: skip
"""What to do with files of other kinds, by their ending; ``{name}`` stands for the file."""


def suffix(name: str) -> str:
    """Return the ending of a file's name with its dot, in lower case; empty for none."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122  # called a million times


_SYSTEM_NAMES = frozenset(
    (
        *("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin"),
        *("system volume information", "lost+found", "@eadir", "#recycle", "#snapshot"),
    )
)
"""What systems, cameras' cards and disk stations leave beside the images, in lower case."""

_NO_LABEL = frozenset({"", "nan", "null", "<na>"})
"""Texts that programs write where there is no value. ``none`` may be a class of its own."""

_NEGATIVE = re.compile(r"-\d+(\.\d*)?")
_INTEGRAL = re.compile(r"(-?\d+)\.0*")


def is_hidden_name(name: str) -> bool:
    """Whether a file or folder is hidden, or of the system's own: never an image or a class."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def is_hidden(path: str) -> bool:
    """Whether a file, or a folder it lies in, is hidden; ``.`` and ``..`` are not.

    Parameters
    ----------
    path : str
        Relative to its source: how somebody calls the folders around it does not matter.
    """
    return any(is_hidden_name(part) for part in path.split("/") if part not in (".", ".."))


_SIGNATURES = (
    *(b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    *(b"BM", b"\xff\x4f\xff\x51", b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"),
)
"""What most images begin with."""

_SOUND_SIGNATURES = (
    *(b"fLaC", b"OggS", b"ID3", b"RF64", b"riff", b".snd", b"caff"),
    *(b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xf1", b"\xff\xf9", b"0&\xb2u\x8ef\xcf\x11"),
)


def _begins_like_an_image(start: bytes) -> bool:
    if start[:4] == b"RIFF":
        return start[8:12] != b"WAVE"
    if start[4:8] == b"ftyp":
        return start[8:11] != b"M4A"
    return start.startswith(_SIGNATURES) or start[4:8] == b"jP  "


def _begins_like_a_sound(start: bytes) -> bool:
    if start[:4] in (b"RIFF", b"FORM"):
        return start[8:12] in (b"WAVE", b"AIFF", b"AIFC")
    return start.startswith(_SOUND_SIGNATURES) or start[4:11] == b"ftypM4A"


@dataclass(frozen=True)
class ItemRules:
    """How the files of a kind of items are told from others.

    Parameters
    ----------
    name : {"image", "sound"}
        What messages call one.
    suffixes : frozenset of str
        Files with these endings (in any case) are taken for items when a folder is listed.
    begins : callable
        Whether some bytes are the first of a format that items have.
    columns : tuple of str
        How programs call the column of a table that holds the bytes of items, the first first.
    """

    name: Literal["image", "sound"]
    suffixes: frozenset[str]
    begins: Callable[[bytes], bool]
    columns: tuple[str, ...]

    @property
    def hint(self) -> str:
        """What to tell where there is none."""
        endings = " ".join(sorted(self.suffixes))
        return f"Files are taken for {self.name}s by their ending: {endings}"

    def is_name(self, name: str) -> bool:
        """Whether a file name ends like an item and is not hidden."""
        return suffix(name) in self.suffixes and not is_hidden_name(name)

    def is_key(self, path: str) -> bool:
        """Whether a path relative to its source is an item's, and nothing in it hidden."""
        return self.is_name(path.rpartition("/")[2]) and not is_hidden(path)


IMAGES = ItemRules(
    "image",
    frozenset(f".{ending}" for ending in _IMAGES),
    _begins_like_an_image,
    ("image", "img", "jpg", "png"),
)
SOUNDS = ItemRules(
    "sound",
    frozenset(f".{ending}" for ending in _SOUNDS),
    _begins_like_a_sound,
    ("audio", "sound", "wav", "flac", "mp3", "ogg"),
)

RULES = {rules.name: rules for rules in (IMAGES, SOUNDS)}
"""By the kind of items."""


class OtherItemsError(ManifestError):
    """There are items, but of another kind than the network takes.

    Parameters
    ----------
    wanted, item : str
        The kind that was looked for, and the one that there is.
    where : str
        The source.
    names : sequence of str
        Some of them, or what is known of them.
    count : int, optional
        How many there are.
    """

    def __init__(
        self,
        wanted: str,
        item: Literal["image", "sound"],
        where: str,
        names: Sequence[str],
        count: int | None = None,
    ) -> None:
        told = ", ".join(names[:3]) + (", ..." if len(names) > 3 or (count or 0) > 3 else "")
        many = "" if count is None else f"{count} "
        super().__init__(
            f"expected {wanted}s in {where}, got {many}{item}s: {told}",
            hint=f"They are for a backbone that takes {item}s.",
        )
        self.item = item

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuilt, (self.message, self.hint, self.item))


def _rebuilt(message: str, hint: str | None, item: Literal["image", "sound"]) -> OtherItemsError:
    error = OtherItemsError.__new__(OtherItemsError)
    ManifestError.__init__(error, message, hint=hint)
    error.item = item
    return error


def refuse_others(
    wanted: ItemRules, where: str, names: Iterable[str], *, all_of_them: bool = True
) -> None:
    """Raise :class:`OtherItemsError` where some files are items of another kind."""
    listed = list(names)
    for rules in RULES.values():
        found = [name for name in listed if rules is not wanted and rules.is_key(name)]
        if found:
            many = len(found) if all_of_them else None
            raise OtherItemsError(wanted.name, rules.name, where, found, many)


BEGINNING = 64
"""Bytes of a file that tell what kind of item it is."""


def refuse_beginnings(wanted: ItemRules, where: str, beginnings: Sequence[bytes]) -> None:
    """Raise :class:`OtherItemsError` where all of some files begin like items of another kind.

    Parameters
    ----------
    wanted : ItemRules
        What is looked for.
    where : str
        The source.
    beginnings : sequence of bytes
        The first bytes of some of its files, empty where they are not known.
    """
    for rules in RULES.values():
        if rules is not wanted and beginnings and all(map(rules.begins, beginnings)):
            told = ["that is what the files begin like"]
            raise OtherItemsError(wanted.name, rules.name, where, told)


def unique_members(
    pairs: Sequence[tuple[str, object]], wanted: Sequence[str] | None = None
) -> dict[str, object]:
    """Make the dictionary of a JSON object, as ``object_pairs_hook`` does.

    Parameters
    ----------
    pairs : sequence of (str, object)
        Its members.
    wanted : sequence of str, optional
        Names of those that count; all by default.

    Raises
    ------
    ValueError
        For a member that appears twice: the first of them would be lost.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = [name for name in wanted or names if names.count(name) > 1]
        if twice:
            raise ValueError(f"the member {twice[0]!r} appears twice")
    return found


def label_of(value: object, where: str) -> str | None:
    """Return what a value says of an image's class: a text, or None for no label.

    What :func:`name_of` says, but that a negative number is no label.

    Raises
    ------
    ManifestError
        For what is no one label.
    """
    name = name_of(value, where)
    return None if name is None or _NEGATIVE.fullmatch(name) else name


def fraction_of(labels: Iterable[str | None]) -> str | None:
    """Return a label that is a fraction, if all that there are are numbers: none is a class.

    Parameters
    ----------
    labels : iterable of str or None
        As :func:`label_of` reads them.
    """
    found = None
    for text in {*labels}:
        if not text:
            continue
        try:
            value = float(text)
        except ValueError:
            return None
        if not value.is_integer() and math.isfinite(value):
            found = text if found is None else min(found, text)
    return found


def name_of(value: object, where: str) -> str | None:
    """Return the name of a class, a split or a group that a value is: a text, or None for none.

    Empty and missing values and NaN are none. Whole numbers are texts, however they are stored:
    3, 3.0 and ``"3.0"`` are ``3``. Texts lose the blanks and the byte order mark around them. A
    list of one item is its item.

    Parameters
    ----------
    value : object
        As it was read: a text, bytes, a number of any kind, a flag, a list, an array, None.
    where : str
        What holds it, for messages.

    Raises
    ------
    ManifestError
        For what is no one label: several values, as one-hot labels are, a fraction, an infinite
        number, bytes that are no text, or something else.
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return _name_of_items(value, where)
    if isinstance(value, bytes | bytearray | memoryview):
        raw = bytes(value)
        try:
            value = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ManifestError(
                f"{where}: expected a label, got bytes that are not UTF-8 text: {_shown(raw[:20])}",
                hint="Write class names as UTF-8, or numbers as numbers.",
            ) from error
    elif isinstance(value, float | Decimal):
        value = _whole(value, where)
    if value is None or isinstance(value, str | bool | numbers.Integral):
        return None if value is None else _name_of_text(str(value))
    raise ManifestError(
        f"{where}: expected a label, got {type(value).__name__} {_shown(value)}",
        hint="Classes are texts or whole numbers.",
    )


def _name_of_items(values: Sequence[object], where: str) -> str | None:
    if len(values) > 1:
        raise ManifestError(
            f"{where}: expected one label per image, got {len(values)} values: {_shown(values)}",
            hint="Store one-hot labels as the number of the class (argmax). Several labels of an "
            "image are targets: extract --target COLUMN.",
        )
    return name_of(values[0], where) if values else None


def _whole(value: float | Decimal, where: str) -> int | None:
    if math.isnan(value):
        return None
    if math.isinf(value) or value != int(value):
        raise ManifestError(
            f"{where}: expected a label, got the number {value}",
            hint="Classes are texts or whole numbers. A number to be predicted is a target: "
            "extract --target COLUMN.",
        )
    return int(value)


def _name_of_text(text: str) -> str | None:
    text = text.strip("\ufeff \t\r\n\v\f\0")
    if text.lower() in _NO_LABEL:
        return None
    whole = _INTEGRAL.fullmatch(text)
    return whole[1] if whole else text


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
