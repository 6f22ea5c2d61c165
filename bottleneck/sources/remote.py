"""Anything behind a URL, through fsspec: object stores, web servers, memory."""

import itertools
import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from bottleneck.errors import BottleneckError, ImageError, RuntimeUnavailableError, SourceError
from bottleneck.exhaustion import raise_if_exhausted
from bottleneck.status import RowStatus


def refuse_beyond(name: str, size: int, offset: int, length: int) -> None:
    """Refuse to read behind the end.

    Parameters
    ----------
    name : str
        What is read, for the message.
    size : int
        Where it ends, bytes.
    offset, length : int
        What is wanted of it.

    Raises
    ------
    ImageError
        ``TRUNCATED``, with what was asked for and where the bytes end.
    """
    if offset + length > size:
        raise ImageError(
            RowStatus.TRUNCATED,
            f"{name} is cut short: expected {length} bytes at offset {offset}, it ends at {size}",
        )


_T = TypeVar("_T")

_EXTRAS = {"gs": "gcs", "gcs": "gcs", "abfs": "azure", "abfss": "azure", "az": "azure"}
"""Extras of protocols that the extra ``remote`` does not bring."""

_WAITS = (0.2, 0.8, 3.2)
"""Seconds before each further try; half as much again at most, so that workers do not march."""

_PATIENT = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"}
"""Protocols whose packages try several times by themselves; again would be a minute in all."""

_TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}
_TRANSIENT_KINDS = {
    *("ClientConnectionError", "ClientPayloadError", "ServerTimeoutError"),
    *("HTTPClientError", "ConnectionError", "ReadTimeoutError"),
}
"""Kinds of aiohttp and botocore, by name: neither need be installed."""

_CODES = ("status", "status_code", "code")
"""Where errors have the code of an answer by HTTP."""

_TELLING = (
    *("size", "ETag", "etag", "Content-MD5", "md5Hash"),
    *("LastModified", "Last-Modified", "last_modified", "mtime", "updated", "created"),
)
"""Facts that change when an object does, as the various stores call them."""

_HTTP_REASONS = {401: "access denied", 403: "access denied", 416: "shorter than it was"}

_filesystems: dict[tuple[int, str], Any] = {}
_lock = threading.Lock()


