"""CRC-32C (Castagnoli), the checksum of TFRecord files."""

import google_crc32c


def masked_crc32c(data: bytes) -> int:
    """Return the CRC-32C as TFRecord files store it: rotated and shifted by a constant."""
    crc = int(google_crc32c.value(data))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
