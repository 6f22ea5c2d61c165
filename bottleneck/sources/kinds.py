"""Which kind of source something is, by its name."""

import posixpath
import re

from bottleneck.location import is_url
from bottleneck.sources.idx import IDX_NAME
from bottleneck.sources.rules import is_image_name

CONTAINERS = {
    "tar": r".*\.(tar(\.(gz|bz2|xz|zst))?|tgz|tbz2?|txz)",
    "zip": r".*\.zip",
    "HDF5": r".*\.(h5|hdf5?)",
    "NPZ": r".*\.npz",
    "NPY": r".*\.npy",
    "Parquet": r".*\.(parquet|pq)",
    "TFRecord": r".*\.tfrecords?([-.].*)?|.*-\d{5}-of-\d{5}",
    "IDX": IDX_NAME.pattern,
}
"""Kinds of files that hold images, and how they are called."""

_COMPILED = {kind: re.compile(pattern, re.IGNORECASE) for kind, pattern in CONTAINERS.items()}


def kind_of(location: str) -> str | None:
    """Return ``image``, ``CSV``, a key of :data:`CONTAINERS`, or None for what is neither."""
    if is_url(location):
        location = location.partition("?")[0]
    name = posixpath.basename(location)
    if is_image_name(name):
        return "image"
    if name.lower().endswith((".csv", ".tsv", ".txt")):
        return "CSV"
    return next((kind for kind, form in _COMPILED.items() if form.fullmatch(name)), None)


def one_kind(names: list[str]) -> str | None:
    """Return the kind of container that some files are, None when they are not all of one."""
    kinds = {kind for name in names if (kind := kind_of(name)) in CONTAINERS}
    return kinds.pop() if len(kinds) == 1 else None
