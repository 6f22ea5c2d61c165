"""TFRecord files of ``tf.train.Example``, read without TensorFlow.

The features of a serialised ``tf.train.Example``, found without reading what is not wanted.

The wire format is that of Protocol Buffers (developers.google.com/protocol-buffers, "Encoding");
the messages are those of ``tensorflow/core/example/feature.proto``.

A record is its length, the masked CRC-32C of that, its bytes, and theirs
(``tensorflow/core/lib/io/record_writer.h``).
"""

import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ImageError, ManifestError, SourceError
from bottleneck.manifest import Manifest
from bottleneck.packed import PackedBuilder
from bottleneck.sources.base import Listing, not_used
from bottleneck.sources.random_access import Blob, Window, listing
from bottleneck.sources.rules import (
    BEGINNING,
    IMAGES,
    RULES,
    SOUNDS,
    ItemRules,
    OtherItemsError,
    label_of,
    refuse_beginnings,
)
from bottleneck.sources.shards import Shard, Sharded, row_keys
from bottleneck.status import RowStatus


def masked_crc32c(data: bytes) -> int:
    """Return the CRC-32C as TFRecord files store it: rotated and shifted by a constant."""
    crc = int(google_crc32c.value(data))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


class Bytes(Protocol):
    """Something that bytes are read from."""

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes."""
        ...


class MalformedError(ValueError):
    """The bytes are no message."""


@dataclass(frozen=True)
class Feature:
    """Where the first value of a feature is.

    Parameters
    ----------
    kind : {"bytes", "float", "int", "empty"}
        Of its values.
    offset, length : int
        The first value's bytes, or the packed list of numbers.
    number : int
        The first value of integers that are not packed.
    more : bool
        Whether there are other values behind it, or behind the packed list.
    """

    kind: str
    offset: int = 0
    length: int = 0
    number: int | None = None
    more: bool = False

    def first_two(self, data: Bytes) -> list[int | float]:
        """Return the first numbers, at most two: enough to see whether it is one."""
        found: list[int | float] = []
        if self.kind == "float":
            packed = data.read(self.offset, min(8, self.length // 4 * 4))
            found += struct.unpack(f"<{len(packed) // 4}f", packed)
        elif self.number is not None:
            found.append(_signed(self.number))
        elif self.kind == "int":
            position, stop = self.offset, self.offset + self.length
            while position < stop and len(found) < 2:
                value, position = _varint(data, position, stop)
                found.append(_signed(value))
        return found + found[-1:] if self.more else found


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def read_features(data: Bytes, start: int, stop: int) -> dict[str, Feature]:
    """Return the features of an Example.

    Parameters
    ----------
    data : Bytes
        Where it is; a large value is stepped over without being read.
    start, stop : int
        The message.

    Raises
    ------
    MalformedError
        When it is none.
    """
    features = {}
    for number, wire, begin, end in _fields(data, start, stop):
        if (number, wire) == (1, _LENGTH):
            for inner, inner_wire, entry, behind in _fields(data, begin, end):
                if (inner, inner_wire) == (1, _LENGTH):
                    name, feature = _entry(data, entry, behind)
                    features[name] = feature
    return features


def _entry(data: Bytes, start: int, stop: int) -> tuple[str, Feature]:
    name, feature = "", Feature("empty")
    for number, wire, begin, end in _fields(data, start, stop):
        if (number, wire) == (1, _LENGTH):
            name = data.read(begin, end - begin).decode("utf-8", "replace")
        elif (number, wire) == (2, _LENGTH):
            for kind, kind_wire, list_start, list_stop in _fields(data, begin, end):
                if kind_wire == _LENGTH and kind in (1, 2, 3):
                    feature = _first(
                        data, ("bytes", "float", "int")[kind - 1], list_start, list_stop
                    )
    return name, feature


def _first(data: Bytes, kind: str, start: int, stop: int) -> Feature:
    found: Feature | None = None
    for number, wire, begin, end in _fields(data, start, stop):
        if number != 1:
            continue
        if found is not None:
            return replace(found, more=True)
        if wire == _VARINT:
            found = Feature(kind, number=_varint(data, begin, end)[0])
        else:
            found = Feature(kind, begin, end - begin)
    return found or Feature("empty")


def _fields(data: Bytes, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, wire type, and where the value begins and ends."""
    while start < stop:
        tag, start = _varint(data, start, stop)
        wire = tag & 7
        if wire == _LENGTH:
            length, begin = _varint(data, start, stop)
            end = begin + length
        elif wire == _VARINT:
            begin, end = start, _varint(data, start, stop)[1]
        elif wire in (_FIXED64, _FIXED32):
            begin, end = start, start + (8 if wire == _FIXED64 else 4)
        else:
            raise MalformedError(f"wire type {wire}")
        if end > stop:
            raise MalformedError(f"a value of {end - begin} bytes, {stop - begin} are left")
        yield tag >> 3, wire, begin, end
        start = end


