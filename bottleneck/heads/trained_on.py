"""Which rows a head was fitted on, so that it is not judged by them."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.packed import PickedStrings
from bottleneck.store import FeatureStore

_BYTES: Final = 8
"""Of a hash: among a million rows two different ones are equal with a chance below 1e-7."""


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """The rows a head was fitted on, as hashes that fit beside its weights.

    Parameters
    ----------
    images : ndarray of uint64, shape (m,)
        Of the encoded images, sorted; of rows whose file says nothing of them there is none.
    keys : ndarray of uint64, shape (k,)
        Of the keys, sorted.
    """

    images: NDArray[np.uint64]
    keys: NDArray[np.uint64]

    def __repr__(self) -> str:
        return f"<TrainingRows {len(self.keys)} keys, {len(self.images)} images>"

    def arrays(self) -> dict[str, NDArray[np.uint64]]:
        """Return what the head's file keeps, by name."""
        return {"training_images": self.images, "training_keys": self.keys}

    @classmethod
    def taken_from(cls, arrays: dict[str, NDArray[Any]]) -> "TrainingRows | None":
        """Take the two arrays out of those of a head's file; None of an older head's.

        Raises
        ------
        ValueError
            For arrays that are no hashes.
        """
        if "training_keys" not in arrays:
            return None
        found = cls(arrays.pop("training_images"), arrays.pop("training_keys"))
        for array in (found.images, found.keys):
            if array.dtype != np.uint64 or array.ndim != 1:
                raise ValueError(f"expected hashes of training rows, got {array.dtype} arrays")
        return found

    @classmethod
    def of(cls, store: FeatureStore, rows: NDArray[np.int64]) -> "TrainingRows":
        """Remember rows of a file."""
        images, known = _image_hashes(store, rows)
        return cls(np.unique(images[known]), np.unique(_key_hashes(store, rows)))

    def among(self, store: FeatureStore, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Find the rows of a file that are among these: shape (len(rows),).

        An image is known by its bytes, so it may have another name, row or split; where either
        file says nothing of the bytes, it is known by its key.
        """
        images, known = _image_hashes(store, rows)
        by_key = np.isin(_key_hashes(store, rows), self.keys)
        if not len(self.images):
            return by_key
        return np.where(known, np.isin(images, self.images), by_key)


def _image_hashes(
    store: FeatureStore, rows: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Return the first bytes of each image's digest, and whether the file knows it."""
    digests = np.asarray(store.digests)[rows]
    first = np.ascontiguousarray(digests[:, :_BYTES]).view("<u8").ravel().astype(np.uint64)
    known: NDArray[np.bool_] = np.any(digests, axis=1)
    return first, known


def _key_hashes(store: FeatureStore, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    digests = bytearray()
    for key in PickedStrings(store.keys, rows):
        digests += blake2b(key.encode("utf-8", "surrogateescape"), digest_size=_BYTES).digest()
    return np.frombuffer(digests, "<u8").astype(np.uint64)
