"""Protocol buffers by a schema given as data: binary messages, without trust.

Only what the schema names is kept, so nesting is as deep as the schema allows and memory grows
with what is wanted, not with what a file claims. Bytes are views into the file's own.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

MAX_FIELDS: Final = 2_000_000
"""Fields of one file that are looked at; the largest real graphs have a tenth of that."""

Message = dict[str, list[Any]]
"""Field name to its values in order: numbers, views of bytes, packed arrays, messages."""

_DTYPES: Final = {"float": "<f4", "double": "<f8"}


class WireError(ValueError):
    """The bytes are no such message; says where they stop making sense."""


@dataclass
class Reader:
    """Decodes messages of one file and counts what it has looked at.

    Parameters
    ----------
    schema : dict
        Message name to {field number: (field name, type)}; a type is ``int``, ``bytes``, ``str``,
        ``float``, ``double`` or the name of a message.
    """

    schema: dict[str, dict[int, tuple[str, str]]]
    seen: int = 0

    def decode(self, data: memoryview, kind: str, depth: int = 0) -> Message:
        """Decode one message.

        Raises
        ------
        WireError
            When it is cut short, too deep, or has more fields than anything real.
        """
        if depth > 32:
            raise WireError(f"{kind} nested deeper than 32")
        fields = self.schema[kind]
        found: Message = {}
        for number, wire, value in self._fields(data):
            if number not in fields:
                continue
            name, type_ = fields[number]
            found.setdefault(name, []).append(self._value(wire, value, type_, depth))
        return found

    def _value(self, wire: int, value: Any, type_: str, depth: int) -> Any:
        if type_ in self.schema or type_ in {"bytes", "str"}:
            if wire != 2:
                raise WireError(f"a number where {type_} was expected")
            if type_ in self.schema:
                return self.decode(value, type_, depth + 1)
            return value if type_ == "bytes" else bytes(value).decode("utf-8", "replace")
        if type_ == "int":
            return self._integers(wire, value)
        dtype = np.dtype(_DTYPES[type_])
        if wire not in {2, 5 if dtype.itemsize == 4 else 1}:
            raise WireError(f"another number where {type_} was expected")
        if len(value) % dtype.itemsize:
            raise WireError(f"{len(value)} bytes of packed {type_}")
        return np.frombuffer(value, dtype)

    def _integers(self, wire: int, value: Any) -> Any:
        if wire == 2:
            return self._packed(value)
        if wire != 0:
            raise WireError("another number where an integer was expected")
        return value - (1 << 64) if value >> 63 else value

    def _packed(self, data: memoryview) -> list[int]:
        found, at = [], 0
        while at < len(data):
            value, at = varint(data, at)
            found.append(value - (1 << 64) if value >> 63 else value)
            self._count()
        return found

    def _count(self) -> None:
        self.seen += 1
        if self.seen > MAX_FIELDS:
            raise WireError(f"more than {MAX_FIELDS} fields")

    def _fields(self, data: memoryview) -> Iterator[tuple[int, int, Any]]:
        at, end = 0, len(data)
        while at < end:
            self._count()
            tag, at = varint(data, at)
            wire = tag & 7
            value: Any
            if wire == 0:
                value, at = varint(data, at)
            else:
                if wire == 2:
                    length, at = varint(data, at)
                elif wire in {1, 5}:
                    length = 8 if wire == 1 else 4
                else:
                    raise WireError(f"a field of wire type {wire}")
                if length > end - at:
                    raise WireError(f"a field of {length} bytes where {end - at} are left")
                value = data[at : at + length]
                at += length
            yield tag >> 3, wire, value


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """Read a number of variable length; returns it and the place after it."""
    value = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & ((1 << 64) - 1), at
        shift += 7
        if shift > 63:
            break
    raise WireError("a number without an end")


def ints(message: Message, name: str) -> list[int]:
    """All integers of a field, packed or not."""
    found: list[int] = []
    for value in message.get(name, []):
        found += value if isinstance(value, list) else [value]
    return found


def numbers(message: Message, name: str) -> np.ndarray[Any, np.dtype[Any]]:
    """All floats of a field, packed or not, as one array."""
    parts = message.get(name, [])
    return parts[0] if len(parts) == 1 else np.concatenate(parts or [np.empty(0, np.float32)])


def one(message: Message, name: str, default: Any = None) -> Any:
    """Last value of a field, as protocol buffers have it, or a default."""
    values = message.get(name)
    return values[-1] if values else default


def little(data: memoryview) -> int:
    """Eight bytes as a number."""
    return int(struct.unpack("<Q", data)[0])
