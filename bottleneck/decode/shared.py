"""Objects in memory that several processes map: each array in them exists once for all.

The memory belongs to an anonymous file, which the system frees when the last process that has
it open is gone, however it went.
"""

import mmap
import os
import pickle
import struct
import tempfile
from typing import Any

_ALIGNMENT = 64
_LENGTH = struct.Struct("<Q")


def anonymous_file(name: str) -> int:
    """Return the descriptor of a new file without a name on any disk."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:  # macOS
        return os.dup(file.fileno())


def dump(value: Any, descriptor: int) -> None:
    """Write an object to an empty file; contiguous arrays in it are laid out to be mapped.

    Raises
    ------
    Exception
        Whatever :mod:`pickle` raises for an object that cannot travel.
    """
    buffers: list[pickle.PickleBuffer] = []
    # Protocol 5 hands large arrays out instead of copying them into the pickle.
    head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(head), *(buffer.raw() for buffer in buffers)]
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(_LENGTH.pack(len(parts)))
        file.writelines(_LENGTH.pack(part.nbytes) for part in parts)
        for part in parts:
            file.seek(-file.tell() % _ALIGNMENT, os.SEEK_CUR)
            file.write(part)
        file.truncate(max(file.tell(), 1))


def load(descriptor: int) -> Any:
    """Read what :func:`dump` wrote; its arrays are read-only and lie in the file's memory."""
    memory = memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    (count,) = _LENGTH.unpack_from(memory)
    lengths = [_LENGTH.unpack_from(memory, 8 * (1 + i))[0] for i in range(count)]
    parts: list[memoryview] = []
    end = 8 * (1 + count)
    for length in lengths:
        start = end + -end % _ALIGNMENT
        end = start + length
        parts.append(memory[start:end])
    return pickle.loads(parts[0], buffers=parts[1:])
