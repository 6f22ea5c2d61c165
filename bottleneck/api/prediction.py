"""Put a saved head to work on new images, or on features that were stored before."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bottleneck.api.records import Labelling, RecordBlock, RecordList, Records, printed, resumed
from bottleneck.cores import available_cores
from bottleneck.declare import listed
from bottleneck.errors import OptionError
from bottleneck.extraction.forward import batch_size_for
from bottleneck.extraction.plan import MaxFailed, Plan
from bottleneck.fingerprint import fingerprint
from bottleneck.frames import PandasFrame, PolarsFrame, pandas_frame, polars_frame, records_of
from bottleneck.location import readable
from bottleneck.options import PredictOptions
from bottleneck.progress import Progress
from bottleneck.status import RowStatus
from bottleneck.writing import prepare_output

if TYPE_CHECKING:
    from bottleneck.heads.head import Head
    from bottleneck.sources import Source
    from bottleneck.store import FeatureStore

_BLOCK_ROWS = 4096
"""Stored rows that are read and predicted at once."""


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

    def to_pandas(self) -> PandasFrame:
        """Return a row per image as a pandas table.

        Raises
        ------
        OptionError
            Where the rows went into a file.
        """
        return pandas_frame(records_of(self._rows()))

    def to_polars(self) -> PolarsFrame:
        """Return a row per image as a Polars table; see :meth:`to_pandas`."""
        return polars_frame(records_of(self._rows()))

    def _rows(self) -> list[dict[str, Any]]:
        if self.records is None:
            raise OptionError(
                f"expected a prediction that is kept, its rows are in {self.document['output']}",
                hint="Predict without an output, or read that file.",
            )
        return self.records


@dataclass(frozen=True)
class _Rows:
    """What is to be predicted.

    Parameters
    ----------
    count : int
        Rows.
    identity : callable
        Makes a text that changes with the list, the images or the features.
    blocks : callable
        Yields the rows from one on, in order.
    """

    count: int
    identity: Callable[[], str]
    blocks: Callable[[int], Iterator[RecordBlock]]


def label_images(options: PredictOptions) -> Predicted:
    """Predict; see :func:`bottleneck.predict`."""
    from bottleneck.heads import Head
    from bottleneck.sets.stored import feature_files

    progress = options.progress
    allowed = MaxFailed.parse(str(options.max_failed))
    place: Path | None = None
    if options.output not in (None, "-"):
        inputs = options.paths("reads", "images")
        place = prepare_output(options.output, kind="other", inputs=inputs)
    head = Head.load_beside(options.head, listed(options.devices), progress.note)
    labelling = Labelling(head, options.top_k)
    seconds: defaultdict[str, float] = defaultdict(float)
    files = feature_files(listed(options.sources))
    rows = _stored(head, files, options) if files else _images(head, options, seconds)
    kept = RecordList() if options.output is None else None
    taken = failed = further = 0
    with _place(kept, place, labelling, rows, options) as records:
        before, failed = records.done, records.failed
        progress.begin(rows.count - before, before)
        try:
            for block in rows.blocks(before):
                for record in labelling.records(block):
                    records.write(record)
                taken += len(block.keys)
                failed += len(block.errors)
                further += block.further
                progress.advance(taken, failed, seconds)
        finally:
            progress.end()
    if further:
        progress.note(
            f"{further} of the images are the first page or frame of a file that has more"
        )
    document = {
        "output": None if place is None else str(options.output),
        "rows": rows.count,
        "already_done": before,
        "failed": failed,
        "first_of_several": further,
        "too_many_failed": allowed.exceeded(failed, rows.count),
    }
    return Predicted(document, None if kept is None else kept.records)


def _place(
    kept: RecordList | None,
    place: Path | None,
    labelling: Labelling,
    rows: _Rows,
    options: PredictOptions,
) -> AbstractContextManager[Records]:
    if kept is not None:
        return nullcontext(kept)
    if place is None:
        return printed(options.format, labelling)
    identity = fingerprint(
        {
            "head": hashlib.sha256(Path(options.head).read_bytes()).hexdigest(),
            "rows": rows.identity(),
            "top_k": options.top_k,
            "full_paths": options.full_paths,
        }
    )
    return resumed(place, options.format, labelling, identity=identity, progress=options.progress)


def _images(head: "Head", options: PredictOptions, seconds: defaultdict[str, float]) -> _Rows:
    """Return images as rows: each goes through the recipe of the head's features."""
    from bottleneck.backbones import list_items
    from bottleneck.decode.workers import Watch
    from bottleneck.extraction import embed, rebuild_embedder
    from bottleneck.items import input_of

    progress = options.progress
    item = input_of(head.recipe.identity).item
    choice = options.choice()
    if not (choice.decides or choice.label_column):  # what is predicted needs no label
        choice = replace(choice, label_from="none")
    source = list_items(item, listed(options.sources), choice=choice)
    name = _full_paths(source) if options.full_paths else source.manifest.keys.__getitem__
    embedder = rebuild_embedder(
        head.recipe,
        owner=str(options.head),
        weights=None if options.weights is None else str(options.weights),
        runtime=options.runtime,
        devices=listed(options.devices),
    )
    for note in embedder.notes:
        progress.note(note)
    for note in head.require_features(embedder.recipe, head.output, embedder.dims[head.output]):
        progress.note(note)
    workers = options.workers or available_cores()
    size = batch_size_for(options.batch_size, embedder.network, embedder.input)

    def blocks(start: int) -> Iterator[RecordBlock]:
        status = np.full(len(source.manifest), RowStatus.PENDING, np.uint8)
        status[:start] = RowStatus.DONE
        with closing(embedder):
            for batch in embed(
                embedder,
                source,
                Plan(status).batches(size, workers),
                workers=workers,
                worker_kind="auto",
                seconds=seconds,
                watch=Watch(name=source.manifest.keys.__getitem__, note=progress.note),
            ):
                errors = {f.row: f"{f.status.label}: {f.message}" for f in batch.failures}
                rows = sorted([*batch.rows.tolist(), *errors])
                yield RecordBlock(
                    keys={row: readable(name(row)) for row in rows},
                    good=batch.rows.tolist(),
                    X=batch.features[head.output],
                    errors=errors,
                    further=batch.further,
                )

    return _Rows(len(source.manifest), source.stamp, blocks)


