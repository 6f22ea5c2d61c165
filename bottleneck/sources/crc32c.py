"""CRC-32C (Castagnoli), the checksum of TFRecord files, in NumPy.

A CRC is linear: that of a block is the exclusive or of what each of its bytes contributes from
its position, and running on over a block is four more look-ups (RFC 3720, appendix B.4, has the
polynomial and examples). So blocks are looked up all at once, some 200 MB/s in plain Python.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78
_BLOCK = 512
_AT_ONCE = 256
_SHORT = 64


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of some bytes."""
    if len(data) < _SHORT:
        table = _byte_table()
        state = 0xFFFFFFFF
        for byte in data:
            state = table[(state ^ byte) & 0xFF] ^ (state >> 8)
        return state ^ 0xFFFFFFFF
    # Zeros in front change nothing when the register begins at zero; that it begins with ones
    # is the same as turning the first four bytes around.
    padded = np.zeros(-(-len(data) // _BLOCK) * _BLOCK, np.uint8)
    padded[-len(data) :] = np.frombuffer(data, np.uint8)
    padded[len(padded) - len(data) :][:4] ^= 0xFF
    blocks = padded.reshape(-1, _BLOCK)
    contributions, ahead = _position_tables()
    first, second, third, fourth = ahead
    places = np.arange(_BLOCK) * 256
    state = 0
    for start in range(0, len(blocks), _AT_ONCE):
        looked_up = contributions[blocks[start : start + _AT_ONCE] + places]
        for block in np.bitwise_xor.reduce(looked_up, axis=1).tolist():
            state = (
                first[state & 0xFF]
                ^ second[(state >> 8) & 0xFF]
                ^ third[(state >> 16) & 0xFF]
                ^ fourth[state >> 24]
                ^ block
            )
    return state ^ 0xFFFFFFFF


def masked_crc32c(data: bytes) -> int:
    """Return the CRC-32C as TFRecord files store it: rotated and shifted by a constant."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _byte_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)  # noqa: PLW2901
        table.append(value)
    return table


@cache
def _position_tables() -> tuple[NDArray[np.uint32], list[list[int]]]:
    """Return what each byte at each position of a block contributes, flat; and four tables that
    carry the register over a whole block, one for each of its bytes."""
    step = np.array(_byte_table(), np.uint32)

    def over_a_zero(state: NDArray[np.uint32]) -> NDArray[np.uint32]:
        behind: NDArray[np.uint32] = step[state & 0xFF] ^ (state >> np.uint32(8))
        return behind

    rows = [step]
    for _ in range(_BLOCK - 1):
        rows.append(over_a_zero(rows[-1]))
    ahead = []
    for byte in range(4):
        state = np.arange(256, dtype=np.uint32) << np.uint32(8 * byte)
        for _ in range(_BLOCK):
            state = over_a_zero(state)
        ahead.append(state.tolist())
    return np.concatenate(rows[::-1]), ahead
