"""Images that are objects of their own behind URLs."""

import posixpath
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bottleneck.errors import SourceError
from bottleneck.fingerprint import fingerprint_parts
from bottleneck.location import is_url
from bottleneck.manifest import Manifest, natural_sort
from bottleneck.sources.base import Listing, SeveralSources, Source, left_out
from bottleneck.sources.folder import (
    FileSource,
    NoImagesError,
    absolute,
    label_by_folder,
    read_file,
)
from bottleneck.sources.layout import AS_FOUND, Choice, common_folder, find_layout
from bottleneck.sources.remote import describe, fetch, filesystem, find, stamp_of
from bottleneck.sources.rules import (
    BEGINNING,
    IMAGES,
    ItemRules,
    is_hidden,
    refuse_beginnings,
    refuse_others,
)

_ASKED_AT_ONCE = 16


class UrlSource:
    """Images whose keys are URLs, or paths relative to one.

    Parameters
    ----------
    name : str
        What was given.
    base : str
        The URL or folder that keys are relative to.
    manifest : Manifest
        The images.
    listed : tuple of (str, bool), optional
        The folder or pattern that lists them, and whether it is a pattern: a stamp is then one
        listing and not a question for each image.
    listing : Listing, optional
        What was left out.
    """

    def __init__(
        self,
        name: str,
        base: str,
        manifest: Manifest,
        listed: tuple[str, bool] | None = None,
        listing: Listing | None = None,
    ) -> None:
        self.name = name
        self.listing = listing or Listing()
        self.base = base
        self.manifest = manifest
        self._listed = listed

    def __len__(self) -> int:
        return len(self.manifest)

    def __repr__(self) -> str:
        return f"<UrlSource {self.name} {len(self)} images>"

    def location(self, row: int) -> str:
        """Return the URL or path of a row's image."""
        key = self.manifest.keys[row]
        return key if is_url(key) else posixpath.join(self.base, key)

    def read(self, row: int) -> bytes:
        """Return an image's bytes.

        Raises
        ------
        ImageError
            There is no such object (``MISSING``), or it cannot be had (``UNREADABLE``), also
            after several tries.
        """
        location = self.location(row)
        return fetch(location) if is_url(location) else read_file(Path(location))

    def stamp(self) -> str:
        """Return a fingerprint of the manifest and what the server tells of each object."""
        return fingerprint_parts(self._stamp_parts())

    def _stamp_parts(self) -> Iterator[bytes]:
        yield (self.manifest.sha256 + self.manifest.targets.sha256).encode()
        if self._listed:
            facts = find(*self._listed)
            yield from (f"{name} {stamp_of(facts[name])}".encode() for name in sorted(facts))
            return
        with ThreadPoolExecutor(_ASKED_AT_ONCE) as executor:
            yield from executor.map(self._stamp_of, range(len(self)))

    def _stamp_of(self, row: int) -> bytes:
        location = self.location(row)
        try:
            if is_url(location):
                return stamp_of(describe(location)).encode()
            facts = Path(location).stat()
        except SourceError as error:
            return error.message.encode()
        except OSError as error:
            return str(error.errno).encode()
        return b"%d %d" % (facts.st_size, facts.st_mtime_ns)


