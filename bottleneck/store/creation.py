"""Create a feature file: all metadata is final before the file has its name."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
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
    EXTENTS,
    FEATURE_DTYPES,
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    PAGE,
    TARGETS_SHA256,
    LiveDataset,
    live_datasets,
    meta_block_size,
    read_layout,
)
from bottleneck.writing import written_whole

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
    datasets = live_datasets(len(manifest), dict(dims), FEATURE_DTYPES[dtype])
    try:
        with written_whole(path, replace=replace) as temporary:
            _prepare(temporary, datasets, manifest, recipe, preallocate=preallocate)
    except FileExistsError as error:
        raise StoreError(f"{path} exists already", hint="Give another name.") from error
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(
            f"cannot give the new file the name {path}: {error.strerror or error}",
            hint="Mend the disk, then run the same command again.",
        ) from error


def _prepare(
    temporary: Path,
    datasets: list[LiveDataset],
    manifest: Manifest,
    recipe: Recipe,
    *,
    preallocate: bool,
) -> None:
    """Make the whole file under its temporary name, and check it."""
    size = sum(dataset.n_rows * dataset.row_bytes for dataset in datasets)
    attributes = _attributes(manifest, recipe)
    try:
        with _new_file(temporary) as descriptor:
            # A full disk is told before any work.
            _reserve(
                descriptor,
                size + _manifest_bytes(manifest) + meta_block_size(datasets),
                preallocate,
            )
            length = _fill(descriptor, datasets, manifest, attributes)
            _reserve(descriptor, length, preallocate)
        with h5py.File(temporary, "r") as file:
            read_layout(file)
    except (OSError, RuntimeError) as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(
            f"cannot create a file of {size / 1e6:.0f} MB for {len(manifest)} rows in "
            f"{temporary.parent}: {getattr(error, 'strerror', None) or error}",
            hint="Nothing was written. Free some space, or write to another disk.",
        ) from error


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _reserve(descriptor: int, size: int, preallocate: bool) -> None:
    """Give a file its length, and the room for it on the disk."""
    os.ftruncate(descriptor, size)
    if preallocate:
        system.preallocate(descriptor, size)


def _manifest_bytes(manifest: Manifest) -> int:
    strings = (manifest.keys, manifest.group_names)
    targets = manifest.targets
    arrays = (manifest.labels, manifest.splits, manifest.groups, targets.numbers, targets.flags)
    return sum(s.blob.nbytes + s.offsets.nbytes for s in strings) + sum(a.nbytes for a in arrays)


def _fill(
    descriptor: int,
    datasets: list[LiveDataset],
    manifest: Manifest,
    attributes: Mapping[str, bytes],
) -> int:
    """Write everything but the rows; return the length the file must have.

    HDF5 (as of 2.0) may pass over a write that fails while it closes a file, or crash on it. So
    it only makes the metadata, in memory; all writes to the disk are ours.
    """
    room = meta_block_size(datasets)
    options = {
        # Superblock 0 has no flag "open for writing": a killed run leaves nothing to clear.
        "libver": ("earliest", "v110"),
        "alignment_threshold": PAGE,
        "alignment_interval": PAGE,
        "meta_block_size": room,
    }
    with system.scratch_file(room) as (scratch, path):
        # Opened again, the reserved block for metadata comes first, however long the recipe is.
        h5py.File(path, "w", **options).close()
        with h5py.File(path, "r+", **options) as file:
            path.unlink()  # from here on a kill leaves nothing behind
            system.preallocate(scratch, room)
            for attribute, text in attributes.items():
                _set_attribute(file, attribute, text)
            file.attrs.create("format_version", FORMAT_VERSION, dtype="<u4")
            extents = {dataset.path: _create_live(file, dataset) for dataset in datasets}
            _set_attribute(file, EXTENTS, json.dumps(extents).encode())
            columns = _create_manifest(file.create_group(MANIFEST), manifest)
        for offset, data in system.pieces(scratch):
            system.write_at(descriptor, data, offset)
        length = os.fstat(scratch).st_size
    for offset, values in columns:
        system.write_at(descriptor, values.data, offset)
    return length


def _attributes(manifest: Manifest, recipe: Recipe) -> dict[str, bytes]:
    values = {
        "format": FORMAT,
        "creator": f"bottleneck {bottleneck.__version__}",
        "recipe": recipe.to_json(),
        "identity_sha256": recipe.identity_sha256,
        "manifest_sha256": manifest.sha256,
        **({TARGETS_SHA256: manifest.targets.sha256} if manifest.targets else {}),
    }
    encoded = {name: text.encode("utf-8") for name, text in values.items()}
    for name, text in encoded.items():
        if len(text) > _MAX_ATTRIBUTE_BYTES:
            raise StoreError(f"the {name} takes {len(text)} bytes, more than HDF5 allows")
    return encoded


def _set_attribute(file: h5py.File, name: str, text: bytes) -> None:
    # Fixed length: a variable-length string would live in a heap of its own.
    file.attrs.create(name, text, dtype=h5py.string_dtype("utf-8", len(text)))


def _create_live(file: h5py.File, dataset: LiveDataset) -> int:
    """Make a dataset; return the offset of its first row in the file."""
    plist = _early()
    plist.set_chunk((dataset.chunk_rows, *dataset.row_shape))
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    made = h5py.h5d.create(
        file.id,
        dataset.path.encode("utf-8"),
        h5py.h5t.py_create(dataset.dtype, logical=True),
        h5py.h5s.create_simple(dataset.shape),
        dcpl=plist,
        lcpl=links,
    )
    return int(made.get_chunk_info(0).byte_offset)


def _early() -> h5py.h5p.PropDCID:
    """Properties of a dataset that has its place from the first moment, and no fill values."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plist.set_obj_track_times(False)
    return plist


def _create_manifest(
    group: h5py.Group, manifest: Manifest
) -> list[tuple[int, NDArray[np.generic]]]:
    """Make the datasets of the manifest; return what belongs at which offset."""
    arrays: dict[str, NDArray[np.generic]] = {
        **_strings("key", manifest.keys),
        "label": manifest.labels.astype("<i4"),
        "split": manifest.splits.astype("u1"),
        "group": manifest.groups.astype("<i4"),
        **_strings("group_name", manifest.group_names),
        **_strings("class", PackedStrings.pack(manifest.classes)),
    }
    targets = manifest.targets
    if targets:
        arrays |= {
            **_strings("target_number_name", PackedStrings.pack(targets.number_names)),
            "target_number": targets.numbers.astype("<f8"),
            **_strings("target_flag_name", PackedStrings.pack(targets.flag_names)),
            "target_flag": targets.flags.astype("u1"),
        }
    columns = []
    for name, values in arrays.items():
        dataset = h5py.h5d.create(
            group.id,
            name.encode(),
            h5py.h5t.py_create(values.dtype, logical=True),
            h5py.h5s.create_simple(values.shape),
            dcpl=_early(),
        )
        if values.size:
            columns.append((dataset.get_offset(), np.ascontiguousarray(values)))
    return columns


def _strings(name: str, strings: PackedStrings) -> dict[str, NDArray[np.generic]]:
    offsets = strings.offsets.astype("<u8", copy=False)
    return {f"{name}_bytes": strings.blob, f"{name}_offsets": offsets}
