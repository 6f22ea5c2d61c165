"""The step that puts a saved head to work on new images."""

import csv
import functools
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from bottleneck.cores import available_cores
from bottleneck.errors import OptionError
from bottleneck.extraction.plan import MaxFailed, Plan
from bottleneck.extraction.progress import Progress
from bottleneck.targets import column_names
from bottleneck.writing import prepare_output

if TYPE_CHECKING:
    from bottleneck.extraction.embedder import EmbeddedBatch
    from bottleneck.heads.saved import Head

COLUMNS = ("key", "label", "probability", "error")


@dataclass(frozen=True, kw_only=True)
class PredictStep:
    """A head and images to labels, by exactly the recipe of the head's features.

    Parameters
    ----------
    head : str
        The head's file.
    sources : tuple of str
        Folders, tables, image files, archives, arrays, URLs: docs/sources.md.
    output : str, optional
        Where the rows go; standard output by default.
    format : {"csv", "jsonl", "json"}, optional
        By default what the output's ending says, else CSV.
    weights : str, optional
        Where the backbone's weights are now, if not where extraction found them.
    batch_size : int
        Images per forward pass.
    workers : int, optional
        Processes that decode; one per CPU core by default.
    runtime : str
        How the backbone is compiled.
    max_failed : str
        More failed images than this number or percentage make the run a failure.
    """

    reads: ClassVar[tuple[str, ...]] = ("head", "sources")
    writes: ClassVar[tuple[str, ...]] = ("output",)

    head: str
    sources: tuple[str, ...]
    output: str | None = None
    format: Literal["csv", "jsonl", "json"] | None = None
    weights: str | None = None
    batch_size: int = 32
    workers: int | None = None
    runtime: Literal["auto", "tensorflow", "jax", "torch", "openvino"] = "auto"
    max_failed: str = "10%"

    def run(self, progress: Progress) -> dict[str, Any]:
        """Predict; the rows go to the output, the document counts them."""
        from bottleneck.decode.watch import Watch
        from bottleneck.extraction import rebuild_embedder
        from bottleneck.heads import Head
        from bottleneck.sources import open_source

        allowed = MaxFailed.parse(self.max_failed)
        if self.batch_size < 1:
            raise OptionError(f"expected batch_size to be at least 1, got {self.batch_size}")
        inputs = [self.head, *self.sources]
        place = prepare_output(self.output, kind="other", inputs=inputs) if self.output else None
        head = Head.load(self.head)
        source = open_source(self.sources)
        embedder = rebuild_embedder(
            head.recipe, owner=self.head, weights=self.weights, runtime=self.runtime
        )
        notes = head.require_features(embedder.recipe, head.output, embedder.dims[head.output])
        for note in notes:
            progress.note(note)
        n_rows, failed = len(source.manifest), 0
        plan, workers = Plan(np.zeros(n_rows, np.uint8)), self.workers or available_cores()
        seconds: defaultdict[str, float] = defaultdict(float)
        progress.begin(n_rows, 0)
        try:
            targets = () if head.task == "classes" else head.classes
            with _open_output(place, self.format, targets) as write:
                finished = 0
                for batch in embedder.stream(
                    source,
                    plan.batches(self.batch_size, workers),
                    workers=workers,
                    worker_kind="auto",
                    seconds=seconds,
                    watch=Watch(
                        name=source.manifest.keys.__getitem__,
                        note=progress.note,
                    ),
                ):
                    for record in _records(head, batch, source.manifest.keys):
                        write(record)
                    failed += len(batch.failures)
                    finished += len(batch.rows) + len(batch.failures)
                    progress.advance(finished, failed, seconds)
        finally:
            progress.end()
        return {
            "output": self.output,
            "rows": n_rows,
            "failed": failed,
            "too_many_failed": allowed.exceeded(failed, n_rows),
        }


