"""Save the rows of a feature file whose metadata was damaged."""

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import OptionError, StoreError
from bottleneck.location import is_set
from bottleneck.manifest import Manifest
from bottleneck.recipe import Recipe
from bottleneck.status import RowStatus
from bottleneck.store import system
from bottleneck.store.contents import damage_explained, open_hdf5, read_attributes, read_manifest
from bottleneck.store.creation import create
from bottleneck.store.format import EXTENTS, FEATURES, TARGETS_SHA256, Extent, row_checksums
from bottleneck.store.reader import FeatureStore
from bottleneck.store.writer import FailedRow, Writer, failures_path, settle
from bottleneck.writing import prepare_output

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
        Finished rows whose checksums match, copied now.
    failed : int
        Rows whose reason for failing was copied now.
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
    there and its checksum matches, so a wrong guess saves nothing but harms nothing. Run again
    after a kill, it resumes.

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
    if is_set(str(broken)):
        raise OptionError(
            f"expected a single feature file to rescue, got the set {broken}",
            hint="`bottleneck verify` says which of its shards are damaged: rescue the rows of "
            "such a file, or move it away and run extract --set again.",
        )
    broken = Path(broken)
    pattern = _pattern_of(Path(like), whole=True) if like else _pattern_of(broken, whole=False)
    path = prepare_output(output, kind="features", inputs=[broken, *([like] if like else [])])
    with system.writer_lock(path):
        begun = path.exists()
        if not begun:
            create(
                path,
                manifest=pattern.manifest,
                recipe=pattern.recipe,
                dims=pattern.dims,
                dtype=pattern.dtype,
            )
        target = FeatureStore.open(path)
        _require_alike(target, pattern)
        settle(path, target.layout)
        saved, failed = _copy_sound_rows(broken, target)
        if not saved and (like or not failed):
            if not begun:
                path.unlink()
                failures_path(path).unlink(missing_ok=True)
            raise StoreError(
                f"no sound row was found in {broken} where such a file has its rows",
                hint="With --like, is that a file of the same images, in the same order, "
                "made with the same options?",
            )
        pending = len(target) - int(np.count_nonzero(FeatureStore.open(path).status))
    return RescueResult(
        output=str(path), rows=len(target), saved=saved, failed=failed, pending=pending
    )


def _require_alike(target: FeatureStore, pattern: "_Pattern") -> None:
    """Refuse an existing output that is not what an earlier, killed rescue began."""
    manifest = pattern.manifest
    ours = (pattern.recipe.identity_sha256, manifest.sha256, manifest.targets.sha256)
    theirs = (target.identity_sha256, target.manifest_sha256, target.targets_sha256)
    if ours != theirs or (pattern.dims, pattern.dtype) != (target.outputs, target.dtype.name):
        raise StoreError(
            f"{target.path} exists and has other images or another recipe",
            hint="Give another output.",
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
        with open_hdf5(path) as file, damage_explained(path):
            attributes = read_attributes(file, path)
            # In the order in which they lie in the file: HDF5 lists them by name.
            places: dict[str, int] = json.loads(attributes[EXTENTS])
            names = sorted(file[FEATURES], key=lambda name: places[f"{FEATURES}/{name}"])
            shapes = {
                name: (file[FEATURES][name].shape[1], file[FEATURES][name].dtype.name)
                for name in names
            }
            recipe = Recipe.from_json(attributes["recipe"])
        manifest = read_manifest(path)
        stored = [attributes["identity_sha256"], attributes["manifest_sha256"]]
        stored.append(attributes.get(TARGETS_SHA256, ""))
        found = [recipe.identity_sha256, manifest.sha256, manifest.targets.sha256]
        if not shapes or stored != found:
            raise ValueError("its recipe or its list of images is not what it was")
    except (StoreError, LookupError, TypeError, ValueError) as error:
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


def _copy_sound_rows(broken: Path, target: FeatureStore) -> tuple[int, int]:
    """Copy what the target lacks; return how many finished and failed rows."""
    layout = target.layout
    saved = failed = 0
    widest = max(extent.row_bytes for extent in layout.features.values())
    block = max(1, _BLOCK_BYTES // widest)
    texts = _texts(broken)
    with _open(broken) as stream, Writer(target.path, layout) as writer:
        for start in range(0, len(target), block):
            stop = min(start + block, len(target))
            lacking = target.status[start:stop] == RowStatus.PENDING
            status, digests = (
                _read(stream, extent, start, stop) for extent in (layout.status, layout.digest)
            )
            sound = lacking & (status == RowStatus.DONE)
            known = (status > RowStatus.DONE) & (status <= max(RowStatus))
            features = {}
            for name, extent in layout.features.items():
                features[name] = values = _read(stream, extent, start, stop)
                stored = _read(stream, layout.crc32[name], start, stop)
                sound &= row_checksums(values) == stored
                known &= stored == 0  # as rows that failed have it
            rows = np.flatnonzero(sound)
            if len(rows):
                kept = {name: values[rows] for name, values in features.items()}
                writer.write(start + rows, kept, digests[rows])
                saved += len(rows)
            rows = np.flatnonzero(lacking & known)
            writer.fail(
                FailedRow(
                    start + i,
                    target.keys[start + i],
                    RowStatus(status[i]),
                    texts.get(start + i, "rescued"),
                    digests[i],
                )
                for i in rows.tolist()
            )
            failed += len(rows)
    return saved, failed


def _texts(broken: Path) -> dict[int, str]:
    """Read why rows failed, as far as the lines beside the broken file tell."""
    texts: dict[int, str] = {}
    with contextlib.suppress(OSError), failures_path(broken).open(encoding="utf-8") as stream:
        for line in stream:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                record = json.loads(line)
                texts[int(record["row"])] = str(record["message"])
    return texts


def _read(stream: BinaryIO, extent: Extent, start: int, stop: int) -> NDArray[Any]:
    """Read rows from wherever they should be; what cannot be read is zeros, row by row."""
    try:
        return extent.read(stream.fileno(), start, stop)
    except OSError:
        values = np.zeros((stop - start, *extent.row_shape), extent.dtype)
        for row in range(start, stop):
            with contextlib.suppress(OSError):
                values[row - start] = extent.read(stream.fileno(), row, row + 1)[0]
        return values


def _open(broken: Path) -> BinaryIO:
    try:
        return broken.open("rb")
    except OSError as error:
        raise StoreError(f"cannot read {broken}: {error.strerror}") from error
