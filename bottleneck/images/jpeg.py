"""JPEG: what the frame header declares."""

from bottleneck.images.declared import AS_DECODED, DeclaredPixels, unsupported

_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_FRAMES = {
    0xC3: "lossless JPEG", 0xC5: "hierarchical JPEG", 0xC6: "hierarchical JPEG",
    0xC7: "hierarchical JPEG", 0xCB: "lossless JPEG", 0xCD: "hierarchical JPEG",
    0xCE: "hierarchical JPEG", 0xCF: "hierarchical JPEG", 0xF7: "JPEG-LS",
}  # fmt: skip
_BASELINE = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}


def read_jpeg_header(data: bytes) -> DeclaredPixels:
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
