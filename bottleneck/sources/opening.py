"""From what people type to a source that is listed once."""

import errno
import fnmatch
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from bottleneck.errors import ManifestError, OptionError, SourceError
from bottleneck.location import expand_braces, has_wildcard, is_url, split_part
from bottleneck.manifest import UNLABELLED, natural_key, natural_sort
from bottleneck.sources.base import Listing, SeveralSources, Source, join, left_out
from bottleneck.sources.folder import FileSource, label_by_folder, leads_inside
from bottleneck.sources.kinds import CONTAINERS, Kind, by_kind, kind_of, kinds
from bottleneck.sources.layout import AS_FOUND, Choice, common_folder
from bottleneck.sources.looking import GivenFolder, look_into, refuse_unknown, together
from bottleneck.sources.rules import OtherItemsError, is_hidden_name, refuse_others
from bottleneck.sources.shards import Request
from bottleneck.sources.urls import fixed_part, list_keys, located, open_url_pattern, single_files


def match(pattern: str) -> tuple[list[str], list[str]]:
    """Return the files and the folders that a pattern matches, each in natural order.

    ``*``, ``?`` and ``[...]`` stand for a part of a name, ``**`` for folders of any depth. What is
    hidden is matched only by name. Below a ``**``, folders are followed through symbolic links,
    each once, as in :func:`bottleneck.sources.folder.list_folder`: a link that leads back gives
    nothing a second time.

    Raises
    ------
    SourceError
        When a folder cannot be listed.
    """
    files: dict[str, None] = {}
    folders: dict[str, None] = {}
    for path, is_folder in _match("", [part for part in re.split("(/+)", pattern) if part]):
        (folders if is_folder else files).setdefault(path)
    return list(files), list(folders)


def _match(base: str, parts: list[str]) -> Iterator[tuple[str, bool]]:
    """Yield matches of the rest of a pattern below ``base``, which ends with its slashes."""
    if not parts:
        yield base, True
        return
    part, rest = parts[0], parts[1:]
    if not has_wildcard(part):
        path = base + part
        if rest or part.endswith("/"):
            if part.endswith("/") or os.path.isdir(path):  # noqa: PTH112
                yield from _match(path, rest)
        elif os.path.lexists(path):
            yield path, os.path.isdir(path)  # noqa: PTH112
        return
    if part == "**":
        below = rest[1:] or ["*"]  # without the slash
        for folder in _folders_below(base, set()):
            yield from ((p, d) for p, d in _match(folder, below) if rest or not d)
        return
    fits = re.compile(fnmatch.translate(part)).fullmatch
    for name, is_folder in _entries(base):
        if fits(name) and (part.startswith(".") or not is_hidden_name(name)):
            if not rest:
                yield base + name, is_folder
            elif is_folder:
                yield from _match(base + name, rest)


def _folders_below(base: str, visited: set[tuple[int, int]]) -> Iterator[str]:
    """Yield a folder and all below it, with a slash behind each, depth first."""
    stack = [base]
    top = os.path.realpath(base or ".")
    while stack:
        folder = stack.pop()
        try:
            facts = os.stat(folder or ".")  # noqa: PTH116
        except OSError:
            continue
        if (facts.st_dev, facts.st_ino) in visited:
            continue
        visited.add((facts.st_dev, facts.st_ino))
        yield folder
        names = [name for name, is_folder in _entries(folder) if is_folder]
        for name in reversed(names):
            path = f"{folder}{name}"
            again = os.path.islink(path) and leads_inside(path, top)  # noqa: PTH114
            if not again and not is_hidden_name(name):
                stack.append(f"{path}/")


