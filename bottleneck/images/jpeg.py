"""JPEG and JPEG 2000: what the frame header declares."""

import struct

from bottleneck.images.declared import AS_DECODED, Declared, unsupported

_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_FRAMES = {
    0xC3: "lossless JPEG", 0xC5: "hierarchical JPEG", 0xC6: "hierarchical JPEG",
    0xC7: "hierarchical JPEG", 0xCB: "lossless JPEG", 0xCD: "hierarchical JPEG",
    0xCE: "hierarchical JPEG", 0xCF: "hierarchical JPEG", 0xF7: "JPEG-LS",
}  # fmt: skip
_BASELINE = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}


def read_jpeg_header(data: bytes) -> Declared:
    """Refuse the kinds of JPEG that are no 8-bit DCT, by name."""
    at = 2
    while at + 5 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _STANDALONE:
            at += 2
            continue
        if marker in _FRAMES:
            raise unsupported("JPEG", _FRAMES[marker])
        if marker in _BASELINE:
            if data[at + 4] != 8:
                raise unsupported("JPEG", f"a JPEG of {data[at + 4]} bits")
            break
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return AS_DECODED


def read_jpeg2000_header(data: bytes) -> Declared:
    """Check depth and sign of the components; Pillow moves samples to the top of 8 or 16 bits."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(data) < start + 42:
        return AS_DECODED
    (count,) = struct.unpack_from(">H", data, start + 40)
    kinds = set(data[start + 42 : start + 42 + 3 * count : 3])
    if len(kinds) != 1:
        raise unsupported("JPEG2000", "components of different depths")
    (kind,) = kinds
    depth = (kind & 127) + 1
    if kind & 128:
        raise unsupported("JPEG2000", "signed samples")
    if depth > 16 or (depth > 8 and count > 1):
        raise unsupported("JPEG2000", f"{count} components of {depth} bits")
    colours = data.find(b"colr\x01", 0, start)
    if count > 2 and colours >= 0 and len(data) >= colours + 11:
        (space,) = struct.unpack_from(">I", data, colours + 7)
        if space not in (12, 16, 17, 18):
            raise unsupported("JPEG2000", f"colour space {space}")
    if depth in (8, 16) or b"pclr" in data[:start]:
        return AS_DECODED
    return Declared(top=2**depth - 1, shift=(8 if depth < 8 else 16) - depth)
