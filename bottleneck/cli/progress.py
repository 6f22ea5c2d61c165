"""Progress for people: a live bar on a terminal, a line now and then elsewhere."""

import json
import platform
import resource
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from bottleneck import __version__
from bottleneck.cli.options import VERBOSE
from bottleneck.cli.show import printable
from bottleneck.errors import OptionError
from bottleneck.progress import Progress, counted, profile, to_do

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.status import Status

_SECONDS_BETWEEN_LINES = 10.0


def make_progress(quiet: bool, *, prints_rows: bool = False) -> Progress:
    """Choose how to show progress on standard error, and in the file of ``--log`` if there is one.

    Parameters
    ----------
    quiet : bool
        Show only what must not be missed.
    prints_rows : bool
        Whether rows go to standard output meanwhile: on one terminal a bar would run into them.

    Raises
    ------
    OptionError
        When the file cannot be written.
    """
    alone = not (prints_rows and sys.stdout.isatty())
    shown: Progress = Live() if sys.stderr.isatty() and alone else Lines()
    if quiet:
        shown = NotesOnly()
    context = click.get_current_context(silent=True)
    if context and context.meta.get(VERBOSE):
        shown = Verbose(shown, context)
    log = context.find_root().params.get("log") if context else None
    return Logged(shown, str(log), context.info_name) if context and log else shown


class Logged:
    """Shows progress, and writes it down: a line of JSON for each thing that is told.

    Parameters
    ----------
    shown : Progress
        Who shows it.
    path : str
        The file; lines are added to it.
    command : str or None
        Which command it is of.
    """

    def __init__(self, shown: Progress, path: str, command: str | None) -> None:
        self._shown, self._path, self._command = shown, Path(path), command
        try:
            self._write("started")
        except OSError as error:
            raise OptionError(f"cannot write the log {path}: {error.strerror or error}") from error

    def _write(self, event: str, **about: object) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "command": self._command, "event": event, **about}
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def begin(self, total: int, done: int) -> None:
        """Write how much there is to do."""
        self._write("begin", total=total, done=done)
        self._shown.begin(total, done)

    def advance(self, finished: int, failed: int, seconds: Mapping[str, float]) -> None:
        """Write how far it is."""
        rounded = {stage: round(spent, 3) for stage, spent in seconds.items()}
        self._write("advance", finished=finished, failed=failed, seconds=rounded)
        self._shown.advance(finished, failed, seconds)

    def stage(self, what: str) -> None:
        """Write what is being done."""
        self._write("stage", what=what)
        self._shown.stage(what)

    def working(self, what: str) -> None:
        """Show it only: it comes many times a second."""
        self._shown.working(what)

    def note(self, message: str) -> None:
        """Write a note."""
        self._write("note", message=message)
        self._shown.note(message)

    def end(self) -> None:
        """Write that it is over."""
        self._write("end")
        self._shown.end()


class Verbose:
    """Shows progress, and more: the options in force, the time of every line, what it all took.

    Parameters
    ----------
    shown : Progress
        Who shows it.
    context : click.Context
        Of the command.
    """

    def __init__(self, shown: Progress, context: click.Context) -> None:
        self._shown, self._started = shown, time.monotonic()
        self._seconds: dict[str, float] = {}
        click.echo(f"bottleneck {__version__}, Python {platform.python_version()}", err=True)
        for name, value in context.params.items():
            source = context.get_parameter_source(name)
            if source not in (None, ParameterSource.DEFAULT):
                where = source.name.lower().replace("_", " ")
                click.echo(f"  {name} = {printable(str(value))} ({where})", err=True)

    def _at(self, what: str) -> str:
        return f"{time.monotonic() - self._started:.1f} s: {what}"

    def begin(self, total: int, done: int) -> None:
        """Say when it began."""
        self._shown.stage(self._at(f"{total} rows to do, {done} done before"))
        self._shown.begin(total, done)

    def advance(self, finished: int, failed: int, seconds: Mapping[str, float]) -> None:
        """Hand it on, and keep the seconds of the stages for the end."""
        self._seconds |= seconds
        self._shown.advance(finished, failed, seconds)

    def stage(self, what: str) -> None:
        """Say it with its time."""
        self._shown.stage(self._at(what))

    def working(self, what: str) -> None:
        """Hand it on."""
        self._shown.working(what)

    def note(self, message: str) -> None:
        """Say it with its time."""
        self._shown.note(self._at(message))

    def end(self) -> None:
        """Say what it took."""
        self._shown.end()
        stages = ", ".join(f"{stage} {spent:.1f} s" for stage, spent in self._seconds.items())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self._shown.stage(self._at(f"done, {peak:.0f} MB at most" + (f"; {stages}" * bool(stages))))


class NotesOnly:
    """Says only what must not be missed."""

    def begin(self, total: int, done: int) -> None:
        """Ignore it."""

    def advance(self, finished: int, failed: int, seconds: Mapping[str, float]) -> None:
        """Ignore it."""

    def stage(self, what: str) -> None:
        """Ignore it."""

    def working(self, what: str) -> None:
        """Ignore it."""

    def note(self, message: str) -> None:
        """Print a line."""
        click.echo(f"note: {printable(message)}", err=True)

    def end(self) -> None:
        """Ignore it."""


class Lines(NotesOnly):
    """A line every ten seconds, for log files."""

    _last = 0.0

    def begin(self, total: int, done: int) -> None:
        """Print what is to do."""
        self._total = total
        self._started = self._last = time.monotonic()
        click.echo(to_do(total, done), err=True)

    def advance(self, finished: int, failed: int, seconds: Mapping[str, float]) -> None:
        """Print a line if the last one is long ago."""
        now = time.monotonic()
        if now - self._last < _SECONDS_BETWEEN_LINES and finished < self._total:
            return
        self._last = now
        took = now - self._started
        click.echo(counted(finished, self._total, failed, took, seconds), err=True)

    def stage(self, what: str) -> None:
        """Print it."""
        self._last = time.monotonic()
        click.echo(printable(what), err=True)

    def working(self, what: str) -> None:
        """Print it if the last line is long ago."""
        if time.monotonic() - self._last >= _SECONDS_BETWEEN_LINES:
            self.stage(what)


class Live(NotesOnly):
    """A bar with rate, time left and the stages that take the time, the longest first."""

    _bar: "Bar | None" = None
    _status: "Status | None" = None

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
        state = profile(seconds)
        if failed:
            state = f"{failed} failed  {state}"
        self._bar.update(self._task, completed=finished, rate=f"{rate:.1f}/s", state=state)

    def stage(self, what: str) -> None:
        """Print it."""
        self._clear()
        click.secho(printable(what), err=True, dim=True)

    def working(self, what: str) -> None:
        """Show it in a line that moves."""
        from rich.console import Console
        from rich.markup import escape

        if self._status is None:
            self._status = Console(stderr=True).status("")
            self._status.start()
        self._status.update(escape(printable(what)))

    def _clear(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def note(self, message: str) -> None:
        """Print a line above the bar."""
        self._clear()
        if self._bar is None:
            super().note(message)
        else:
            self._bar.console.print(f"note: {printable(message)}", markup=False, highlight=False)

    def end(self) -> None:
        """Take the bar away."""
        self._clear()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
