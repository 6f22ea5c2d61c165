"""Progress for people: a live bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from bottleneck.extract.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

_SECONDS_BETWEEN_LINES = 10.0


def make_progress(quiet: bool) -> Progress:
    """Choose how to show progress on standard error."""
    if quiet:
        return NotesOnly()
    return Live() if sys.stderr.isatty() else Lines()


def slowest(seconds: Mapping[str, float]) -> str:
    """Name what the run waits for: the network, or the images before it."""
    waits, forward = seconds.get("wait", 0.0), seconds.get("forward", 0.0)
    if waits > forward:
        return "reading" if seconds.get("read", 0) > seconds.get("decode", 0) else "decoding"
    return "writing" if seconds.get("write", 0.0) > forward else "network"


class NotesOnly:
    """Says only what must not be missed."""

    def begin(self, total: int, done: int) -> None:
        """Ignore it."""

    def advance(self, finished: int, failed: int, seconds: Mapping[str, float]) -> None:
        """Ignore it."""

    def stage(self, what: str) -> None:
        """Ignore it."""

    def note(self, message: str) -> None:
        """Print a line."""
        click.echo(f"note: {message}", err=True)

    def end(self) -> None:
        """Ignore it."""


class Lines(NotesOnly):
    """A line every ten seconds, for log files."""

    def begin(self, total: int, done: int) -> None:
        """Print what is to do."""
        self._total = total
        self._started = self._last = time.monotonic()
        earlier = f", {done} done before" if done else ""
        click.echo(f"{total} images to do{earlier}", err=True)

    def advance(self, finished: int, failed: int, seconds: Mapping[str, float]) -> None:
        """Print a line if the last one is long ago."""
        now = time.monotonic()
        if now - self._last < _SECONDS_BETWEEN_LINES and finished < self._total:
            return
        self._last = now
        rate = finished / max(now - self._started, 1e-9)
        left = (self._total - finished) / max(rate, 1e-9)
        bad = f", {failed} failed" if failed else ""
        click.echo(
            f"{finished}/{self._total} images{bad}, {rate:.1f}/s, {left:.0f} s left, "
            f"limit: {slowest(seconds)}",
            err=True,
        )

    def stage(self, what: str) -> None:
        """Print it."""
        click.echo(what, err=True)


class Live(NotesOnly):
    """A bar with rate, time left and the slowest stage."""

    _bar: "Bar | None" = None

    def begin(self, total: int, done: int) -> None:
        """Show the bar."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._started = time.monotonic()
        self._bar = Progress(
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
            console=Console(stderr=True),
            transient=True,
        )
        state = f"{done} done before" if done else "starting"
        self._task = self._bar.add_task("", total=total, rate="", state=state)
        self._bar.start()

    def advance(self, finished: int, failed: int, seconds: Mapping[str, float]) -> None:
        """Move the bar."""
        if self._bar is None:
            return
        rate = finished / max(time.monotonic() - self._started, 1e-9)
        state = f"limit: {slowest(seconds)}" if seconds else ""
        if failed:
            state = f"{failed} failed  {state}"
        self._bar.update(self._task, completed=finished, rate=f"{rate:.1f}/s", state=state)

    def stage(self, what: str) -> None:
        """Print it."""
        click.secho(what, err=True, dim=True)

    def note(self, message: str) -> None:
        """Print a line above the bar."""
        if self._bar is None:
            super().note(message)
        else:
            self._bar.console.print(f"note: {message}", markup=False, highlight=False)

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
