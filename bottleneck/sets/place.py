"""Where a set is kept: a folder, or objects behind a URL. Every file is made once, by one winner.

What several machines may do at the same time is only this: make a file unless it is there. On a
disk that is a hard link, in an object store a conditional write; both have one winner.
"""

import hashlib
import posixpath
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Protocol

from bottleneck.errors import OptionError, StoreError
from bottleneck.fingerprint import fingerprint
from bottleneck.location import is_url
from bottleneck.sources.remote import filesystem
from bottleneck.writing import written_whole

_PROTOCOLS: Final = ("s3", "s3a")
"""Object stores whose package makes an object only where there is none."""

_WAITS: Final = (0.2, 0.8, 3.2, 6.4)
"""Seconds before each further try of a write whose outcome is not known."""

_BLOCK_BYTES: Final = 8 << 20

_PAGES_AT_ONCE: Final = 8


class Place(Protocol):
    """The folder of a set. Names are relative to it, with slashes.

    Attributes
    ----------
    name : str
        The path or URL that was given.
    """

    name: str

    def names(self, folder: str, cuts: Sequence[str] = ()) -> list[str]:
        """List the files of a folder by their own names; none where there is no such folder.

        Parameters
        ----------
        folder : str
            The folder.
        cuts : sequence of str
            Names, ascending and there or not, between which a page of a listing has room for all:
            an object store is asked for these pages at the same time.
        """
        ...

    def read(self, name: str) -> bytes | None:
        """Return a whole file; None where there is none."""
        ...

    def size(self, name: str) -> int:
        """Return the length of a file in bytes."""
        ...

    def stamp(self, name: str) -> tuple[int, str]:
        """Return the length of a file, and a text that is another one where the file is."""
        ...

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Return exactly so many bytes of a file."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Make a file unless it is there; tell whether it is ours."""
        ...

    def publish(self, name: str, file: Path) -> bool:
        """Make a file of a local one, durably, unless it is there; tell whether it is ours."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Write a file, whatever was there."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def local(self, name: str) -> Path | None:
        """Return the path of a file, where it lies on a disk."""
        ...


def place_of(location: str | Path) -> Place:
    """Return the place of a set.

    Raises
    ------
    OptionError
        For a URL of a kind that cannot make an object only where there is none.
    """
    text = str(location)
    if not is_url(text):
        return FolderPlace(Path(text))
    if text.partition("://")[0].lower() not in _PROTOCOLS:
        raise OptionError(
            f"expected a set in a folder or at an s3:// URL, got {text}",
            hint="Sets need a store that makes an object only where there is none (If-None-Match).",
        )
    return ObjectPlace(text.rstrip("/"))


class FolderPlace:
    """A set in a folder, which may be shared by many machines.

    Parameters
    ----------
    folder : Path
        Made when the first file is.
    """

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self.folder = folder

    def __repr__(self) -> str:
        return f"<FolderPlace {self.name}>"

    def names(self, folder: str, cuts: Sequence[str] = ()) -> list[str]:
        """See :meth:`Place.names`."""
        try:
            found = [one.name for one in (self.folder / folder).iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"cannot list {self.folder / folder}: {error.strerror}") from error
        return sorted(name for name in found if not name.startswith("."))

    def read(self, name: str) -> bytes | None:
        """See :meth:`Place.read`."""
        try:
            return (self.folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"cannot read {self.folder / name}: {error.strerror}") from error

    def size(self, name: str) -> int:
        """See :meth:`Place.size`."""
        return self.stamp(name)[0]

    def stamp(self, name: str) -> tuple[int, str]:
        """See :meth:`Place.stamp`."""
        try:
            found = (self.folder / name).stat()
        except OSError as error:
            raise StoreError(f"cannot read {self.folder / name}: {error.strerror}") from error
        return found.st_size, fingerprint([found.st_size, found.st_mtime_ns, found.st_ino])

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """See :meth:`Place.read_range`."""
        try:
            with (self.folder / name).open("rb") as stream:
                stream.seek(offset)
                return stream.read(length)
        except OSError as error:
            raise StoreError(f"cannot read {self.folder / name}: {error.strerror}") from error

    def create(self, name: str, data: bytes) -> bool:
        """See :meth:`Place.create`."""
        return self._make(name, lambda temporary: temporary.write_bytes(data))

    def publish(self, name: str, file: Path) -> bool:
        """See :meth:`Place.publish`."""

        def copy(temporary: Path) -> None:
            with file.open("rb") as source, temporary.open("wb") as target:
                while block := source.read(_BLOCK_BYTES):
                    target.write(block)

        return self._make(name, copy)

    def replace(self, name: str, data: bytes) -> None:
        """See :meth:`Place.replace`."""
        self._make(name, lambda temporary: temporary.write_bytes(data), replace=True)

    def remove(self, name: str) -> None:
        """See :meth:`Place.remove`."""
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot remove {self.folder / name}: {error.strerror}") from error

    def local(self, name: str) -> Path | None:
        """See :meth:`Place.local`."""
        return self.folder / name

    def _make(self, name: str, fill: Callable[[Path], Any], *, replace: bool = False) -> bool:
        path = self.folder / name
        # Processes of two machines may have the same number.
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(path, replace=replace, temporary=temporary):
                fill(temporary)
        except FileExistsError:
            return False
        except OSError as error:
            raise StoreError(
                f"cannot write {path}: {error.strerror or error}",
                hint="Mend the disk or free some space, then run the same command again.",
            ) from error
        return True


class ObjectPlace:
    """A set in an object store.

    Parameters
    ----------
    url : str
        ``s3://bucket/photos.set``.
    """

    def __init__(self, url: str) -> None:
        self.name = url

    def __repr__(self) -> str:
        return f"<ObjectPlace {self.name}>"

    def names(self, folder: str, cuts: Sequence[str] = ()) -> list[str]:
        """See :meth:`Place.names`."""
        try:
            with ThreadPoolExecutor(_PAGES_AT_ONCE) as executor:
                parts = executor.map(
                    lambda low, high: self._names_between(folder, low, high),
                    ("", *cuts),
                    (*cuts, ""),
                )
                return [name for part in parts for name in part]
        except FileNotFoundError:
            return []
        except Exception as error:
            raise self._explained("list", folder, error) from error

    def _names_between(self, folder: str, low: str, high: str) -> list[str]:
        """List names behind one, and up to another if it is not empty; both as bytes sort."""
        fs, path = self._at(folder)
        bucket, key, _ = fs.split_path(path)
        prefix = f"{key}/"
        found: list[str] = []
        more = {"StartAfter": prefix + low} if low else {}
        while True:
            page = fs.call_s3(
                "list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter="/", **more
            )
            found += (posixpath.basename(one["Key"]) for one in page.get("Contents", ()))
            if not page.get("IsTruncated") or (high and found and found[-1] > high):
                return [name for name in found if name and (not high or name <= high)]
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def read(self, name: str) -> bytes | None:
        """See :meth:`Place.read`."""
        fs, path = self._at(name)
        try:
            # In one piece: its length need not be asked for first.
            return bytes(fs.cat_file(path, max_concurrency=1))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._explained("read", name, error) from error

    def size(self, name: str) -> int:
        """See :meth:`Place.size`."""
        return self.stamp(name)[0]

    def stamp(self, name: str) -> tuple[int, str]:
        """See :meth:`Place.stamp`."""
        fs, path = self._at(name)
        try:
            found = fs.info(path)
            facts = [str(found.get(fact, "")) for fact in ("size", "ETag", "LastModified")]
            return int(found["size"]), fingerprint([self.name, *facts])
        except Exception as error:
            raise self._explained("read", name, error) from error

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """See :meth:`Place.read_range`."""
        fs, path = self._at(name)
        try:
            return bytes(fs.cat_file(path, start=offset, end=offset + length))
        except Exception as error:
            raise self._explained("read", name, error) from error

    def create(self, name: str, data: bytes) -> bool:
        """See :meth:`Place.create`."""
        fs, path = self._at(name)
        return self._once(
            name,
            lambda: fs.pipe_file(path, data, mode="create"),
            lambda: self.read(name) == data,
        )

    def publish(self, name: str, file: Path) -> bool:
        """See :meth:`Place.publish`."""
        fs, path = self._at(name)
        return self._once(
            name,
            lambda: fs.put_file(str(file), path, mode="create"),
            lambda: self._equals(name, file),
        )

    def replace(self, name: str, data: bytes) -> None:
        """See :meth:`Place.replace`."""
        fs, path = self._at(name)
        self._persist(name, lambda: fs.pipe_file(path, data))

    def remove(self, name: str) -> None:
        """See :meth:`Place.remove`."""
        fs, path = self._at(name)

        def remove() -> None:
            try:
                fs.rm_file(path)
            except FileNotFoundError:
                return

        self._persist(name, remove)

    def local(self, name: str) -> Path | None:
        """See :meth:`Place.local`."""
        return None

    def _at(self, name: str) -> tuple[Any, str]:
        return filesystem(f"{self.name}/{name}")

    def _once(self, name: str, send: Callable[[], Any], is_ours: Callable[[], bool]) -> bool:
        """Send an object that must not be there; tell whether what is there now is ours.

        The answer to a write that succeeded may be lost: its next try, or that of the package
        below, is then told that there is an object already. So whoever is told that looks whether
        it is the very same.
        """

        def once() -> bool:
            try:
                send()
            except FileExistsError:
                return is_ours()
            except Exception:
                if self._is_there(name):
                    return is_ours()
                raise
            return True

        return bool(self._persist(name, once))

    def _persist(self, name: str, action: Callable[[], Any]) -> Any:
        for wait in (*_WAITS, None):
            try:
                return action()
            except StoreError:
                raise
            except Exception as error:
                if wait is None or isinstance(error, PermissionError):
                    raise self._explained("write", name, error) from error
            time.sleep(wait)
        raise AssertionError("unreachable")

    def _is_there(self, name: str) -> bool:
        fs, path = self._at(name)
        return bool(fs.exists(path, refresh=True))

    def _equals(self, name: str, file: Path) -> bool:
        """Whether an object is byte for byte a local file; stops at the first difference."""
        if self.size(name) != file.stat().st_size:
            return False
        offset = 0
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                if self.read_range(name, offset, len(block)) != block:
                    return False
                offset += len(block)
        return True

    def _explained(self, what: str, name: str, error: Exception) -> StoreError:
        return StoreError(
            f"cannot {what} {self.name}/{name}: {error or type(error).__name__}",
            hint="Run the same command again: what is published stays. Addresses and keys are "
            "taken from the environment: AWS_ENDPOINT_URL, AWS_PROFILE, ...",
        )


def blocks(place: Place, name: str) -> Iterator[bytes]:
    """Read a file block by block."""
    size = place.size(name)
    for offset in range(0, size, _BLOCK_BYTES):
        yield place.read_range(name, offset, min(_BLOCK_BYTES, size - offset))


def sha256_of(place: Place, name: str) -> str:
    """Return the SHA-256 of a file, 64 hex digits."""
    digest = hashlib.sha256()
    for block in blocks(place, name):
        digest.update(block)
    return digest.hexdigest()
