"""Files and folders on a disk that match a pattern, as a shell finds them."""

import fnmatch
import os
import re
from collections.abc import Iterator

from bottleneck.errors import SourceError
from bottleneck.location import has_wildcard
from bottleneck.manifest import natural_key
from bottleneck.sources.rules import is_hidden_name


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
        stack += [f"{folder}{name}/" for name in reversed(names) if not is_hidden_name(name)]


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
