"""Values to canonical JSON to SHA-256: how the package tells whether two things are the same."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

DIGEST_BYTES = 16
"""Length of the hash of an image's content."""


def content_digest(data: bytes | memoryview) -> bytes:
    """Return the BLAKE2b hash of an image's encoded bytes, or of its raw pixels: 16 bytes."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def canonical_json(value: Any) -> str:
    """Serialise to the one JSON text that stands for a value.

    Keys are sorted, there is no white space, floats use Python's shortest form, and
    NaN or infinity are refused.

    Raises
    ------
    ValueError, TypeError
        For values JSON cannot hold.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def fingerprint(value: Any) -> str:
    """Return the SHA-256 (64 hex digits) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()


def fingerprint_parts(parts: Iterable[bytes | memoryview]) -> str:
    """Return the SHA-256 of byte strings, each preceded by its length so that none runs on."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()
