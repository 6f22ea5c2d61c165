"""Images that are files on a disk, in folders: a class per folder, or flat."""

import os
import posixpath
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from bottleneck.errors import ImageError, ManifestError, SourceError
from bottleneck.exhaustion import raise_if_exhausted
from bottleneck.fingerprint import fingerprint_parts
from bottleneck.location import is_url
from bottleneck.manifest import SPLITS, Manifest, natural_key, natural_sort, split_code
from bottleneck.sources.base import Listing, Tally
from bottleneck.sources.layout import AS_FOUND, Choice, FolderLayout, find_layout
from bottleneck.sources.rules import IMAGES, ItemRules, is_hidden, is_hidden_name
from bottleneck.status import RowStatus


class FileSource:
    """Images in files: row ``i`` is ``base / manifest.keys[i]``.

    Parameters
    ----------
    name : str
        The path that was given.
    base : Path
        Folder that keys are relative to.
    manifest : Manifest
        The images.
    listing : Listing, optional
        What was left out.
    """

    def __init__(
        self, name: str, base: Path, manifest: Manifest, listing: Listing | None = None
    ) -> None:
        self.name = name
        self.listing = listing or Listing()
        self.base = base
        self.manifest = manifest

    def __len__(self) -> int:
        return len(self.manifest)

    def __repr__(self) -> str:
        return f"<FileSource {self.name} {len(self)} images>"

    def path(self, row: int) -> Path:
        """Return the path of a row's file."""
        return self.base / self.manifest.keys[row]

    def read(self, row: int) -> bytes:
        """Return the bytes of a row's file.

        Raises
        ------
        ImageError
            The file is gone (``MISSING``), or is no file or cannot be read (``UNREADABLE``).
        """
        return read_file(self.path(row))

    def stamp(self) -> str:
        """Return a fingerprint of the manifest and every file's size and time of change."""
        return fingerprint_parts(self._stamp_parts())

    def _stamp_parts(self) -> Iterator[bytes]:
        yield (self.manifest.sha256 + self.manifest.targets.sha256).encode()
        for key in self.manifest.keys:
            try:
                facts = os.stat(self.base / key)  # noqa: PTH116
            except OSError as error:
                yield str(error.errno).encode()
            else:
                yield b"%d %d" % (facts.st_size, facts.st_mtime_ns)


def read_file(path: Path) -> bytes:
    """Return the bytes of an image's file.

    Raises
    ------
    ImageError
        It is gone (``MISSING``), or is no file or cannot be read (``UNREADABLE``).
    """
    try:
        # Non-blocking, so that a pipe with an image's name cannot stop the run.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ImageError(RowStatus.UNREADABLE, "not a regular file")
            return stream.read()
    except FileNotFoundError as error:
        reason = "broken symbolic link" if path.is_symlink() else "no such file"
        raise ImageError(RowStatus.MISSING, reason) from error
    except (OSError, ValueError) as error:
        raise_if_exhausted(error)
        text = error.strerror if isinstance(error, OSError) else None
        raise ImageError(RowStatus.UNREADABLE, text or str(error)) from error


class NoImagesError(ManifestError):
    """There is no image in a folder, so that something else may be meant."""

    listing: Listing | None = None
    """What there is instead."""


def list_folder(
    path: str, rules: ItemRules = IMAGES, wanted: Callable[[str], bool] | None = None
) -> tuple[list[str], Listing]:
    """List a folder's images, with paths relative to it, and what is left out.

    Hidden files, and files that do not end like an item, are left out. Folders are followed
    through symbolic links, each once; one that is listed in its own place is not also listed in
    that of a link.

    Parameters
    ----------
    path : str
        The folder.
    rules : ItemRules
        Which items are looked for.
    wanted : callable, optional
        Instead tells by its name whether a file is one of those that are listed.

    Raises
    ------
    ManifestError
        When there is no image below it.
    SourceError
        When it, or a folder below it, cannot be listed.
    """
    tally = Tally()
    folders = walk_images(path, tally, wanted or rules.is_name, enter=wanted is not None)
    keys = [key for images in folders for key in images]
    if not keys and wanted is None:
        none = NoImagesError(f"expected {rules.name}s below {path}, found none", hint=rules.hint)
        none.listing = tally.finish()
        raise none
    return keys, tally.finish()


LINKED = "link to a folder that is listed elsewhere"
"""Why a folder is left out."""


