"""Save the rows of a feature file whose metadata was damaged."""

import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import StoreError
from bottleneck.manifest import Manifest
from bottleneck.output import prepare_output
from bottleneck.recipe import Recipe
from bottleneck.status import RowStatus
from bottleneck.store import system
from bottleneck.store.contents import open_hdf5, read_attributes, read_manifest
from bottleneck.store.create import create
from bottleneck.store.format import FEATURES
from bottleneck.store.layout import Extent
from bottleneck.store.reader import FeatureStore
from bottleneck.store.writer import FailedRow, Writer

_BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class RescueResult:
    """What could be saved.

    Parameters
    ----------
    output : str
        The new file.
    rows : int
        Its rows.
    saved : int
        Finished rows whose checksums match.
    failed : int
        Rows whose reason for failing was kept.
    pending : int
        Rows to be computed again.
    """

    output: str
    rows: int
    saved: int
    failed: int
    pending: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def rescue(
    broken: str | Path, output: str | Path, *, like: str | Path | None = None
) -> RescueResult:
    """Rebuild a damaged file from its rows and from its recipe and list of images.

    A file's layout follows from its number of rows, its outputs and its list: an empty file
    made alike has its rows at the same places. A row is only taken if it is flagged as done
    there and its checksum matches, so a wrong guess saves nothing but harms nothing.

    Parameters
    ----------
    broken : str or Path
        The damaged file; it is only read.
    output : str or Path
        The new file.
    like : str or Path, optional
        A sound file of the same images and recipe, for when these cannot be read from the
        damaged one; ``bottleneck extract ... --limit 1`` with the same options makes one.

    Raises
    ------
    StoreError
        When the damaged file cannot be read at all, or no row in it is sound.
    """
    broken = Path(broken)
    pattern = _pattern_of(Path(like), whole=True) if like else _pattern_of(broken, whole=False)
    path = prepare_output(output, kind="features", inputs=[broken, *([like] if like else [])])
    with system.writer_lock(path):
        create(
            path,
            manifest=pattern.manifest,
            recipe=pattern.recipe,
            dims=pattern.dims,
            dtype=pattern.dtype,
        )
        try:
            fresh = FeatureStore.open(path)
            saved, failed = _copy_sound_rows(broken, fresh)
            if not saved:
                raise StoreError(
                    f"no sound row was found in {broken} where such a file has its rows",
                    hint="With --like, is that a file of the same images, in the same order, "
                    "made with the same options?",
                )
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return RescueResult(
        output=str(path),
        rows=len(fresh),
        saved=saved,
        failed=failed,
        pending=len(fresh) - saved - failed,
    )


@dataclass(frozen=True)
class _Pattern:
    manifest: Manifest
    recipe: Recipe
    dims: dict[str, int]
    dtype: str


def _pattern_of(path: Path, *, whole: bool) -> _Pattern:
    """Read what decides a file's layout, and check it against the fingerprints."""
    try:
        with open_hdf5(path) as file:
            attributes = read_attributes(file, path)
            shapes = {name: (d.shape[1], d.dtype.name) for name, d in file[FEATURES].items()}
        manifest, recipe = read_manifest(path), Recipe.from_json(attributes["recipe"])
        stored = (attributes["identity_sha256"], attributes["manifest_sha256"])
        if not shapes or stored != (recipe.identity_sha256, manifest.sha256):
            raise ValueError("its recipe or its list of images is not what it was")
    except (StoreError, KeyError, OSError, RuntimeError, ValueError) as error:
        raise StoreError(
            f"the recipe and the list of images cannot be read from {path}: {error}",
            hint=None
            if whole
            else "Name a sound file made alike with --like; "
            "`bottleneck extract ... --limit 1` with the same options makes one.",
        ) from error
    return _Pattern(
        manifest=manifest,
        recipe=recipe,
        dims={name: dim for name, (dim, _) in shapes.items()},
        dtype=next(iter(shapes.values()))[1],
    )


def _copy_sound_rows(broken: Path, fresh: FeatureStore) -> tuple[int, int]:
    layout = fresh.layout
    size = _size(broken)
    status = _read(broken, layout.status, 0, len(fresh), size)
    saved = failed = 0
    widest = max(extent.row_bytes for extent in layout.features.values())
    block = max(1, _BLOCK_BYTES // widest)
    with Writer(fresh.path, layout) as writer:
        for start in range(0, len(fresh), block):
            stop = min(start + block, len(fresh))
            features = {
                name: _read(broken, extent, start, stop, size)
                for name, extent in layout.features.items()
            }
            digests = _read(broken, layout.digest, start, stop, size)
            sound = status[start:stop] == RowStatus.DONE
            for name, values in features.items():
                stored = _read(broken, layout.crc32[name], start, stop, size)
                sound &= np.fromiter(map(zlib.crc32, values), np.uint32, len(values)) == stored
            rows = np.flatnonzero(sound)
            if len(rows):
                kept = {name: values[rows] for name, values in features.items()}
                writer.write(start + rows, kept, digests[rows])
                saved += len(rows)
            failed += _keep_reasons(writer, fresh, status[start:stop], digests, start)
    return saved, failed


def _keep_reasons(
    writer: Writer,
    fresh: FeatureStore,
    codes: NDArray[np.uint8],
    digests: NDArray[np.uint8],
    start: int,
) -> int:
    rows = np.flatnonzero((codes > RowStatus.DONE) & (codes <= max(RowStatus)))
    writer.fail(
        FailedRow(
            start + int(i), fresh.keys[start + int(i)], RowStatus(codes[i]), "rescued", digests[i]
        )
        for i in rows
    )
    return len(rows)


def _read(broken: Path, extent: Extent, start: int, stop: int, size: int) -> NDArray[Any]:
    """Read rows of an extent from wherever they should be; what lies past the end is zeros."""
    values = np.zeros((stop - start, *extent.row_shape), extent.dtype)
    first = extent.offset + start * extent.row_bytes
    there = max(0, min(stop - start, (size - first) // extent.row_bytes))
    if there:
        with broken.open("rb") as stream:
            stream.seek(first)
            data = stream.read(there * extent.row_bytes)
        values[:there] = np.frombuffer(data, extent.dtype).reshape(there, *extent.row_shape)
    return values


def _size(broken: Path) -> int:
    try:
        return broken.stat().st_size
    except OSError as error:
        raise StoreError(f"cannot read {broken}: {error.strerror}") from error
