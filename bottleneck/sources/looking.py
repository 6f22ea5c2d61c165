"""What lies in a folder, in folders given one by one, or in a file whose name does not tell."""

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bottleneck.errors import SourceError
from bottleneck.location import is_url
from bottleneck.manifest import natural_sort, split_code
from bottleneck.sources.base import Listing, Source, join, left_out
from bottleneck.sources.folder import (
    FileSource,
    NoImagesError,
    absolute,
    label_by_folder,
    list_folder,
)
from bottleneck.sources.kinds import by_kind, kinds
from bottleneck.sources.layout import AS_FOUND, Choice, common_folder
from bottleneck.sources.rules import (
    IMAGES,
    RULES,
    WHAT_TO_DO,
    ItemRules,
    OtherItemsError,
    is_hidden_name,
    refuse_others,
    suffix,
)
from bottleneck.sources.urls import UrlSource, list_images, list_keys, located


@dataclass(frozen=True)
class GivenFolder:
    """A folder of images as it was given.

    Parameters
    ----------
    path : str
        Its path or URL, as given.
    keys : sequence of str
        Its images, relative to it.
    listing : Listing
        What was left out of it.
    """

    path: str
    keys: Sequence[str]
    listing: Listing


def together(folders: Sequence[GivenFolder], choice: Choice = AS_FOUND) -> list[Source]:
    """Return folders as one source where their names say something of the images in them.

    So they do where they are splits (``d/train d/test``) or folders in splits
    (``d/train/cat d/test/cat``), and where folders beside one another hold images themselves, with
    no class folder between (``photos/cat photos/dog``). Then keys, labels and splits are those of
    the folder that holds them. Otherwise each is a source of its own.
    """
    if len(folders) > 1:
        paths = [f.path.rstrip("/") if is_url(f.path) else absolute(f.path) for f in folders]
        holder = common_folder([posixpath.dirname(path) for path in paths])
        names = [path[len(holder) :].lstrip("/") for path in paths]
        if len(set(names)) == len(names) and (
            all(split_code(name.partition("/")[0]) for name in names)
            or all(
                "/" not in name and _is_flat(folder)
                for name, folder in zip(names, folders, strict=True)
            )
        ):
            keys = [f"{name}/{key}" for name, key in _keys(names, folders)]
            manifest = label_by_folder(keys, holder, holder, choice)
            listing = join(folder.listing for folder in folders)
            return [located(holder, holder, manifest, listing)]
    return [_alone(folder, choice) for folder in folders]


def _alone(folder: GivenFolder, choice: Choice) -> Source:
    path, listing = folder.path, folder.listing
    base = path.rstrip("/") if is_url(path) else path
    manifest = label_by_folder(folder.keys, path, base, choice)
    if is_url(path):
        return UrlSource(path, base, manifest, (path, False), listing)
    return FileSource(path, Path(path), manifest, listing)


def _keys(names: Sequence[str], folders: Sequence[GivenFolder]) -> Iterator[tuple[str, str]]:
    for name, folder in zip(names, folders, strict=True):
        for key in folder.keys:
            yield name, key


def _is_flat(folder: GivenFolder) -> bool:
    return any("/" not in key for key in folder.keys)


_SHARD = re.compile(r".*-\d{5}-of-\d{5}(\.\w+)?", re.IGNORECASE)
_CONTENTS = {
    b"\x89HDF\r\n\x1a\n": ("HDF5", ".h5"),
    b"PK\3\4": ("a zip", ".zip"),
    b"PAR1": ("Parquet", ".parquet"),
    b"\x93NUMPY": ("an array of NumPy", ".npy"),
}


def look_into(
    folder: str, rules: ItemRules = IMAGES
) -> GivenFolder | tuple[str, list[str], Listing]:
    """List the images of a folder or below a URL, or else the containers of one kind in it.

    Returns
    -------
    GivenFolder or (str, list of str, Listing)
        The images; or the kind of the containers, where they are, and what else is there.

    Raises
    ------
    NoImagesError
        When there is neither.
    SourceError
        When it cannot be listed, or holds several things and there is no telling which is meant.
    """
    base = folder.rstrip("/") if is_url(folder) else folder

    def containers() -> dict[str, list[str]]:
        return by_kind(_list_sources(folder)[0])

    try:
        listed = list_images(folder, rules) if is_url(folder) else list_folder(folder, rules)
        keys, listing = listed
    except NoImagesError as error:
        found, others = _list_sources(folder)
        if not any(kinds()[kind].in_folder for kind in by_kind(found)):
            refuse_others(rules, folder, _list_all(folder))
        kind, names = _one_kind(folder, by_kind(found), error)
        others = join([others, left_out(set(found).difference(names))])
        return kind, [posixpath.join(base, name) for name in names], others
    if ".parquet" in listing.endings:
        _refuse_mixed(folder, keys, containers)
    return GivenFolder(folder, keys, listing)