def leads_inside(link: str, top: str) -> bool:
    """Whether a link leads to a folder that is listed in its own place, not a hidden one.

    Followed, it would stand for that folder, or be listed before it: ``bird``, a link to
    ``cat``, would take the images of ``cat``.

    Parameters
    ----------
    link : str
        A symbolic link to a folder.
    top : str
        The folder that is listed, without links in its path.
    """
    target = os.path.realpath(link)
    inside = os.path.commonpath([top, target]) == top
    return inside and not is_hidden(os.path.relpath(target, top))


def label_by_folder(
    paths: Sequence[str],
    name: str,
    folder: str,
    choice: Choice = AS_FOUND,
    keys: Sequence[str] | None = None,
) -> Manifest:
    """Make the manifest of images in a folder: labels and splits are the folders in their paths.

    If every folder at the top that holds images is called like a split (``train``, ``val``,
    ``test`` or a usual synonym), the next level names the class; otherwise the top level does.
    Images that lie in no class folder are unlabelled.

    Parameters
    ----------
    paths : sequence of str
        Relative to the folder.
    name : str
        The source, for messages.
    folder : str
        Path or URL of the folder: where no folder in it names splits, its own name may.
    choice : Choice
        What names the class, where not the outermost folder.
    keys : sequence of str, optional
        What the images are called, where that is not their path.
    """
    return manifest_in(paths, find_layout(paths, name, choice), folder, choice, keys)


def manifest_in(
    paths: Sequence[str],
    layout: FolderLayout,
    folder: str,
    choice: Choice = AS_FOUND,
    keys: Sequence[str] | None = None,
) -> Manifest:
    """Make the manifest of some of the images in a folder whose layout is known.

    See :func:`label_by_folder`.
    """
    own_name = posixpath.basename(folder.rstrip("/") if is_url(folder) else absolute(folder))
    own = SPLITS[split_code(own_name) or 0]
    splits: Iterable[str] | None = None
    if layout.has_splits or own:
        splits = (layout.split(path) or own for path in paths)
    # Labels and splits are read off the keys twice over rather than kept: less memory.
    labels: Iterable[str | None] = map(layout.label, paths)
    if choice.label_from == "parent" and not own:
        labels = (layout.label(path) if "/" in path else own_name or None for path in paths)
    return Manifest.build(keys or paths, labels=labels, splits=splits)


def absolute(path: str) -> str:
    """Return a path from the root, without ``.`` and ``..``; links are left as they are."""
    return posixpath.normpath(posixpath.join(Path.cwd().as_posix(), path))


def walk_images(
    root: str, tally: Tally, wanted: Callable[[str], bool], *, enter: bool = False
) -> Iterator[list[str]]:
    """Yield the images of each folder below ``root``: relative paths, in natural order.

    Parameters
    ----------
    root : str
        The folder.
    tally : Tally
        Counts what is left out.
    wanted : callable
        Tells by its name whether a file is an image.
    enter : bool
        Whether a folder that is called like an image is a folder all the same.
    """
    top = os.path.realpath(root)
    # Depth first with an explicit stack, so that neither depth nor width costs recursion.
    stack = [("", os.fspath(Path(root)))]
    visited: set[tuple[int, int]] = set()
    while stack:
        prefix, folder = stack.pop()
        images, below = _scan(folder, top, visited, tally, wanted, enter=enter)
        natural_sort(images)
        yield [prefix + name for name in images]
        below.sort(key=natural_key, reverse=True)
        stack += [(f"{prefix}{name}/", f"{folder}/{name}") for name in below]


def _scan(
    folder: str,
    top: str,
    visited: set[tuple[int, int]],
    tally: Tally,
    wanted: Callable[[str], bool],
    *,
    enter: bool,
) -> tuple[list[str], list[str]]:
    images: list[str] = []
    folders: list[str] = []
    try:
        facts = os.stat(folder)  # noqa: PTH116
        if (facts.st_dev, facts.st_ino) in visited:
            tally.reasons[LINKED] += 1
            return images, folders
        visited.add((facts.st_dev, facts.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                # The ending decides first: a folder called x.png becomes a row that failed
                # with its reason, rather than a class nobody meant.
                if wanted(entry.name) and not (enter and entry.is_dir()):
                    images.append(entry.name)
                elif not is_hidden_name(entry.name) and entry.is_dir():
                    if entry.is_symlink() and leads_inside(entry.path, top):
                        tally.reasons[LINKED] += 1
                    else:
                        folders.append(entry.name)
                else:
                    tally.leave_out(entry.name)
    except OSError as error:
        raise SourceError(
            f"cannot list the folder {folder}: {error.strerror}",
            hint="Make it readable, or leave it out; a folder skipped in silence would lose rows.",
        ) from error
    return images, folders
