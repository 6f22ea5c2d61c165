"""Backbones of one's own, and of a team: a name for a file and what is said of it, in a TOML.

``backbones.toml`` is in the user's folder (``~/.config/bottleneck``), and in the folder that
``BOTTLENECK_CATALOGUE`` or ``bottleneck --catalogue`` names, where files are kept relative to it.
A recipe never holds such a name: it says what the file is, by content.
"""

import hashlib
import json
import os
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from bottleneck.errors import BackboneError, OptionError
from bottleneck.location import expanded, home
from bottleneck.weights.reading import RELEASES
from bottleneck.writing import write_text

FILE: Final = "backbones.toml"
CATALOGUE: Final = "BOTTLENECK_CATALOGUE"
WEIGHTS: Final = "BOTTLENECK_WEIGHTS_DIR"
"""Names of the environment: the folder of a team's catalogue; folders of weights."""

_FIELDS: Final = {
    "backbone": str,
    "weights": str,
    "preprocess": str,
    "layers": list,
    "size": list,
    "sha256": str,
    "dim": int,
    "params": int,
}


@dataclass(frozen=True)
class OwnBackbone:
    """An entry.

    Parameters
    ----------
    name : str
        What ``-b`` takes.
    backbone : str
        What it stands for: ``onnx:/models/x.onnx``, ``resnet50``.
    weights, preprocess : str, optional
        As the options of ``extract``.
    layers : tuple of str
        What is taken when no layer is named.
    size : int or (int, int), optional
        Height and width of its input, pixels.
    sha256 : str
        Fingerprint of the weights when it was added.
    dim, params : int
        Length of its features, number of its parameters.
    place : Path or None
        The catalogue it is in.
    """

    name: str
    backbone: str
    weights: str | None = None
    preprocess: str | None = None
    layers: tuple[str, ...] = ()
    size: int | tuple[int, int] | None = None
    sha256: str = ""
    dim: int = 0
    params: int = 0
    place: Path | None = None


def users_file() -> Path:
    """Return the user's own catalogue, which need not exist."""
    folder = os.environ.get("XDG_CONFIG_HOME") or home() / ".config"
    return expanded(folder) / "bottleneck" / FILE


def teams_file() -> Path | None:
    """Return the catalogue of the folder that the environment names."""
    folder = os.environ.get(CATALOGUE)
    return expanded(folder) / FILE if folder else None


def entries() -> tuple[OwnBackbone, ...]:
    """Return all entries, the user's first; of one name the user's counts.

    Raises
    ------
    OptionError
        For a file that is no such catalogue.
    """
    files = [file for file in (users_file(), teams_file()) if file is not None]
    found: dict[str, OwnBackbone] = {}
    for file in files:
        for entry in _read(file):
            found.setdefault(entry.name, entry)
    return tuple(found.values())


def find_own(name: str) -> OwnBackbone | None:
    """Return the entry of a name, if there is one."""
    return next((entry for entry in entries() if entry.name == name), None)


