"""Create a feature file: all metadata is final before the file has its name."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

import bottleneck
from bottleneck.errors import StoreError
from bottleneck.manifest import Manifest
from bottleneck.packed import PackedStrings
from bottleneck.recipe import Recipe
from bottleneck.store import system
from bottleneck.store.format import (
    FEATURE_DTYPES,
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    PAGE,
    LiveDataset,
    live_datasets,
    meta_block_size,
)
from bottleneck.store.layout import read_layout

_MAX_ATTRIBUTE_BYTES = 64_000


def create(
    path: Path,
    *,
    manifest: Manifest,
    recipe: Recipe,
    dims: Mapping[str, int],
    dtype: str = "float32",
    replace: bool = False,
    preallocate: bool = True,
) -> None:
    """Create a file with a pending row per manifest entry. The caller holds the writer lock.

    Parameters
    ----------
    path : Path
        The new file; its folder exists.
    manifest : Manifest
        One entry per row.
    recipe : Recipe
        How the features will be made.
    dims : mapping of str to int
        Length of the features of each output.
    dtype : {"float32", "float16"}
        Type on disk.
    replace : bool
        Put the new file in the place of an old one.
    preallocate : bool
        Reserve the space on the disk now.

    Raises
    ------
    StoreError
        When the file exists and ``replace`` is false, or the disk has no room.
    """
    path = path.resolve()
    _remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    datasets = live_datasets(len(manifest), dict(dims), FEATURE_DTYPES[dtype])
    size = sum(dataset.n_rows * dataset.row_bytes for dataset in datasets)
    try:
        if preallocate:
            # HDF5 is at a loss on a full disk: try with an empty file first.
            _reserve(temporary, size + _manifest_bytes(manifest) + meta_block_size(datasets))
            temporary.unlink()
        _fill(temporary, datasets, manifest, recipe)
        with h5py.File(temporary, "r") as file:
            read_layout(file)
        _reserve(temporary, temporary.stat().st_size if preallocate else 0)
        system.publish(temporary, path, replace=replace)
    except FileExistsError as error:
        raise StoreError(f"{path} exists already", hint="Give another name.") from error
    except (OSError, RuntimeError) as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(
            f"cannot create {path} ({size / 1e6:.0f} MB for {len(manifest)} rows): "
            f"{getattr(error, 'strerror', None) or error}",
            hint="Nothing was written. Free some space, or write to another disk.",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of creators that were killed: the caller holds the lock."""
    ours = re.compile(re.escape(f".{path.name}.") + r"\d+\.tmp")
    for leftover in path.parent.iterdir():
        if ours.fullmatch(leftover.name):
            leftover.unlink(missing_ok=True)


def _reserve(path: Path, size: int) -> None:
    """Make room for a file on the disk, if ``size`` is not 0, and make what it holds durable."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if size:
            system.preallocate(descriptor, size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _manifest_bytes(manifest: Manifest) -> int:
    strings = (manifest.keys, manifest.group_names)
    arrays = (manifest.labels, manifest.splits, manifest.groups)
    return sum(s.blob.nbytes + s.offsets.nbytes for s in strings) + sum(a.nbytes for a in arrays)


def _fill(temporary: Path, datasets: list[LiveDataset], manifest: Manifest, recipe: Recipe) -> None:
    # Superblock 0 has no flag that says "open for writing": a killed run leaves nothing to clear.
    options = {
        "libver": ("earliest", "v110"),
        "alignment_threshold": PAGE,
        "alignment_interval": PAGE,
        "meta_block_size": meta_block_size(datasets),
    }
    h5py.File(temporary, "x", **options).close()
    with h5py.File(temporary, "r+", **options) as file:
        _write_attributes(file, manifest, recipe)
        for dataset in datasets:
            _create_live(file, dataset)
        _write_manifest(file.create_group(MANIFEST), manifest)


def _write_attributes(file: h5py.File, manifest: Manifest, recipe: Recipe) -> None:
    values: dict[str, str] = {
        "format": FORMAT,
        "creator": f"bottleneck {bottleneck.__version__}",
        "recipe": recipe.to_json(),
        "identity_sha256": recipe.identity_sha256,
        "manifest_sha256": manifest.sha256,
    }
    for name, text in values.items():
        encoded = text.encode("utf-8")
        if len(encoded) > _MAX_ATTRIBUTE_BYTES:
            raise StoreError(f"the {name} takes {len(encoded)} bytes, more than HDF5 allows")
        # Fixed length: a variable-length string would live in a heap of its own.
        file.attrs.create(name, encoded, dtype=h5py.string_dtype("utf-8", len(encoded)))
    file.attrs.create("format_version", FORMAT_VERSION, dtype="<u4")


def _create_live(file: h5py.File, dataset: LiveDataset) -> None:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((dataset.chunk_rows, *dataset.row_shape))
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plist.set_obj_track_times(False)
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    h5py.h5d.create(
        file.id,
        dataset.path.encode("utf-8"),
        h5py.h5t.py_create(dataset.dtype, logical=True),
        h5py.h5s.create_simple(dataset.shape),
        dcpl=plist,
        lcpl=links,
    )


def _write_manifest(group: h5py.Group, manifest: Manifest) -> None:
    _write_strings(group, "key", manifest.keys)
    _write_array(group, "label", manifest.labels.astype("<i4"))
    _write_array(group, "split", manifest.splits.astype("u1"))
    _write_array(group, "group", manifest.groups.astype("<i4"))
    _write_strings(group, "group_name", manifest.group_names)
    _write_strings(group, "class", PackedStrings.pack(manifest.classes))


def _write_strings(group: h5py.Group, name: str, strings: PackedStrings) -> None:
    _write_array(group, f"{name}_bytes", strings.blob)
    _write_array(group, f"{name}_offsets", strings.offsets.astype("<u8"))


def _write_array(group: h5py.Group, name: str, values: NDArray[np.generic]) -> None:
    group.create_dataset(name, data=values, track_times=False)
