"""Features that other programs wrote, opened like our own."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ManifestError, StoreError
from bottleneck.manifest import Manifest
from bottleneck.recipe import Recipe
from bottleneck.sources.rules import label_of, name_of
from bottleneck.status import RowStatus
from bottleneck.store.contents import Contents
from bottleneck.store.foreign_files import (
    NOTED_OUTPUT,
    NOTED_RECIPE,
    ROLES,
    TABLES,
    Found,
    read_file,
)
from bottleneck.store.format import DIGEST_BYTES
from bottleneck.targets import MISSING, OWN_COLUMNS, collect

OUTPUT = "features"
"""Name of the one output that another program's file has."""

_SUFFIXES = (".npy", ".npz", ".parquet", *TABLES)

_OURS = ("format", "format_version")


def is_foreign(path: Path) -> bool:
    """Whether a path is told to be another program's features by its kind alone.

    An HDF5 file is, where features lie under a usual name and nothing in it is of our format: a
    damaged file of ours must not pass for one.
    """
    if path.suffix.lower() in _SUFFIXES or (path / "img_emb").is_dir():
        return True
    try:
        if not path.is_file() or not h5py.is_hdf5(path):
            return False
        with h5py.File(path, "r") as file:
            usual = [file[name] for name in file if name.lower() in ROLES["features"]]
            ours = any(name in file.attrs for name in _OURS) or "manifest" in file
            return not ours and any(
                isinstance(one, h5py.Dataset) and one.ndim == 2 and one.dtype.kind == "f"
                for one in usual
            )
    except (OSError, RuntimeError, KeyError):  # damaged: whoever opens it says how
        return False


def open_foreign(
    path: Path, *, identity: Mapping[str, Any] | None, **asked: str | None
) -> Contents:
    """Open another program's features; see :meth:`bottleneck.store.FeatureStore.open`.

    Raises
    ------
    StoreError
        When something named is not there, or does not fit.
    """
    found = read_file(path, {role: name for role, name in asked.items() if name is not None})
    array, columns = found.features, found.columns
    if len(array.shape) != 2 or array.dtype.kind != "f":
        raise StoreError(
            f"{path}: expected features of shape (rows, length) and a float type, "
            f"got {array.dtype} {array.shape}"
        )
    rows = len(array)
    for name, column in columns.items():
        if len(column) != rows:
            raise StoreError(f"{path}: {rows} rows of features, but {len(column)} {name}")
    manifest = _manifest(path, rows, columns)
    recipe, output = _recipe(found, identity)
    return Contents(
        path=path,
        creator="another program",
        recipe=recipe,
        identity_sha256=recipe.identity_sha256,
        manifest_sha256=manifest.sha256,
        features={output: array},
        read_status=lambda: np.full(rows, RowStatus.DONE, np.uint8),
        read_manifest=lambda: manifest,
        read_digests=lambda: np.zeros((rows, DIGEST_BYTES), np.uint8),
        read_checksums=lambda _: np.zeros(rows, np.uint32),
        layout=None,
        why_read_only="it was written by another program",
        foreign=True,
        targets_sha256=manifest.targets.sha256,
    )


def _manifest(path: Path, rows: int, columns: Mapping[str, Sequence[Any]]) -> Manifest:
    def names(role: str, rule: Any = name_of) -> list[str | None] | None:
        """Return what values say, as those of images do: null and NaN are none."""
        if role not in columns:
            return None
        singular = role.removesuffix("s")
        return [
            rule(value, f"{path}, {singular} of row {row}")
            for row, value in enumerate(columns[role])
        ]

    try:
        manifest = Manifest.build(
            _keys(columns["keys"]) if "keys" in columns else [str(row) for row in range(rows)],
            names("labels", label_of),
            [split or "" for split in names("splits") or []] if "splits" in columns else None,
            names("groups"),
        )
    except ManifestError as error:
        raise StoreError(f"{path}: {error.message}", hint=error.hint) from error
    targets = {
        _target_name(name): values
        for name, column in columns.items()
        if name not in ROLES and (values := _numbers(column)) is not None
    }
    return replace(manifest, targets=collect(targets.items(), rows)) if targets else manifest


def _keys(values: Sequence[Any]) -> list[str]:
    row = next((row for row, value in enumerate(values) if value is None), None)
    if row is not None:
        raise ManifestError(
            f"expected a key in every row, row {row} has none",
            hint="Write a name into every row, or leave those rows and their features out.",
        )
    return [
        value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
        for value in values
    ]


def _target_name(column: str) -> str:
    """Undo what :func:`bottleneck.targets.column_names` does."""
    plain = column.removeprefix("target/")
    return plain if plain in OWN_COLUMNS else column


def _numbers(column: Sequence[Any]) -> NDArray[Any] | None:
    """Read a column as numbers to predict, or as flags; None where it is neither.

    Flags are what a type says (uint8, or true and false) and the texts 0 and 1; a value may be
    missing.
    """
    values: list[float] = []
    flagged = True
    for value in column:
        if value is None or value == "":
            values.append(math.nan)
            continue
        try:
            values.append(float(value))
        except (TypeError, ValueError):
            return None
        flag = isinstance(value, np.uint8 | np.bool_ | bool) or value in ("0", "1")
        flagged = flagged and flag and float(value) in (0, 1)
    numbers = np.array(values, np.float64)
    missing = np.isnan(numbers)
    if missing.all():
        return None
    return np.where(missing, MISSING, numbers).astype(np.uint8) if flagged else numbers


def _recipe(found: Found, identity: Mapping[str, Any] | None) -> tuple[Recipe, str]:
    """Return how the features were made, as far as it is known, and the name of the output."""
    told, output = (found.notes.get(name) for name in (NOTED_RECIPE, NOTED_OUTPUT))
    if told is not None and output is not None and identity is None:
        return Recipe.from_json(told.decode()), output.decode()
    array = found.features
    recipe = Recipe(
        identity={"backbone": "foreign", "dim": array.shape[1], **(identity or {})},
        execution={"precision": "unknown", "dtype": array.dtype.name},
    )
    return recipe, OUTPUT