def _stored(head: "Head", files: Sequence[str], options: PredictOptions) -> _Rows:
    """Return the rows of feature files, one file behind the other; nothing is computed again."""
    from bottleneck.store import FeatureStore
    from bottleneck.store.outdated import outdated_note

    if options.full_paths:
        raise OptionError(
            f"expected images for --full-paths, got the features {files[0]}",
            hint="A feature file knows its images by their keys; leave it out.",
        )
    stores = [FeatureStore.open(path) for path in files]
    for store in stores:
        if outdated := outdated_note(store):
            options.progress.note(outdated)
        output = head.output if head.output in store.outputs else store.output_name()
        for note in head.require_features(store.recipe, output, store.outputs[output]):
            options.progress.note(note)
        _note_trained_on(head, store, options.progress)
    prefixes = [f"{store.path.name}/" if len(files) > 1 else "" for store in stores]

    def blocks(start: int) -> Iterator[RecordBlock]:
        for store, prefix in zip(stores, prefixes, strict=True):
            first, start = min(start, len(store)), max(0, start - len(store))
            for begin in range(first, len(store), _BLOCK_ROWS):
                yield _stored_block(store, head, begin, prefix)

    identities = [[s.manifest_sha256, s.identity_sha256, s.status.tobytes().hex()] for s in stores]
    return _Rows(sum(map(len, stores)), lambda: fingerprint(identities), blocks)


def _note_trained_on(head: "Head", store: "FeatureStore", progress: Progress) -> None:
    """Say how many rows are known to the head, which is surer of them than of new images."""
    if head.trained_on is None:  # an older head does not say
        return
    rows = np.flatnonzero(store.done)
    known = int(head.trained_on.among(store, rows).sum())
    if known:
        progress.note(
            f"the head was trained on {known} of the {len(rows)} images in {store.path.name}: it "
            "is surer of them than of new ones"
        )


def _stored_block(store: "FeatureStore", head: "Head", begin: int, prefix: str) -> RecordBlock:
    rows = range(begin, min(begin + _BLOCK_ROWS, len(store)))
    good = [row for row in rows if store.status[row] == RowStatus.DONE]
    errors = {
        row: RowStatus(store.status[row]).label
        if store.status[row] != RowStatus.PENDING
        else "pending: not extracted yet"
        for row in rows
        if store.status[row] != RowStatus.DONE
    }
    X = np.asarray(store.features(head.output)[np.array(good, np.int64)])
    keys = {row: readable(prefix + store.keys[row]) for row in rows}
    return RecordBlock(keys, good, X, errors)


def _full_paths(source: "Source") -> Callable[[int], str]:
    """Return what names a row's image so that it opens from everywhere."""
    from bottleneck.sources import locate

    find = locate(source)

    def name(row: int) -> str:
        location = find(row)
        if location is None:
            raise OptionError(
                f"expected images in files of their own for --full-paths, got {source.name}",
                hint="Images inside of a file have no path; leave it out.",
            )
        return location

    name(0)  # before any work
    return name