def _records(head: "Head", batch: "EmbeddedBatch", keys: Any) -> Iterator[dict[str, Any]]:
    """Yield a batch's rows in order, good and bad ones in their places."""
    X = batch.features[head.output]
    name = functools.partial(_readable, keys)
    if head.task != "classes":
        return _target_records(head, batch, name)
    probabilities = head.predict_proba(X)
    records: dict[int, dict[str, Any]] = {}
    for i, (row, code) in enumerate(zip(batch.rows.tolist(), head.predict(X), strict=True)):
        probability = None if probabilities is None else round(float(probabilities[i, code]), 6)
        records[row] = dict(
            zip(COLUMNS, (name(row), head.classes[code], probability, None), strict=True)
        )
    for failure in batch.failures:
        error = f"{failure.status.label}: {failure.message}"
        records[failure.row] = dict(
            zip(COLUMNS, (name(failure.row), None, None, error), strict=True)
        )
    return (records[row] for row in sorted(records))


def _target_records(
    head: "Head", batch: "EmbeddedBatch", name: Callable[[int], str]
) -> Iterator[dict[str, Any]]:
    """Yield rows with a value for every target: a label's probability, or a number.

    The labels that hold are also written as the list that `extract --target` reads.
    """
    X = batch.features[head.output]
    predicted = head.predict(X)
    values = head.predict_proba(X) if head.task == "labels" else predicted
    assert values is not None
    plain = float if head.task == "numbers" else _six_digits
    labels = _label_names(head.classes)
    records: dict[int, dict[str, Any]] = {}
    for i, row in enumerate(batch.rows.tolist()):
        label = None
        if head.task == "labels":
            holds = [one for one, flag in zip(labels, predicted[i], strict=True) if flag]
            label = "|".join(holds) or "|"  # a cell without anything is no value
        found = dict(zip(head.classes, map(plain, values[i]), strict=True))
        fixed = dict(zip(COLUMNS, (name(row), label, None, None), strict=True))
        records[row] = {**fixed, "values": found}
    for failure in batch.failures:
        error = f"{failure.status.label}: {failure.message}"
        fixed = dict(zip(COLUMNS, (name(failure.row), None, None, error), strict=True))
        records[failure.row] = {**fixed, "values": None}
    return (records[row] for row in sorted(records))


def _six_digits(probability: float) -> float:
    return float(f"{probability:.6g}")


def _label_names(targets: Sequence[str]) -> list[str]:
    """Return labels without their list's name, unless there are several lists to tell apart."""
    short = [name.partition("/")[2] or name for name in targets]
    lists = {name.partition("/")[0] for name in targets if "/" in name}
    return short if len(lists) < 2 and len(set(short)) == len(short) else list(targets)


def _readable(keys: Sequence[str], row: int) -> str:
    """Return a key as valid text: bytes of a file name that are not UTF-8 show as ``\\xff``."""
    return keys[row].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@contextmanager
def _open_output(path: Path | None, format: str | None, targets: Sequence[str]) -> Iterator[Any]:
    """Open the place rows go to; a file gets its name only when it is complete."""
    if format is None:
        ending = path.suffix.lower().lstrip(".") if path else ""
        format = ending if ending in ("jsonl", "json") else "csv"
    if path is None:
        with _row_writer(sys.stdout, format, targets) as write:
            yield write
        sys.stdout.flush()
        return
    partial = path.with_name(f"{path.name}.part")
    with (
        partial.open("w", newline="", encoding="utf-8") as stream,
        _row_writer(stream, format, targets) as write,
    ):
        yield write
    partial.replace(path)


@contextmanager
def _row_writer(stream: IO[str], format: str, targets: Sequence[str]) -> Iterator[Any]:
    if format == "csv":
        table = csv.writer(stream, lineterminator="\n")
        table.writerow([*COLUMNS, *column_names(targets)])

        def write_line(record: dict[str, Any]) -> None:
            values = record.get("values") or {}
            table.writerow(
                [*(record[name] for name in COLUMNS), *(values.get(name) for name in targets)]
            )

        yield write_line
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