def _varint(data: Bytes, start: int, stop: int) -> tuple[int, int]:
    """Return a number of seven bits per byte, the lowest first, and where it ends."""
    value = 0
    piece = data.read(start, min(_LONGEST_VARINT, stop - start))
    for position, byte in enumerate(piece):
        value |= (byte & 0x7F) << 7 * position
        if not byte & 0x80:
            return value, start + position + 1
    raise MalformedError("a number without an end")


_ITEMS = {
    "image": ("image/encoded", "image", "jpg", "jpeg", "png", "img", "image_raw"),
    "sound": ("audio/encoded", *SOUNDS.columns),
}
_TEXTS = ("image/class/text", "label_name", "class_name")
_LABELS = ("image/class/label", "label", "labels", "class")
_NAMES = ("image/filename", "filename", "file_name", "image_name", "key")
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_NOT_THERE = 0xFFFFFFFF


class TFRecordSource(Sharded):
    """Images in TFRecord files.

    Parameters
    ----------
    name : str
        What was given.
    manifest : Manifest
        The images.
    shards : sequence of Shard
        The files.
    counts : sequence of int
        Records in each.
    records : ndarray of uint64, shape (n, 2)
        Offset and length of each record.
    images : ndarray of uint32, shape (n, 2)
        Where the image begins in its record, and its length.
    listing : Listing, optional
        What was left out.
    """

    def __init__(
        self,
        name: str,
        manifest: Manifest,
        shards: Sequence[Shard],
        counts: Sequence[int],
        *,
        records: NDArray[np.uint64],
        images: NDArray[np.uint32],
        listing: Listing | None = None,
    ) -> None:
        super().__init__(name, manifest, [shard.blob for shard in shards], counts, listing)
        self._blobs = [shard.blob for shard in shards]
        self._records = records
        self._images = images

    def read(self, row: int) -> bytes:
        """Return an image's bytes, after the checksum of its record was found right.

        Raises
        ------
        ImageError
            ``MISSING``, ``TRUNCATED`` or ``UNREADABLE``, naming the file and the offset.
        """
        blob = self._blobs[self.locate(row)[0]]
        offset, length = map(int, self._records[row])
        where = f"{blob.name}, the record at offset {offset}"
        begin, size = map(int, self._images[row])
        if begin == _NOT_THERE:
            raise ImageError(RowStatus.UNREADABLE, f"{where}: it is no Example with an image")
        data = blob.read(offset + _HEADER.size, length + _FOOTER.size)
        record, (recorded,) = data[:length], _FOOTER.unpack_from(data, length)
        if (found := masked_crc32c(record)) != recorded:
            raise ImageError(
                RowStatus.UNREADABLE,
                f"{where}: its checksum is {found:08x}, recorded was {recorded:08x}",
            )
        return record[begin : begin + size]


