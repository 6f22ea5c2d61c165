"""Where results go: checked before any work, and never in the place of something else."""

import errno
import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from bottleneck.errors import OptionError
from bottleneck.location import expand_braces, has_wildcard, is_url, split_part

Kind = Literal["features", "head", "other"]

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_NAMES = {"features": "a feature file", "head": "a head", "other": "neither features nor a head"}


def prepare_output(path: str | Path, *, kind: Kind, inputs: Iterable[str | Path] = ()) -> Path:
    """Check a place for a result, and make its folder.

    An existing file is only accepted if it is of the same kind, so that a slip on the command
    line cannot replace hours of features by a head, or an image by a table.

    Parameters
    ----------
    path : str or Path
        The place.
    kind : {"features", "head", "other"}
        What will be written.
    inputs : iterable of str or Path
        Files that are read, and so must not be the place.

    Returns
    -------
    Path
        The place, symbolic links resolved.

    Raises
    ------
    OptionError
        When it cannot be written, or something else is there.
    """
    given = path
    if is_url(str(given)):
        raise OptionError(
            f"expected a path for the output, got the URL {given}",
            hint="Results are written to a local file: give its path, and copy it afterwards.",
        )
    try:
        path = Path(path).resolve()
        if path.is_dir():
            raise OptionError(f"expected a file name for the output, got the folder {given}")
        for source in inputs:
            if path.exists() and _means(str(source), path):
                raise OptionError(f"the output {given} is also an input", hint="Give another name.")
        if path.exists() and (found := kind_of(path)) != kind:
            raise OptionError(
                f"the output {given} exists and is {_NAMES[found]}, not {_NAMES[kind]}",
                hint="Give another name, or remove it yourself.",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # a RuntimeError: a loop of symbolic links
        if isinstance(error, OptionError):
            raise
        raise OptionError(f"cannot write {given}: {getattr(error, 'strerror', error)}") from error
    if not os.access(path.parent, os.W_OK):
        raise OptionError(f"cannot write in the folder {path.parent}")
    return path


def _means(source: str, path: Path) -> bool:
    """Whether what is given as an input is, or names among others, a file."""
    for name in expand_braces(split_part(source)[0]):
        if has_wildcard(name) and not is_url(name):
            pattern = os.path.abspath(name)  # noqa: PTH100
            if Path(name).suffix == path.suffix and fnmatch(str(path), pattern):
                return True
        elif Path(name).exists() and path.samefile(name):
            return True
    return False


def kind_of(path: Path) -> Kind:
    """Tell a feature file (any HDF5 file), a head and anything else apart by their content."""
    with path.open("rb") as stream:
        if stream.read(len(_HDF5_SIGNATURE)) == _HDF5_SIGNATURE:
            return "features"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return "head" if "head.json" in archive.namelist() else "other"
    return "other"


def temporary_path(path: Path) -> Path:
    """Return the name under which this process prepares a file."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@contextmanager
def written_whole(
    path: Path, *, replace: bool = True, temporary: Path | None = None
) -> Iterator[Path]:
    """Write a file whole or not at all, whatever happens meanwhile.

    Lends a temporary name beside the file's own. What was written there is made durable, and then
    gets the file's name, durably too.

    Parameters
    ----------
    path : Path
        The file.
    replace : bool
        Whether it may take the place of one that exists.
    temporary : Path, optional
        The temporary name, where those of processes of several machines could be the same.

    Raises
    ------
    FileExistsError
        When ``path`` exists and ``replace`` is false.
    OSError
        When the disk does not take it.
    """
    temporary = temporary or temporary_path(path)
    try:
        yield temporary
        _sync(temporary, os.O_RDWR)
        _rename(temporary, path, replace=replace)
        try:
            sync_folder(path.parent)
        except OSError:
            if not replace:
                # No later sync of the folder need make this name durable: it is taken back, so
                # that the next try gives it again.
                with suppress(OSError):
                    path.unlink()
            raise
    finally:
        with suppress(OSError):  # the next writer removes what cannot be removed now
            temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make names created or removed in a folder durable."""
    _sync(folder, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename(temporary: Path, path: Path, *, replace: bool) -> None:
    """Give a file its name; never replaces a file unless told to.

    Where there are no hard links (FAT, some network drives) only a writer's lock keeps others from
    taking the name between the look and the renaming; a name claimed by an empty file would be
    safe from all, but would stay if we were killed.
    """
    if replace:
        temporary.replace(path)
        return
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        # The answer of a network drive may have been lost, and the name be given to ours.
        if not path.samefile(temporary):
            raise
        temporary.unlink()
    except OSError:
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
        temporary.replace(path)
    else:
        temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    Raises
    ------
    OptionError
        When it cannot be written.
    """
    try:
        with written_whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OptionError(f"cannot write {path}: {error.strerror}") from error


def csv_line(cells: Iterable[object]) -> str:
    """Write a line of a CSV table, ``None`` as an empty cell.

    The ``csv`` module quotes a carriage return only where lines end with one, and its reader then
    takes it for the end of the line: a file name may hold one.
    """
    texts = ("" if cell is None else str(cell) for cell in cells)
    quoted = (
        '"' + text.replace('"', '""') + '"' if any(c in text for c in '",\r\n') else text
        for text in texts
    )
    return ",".join(quoted) + "\n"
