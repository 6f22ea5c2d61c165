"""A JPEG that lacks its end marker, and whether it lacks anything else.

Cameras and streams leave the marker out. Whether the last bits are there follows from the pixels:
what stands behind complete data is not read, so it changes none of them. Whether a scan is missing
altogether follows from the headers: all coefficients of all components have to be given in full.
"""

from PIL import Image, ImageFile

from bottleneck.images.stream import ByteStream

_END = b"\xff\xd9"
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
_RESTARTS = range(0xD0, 0xD8)
_COARSE = 32  # a step of quantisation at which any other coefficient shows
# Bits of every kind: the first ones of these are 0 and 1, their runs short and long.
_FILLINGS = (b"\0", b"\x55", b"\xff\0", b"\xaa", b"\x69\x96\xc5\x3a")
_FILLED = 512


def with_end(data: bytes) -> bytes | None:
    """Return a JPEG with the end marker that it lacks; None if it lacks more, or nothing.

    Only for files within the limit of pixels: they are decoded at full size.
    """
    body = data.rstrip(b"\xff")  # perhaps the first half of the marker
    if not _all_scans_begin(body):
        return None
    restart = bytes([0xFF, _next_restart(body)])
    for picture in (body, _coarse(body)):
        shown = _pixels(picture + _END)
        # Bits of the interval that should be there, then of one that should have begun.
        behind = [filling * _FILLED + restart + filling * _FILLED for filling in _FILLINGS]
        if shown is None or any(_pixels(picture + more + _END) != shown for more in behind):
            return None
    return body + _END


def _next_restart(body: bytes) -> int:
    seen = [marker for marker in _RESTARTS if bytes([0xFF, marker]) in body]
    if not seen:
        return _RESTARTS[0]
    last = max(seen, key=lambda marker: body.rfind(bytes([0xFF, marker])))
    return _RESTARTS[(last + 1) % 8]


def _coarse(body: bytes) -> bytes:
    """Return the JPEG with larger steps of quantisation, but for the mean of each block."""
    changed = bytearray(body)
    at = 2
    while at + 4 <= len(body) and body[at + 1] != 0xDA:
        length = int.from_bytes(body[at + 2 : at + 4], "big")
        if body[at + 1] == 0xDB:
            table, end = at + 4, min(at + 2 + length, len(body))
            while table < end:
                width = 2 if body[table] >> 4 else 1
                for i in range(table + 2 * width, min(table + 1 + 64 * width, end), width):
                    changed[i] = max(body[i], _COARSE)
                table += 1 + 64 * width
        at += 2 + length
    return bytes(changed)


def _pixels(data: bytes) -> bytes | None:
    factory, _ = Image.OPEN["JPEG"]
    try:
        image = factory(ByteStream(data), "")
        assert isinstance(image, ImageFile.ImageFile)
        image.draft("YCbCr", None)  # as they are stored: in RGB some differences are clipped
        image.load()
    except Exception:  # noqa: BLE001 - decoders raise anything on damaged files
        return None
    return image.tobytes()


def _all_scans_begin(data: bytes) -> bool:
    """Tell whether the headers announce every coefficient in full, and no end marker comes."""
    missing: dict[int, set[int]] = {}  # by component
    sequential = False
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return False
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == _END[1]:
            return False
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        body, at = data[at + 4 : end], end
        if at > len(data):
            return False
        if marker in _SEQUENTIAL or marker == _PROGRESSIVE:
            sequential = marker in _SEQUENTIAL
            missing = {component: set(range(64)) for component in body[6::3]}
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return False
        elif marker == 0xDA and len(body) >= 6:
            first, last, precision = body[-3:]
            given = range(64) if sequential else range(first, last + 1)
            for component in body[1:-3:2] if sequential or not precision & 15 else b"":
                missing.get(component, set()).difference_update(given)
            at = _next_marker(data, at)
    return at >= len(data) - 3 and bool(missing) and not any(missing.values())


def _next_marker(data: bytes, at: int) -> int:
    # Within a scan, 0xFF is followed by 0, or by the number of a restart.
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            return len(data)
        if data[at + 1] and data[at + 1] not in _RESTARTS:
            return at
        at += 2