def keep(entry: OwnBackbone, file: Path, *, overwrite: bool) -> OwnBackbone:
    """Write an entry into a catalogue; files in the catalogue's folder are named relative to it.

    Raises
    ------
    OptionError
        For a name that is there already, unless it is to be replaced, and for a file that cannot
        be written.
    """
    others = [one for one in _read(file) if one.name != entry.name]
    if len(others) < len(_read(file)) and not overwrite:
        raise OptionError(
            f"{file}: expected a name that is not in it yet, got {entry.name!r}",
            hint="--overwrite replaces it.",
        )
    kept = replace(entry, place=file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(
            f"cannot make the folder {file.parent}: {error.strerror}",
            hint="HOME or XDG_CONFIG_HOME names another place; --shared is for a team's.",
        ) from error
    write_text(file, _text([*others, kept], file.parent.resolve()))
    return kept


def drop(name: str) -> OwnBackbone:
    """Remove an entry from the catalogue it is in; its files stay.

    Raises
    ------
    BackboneError
        When there is none.
    """
    entry = find_own(name)
    if entry is None or entry.place is None:
        known = ", ".join(one.name for one in entries())
        raise BackboneError(
            f"expected a backbone of your own, got {name!r}",
            hint=f"There are {known}." if known else "None was added.",
        )
    left = [one for one in _read(entry.place) if one.name != name]
    write_text(entry.place, _text(left, entry.place.parent.resolve()))
    return entry


def _read(file: Path) -> list[OwnBackbone]:
    if not file.is_file():
        return []
    try:
        given = tomllib.loads(file.read_text(encoding="utf-8")).get("backbones", {})
        return [_entry(file, name, dict(said)) for name, said in given.items()]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise OptionError(
            f"{file}: expected a catalogue of backbones, got {error}",
            hint="`bottleneck backbones add NAME FILE` writes one.",
        ) from error


def _entry(file: Path, name: str, said: dict[str, Any]) -> OwnBackbone:
    for key, value in said.items():
        if not isinstance(value, _FIELDS.get(key, ())):
            raise ValueError(f"{key} = {value!r} of {name!r}")
    if "backbone" not in said:
        raise ValueError(f"{name!r} without a backbone")
    folder = file.parent.resolve()
    prefix, colon, path = said["backbone"].partition(":")
    if colon:
        said["backbone"] = f"{prefix}:{_absolute(path, folder)}"
    if "weights" in said:
        said["weights"] = _absolute(said["weights"], folder)
    size = said.pop("size", None)
    if size is not None:
        height, width = (int(side) for side in size)
        said["size"] = height if height == width else (height, width)
    layers = tuple(map(str, said.pop("layers", ())))
    return OwnBackbone(name, layers=layers, place=file, **said)


def _absolute(path: str, folder: Path) -> str:
    """Return a path of the catalogue's folder in full; what is no file there stays a word."""
    file = path.partition("#")[0]
    return str(folder / path) if file and (folder / file).exists() else path


def _relative(path: str, folder: Path) -> str:
    file = Path(path)
    return str(file.relative_to(folder)) if file.is_relative_to(folder) else path


def _text(entries: Iterable[OwnBackbone], folder: Path) -> str:
    lines = ["# Backbones by names of your own: `bottleneck backbones add NAME FILE`."]
    for entry in sorted(entries, key=lambda one: one.name):
        prefix, colon, path = entry.backbone.partition(":")
        backbone = f"{prefix}:{_relative(path, folder)}" if colon else entry.backbone
        size = (entry.size,) * 2 if isinstance(entry.size, int) else entry.size
        said = {
            "backbone": backbone,
            "weights": _relative(entry.weights, folder) if entry.weights else None,
            "preprocess": entry.preprocess,
            "layers": list(entry.layers) or None,
            "size": None if size is None else list(size),
            "sha256": entry.sha256 or None,
            "dim": entry.dim or None,
            "params": entry.params or None,
        }
        lines += ["", f"[backbones.{json.dumps(entry.name)}]"]
        # What JSON writes of texts, numbers and lists of them is TOML.
        lines += [
            f"{key} = {json.dumps(value)}" for key, value in said.items() if value is not None
        ]
    return "\n".join(lines) + "\n"


def weights_folders() -> list[Path]:
    """Return the folders of weights that the environment names."""
    named = os.environ.get(WEIGHTS, "").split(os.pathsep)
    return [expanded(folder) for folder in named if folder]


def released(backbone: str) -> Path | None:
    """Find a known release of a backbone's weights in those folders, whatever the file is called.

    Files are told by the MD5 of their content; only HDF5 is looked at, as all releases are.
    """
    for folder in weights_folders():
        for path in sorted(folder.rglob("*")):
            if path.is_file() and _starts_hdf5(path):
                about = path.stat()
                release = RELEASES.get(_md5(path, about.st_size, about.st_mtime_ns))
                if release is not None and release.backbone == backbone:
                    return path
    return None


def _starts_hdf5(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(8) == b"\x89HDF\r\n\x1a\n"
    except OSError:
        return False


@cache
def _md5(path: Path, size: int, changed: int) -> str:  # part of the key
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
