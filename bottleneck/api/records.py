"""What a head says of a row, and where those records go."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import HeadError, OptionError
from bottleneck.location import readable
from bottleneck.progress import Progress
from bottleneck.store import writer_lock
from bottleneck.targets import column_names
from bottleneck.writing import csv_line, written_whole

if TYPE_CHECKING:
    from bottleneck.heads.head import Head


COLUMNS = ("key", "label", "probability", "error")

TopK: TypeAlias = int | Literal["all"] | None


@dataclass(frozen=True)
class RecordBlock:
    """Some rows of what is predicted.

    Parameters
    ----------
    keys : mapping of int to str
        Names of the rows, in their order.
    good : sequence of int
        The rows that have features.
    X : ndarray, shape (len(good), dim)
        Their features.
    errors : mapping of int to str
        Why the others have none.
    further : int
        Files of which only the first of several pages or frames was used.
    """

    keys: Mapping[int, str]
    good: Sequence[int]
    X: NDArray[np.floating[Any]]
    errors: Mapping[int, str]
    further: int = 0


@dataclass(frozen=True)
class Labelling:
    """A head, and how much it says of a row.

    Parameters
    ----------
    head : Head
        The head.
    top_k : int or "all", optional
        How many classes to rank, or the probability of every one.
    """

    head: "Head"
    top_k: TopK = None

    def __post_init__(self) -> None:
        if self.top_k is None:
            return
        if self.head.task != "classes":
            raise OptionError(
                f"expected no --top-k for a head of {self.head.task}, got {self.top_k}",
                hint="It writes a value for every target anyway.",
            )
        if self.top_k == "all" and not self._has_probabilities:
            raise HeadError(
                f"expected a head with probabilities for --top-k all, got {self.head.kind}",
                hint="Train it with --calibrate, or take --top-k N, which ranks by its scores.",
            )

    @property
    def columns(self) -> list[str]:
        """Columns of a table, in order; :meth:`cells` fills them."""
        return [*COLUMNS, *self._ranked_columns, *column_names(self._named)]

    def cells(self, record: Mapping[str, Any]) -> list[Any]:
        """Lay a record out as a line of a table."""
        ranked: list[Any] = []
        for place in (record.get("top") or [])[1:]:
            ranked += [place["label"], place["probability"]]
        ranked += [None] * (len(self._ranked_columns) - len(ranked))
        values = record.get("values") or record.get("probabilities") or {}
        fixed = [record[name] for name in COLUMNS]
        return [*fixed, *ranked, *(values.get(name) for name in self._named)]

    def records(self, block: RecordBlock) -> Iterator[dict[str, Any]]:
        """Yield a record for each row, in order, good and bad ones in their places."""
        if self.head.task == "classes":
            found = dict(zip(block.good, self._classes(block.X), strict=True))
        else:
            found = dict(zip(block.good, self._targets(block.X), strict=True))
        empty = dict.fromkeys(self._more)
        for row, key in block.keys.items():
            told = found.get(row, {"label": None, "probability": None, **empty})
            record = {"key": key, **told, "error": block.errors.get(row)}
            yield {name: record[name] for name in (*COLUMNS, *self._more)}

    @property
    def _more(self) -> tuple[str, ...]:
        """Names in a record behind the four that are always there."""
        if self.head.task != "classes":
            return ("values",)
        return () if self.top_k is None else ("probabilities" if self.top_k == "all" else "top",)

    @property
    def _ranked_columns(self) -> list[str]:
        if not isinstance(self.top_k, int):
            return []
        places = range(2, min(self.top_k, len(self.head.classes)) + 1)
        return [f"{name}_{place}" for place in places for name in ("label", "probability")]

    @property
    def _named(self) -> tuple[str, ...]:
        """Classes or targets with a column of their own."""
        return self.head.classes if self.head.task != "classes" or self.top_k == "all" else ()

    @property
    def _has_probabilities(self) -> bool:
        return self.head.predict_proba(np.zeros((1, self.head.dim), np.float32)) is not None

    def _classes(self, X: NDArray[np.floating[Any]]) -> Iterator[dict[str, Any]]:
        names, probabilities = self.head.classes, self.head.predict_proba(X)
        places = self.top_k if isinstance(self.top_k, int) else 0
        scores = self.head.scores(X) if places else None
        for i, code in enumerate(self.head.predict(X)):
            of_row = None if probabilities is None else probabilities[i]

            def place(code: int, of_row: Any = of_row) -> dict[str, Any]:
                probability = None if of_row is None else round(float(of_row[code]), 6)
                return {"label": names[code], "probability": probability}

            told = place(code)
            if scores is not None:
                # The class that is predicted leads, also where another has the same score.
                order = [code, *(c for c in np.argsort(-scores[i], kind="stable") if c != code)]
                told["top"] = [place(c) for c in order[:places]]
            elif self.top_k == "all":
                assert of_row is not None
                told["probabilities"] = dict(zip(names, map(_six_digits, of_row), strict=True))
            yield told

    def _targets(self, X: NDArray[np.floating[Any]]) -> Iterator[dict[str, Any]]:
        """Yield a value for every target: a label's probability, or a number.

        The labels that hold are also written as the list that `extract --target` reads.
        """
        head = self.head
        predicted = head.predict(X)
        values = head.predict_proba(X) if head.task == "labels" else predicted
        assert values is not None
        plain = float if head.task == "numbers" else _six_digits
        labels = label_names(head.classes)
        for i in range(len(predicted)):
            label = None
            if head.task == "labels":
                holds = [one for one, flag in zip(labels, predicted[i], strict=True) if flag]
                label = "|".join(holds) or "|"  # a cell without anything is no value
            of_row = dict(zip(head.classes, map(plain, values[i]), strict=True))
            yield {"label": label, "probability": None, "values": of_row}


def label_names(targets: Sequence[str]) -> list[str]:
    """Return labels without their list's name, unless there are several lists to tell apart."""
    short = [name.partition("/")[2] or name for name in targets]
    lists = {name.partition("/")[0] for name in targets if "/" in name}
    return short if len(lists) < 2 and len(set(short)) == len(short) else list(targets)


def _six_digits(probability: float) -> float:
    return float(f"{probability:.6g}")


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


class RecordList:
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
        stream.write(readable(csv_line(labelling.columns)))
        yield lambda record: stream.write(readable(csv_line(labelling.cells(record))))
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
