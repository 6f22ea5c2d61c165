"""Put a saved head to work on new images."""

import csv
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from bottleneck.cores import available_cores
from bottleneck.declare import listed
from bottleneck.extraction.plan import MaxFailed, Plan
from bottleneck.location import readable
from bottleneck.options import PredictOptions
from bottleneck.targets import column_names
from bottleneck.writing import prepare_output, written_whole

if TYPE_CHECKING:
    from bottleneck.extraction.embedder import EmbeddedBatch
    from bottleneck.heads.saved import Head

COLUMNS = ("key", "label", "probability", "error")


@dataclass(frozen=True)
class Predicted:
    """What a prediction came to.

    Parameters
    ----------
    document : mapping
        How many images there were and how many failed, as JSON values.
    records : list of dict, optional
        A row per image in order, where no output was given.
    """

    document: Mapping[str, Any]
    records: list[dict[str, Any]] | None

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return dict(self.document)

    def __repr__(self) -> str:
        return f"<Predicted {self.document['rows']} images, {self.document['failed']} failed>"


def label_images(options: PredictOptions) -> Predicted:
    """Predict; see :func:`bottleneck.predict`."""
    from bottleneck.decode.watch import Watch
    from bottleneck.extraction import rebuild_embedder
    from bottleneck.heads import Head
    from bottleneck.sources import open_source

    progress = options.progress
    allowed = MaxFailed.parse(str(options.max_failed))
    place: Path | None = None
    if options.output not in (None, "-"):
        inputs = options.paths("reads", "images")
        place = prepare_output(options.output, kind="other", inputs=inputs)
    head = Head.load(options.head)
    source = open_source(listed(options.sources))
    embedder = rebuild_embedder(
        head.recipe,
        owner=str(options.head),
        weights=None if options.weights is None else str(options.weights),
        runtime=options.runtime,
    )
    notes = head.require_features(embedder.recipe, head.output, embedder.dims[head.output])
    for note in notes:
        progress.note(note)
    n_rows, failed = len(source.manifest), 0
    plan, workers = Plan(np.zeros(n_rows, np.uint8)), options.workers or available_cores()
    seconds: defaultdict[str, float] = defaultdict(float)
    records: list[dict[str, Any]] | None = [] if options.output is None else None
    progress.begin(n_rows, 0)
    try:
        targets = () if head.task == "classes" else head.classes
        with _open_output(place, options.format, targets, records) as write:
            finished = 0
            for batch in embedder.stream(
                source,
                plan.batches(options.batch_size, workers),
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
    document = {
        "output": None if place is None else str(options.output),
        "rows": n_rows,
        "failed": failed,
        "too_many_failed": allowed.exceeded(failed, n_rows),
    }
    return Predicted(document, records)


def _records(head: "Head", batch: "EmbeddedBatch", keys: Any) -> Iterator[dict[str, Any]]:
    """Yield a batch's rows in order, good and bad ones in their places."""
    X = batch.features[head.output]

    def name(row: int) -> str:
        return readable(keys[row])

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


@contextmanager
def _open_output(
    path: Path | None,
    format: str | None,
    targets: Sequence[str],
    records: list[dict[str, Any]] | None,
) -> Iterator[Callable[[dict[str, Any]], Any]]:
    """Open the place rows go to: a list, a file that is written whole, or standard output."""
    if records is not None:
        yield records.append
        return
    if format is None:
        ending = path.suffix.lower().lstrip(".") if path else ""
        format = ending if ending in ("jsonl", "json") else "csv"
    if path is None:
        with _row_writer(sys.stdout, format, targets) as write:
            yield write
        sys.stdout.flush()
        return
    with (
        written_whole(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as stream,
        _row_writer(stream, format, targets) as write,
    ):
        yield write


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
