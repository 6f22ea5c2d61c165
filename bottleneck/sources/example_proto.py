"""The features of a serialised ``tf.train.Example``, found without reading what is not wanted.

The wire format is that of Protocol Buffers (developers.google.com/protocol-buffers, "Encoding");
the messages are those of ``tensorflow/core/example/feature.proto``.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

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