def _entries(folder: str) -> list[tuple[str, bool]]:
    """Return names in a folder and whether each is a folder itself, in natural order."""
    try:
        with os.scandir(folder or ".") as entries:
            found = [(entry.name, entry.is_dir()) for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise SourceError(
            f"cannot list the folder {folder}: {error.strerror}",
            hint="Make it readable; a folder skipped in silence would lose rows.",
        ) from error
    return sorted(sorted(found), key=lambda item: natural_key(item[0]))


_HINT = (
    "A source is a folder, a table (.csv, .jsonl, .parquet), images, a pattern "
    f"('photos/**/*.jpg'), or files of the kinds {', '.join(CONTAINERS)}: here or behind a URL."
)


@dataclass
class _Given:
    """Containers of one kind that were given, perhaps in several pieces."""

    kind: Kind
    part: str
    texts: list[str] = field(default_factory=list)
    locations: list[str] = field(default_factory=list)
    listing: Listing = field(default_factory=Listing)
    """What lies beside them."""


_Key = tuple[tuple[str, ...], tuple[str, ...], Choice]

_opened: ContextVar[dict[_Key, Source] | None] = ContextVar("opened", default=None)


def open_source(
    given: Sequence[str], targets: Sequence[str] = (), choice: Choice = AS_FOUND
) -> Source:
    """List the images of one or several sources.

    Parameters
    ----------
    given : sequence of str
        Folders, tables (CSV, JSON lines, Parquet), image files, patterns (``photos/**/*.jpg``,
        ``shard-{000..009}.tar``), containers of images (tar, zip, HDF5, NPZ, NPY, IDX, Parquet,
        TFRecord), and URLs of all these. ``scans.h5::images,labels`` names arrays, columns or
        features of a container. The image files together make one source, and so do
        containers of one kind. With several sources, keys begin with the last part of their
        source's path (``files`` for the image files).
    targets : sequence of str
        Columns of tables to keep as targets; every source must be a table with them.
    choice : Choice
        Where paths and labels are to be looked for, in every one of the sources.

    Raises
    ------
    OptionError
        When targets or columns are wanted of what is no table, or a table has no such column;
        when folders are to name the class of images that lie in none.
    SourceError
        When something given does not exist, is of no known kind, or is damaged.
    ManifestError
        When it holds no image, or names one twice.
    RuntimeUnavailableError
        When a package is missing; names the extra that brings it.

    Notes
    -----
    Within :func:`listed_once` the same sources are listed at the first time only.
    """
    opened = _opened.get()
    if opened is None:
        return _list(given, targets, choice)[0]
    key = (tuple(given), tuple(targets), choice)
    if key not in opened:
        source, found = _list(given, targets, choice)
        # Who asks for just these items later means the same list.
        opened[key] = opened[(*key[:2], found)] = source
    return opened[key]


@contextmanager
def listed_once() -> Iterator[None]:
    """List every source at most once in here, so that all that is done is about one list."""
    token = _opened.set({})
    try:
        yield
    finally:
        _opened.reset(token)


def _list(given: Sequence[str], targets: Sequence[str], choice: Choice) -> tuple[Source, Choice]:
    """List the items that are asked for, or else those that are there, and say which they are."""
    try:
        source = _list_items(given, targets, choice)
        return source, replace(choice, item=choice.rules.name)
    except OtherItemsError as error:
        if choice.item is not None:
            raise
        found = replace(choice, item=error.item)
        return _list_items(given, targets, found), found


def _list_items(given: Sequence[str], targets: Sequence[str], choice: Choice) -> Source:
    asked = Request("", (), targets=tuple(targets), choice=choice)
    opened, files = _open_all(given, asked)
    folders = together([one for one in opened if isinstance(one, GivenFolder)], choice)
    sources: list[Source] = []
    for one in opened:
        if isinstance(one, _Given):
            sources.append(_open_containers(one, asked))
        elif not isinstance(one, GivenFolder):
            sources.append(one)
        elif folders:  # several as one stand where the first of them stood
            sources.append(folders.pop(0))
    if files:
        _refuse_columns("the files", asked)
        sources.append(single_files(files, choice))
    if choice.label_from == "none":
        for source in sources:
            unlabelled = np.full(len(source.manifest), UNLABELLED, np.int32)
            source.manifest = replace(source.manifest, labels=unlabelled, classes=())
    return sources[0] if len(sources) == 1 else SeveralSources(sources)


def _open_all(
    given: Sequence[str], asked: Request
) -> tuple[list[Source | GivenFolder | _Given], list[str]]:
    """Open what was given in order, containers of one kind put together; and name the images."""
    opened: list[Source | GivenFolder | _Given] = []
    files: list[str] = []
    waiting = [_without_scheme(text) for text in reversed(given)]
    while waiting:
        found = _open_one(waiting.pop(), asked)
        if isinstance(found, str):
            files.append(found)
        elif isinstance(found, list):  # folders or tables that a pattern stands for
            waiting += reversed(found)
        elif isinstance(found, _Given) and (same := _same_kind(opened, found)):
            same.texts += found.texts
            same.locations += found.locations
            same.listing = join([same.listing, found.listing])
        else:
            opened.append(found)
    return opened, files


_ARCHIVES = ("tar", "zip")
"""Each can be listed without the others, and the list is that of all together."""


def archives(given: Sequence[str], choice: Choice = AS_FOUND) -> tuple[Kind, list[str]] | None:
    """Return the archives that are given, in order, unopened; None if it is anything else."""
    for text in given:
        name = split_part(_without_scheme(text))[0]
        if kind_of(expand_braces(name)[0], choice.rules) not in (None, *_ARCHIVES):
            return None
    opened, files = _open_all(given, Request("", (), choice=choice))
    (only,) = opened if len(opened) == 1 else (None,)
    if files or not isinstance(only, _Given) or only.kind.name not in _ARCHIVES or only.part:
        return None
    return only.kind, only.locations


def _same_kind(opened: Sequence[object], found: _Given) -> _Given | None:
    return next(
        (
            one
            for one in opened
            if isinstance(one, _Given) and (one.kind, one.part) == (found.kind, found.part)
        ),
        None,
    )


def _open_one(text: str, asked: Request) -> Source | GivenFolder | _Given | str | list[str]:
    """Open a source; containers are only told, and an image is given back as it is.

    For a pattern that matches folders or tables only, they are given back, as a shell would.
    """
    if re.match(r"(s3|gs|gcs|https?|memory):/[^/]", text):
        raise SourceError(
            f"expected a URL with two slashes, got {text}",
            hint="Give URLs as texts: a Path takes the second slash away.",
        )
    try:
        present = not is_url(text) and Path(text).exists()
        is_folder = present and Path(text).is_dir()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:  # as a long list in braces is
            raise SourceError(f"cannot look at {text}: {error.strerror}") from error
        present = is_folder = False
    if is_folder:
        return _open_folder(text, asked)
    location, part = (text, "") if present else split_part(text)
    if not present:
        names = expand_braces(location)
        if len(names) > 1 or (has_wildcard(location) and not _is_there(location)):
            return _open_pattern(text, names, part, asked)
    rules = asked.choice.rules
    name = kind_of(location, rules)
    kind = kinds().get(name or "")
    if kind is not None:
        if kind.joined:
            return _Given(kind, part, [text], [location])
        _check_request(kind, part, text, asked)
        return kind.open(replace(asked, name=location, locations=[location], part=part))
    if name == "item" or present:
        if not is_url(location) and not present:
            raise SourceError(f"there is no file {location}", hint=_slashed(location))
        if name != "item":
            refuse_unknown(location, present=True, rules=rules)
        return location
    if is_url(location):
        refuse_unknown(location, present=False, rules=rules)
        return _open_folder(location, asked)
    raise SourceError(
        f"expected images, got {text}, which does not exist", hint=_slashed(text) or _HINT
    )


def _slashed(text: str) -> str | None:
    plain = text.replace("\\", "/")
    return f"Write / between folders: {plain}" if plain != text and Path(plain).exists() else None


def _without_scheme(text: str) -> str:
    return unquote(text.removeprefix("file://")) if text.startswith("file://") else text


def _is_there(location: str) -> bool:
    # A question mark in a URL begins a query more often than it stands for a letter.
    return is_url(location) and not any(letter in location for letter in "*[")


def _without_tables(containers: Mapping[str, list[str]]) -> Mapping[str, list[str]]:
    """Leave out tables beside shards: they say something of them, as in a folder."""
    if len(containers) < 2:
        return containers
    return {kind: names for kind, names in containers.items() if kinds()[kind].joined}


def _open_pattern(
    text: str, names: list[str], part: str, asked: Request
) -> Source | _Given | list[str]:
    folders: list[str] = []
    if is_url(text):
        if len(names) == 1 and kind_of(names[0], asked.choice.rules) == "item":
            _refuse_columns(text, asked)
            return open_url_pattern(names[0], asked.choice)
        found = [
            f"{fixed_part(name)}/{key}"
            for name in names if has_wildcard(name)
            for key in list_keys(name, pattern=True)
        ]  # fmt: skip
        found += [name for name in names if not has_wildcard(name)]
    else:
        found = []
        for name in names:
            if has_wildcard(name):
                inside, below = match(name)
                found += inside
                folders += below
            else:
                (folders if Path(name).is_dir() else found).append(name)
    if any(map(has_wildcard, names)):
        found = list(dict.fromkeys(found))
        natural_sort(found)
    images = [name for name in found if kind_of(name, asked.choice.rules) == "item"]
    if images:
        _refuse_columns(text, asked)
        reasons = {"folder beside the images": len(folders)} if "**" not in text and folders else {}
        others = left_out(set(found).difference(images))
        listing = Listing(others.endings, {**others.reasons, **reasons})
        return _open_images(images, list(map(fixed_part, names)), text, listing, asked.choice)
    containers = _without_tables(by_kind(found))
    if len(containers) == 1:
        (kind, of_kind), = containers.items()  # fmt: skip
        if not kinds()[kind].joined:
            return of_kind  # tables, each a source of its own
        beside = left_out(set(found).difference(of_kind))
        return _Given(kinds()[kind], part, [text], of_kind, beside)
    if folders and "**" not in text:
        return list(dict.fromkeys(folders))
    refuse_others(asked.choice.rules, text, found)
    if found:
        told = sorted({str(kind_of(name) or "unknown") for name in found})
        raise SourceError(
            f"expected {text} to match images or containers of one kind, got {', '.join(told)}",
            hint="Match one kind; several patterns may be given.",
        )
    raise ManifestError(
        f"nothing matches {text}",
        hint="** stands for folders of any depth, as in 'photos/**/*.jpg'; quote it, so that "
        "the shell leaves it alone.",
    )


def _open_images(
    images: list[str], folders: list[str], text: str, listing: Listing, choice: Choice
) -> Source:
    """Make a source of images that a pattern names; folders tell classes as in a folder."""
    base = common_folder(folders) if len(set(folders)) > 1 else folders[0]
    keys = [name.removeprefix(base).lstrip("/") if base else name for name in images]
    manifest = label_by_folder(keys, text, base, choice)
    if is_url(text):
        return located(text, base, manifest, listing)
    for name in images:
        if not Path(name).exists() and not Path(name).is_symlink():
            raise SourceError(f"there is no file {name}")
    return FileSource(base or "files", Path(base), manifest, listing)


def _open_folder(path: str, asked: Request) -> GivenFolder | _Given:
    """Open a folder of images, or else of containers of one kind."""
    found = look_into(path, asked.choice.rules)
    if isinstance(found, GivenFolder):
        _refuse_columns(path, asked)
        return found
    kind, inside, beside = found
    return _Given(kinds()[kind], "", [path], inside, beside)


def _open_containers(given: _Given, asked: Request) -> Source:
    name = given.texts[0] if len(given.texts) == 1 else f"{given.kind.name} files"
    if len(set(given.locations)) < len(given.locations):
        twice = next(one for one in given.locations if given.locations.count(one) > 1)
        raise ManifestError(f"{twice} is given twice", hint="Give every file once.")
    _check_request(given.kind, given.part, name, asked)
    request = replace(asked, name=name, locations=given.locations, part=given.part)
    source = given.kind.open(request)
    source.listing = join([source.listing, given.listing])
    return source


def _check_request(kind: Kind, part: str, name: str, asked: Request) -> None:
    """Refuse what a kind of source does not have: parts, columns, folders."""
    if asked.choice.rules.name not in kind.items:
        raise OtherItemsError(
            asked.choice.rules.name, kind.items[0], name, [f"{kind.name} files hold pixels"]
        )
    if part and not kind.parts:
        raise SourceError(
            f"expected nothing behind :: for {kind.name} files, got {part!r}",
            hint=f"Only {', '.join(k.name for k in kinds().values() if k.parts)} files have named "
            "parts.",
        )
    if not kind.table:
        _refuse_columns(name, asked)
    if asked.choice.from_path and not kind.folders:
        raise OptionError(
            f"{name} holds its images itself: they lie in no folders for {asked.choice.written}",
            hint="--label-from none leaves its labels away.",
        )


def _refuse_columns(name: str, asked: Request) -> None:
    """Refuse the wish for columns where there is no table."""
    wanted = {
        "--target": asked.targets,
        "--path-column": asked.choice.path_column,
        "--label-column": asked.choice.label_column,
    }
    for option, column in wanted.items():
        if column:
            what = "Targets are columns of" if option == "--target" else "Columns are those of"
            raise OptionError(
                f"expected a table for {option}, got {name}",
                hint=f"{what} CSV, JSON lines and Parquet tables.",
            )