def located(
    name: str,
    base: str,
    manifest: Manifest,
    listing: Listing | None = None,
    *,
    rules: ItemRules | None = None,
) -> Source:
    """Make the source of a table of paths: files, or objects as soon as there is a URL.

    Raises
    ------
    OtherItemsError
        Where ``rules`` are given and all are items of another kind: by their names, or by the
        first bytes of some of them where names tell nothing.
    """
    if rules is not None and not any(map(rules.is_name, manifest.keys)):
        refuse_others(rules, name, manifest.keys)
        if len(manifest) and not is_url(base):
            few = {0: None, len(manifest) // 2: None, len(manifest) - 1: None}
            refuse_beginnings(rules, name, [_beginning(base, manifest.keys[i]) for i in few])
    if is_url(base) or any(is_url(key) for key in manifest.keys):
        return UrlSource(name, base, manifest, listing=listing)
    return FileSource(name, Path(base), manifest, listing)


def _beginning(base: str, key: str) -> bytes:
    try:
        with (Path(base) / key).open("rb") as stream:
            return stream.read(BEGINNING)
    except (OSError, ValueError):  # its row will say so
        return b""


def single_files(paths: Sequence[str], choice: Choice = AS_FOUND) -> Source:
    """Make a source of images named one by one; each key is the path or URL as given.

    Folders behind what their paths have in common name classes and splits, as they do in the
    folder that holds them.
    """
    keys = [path if is_url(path) else Path(path).as_posix() for path in paths]
    whole = [key if is_url(key) else absolute(key) for key in keys]
    folder = common_folder([posixpath.dirname(path) for path in whole])
    if any(map(is_url, keys)) and folder.count("/") < 2:  # different servers have no folder
        labels = labels_in_paths(keys, "the files", choice) if choice.from_path else None
        return located("files", "", Manifest.build(keys, labels))
    inside = [path[len(folder) :].lstrip("/") for path in whole]
    return located("files", "", label_by_folder(inside, "the files", folder, choice, keys))


def labels_in_paths(paths: Sequence[str], name: str, choice: Choice) -> Iterator[str | None]:
    """Yield the classes that paths or URLs name, as in the folder that holds them all.

    Paths relative to a table are read as they are.
    """
    inside = paths
    if any(is_url(path) or posixpath.isabs(path) for path in paths):
        whole = [path if is_url(path) else absolute(path) for path in paths]
        folder = common_folder([posixpath.dirname(path) for path in whole])
        if folder.count("/") < 2 and any(map(is_url, paths)):  # of different servers
            inside = [path.partition("://")[2].partition("/")[2] for path in whole]
        else:
            inside = [path[len(folder) :].lstrip("/") for path in whole]
    return map(find_layout(inside, name, choice).label, inside)


def list_images(
    url: str, rules: ItemRules = IMAGES, pattern: bool = False
) -> tuple[list[str], Listing]:
    """List the images below a URL, or those that match a pattern, as folders are listed.

    Returns
    -------
    keys : list of str
        Relative to the URL, or to the fixed part of the pattern.
    listing : Listing
        What was left out.

    Raises
    ------
    SourceError
        When the server cannot be reached.
    NoImagesError
        When there is no image.
    """
    names = _list_names(url, pattern)
    keys = [key for key in names if rules.is_key(key)]
    if not keys:
        raise NoImagesError(
            f"expected {rules.name}s at {url}, found none",
            hint=rules.hint,
        )
    natural_sort(keys)
    return keys, left_out(key for key in names if not rules.is_key(key))


def open_url_pattern(url: str, choice: Choice = AS_FOUND) -> UrlSource:
    """List the images that match a pattern with a URL; raises what :func:`list_images` does."""
    keys, listing = list_images(url, choice.rules, pattern=True)
    base = fixed_part(url)
    return UrlSource(base, base, label_by_folder(keys, url, base, choice), (url, True), listing)


def list_keys(url: str, pattern: bool = False) -> list[str]:
    """Return all objects below a URL or matching a pattern, relative to its fixed part.

    Hidden ones are left out.
    """
    return [key for key in _list_names(url, pattern) if not is_hidden(key)]


def _list_names(url: str, pattern: bool) -> list[str]:
    base = fixed_part(url) if pattern else url.rstrip("/")
    root = filesystem(base)[1].rstrip("/")
    return [name.removeprefix(root).lstrip("/") for name in find(url, pattern)]


def fixed_part(pattern: str) -> str:
    """Return the folders of a pattern before its first wildcard."""
    folders = []
    for part in pattern.split("/")[:-1]:
        if any(letter in part for letter in "*?["):
            break
        folders.append(part)
    return "/".join(folders)


def locate(source: Source) -> Callable[[int], str | None]:
    """Return what names a row's image so that it opens from everywhere.

    A path that begins at the root, or a URL; None for an image inside of a file.
    """
    if isinstance(source, FileSource):
        return lambda row: str(source.path(row).absolute())
    if isinstance(source, UrlSource):

        def location(row: int) -> str:
            found = source.location(row)
            return found if is_url(found) else str(Path(found).absolute())

        return location
    if isinstance(source, SeveralSources):
        parts = [(one, locate(one)) for one in source.sources]

        def of_part(row: int) -> str | None:
            for one, name in parts:
                if row < len(one):
                    return name(row)
                row -= len(one)
            raise IndexError(row)

        return of_part
    return lambda row: None