def open_tfrecord(
    name: str, shards: Sequence[Shard], part: str = "", rules: ItemRules = IMAGES
) -> TFRecordSource:
    """List the records of TFRecord files: one image each.

    Parameters
    ----------
    name : str
        What was given.
    shards : sequence of Shard
        The files in order.
    part : str
        ``IMAGE`` or ``IMAGE,LABEL``: names of features, where they are not the usual ones
        (``image/encoded`` with ``image/class/text`` and ``image/class/label``, or ``image``
        with ``label``).
    rules : ItemRules
        Which items are looked for.

    Raises
    ------
    OtherItemsError
        When the first records hold items of another kind.
    SourceError
        When a file is none, is packed, damaged or cut short; when no feature is an image.
    ManifestError
        When there is no record.
    """
    image, _, label = part.partition(",")
    index = _RecordIndex(
        rules,
        (image,) if image else _ITEMS[rules.name],
        () if label else _TEXTS,
        (label,) if label else _LABELS,
    )
    counts = []
    for shard in shards:
        before = len(index.names)
        with listing():
            index.add(shard.blob)
        counts.append(len(index.names) - before)
    if not len(index.names):
        raise ManifestError(f"expected records in {name}, found none")
    labels = index.class_names(name)
    manifest = Manifest.build(
        row_keys(shards, counts, index.names.finish()),
        (labels[code] if code >= 0 else None for code in index.codes) if labels else None,
        (shard.split for shard, n in zip(shards, counts, strict=True) for _ in range(n)),
    )
    records = np.frombuffer(index.records, "u8").reshape(-1, 2)
    images = np.frombuffer(index.images, "u4").reshape(-1, 2)
    return TFRecordSource(
        name, manifest, shards, counts, records=records, images=images, listing=index.listing()
    )


@dataclass
class _RecordIndex:
    rules: ItemRules
    image: tuple[str, ...]
    text: tuple[str, ...]
    label: tuple[str, ...]
    names: PackedBuilder = field(default_factory=PackedBuilder)
    records: "array[int]" = field(default_factory=lambda: array("Q"))
    images: "array[int]" = field(default_factory=lambda: array("I"))
    codes: "array[int]" = field(default_factory=lambda: array("i"))
    labels: dict[tuple[str, str], int] = field(default_factory=dict)
    found: str = ""
    features: dict[str, None] = field(default_factory=dict)
    """Names of all features that were seen, in order."""

    def add(self, blob: Blob) -> None:
        """Index one file."""
        window = Window(blob)
        for offset, length in _records(blob, window):
            start = offset + _HEADER.size
            try:
                features = read_features(window, start, start + length)
            except MalformedError:
                features = {}
            self.features.update(dict.fromkeys(features))
            image = self._image(features, blob, offset)
            if image is not None and not self.records:
                begins = window.read(image.offset, min(BEGINNING, image.length))
                refuse_beginnings(self.rules, blob.name, [begins])
            self.records.extend((offset, length))
            placed = (image.offset - start, image.length) if image else (_NOT_THERE, 0)
            self.images.extend(placed)
            where = f"{blob.name}, the record at offset {offset}"
            text = _label(features, self.text, window, where)
            code = _label(features, self.label, window, where)
            label = (text, code)
            self.codes.append(self.labels.setdefault(label, len(self.labels)) if any(label) else -1)
            self.names.append(_text(features, _NAMES, window))

    def _image(self, features: dict[str, Feature], blob: Blob, offset: int) -> Feature | None:
        if not self.found and features:
            names = [n for n in self.image if n in features and features[n].kind == "bytes"]
            if not names:
                others = {n for items in _ITEMS.values() for n in items}.intersection(features)
                for rules in RULES.values():
                    if rules is not self.rules and others.intersection(_ITEMS[rules.name]):
                        told = [f"the feature {min(others)!r}"]
                        raise OtherItemsError(self.rules.name, rules.name, blob.name, told)
                kinds = ", ".join(f"{n} ({f.kind})" for n, f in sorted(features.items()))
                raise SourceError(
                    f"{blob.name}, the record at offset {offset}: expected {self.rules.name}s in "
                    f"{' or '.join(self.image)}, got {kinds or 'no feature'}",
                    hint=f"Name the feature: {blob.name}::IMAGE,LABEL",
                )
            self.found = names[0]
        image = features.get(self.found)
        if image is not None and image.kind == "bytes" and image.more:
            raise SourceError(
                f"{blob.name}, the record at offset {offset}: expected one image in "
                f"{self.found!r}, got several",
                hint="Write a record for each.",
            )
        return image if image is not None and image.kind == "bytes" else None

    def class_names(self, source: str) -> list[str]:
        """Return the name of each code; classes of one name are told apart by their number.

        ImageNet has two classes called crane. A number without a text is the class that has it
        elsewhere.
        """
        numbers: dict[str, list[str]] = {}
        texts: dict[str, list[str]] = {}
        for text, code in self.labels:
            if text and code:
                numbers.setdefault(text, []).append(code)
                texts.setdefault(code, []).append(text)
        names = []
        for given, code in self.labels:
            same = texts.get(code, ())
            text = same[0] if not given and len(same) == 1 else given
            several = len(numbers.get(text, ())) > 1
            if several and not code:
                raise ManifestError(
                    f"{source}: expected a number in every record of the class {text!r}, which "
                    f"has the numbers {', '.join(numbers[text])}; one has none",
                    hint="Write the number or leave the text out.",
                )
            names.append(f"{text} ({code})" if several else text or code)
        return names

    def listing(self) -> Listing:
        """Return which features no image or label was taken from."""
        used = {self.found, *self.text, *self.label, *_NAMES}
        return Listing(notes=not_used("features", sorted({*self.features} - used)))


