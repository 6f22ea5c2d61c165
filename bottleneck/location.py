"""What people type to say where images are: paths, URLs, patterns, a part of a file."""

import os
import re
from pathlib import Path

from bottleneck.errors import SourceError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_WILDCARD = re.compile(r"[*?]|\[[^\]]+\]")

_MOST_NAMES = 1_000_000
"""A range in braces that means more is a slip of the finger."""


def is_url(text: str) -> bool:
    """Whether a location is a URL (``s3://bucket/x.tar``) and no path."""
    return _URL.match(text) is not None


def cache_folder() -> Path:
    """Return our place for what can be had again: ``BOTTLENECK_CACHE``, or as the system says."""
    told = os.environ.get("BOTTLENECK_CACHE")
    if told:
        return Path(told)
    return Path(os.environ.get("XDG_CACHE_HOME") or home() / ".cache") / "bottleneck"


_NO_HOME = Path(os.devnull)
"""No folder, and not even root can make one below it."""


def home() -> Path:
    """Return the user's home folder; a place without anything, where the system knows of none.

    So it is in a container that runs as a user of a number only, if ``HOME`` is not set either.
    Nothing is found there and nothing can be kept, which is no reason not to compute.
    """
    folder = expanded("~")
    return folder if folder.is_absolute() else _NO_HOME


def expanded(path: str | Path) -> Path:
    """Return a path with the home in place of ``~``; as it is, where nobody's home is known."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  # Path.expanduser raises where it fails


SET_FILE = "set.json"
"""What makes a folder, here or behind a URL, a set of feature files."""


def is_set(location: str) -> bool:
    """Whether features are kept as a set: a folder with a ``set.json``, or anything behind a URL.

    A single feature file is never read over the network.
    """
    return is_url(location) or os.path.isfile(os.path.join(location, SET_FILE))  # noqa: PTH113, PTH118


def readable(key: str) -> str:
    r"""Return a name as valid text: bytes of a file name that are not UTF-8 show as ``\xff``."""
    if key.isascii():
        return key
    try:
        raw = key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a pair, as JSON may hold
        raw = key.encode("utf-8", "backslashreplace")
    return raw.decode("utf-8", "backslashreplace")


def has_wildcard(text: str) -> bool:
    """Whether a location is a pattern with ``*``, ``?`` or ``[...]``."""
    return _WILDCARD.search(text) is not None


def split_part(text: str) -> tuple[str, str]:
    """Take the part of a file that is named behind ``::`` off its location.

    ``scans.h5::images,labels`` is ``("scans.h5", "images,labels")``; without a part the second
    is empty. URLs that fsspec chains by ``::`` are left whole.
    """
    location, mark, part = text.rpartition("::")
    if not mark or "://" in part or os.path.exists(text):  # noqa: PTH110  # false if too long
        return text, ""
    return location, part


def expand_braces(text: str) -> list[str]:
    """Write out braces as a shell does: ``s-{08..10}.tar`` is ``s-08.tar``, ``s-09.tar``, ....

    Ranges keep the width of their first number when it begins with a zero; ``{train,val}`` lists
    words; braces may be nested and repeated; what is neither range nor list stays as it is.

    Raises
    ------
    SourceError
        For a range of more than a million names.
    """
    opening = text.find("{")
    while opening >= 0:
        closing = _matching(text, opening)
        if closing is None:
            return [text]
        choices = _choices(text[opening + 1 : closing])
        if choices:
            rest = expand_braces(text[closing + 1 :])
            if len(choices) * len(rest) > _MOST_NAMES:
                raise SourceError(f"{text} means more than {_MOST_NAMES} names")
            return [text[:opening] + choice + tail for choice in choices for tail in rest]
        opening = text.find("{", opening + 1)
    return [text]


def _matching(text: str, opening: int) -> int | None:
    depth = 0
    for position in range(opening, len(text)):
        depth += (text[position] == "{") - (text[position] == "}")
        if depth == 0:
            return position
    return None


def _choices(inner: str) -> list[str]:
    if match := _RANGE.fullmatch(inner):
        first, last = match.groups()
        width = len(first) if first.startswith("0") else 0
        start, stop = int(first), int(last)
        if abs(stop - start) >= _MOST_NAMES:
            raise SourceError(f"{{{inner}}} means more than {_MOST_NAMES} names")
        step = 1 if stop >= start else -1
        return [str(number).zfill(width) for number in range(start, stop + step, step)]
    words, depth, begin = [], 0, 0
    for position, letter in enumerate(inner):
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            words.append(inner[begin:position])
            begin = position + 1
    words.append(inner[begin:])
    return [name for word in words for name in expand_braces(word)] if len(words) > 1 else []
