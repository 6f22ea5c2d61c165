"""Sources that are listed once, however often one piece of work asks for them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from bottleneck.sources import opening
from bottleneck.sources.base import Source
from bottleneck.sources.choice import AS_FOUND, Choice

_Key = tuple[tuple[str, ...], tuple[str, ...], Choice]

_opened: ContextVar[dict[_Key, Source] | None] = ContextVar("opened", default=None)


def open_source(
    given: Sequence[str], targets: Sequence[str] = (), choice: Choice = AS_FOUND
) -> Source:
    """List the images of one or several sources; see :func:`bottleneck.sources.opening`.

    Within :func:`listed_once` the same sources are listed at the first time only.
    """
    opened = _opened.get()
    if opened is None:
        return opening.open_source(given, targets, choice)
    key = (tuple(given), tuple(targets), choice)
    if key not in opened:
        opened[key] = opening.open_source(given, targets, choice)
    return opened[key]


@contextmanager
def listed_once() -> Iterator[None]:
    """List every source at most once in here, so that all that is done is about one list."""
    token = _opened.set({})
    try:
        yield
    finally:
        _opened.reset(token)