def _list_sources(folder: str) -> tuple[list[str], Listing]:
    """Return the names of all tables and containers in natural order, and what else there is."""
    if is_url(folder):
        names = list_keys(folder)
        found = [name for name in names if _is_source(posixpath.basename(name))]
        listing = left_out(set(names).difference(found))
    else:
        found, listing = list_folder(folder, wanted=_is_source)
    natural_sort(found)
    return found, listing


def _list_all(folder: str) -> list[str]:
    """Return the names of all items of any kind."""
    if is_url(folder):
        return list_keys(folder)
    return list_folder(
        folder, wanted=lambda name: any(rules.is_name(name) for rules in RULES.values())
    )[0]


def _is_source(name: str) -> bool:
    return not is_hidden_name(name) and bool(by_kind([name]))


def _one_kind(
    folder: str, found: Mapping[str, Sequence[str]], none: NoImagesError
) -> tuple[str, Sequence[str]]:
    sources = {kind: names for kind, names in found.items() if kinds()[kind].in_folder}
    if len(sources) > 1:
        told = ", ".join(f"{len(names)} {kind}" for kind, names in sources.items())
        first = next(iter(sources.values()))[0]
        raise SourceError(
            f"expected images in {folder}, or containers of one kind, got {told}",
            hint=f"Give those of one kind: {_pattern(folder, first)!r}",
        )
    if not sources:
        raise _explained(folder, found, none)
    (kind, names), = sources.items()  # fmt: skip
    _refuse_repeated(folder, names)
    return kind, names


def _refuse_repeated(folder: str, names: Sequence[str]) -> None:
    """Refuse shards of one name in several folders that are no splits: sets of their own."""
    folders: dict[str, set[str]] = {}
    for name in names:
        if _SHARD.fullmatch(name):
            folders.setdefault(posixpath.basename(name), set()).add(posixpath.dirname(name))
    for places in folders.values():
        sets = sorted(p for p in places if not any(split_code(part) for part in p.split("/")))
        if len(sets) > 1:
            raise SourceError(
                f"{folder} holds several data sets: {', '.join(sets)}",
                hint=f"Give one of them: {posixpath.join(folder, sets[0])}",
            )


def _refuse_mixed(
    folder: str, keys: Sequence[str], containers: Callable[[], dict[str, list[str]]]
) -> None:
    """Refuse images beside shards of a data set: the few may be its pictures for the readme."""
    shards = [name for name in containers().get("Parquet", ()) if _SHARD.fullmatch(name)]
    if shards:
        raise SourceError(
            f"{folder} holds {len(keys)} images, as {keys[0]}, and {len(shards)} Parquet shards, "
            f"as {shards[0]}",
            hint=f"Say which: {_pattern(folder, shards[0])!r} or {_pattern(folder, keys[0])!r}",
        )


def _pattern(folder: str, name: str) -> str:
    """Return a pattern for what is like one of the names in a folder."""
    place = posixpath.join(folder, posixpath.dirname(name))
    return posixpath.join(place, f"*{suffix(name)}")


def _explained(
    folder: str, found: Mapping[str, Sequence[str]], none: NoImagesError
) -> NoImagesError:
    """Add to an empty folder's error what lies in it."""
    others = [name for names in found.values() for name in names]
    hint = none.hint
    if others:
        itself = f"Give the file itself: {posixpath.join(folder, others[0])}"
        hint = f"{itself}. {hint}" if hint else itself
    told = "; ".join(none.listing.lines()) if none.listing else ""
    return NoImagesError(f"{none.message}{f' ({told})' if told else ''}", hint=hint)


def refuse_unknown(path: str, *, present: bool, rules: ItemRules = IMAGES) -> None:
    """Refuse a file whose name is not that of a source, unless it begins like one of the items.

    Raises
    ------
    SourceError
        Saying what it is, as far as its name or its first bytes tell, and what to do.
    """
    start = b""
    if present:
        try:
            if not Path(path).is_file():
                return  # a pipe or the like: reading its row says so
            with Path(path).open("rb") as stream:
                start = stream.read(64)
        except OSError:
            return
        if rules.begins(start):
            return
    for other in RULES.values():
        if other is not rules and (other.is_name(posixpath.basename(path)) or other.begins(start)):
            raise OtherItemsError(rules.name, other.name, "the files", [path])
    name, ending = posixpath.basename(path), suffix(path.partition("?")[0]).lstrip(".")
    inside = next((is_ for magic, is_ in _CONTENTS.items() if start.startswith(magic)), None)
    todo = WHAT_TO_DO.get(ending)
    if not present and todo is None:
        return
    what = f"a file that ends in .{ending}" if ending else "a file without an ending"
    if inside and ending != "mat":
        what += f", {inside[0]} inside"
        todo = todo if ending in WHAT_TO_DO else f"If it holds images, call it {name}{inside[1]}."
    raise SourceError(
        f"expected {rules.name}s, got {path}: {what}",
        hint=(todo or rules.hint).format(name=name),
    )
