"""Where the records of ``predict`` go: a list, standard output, or a file that can be resumed."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from bottleneck.api.records import Labelling
from bottleneck.errors import OptionError
from bottleneck.progress import Progress
from bottleneck.store import writer_lock
from bottleneck.writing import csv_line, written_whole


class Records(Protocol):
    """Takes records, in order.

    Attributes
    ----------
    done, failed : int
        Records that are there from an earlier run, and how many of them have an error.
    """

    done: int
    failed: int

    def write(self, record: dict[str, Any]) -> None:
        """Take one."""
        ...


class Listed:
    """Keeps records in a list."""

    done = failed = 0

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def write(self, record: dict[str, Any]) -> None:
        """Take one."""
        self.records.append(record)


class Printed:
    """Passes records to a function that writes them."""

    done = failed = 0

    def __init__(self, write: Callable[[dict[str, Any]], Any]) -> None:
        self._write = write

    def write(self, record: dict[str, Any]) -> None:
        """Take one."""
        self._write(record)


@contextmanager
def printed(format: str | None, labelling: Labelling) -> Iterator[Printed]:
    """Write records to standard output."""
    with _written(sys.stdout, format or "csv", labelling) as write:
        yield Printed(write)
    sys.stdout.flush()


@contextmanager
def resumed(
    path: Path,
    format: str | None,
    labelling: Labelling,
    *,
    identity: str,
    progress: Progress,
) -> Iterator["PartFile"]:
    """Write records to a file, which is there when it is whole; what is done meanwhile is kept.

    Until then they are lines of JSON in ``FILE.part``, which a later run continues, if it is of
    the same prediction.

    Parameters
    ----------
    path : Path
        The file.
    format : str or None
        ``csv``, ``jsonl`` or ``json``; by default what the file's ending says, else csv.
    labelling : Labelling
        Says the columns.
    identity : str
        Changes with anything that decides the records.
    progress : Progress
        Is told what is kept.
    """
    ending = path.suffix.lower().lstrip(".")
    format = format or (ending if ending in ("jsonl", "json") else "csv")
    name = path.with_name(f"{path.name}.part")
    try:
        with writer_lock(path):
            part = PartFile(name, identity, progress)
            try:
                with part:
                    yield part
            except BaseException:
                if part.done:
                    progress.note(
                        f"{part.done} rows are kept in {name.name}: the same command resumes"
                    )
                else:
                    name.unlink(missing_ok=True)
                raise
            with (
                written_whole(path) as temporary,
                temporary.open("w", newline="", encoding="utf-8") as stream,
                _written(stream, format, labelling) as write,
            ):
                for record in part.records():
                    write(record)
            name.unlink(missing_ok=True)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        raise OptionError(f"cannot write {path}: {error.strerror}") from error


class PartFile:
    """The records of a prediction that is not finished: a line each, behind a line of identity.

    Parameters
    ----------
    path : Path
        The file; continued where it begins with the same identity, else started over.
    identity : str
        Of the prediction.
    progress : Progress
        Is told when it is started over.
    """

    def __init__(self, path: Path, identity: str, progress: Progress) -> None:
        self._path = path
        self.done = self.failed = 0
        head = json.dumps({"identity": identity}).encode() + b"\n"
        end = 0
        if path.exists():
            with path.open("rb") as stream:
                if stream.readline() == head:
                    end = len(head)
                    for line in stream:
                        if not line.endswith(b"\n"):
                            break  # torn by a power cut
                        end += len(line)
                        self.done += 1
                        self.failed += json.loads(line)["error"] is not None
                else:
                    progress.note(f"{path.name} is of another prediction: started over")
        self._stream = path.open("r+b" if end else "w+b")
        self._stream.truncate(end)
        self._stream.seek(end)
        if not end:
            self._stream.write(head)

    def __enter__(self) -> "PartFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def write(self, record: dict[str, Any]) -> None:
        """Take one."""
        self._stream.write(json.dumps(record).encode() + b"\n")
        self.done += 1

    def records(self) -> Iterator[dict[str, Any]]:
        """Read all of them again."""
        with self._path.open("rb") as stream:
            next(stream)
            for line in stream:
                yield json.loads(line)


@contextmanager
def _written(
    stream: IO[str], format: str, labelling: Labelling
) -> Iterator[Callable[[dict[str, Any]], Any]]:
    if format == "csv":
        stream.write(csv_line(labelling.columns))
        yield lambda record: stream.write(csv_line(labelling.cells(record)))
    elif format == "jsonl":
        yield lambda record: stream.write(json.dumps(record) + "\n")
    else:
        separator = "[\n"

        def write(record: dict[str, Any]) -> None:
            nonlocal separator
            stream.write(separator + json.dumps(record))
            separator = ",\n"

        yield write
        stream.write("[]\n" if separator == "[\n" else "\n]\n")
