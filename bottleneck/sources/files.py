"""Images that are files on a disk, whatever listed them."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from bottleneck.errors import ImageError
from bottleneck.fingerprint import fingerprint_parts
from bottleneck.manifest import Manifest
from bottleneck.sources.listing import Listing
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
        text = error.strerror if isinstance(error, OSError) else None
        raise ImageError(RowStatus.UNREADABLE, text or str(error)) from error