def filesystem(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, one per process and host, and the path in it.

    Raises
    ------
    RuntimeUnavailableError
        When a package is missing, naming the extra that brings it.
    SourceError
        When the URL or its settings are not understood.
    """
    protocol, _, rest = url.partition("://")
    where = (os.getpid(), f"{protocol}://{rest.partition('/')[0]}")
    try:
        from fsspec.core import url_to_fs

        if "::" in url:
            chained: tuple[Any, str] = url_to_fs(url)
            return chained
        with _lock:
            if where not in _filesystems:
                # Lists that are kept would be taken for the truth after a change.
                _filesystems[where] = url_to_fs(url, use_listings_cache=False)[0]
        found = _filesystems[where]
        return found, found._strip_protocol(url)
    except ImportError as error:
        extra = _EXTRAS.get(protocol.lower(), "remote")
        raise RuntimeUnavailableError(
            f"reading {url} needs a package that is not installed: {error}",
            hint=f"pip install 'bottleneck-features[{extra}]'",
        ) from error
    except ValueError as error:
        raise SourceError(f"cannot read {url}: {error}") from error


def fetch(url: str) -> bytes:
    """Return a whole object.

    Raises
    ------
    ImageError
        ``MISSING`` or ``UNREADABLE``.
    """
    fs, path = filesystem(url)
    data: bytes = _persistently(lambda: fs.cat_file(path), url)
    return data


class RemoteBlob:
    """An object that is read by ranges.

    Parameters
    ----------
    url : str
        Where it is.

    Raises
    ------
    SourceError
        When there is no such object, or its server does not tell its length.
    """

    hop = 4 << 20
    """A request takes about as long as four mebibytes do."""

    def __init__(self, url: str) -> None:
        self.name = url
        facts = describe(url)
        if facts.get("type") == "directory" or facts.get("size") is None:
            raise SourceError(
                f"expected a file with a known length, got {url}",
                hint="Copy it here first, if its server cannot tell the length.",
            )
        self.size = int(facts["size"])

    def __repr__(self) -> str:
        return f"<RemoteBlob {self.name} {self.size} bytes>"

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes; see :meth:`.Blob.read`."""
        refuse_beyond(self.name, self.size, offset, length)
        if not length:
            return b""
        fs, path = filesystem(self.name)
        data: bytes = _persistently(
            lambda: fs.cat_file(path, start=offset, end=offset + length), self.name
        )
        if len(data) == length:
            return data
        if len(data) > length:
            raise ImageError(
                RowStatus.UNREADABLE,
                f"the server of {self.name} sends whole files only; copy it here first",
            )
        raise ImageError(
            RowStatus.TRUNCATED,
            f"{self.name}: expected {length} bytes at offset {offset}, received {len(data)}",
        )

    def check(self) -> None:
        """Do nothing: it would be a request."""

    def stamp(self) -> str:
        """Return length, entity tag and time of change, as far as they are told."""
        try:
            return stamp_of(describe(self.name))
        except SourceError as error:
            return error.message


def describe(url: str) -> dict[str, Any]:
    """Return what is known of an object: ``name``, ``type``, ``size``, tags and times.

    Raises
    ------
    SourceError
        When there is none, or its server cannot be reached.
    """
    fs, path = filesystem(url)
    return _while_listing(lambda: dict(fs.info(path)), url)


def find(url: str, pattern: bool = False) -> dict[str, dict[str, Any]]:
    """List all objects below a URL, or those that match a pattern, with their facts.

    Raises
    ------
    SourceError
        When the server cannot be reached, or does not list.
    """
    fs, path = filesystem(url)
    search = fs.glob if pattern else fs.find

    def look() -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = search(path, detail=True)
        return {name: facts for name, facts in found.items() if facts.get("type") != "directory"}

    return _while_listing(look, url)


def list_level(url: str) -> list[tuple[str, bool]]:
    """List what lies directly below a URL: names, and whether each is a folder.

    Raises
    ------
    SourceError
        When the server cannot be reached, or does not list.
    """
    fs, path = filesystem(url)
    path = path.rstrip("/")

    def look() -> list[tuple[str, bool]]:
        found = []
        for facts in fs.ls(path, detail=True):
            name = facts["name"].rstrip("/").removeprefix(path).lstrip("/")
            if name:  # an object may be called like its folder
                found.append((name, facts.get("type") == "directory"))
        return found

    return _while_listing(look, url)


def stamp_of(facts: dict[str, Any]) -> str:
    """Return what is known of an object as text that changes when the object does."""
    return " ".join(f"{name}={facts[name]}" for name in _TELLING if facts.get(name) is not None)


def _while_listing(action: Callable[[], _T], url: str) -> _T:
    try:
        return _persistently(action, url)
    except ImageError as error:
        raise SourceError(
            error.message,
            hint="Addresses and keys are taken from the environment, as fsspec does: "
            "FSSPEC_S3_ENDPOINT_URL, FSSPEC_S3_ANON, AWS_PROFILE, ...",
        ) from error


def _persistently(action: Callable[[], _T], url: str) -> _T:
    """Do something over the network, again when it fails in a way that passes."""
    waits = () if url.partition("://")[0].lower() in _PATIENT else _WAITS
    for tries in itertools.count():
        try:
            return action()
        except BottleneckError:
            raise
        except Exception as error:
            # Every protocol has exceptions of its own.
            if tries >= len(waits) or not _is_transient(_true(error)):
                raise _explain(_true(error), url, tries + 1) from error
            time.sleep(waits[tries] * random.uniform(1, 1.5))
    raise AssertionError("unreachable")


def _true(error: Exception) -> Exception:
    """What really happened: of any trouble with a web server fsspec says that nothing is there."""
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and isinstance(cause, Exception):
        status = getattr(cause, "status", None)
        if _is_transient(cause) or (isinstance(status, int) and status not in (404, 410)):
            return cause
    return error


def _is_transient(error: Exception) -> bool:
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return status in _TRANSIENT_STATUS
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    return any(kind.__name__ in _TRANSIENT_KINDS for kind in type(error).__mro__)


def _is_answer(error: Exception) -> bool:
    """Whether it is a server that says so, of itself: aiohttp, azure-core and gcsfs tell a code."""
    return any(isinstance(getattr(error, name, None), int) for name in _CODES)


def _explain(error: Exception, url: str, tries: int) -> ImageError:
    if isinstance(error, FileNotFoundError | IsADirectoryError):
        return ImageError(RowStatus.MISSING, f"there is no object {url}")
    if isinstance(error, PermissionError):
        return ImageError(RowStatus.UNREADABLE, f"{url}: access denied: {error}")
    if not _is_answer(error):
        raise_if_exhausted(error)
    status = getattr(error, "status", None)
    text = _HTTP_REASONS.get(status, "") if isinstance(status, int) else ""
    text = text or str(error) or type(error).__name__
    times = f" (tried {tries} times)" if tries > 1 else ""
    return ImageError(RowStatus.UNREADABLE, f"{url}: {text}{times}")
