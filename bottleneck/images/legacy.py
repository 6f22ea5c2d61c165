"""Older formats: the layouts of each that Pillow does not decode as its definition says.

Found by comparing with other decoders. They are rare; most are refused by name.
"""

import re
import struct
from collections.abc import Callable

from bottleneck.images.declared import AS_DECODED, DeclaredPixels, unsupported

_BLACK_WHITE = b"\0\0\0\xff\xff\xff"


def _read_bmp(data: bytes) -> DeclaredPixels:
    # A header of 56 bytes or more has a mask of alpha, which is left out for 16 bits.
    if len(data) >= 70:
        size, bits, alpha = (struct.unpack_from("<" + k, data, at)[0] for k, at in _BMP_FIELDS)
        if size >= 56 and bits == 16 and alpha:
            raise unsupported("BMP", "16 bits with alpha")
    return AS_DECODED


_BMP_FIELDS = (("I", 14), ("H", 28), ("I", 66))


def _read_fits(data: bytes) -> DeclaredPixels:
    # Samples are signed, and scaled by BSCALE and BZERO; a third axis holds more pictures.
    cards = {}
    for at in range(0, len(data), 80):
        card = data[at : at + 80]
        if card.startswith(b"END ") and b"NAXIS1" in cards:
            break
        cards[card[:8].strip()] = card[9:].split(b"/")[0].strip()
    if b"ZIMAGE" in cards:
        raise unsupported("FITS", "a compressed picture")
    bits = cards.get(b"BITPIX", b"")
    if bits == b"16":
        raise unsupported("FITS", "signed samples of 16 bits")
    if _number(cards, b"BSCALE", 1) != 1 or _number(cards, b"BZERO", 0) != 0:
        raise unsupported("FITS", "a scale of the samples (BSCALE, BZERO)")
    if any(_number(cards, b"NAXIS%d" % axis, 1) != 1 for axis in range(3, 10)):
        raise unsupported("FITS", "a third axis")
    return AS_DECODED


def _number(cards: dict[bytes, bytes], name: bytes, default: float) -> float:
    try:
        return float(cards.get(name, default))
    except ValueError:
        return float("nan")


def _read_pcx(data: bytes) -> DeclaredPixels:
    # Of a palette of two colours Pillow takes no notice.
    if data[3:4] == b"\1" and data[65:66] == b"\1":
        colours = data[16:22]
        if colours != _BLACK_WHITE and colours[:3] != colours[3:]:
            raise unsupported("PCX", "two colours other than black and white")
    return AS_DECODED


def _read_dcx(data: bytes) -> DeclaredPixels:
    return _read_pcx(data[int.from_bytes(data[4:8], "little") :])


# Colour mode and bits: how many channels hold colours.
_PSD_COLOURS = {
    (0, 1): 1, (0, 8): 1, (1, 8): 1, (2, 8): 1, (3, 8): 3, (4, 8): 4, (8, 8): 1, (9, 8): 3,
}  # fmt: skip


def _read_psd(data: bytes) -> DeclaredPixels:
    if len(data) < 26:
        return AS_DECODED
    channels, bits, mode = (struct.unpack_from(">H", data, at)[0] for at in (12, 22, 24))
    colours = _PSD_COLOURS.get((mode, bits))
    if colours is None:
        raise unsupported("PSD", f"colour mode {mode} in {bits} bits")
    if channels > colours and (mode, channels) != (3, 4):
        raise unsupported("PSD", f"colour mode {mode} in {channels} channels")
    return DeclaredPixels(negative=bits == 1)


def _read_sun(data: bytes) -> DeclaredPixels:
    depth, _, _, _, palette = struct.unpack(">5I", data[12:32].ljust(20, b"\0"))
    if depth == 32:
        raise unsupported("SUN", "32 bits")
    if depth == 1 and palette:
        raise unsupported("SUN", "1 bit with a palette")
    return AS_DECODED


def _read_tga(data: bytes) -> DeclaredPixels:
    # Programs do not agree on whether the sixteenth bit says opaque or transparent.
    if len(data) < 18:
        return AS_DECODED
    sixteen = data[16] == 16 and data[2] in (2, 10)
    palette = data[1] == 1 and data[7] == 16
    if (sixteen or palette) and data[17] & 15:
        raise unsupported("TGA", "16 bits with alpha")
    return DeclaredPixels(opaque=sixteen or palette)


def _read_xbm(_: bytes) -> DeclaredPixels:
    return DeclaredPixels(negative=True)  # a bit that is set is ink, on paper


_XPM_SIZES = re.compile(rb'^"\s*\d+\s+\d+\s+(\d+)\s+(\d+)[^"\n]*"[^\n]*\n', re.MULTILINE)


def _read_xpm(data: bytes) -> DeclaredPixels:
    # Pillow reads colours of more digits as if they had six.
    sizes = _XPM_SIZES.search(data)
    if sizes is None:
        return AS_DECODED
    count, width = int(sizes[1]), int(sizes[2])
    for line in data[sizes.end() :].split(b"\n", min(count, 1 << 20))[:count]:
        _, key, colour = line[width + 1 :].strip(b'", \t\r').partition(b"c ")
        name = (colour.split() or [b""])[0]
        if key and not re.fullmatch(rb"#[0-9A-Fa-f]{6}|None", name):
            raise unsupported("XPM", f"the colour {name[:20].decode('latin-1')}")
    return AS_DECODED


READ_HEADER: dict[str, Callable[[bytes], DeclaredPixels]] = {
    "BMP": _read_bmp,
    "DCX": _read_dcx,
    "FITS": _read_fits,
    "PCX": _read_pcx,
    "PSD": _read_psd,
    "SUN": _read_sun,
    "TGA": _read_tga,
    "XBM": _read_xbm,
    "XPM": _read_xpm,
}
"""By the name of the format, what its header declares."""
