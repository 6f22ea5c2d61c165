"""How a long run tells what it is doing, whoever listens."""

import sys
import time
from collections.abc import Mapping
from typing import Protocol


class Progress(Protocol):
    """Receives the state of a run. Rows are reported once they are durable, not before."""

    def begin(self, total: int, done: int) -> None:
        """Start on ``total`` rows; ``done`` others need nothing now."""
        ...

    def advance(self, finished: int, failed: int, seconds: Mapping[str, float]) -> None:
        """Tell how many rows this run has finished and failed, and the seconds per stage."""
        ...

    def stage(self, what: str) -> None:
        """Tell what is being done now, where there are no rows to count."""
        ...

    def working(self, what: str) -> None:
        """Tell again and again how far a stage is; only the last word counts."""
        ...

    def note(self, message: str) -> None:
        """Tell something worth knowing that is no error."""
        ...

    def end(self) -> None:
        """The run is over, one way or the other."""
        ...


class Silent:
    """Listens to nothing."""

    def begin(self, total: int, done: int) -> None:
        """Ignore it."""

    def advance(self, finished: int, failed: int, seconds: Mapping[str, float]) -> None:
        """Ignore it."""

    def stage(self, what: str) -> None:
        """Ignore it."""

    def working(self, what: str) -> None:
        """Ignore it."""

    def note(self, message: str) -> None:
        """Ignore it."""

    def end(self) -> None:
        """Ignore it."""

    def __repr__(self) -> str:
        return "SILENT"


SILENT = Silent()
"""For whoever wants to hear nothing."""


def profile(seconds: Mapping[str, float]) -> str:
    """Say how the main thread's time is split, and what its waiting was for."""
    waited = seconds.get("waiting", 0.0)
    workers = seconds.get("read", 0.0) + seconds.get("decode", 0.0)
    shares = {stage: seconds.get(stage, 0.0) for stage in ("transfer", "forward", "write")}
    for stage in ("read", "decode"):
        shares[stage] = waited * seconds.get(stage, 0.0) / workers if workers else 0.0
    total = sum(shares.values())
    if not total:
        return ""
    largest = sorted(shares, key=shares.__getitem__, reverse=True)
    return " ".join(f"{s} {shares[s] / total:.0%}" for s in largest if shares[s] >= 0.01 * total)


def to_do(total: int, done: int) -> str:
    """Say how much there is to do."""
    return f"{total} images to do" + (f", {done} done before" if done else "")


def counted(
    finished: int, total: int, failed: int, took: float, seconds: Mapping[str, float]
) -> str:
    """Say how far a run is after so many seconds, how fast, and what takes the time."""
    rate = finished / max(took, 1e-9)
    left = (total - finished) / max(rate, 1e-9)
    bad = f", {failed} failed" if failed else ""
    return f"{finished}/{total} images{bad}, {rate:.1f}/s, {left:.0f} s left, {profile(seconds)}"


_SECONDS_BETWEEN = 0.2


class Line:
    """One line of text that is written again and again, as notebooks and terminals show it.

    Notes stay above it. It needs nothing but ``sys.stdout``.
    """

    _total = 0
    _started = 0.0
    _last = 0.0
    _shown = ""

    def begin(self, total: int, done: int) -> None:
        """Say how much there is to do."""
        self._total, self._started, self._last = total, time.monotonic(), 0.0
        self._show(to_do(total, done))

    def advance(self, finished: int, failed: int, seconds: Mapping[str, float]) -> None:
        """Say how far it is, how fast, and what takes the time."""
        now = time.monotonic()
        if now - self._last < _SECONDS_BETWEEN and finished < self._total:
            return
        self._last = now
        self._show(counted(finished, self._total, failed, now - self._started, seconds))

    def stage(self, what: str) -> None:
        """Say what is being done."""
        self._show(what)

    def working(self, what: str) -> None:
        """Say how far a stage is."""
        now = time.monotonic()
        if now - self._last >= _SECONDS_BETWEEN:
            self._last = now
            self._show(what)

    def note(self, message: str) -> None:
        """Leave a line of its own."""
        shown, self._shown = self._shown, ""
        sys.stdout.write(f"\r{f'note: {_one_line(message)}':<{len(shown)}}\n")
        sys.stdout.flush()

    def end(self) -> None:
        """Leave the last line standing."""
        if self._shown:
            sys.stdout.write("\n")
            sys.stdout.flush()
        self._shown = ""

    def _show(self, text: str) -> None:
        text = _one_line(text)
        sys.stdout.write(f"\r{text:<{len(self._shown)}}")
        sys.stdout.flush()
        self._shown = text


def _one_line(text: str) -> str:
    # Names of files may hold anything.
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())


class Auto:
    """A :class:`Line` in a notebook, nothing elsewhere."""

    def __init__(self) -> None:
        self._line = Line()

    def __repr__(self) -> str:
        return "AUTO"

    def _listener(self) -> Progress:
        return self._line if in_notebook() else SILENT

    def begin(self, total: int, done: int) -> None:
        """Hand it on."""
        self._listener().begin(total, done)

    def advance(self, finished: int, failed: int, seconds: Mapping[str, float]) -> None:
        """Hand it on."""
        self._listener().advance(finished, failed, seconds)

    def stage(self, what: str) -> None:
        """Hand it on."""
        self._listener().stage(what)

    def working(self, what: str) -> None:
        """Hand it on."""
        self._listener().working(what)

    def note(self, message: str) -> None:
        """Hand it on."""
        self._listener().note(message)

    def end(self) -> None:
        """Hand it on."""
        self._listener().end()


AUTO = Auto()
"""The default of every function of the package."""


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook; IPython is not imported to find out."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None