def _records(blob: Blob, window: Window) -> Iterator[tuple[int, int]]:
    """Yield offset and length of each record."""
    offset = 0
    while offset < blob.size:
        if offset + _HEADER.size > blob.size:
            raise _cut_short(blob, offset, _HEADER.size)
        header = window.read(offset, _HEADER.size)
        length, recorded = _HEADER.unpack(header)
        if masked_crc32c(header[:8]) != recorded:
            if offset == 0:
                packed = header.startswith(b"\x1f\x8b")
                raise SourceError(
                    f"{blob.name} is {'compressed by gzip' if packed else 'no TFRecord file'}",
                    hint="Unpack it first: its records cannot be read one by one."
                    if packed
                    else None,
                )
            raise SourceError(
                f"{blob.name} is damaged: the length of the record at offset {offset} does not "
                "match its checksum, so that no later record can be found",
                hint="Copy it again.",
            )
        behind = offset + _HEADER.size + length + _FOOTER.size
        if behind > blob.size:
            raise _cut_short(blob, offset, behind - offset)
        yield offset, length
        offset = behind


def _cut_short(blob: Blob, offset: int, expected: int) -> SourceError:
    return SourceError(
        f"{blob.name} breaks off: expected {expected} bytes of a record at offset {offset}, "
        f"the file ends at {blob.size}",
        hint="Copy it again: some of its images are missing.",
    )


def _label(features: dict[str, Feature], names: Sequence[str], window: Window, where: str) -> str:
    """Return what the first of some features that has a value says of the class."""
    for name in names:
        feature = features.get(name)
        if feature is None or feature.kind == "empty":
            continue
        values: list[object] = [*feature.first_two(window)]
        if feature.kind == "bytes":
            values = [window.read(feature.offset, feature.length)] * (1 + feature.more)
        label = label_of(values, f"{where}, feature {name!r}")
        return "" if label is None else label
    return ""


def _text(features: dict[str, Feature], names: Sequence[str], window: Window) -> str:
    """Return the first of some features that there is, as text."""
    for name in names:
        feature = features.get(name)
        if feature is None or feature.kind == "empty":
            continue
        if feature.kind == "bytes":
            return window.read(feature.offset, feature.length).decode("utf-8", "surrogateescape")
        return "".join(map(str, feature.first_two(window)[:1]))
    return ""
