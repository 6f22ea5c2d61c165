"""The one way of images through networks: decoded ahead, computed or copied, in order.

Extraction, prediction, the transformer and the bench all go through :func:`infer`.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.decode import Decoder, Failure, Job, Slot, decode_stream, open_decoder
from bottleneck.decode.slot import Want
from bottleneck.decode.stream import Batch, WorkerKind
from bottleneck.decode.workers import Watch
from bottleneck.extraction.embedder import EmbeddedBatch, Embedder
from bottleneck.extraction.forward import Computed, Forward, lagging
from bottleneck.extraction.reuse import FeatureCache, Features
from bottleneck.runtimes import Borrowing
from bottleneck.sources import Source
from bottleneck.status import RowStatus


@dataclass(frozen=True, eq=False)
class _Begun:
    """A batch whose features are on their way.

    Parameters
    ----------
    rows, digests, keys : ndarray
        Row numbers, hashes, and what the rows show.
    failures : list of Failure
        Rows that could not be decoded.
    features : dict of str to ndarray
        Of each output, a row per row; filled as far as they were at hand.
    reused, copied : int
        How many were in an older file, and in this one.
    further : int
        Files that hold more pages or frames.
    computed : callable
        Waits for the network.
    chosen, now, source : ndarray of int64
        Positions that are computed, those that get their features from that, and which of the
        computed ones each of these gets.
    later, spare : ndarray
        Positions of images that are on their way in an earlier batch, and their pixels.
    """

    rows: NDArray[np.int64]
    digests: NDArray[np.uint8]
    keys: NDArray[np.bytes_]
    failures: list[Failure]
    features: Features
    reused: int
    copied: int
    further: int
    computed: Callable[[], Computed]
    chosen: NDArray[np.int64]
    now: NDArray[np.int64]
    source: NDArray[np.int64]
    later: NDArray[np.int64]
    spare: NDArray[Any]


class Consumer:
    """One network fed from decoded batches, and what it need not compute.

    Parameters
    ----------
    embedder : Embedder
        The network.
    cache : FeatureCache
        Features that are at hand; by default none.
    at_most : int, optional
        Images per forward pass; all of a batch by default.
    note : callable
        Receives what is worth knowing.
    seconds : defaultdict of float, optional
        Receives the time of ``transfer`` and ``forward``.
    """

    def __init__(
        self,
        embedder: Embedder,
        cache: FeatureCache | None = None,
        *,
        at_most: int | None = None,
        note: Callable[[str], None] = lambda message: None,
        seconds: defaultdict[str, float] | None = None,
    ) -> None:
        self.embedder = embedder
        self.cache = cache or FeatureCache()
        self.seconds = defaultdict[str, float](float) if seconds is None else seconds
        self._on_their_way: set[bytes] = set()
        self._forward = Forward(embedder.network, embedder.dtype, at_most=at_most, note=note)

    def __repr__(self) -> str:
        return f"<Consumer {self.embedder.recipe.backbone}>"

    @property
    def computed(self) -> int:
        """How many images its network has computed: neither copied nor taken over."""
        return self._forward.images

    @property
    def forward_seconds(self) -> float:
        """Seconds of its own network, whatever else the pass did."""
        return self._forward.own_seconds

    @property
    def in_flight(self) -> int:
        """How many batches may be begun before the first one is finished."""
        return self._forward.in_flight

    def expect(self, count: int) -> None:
        """Say how many images a batch has at most; see :meth:`Forward.expect`."""
        self._forward.expect(count)

    def pin(self, memory: NDArray[Any]) -> Callable[[], None]:
        """Prepare memory that batches lie in; what is returned ends that."""
        network = self.embedder.network
        return network.pin(memory) if isinstance(network, Borrowing) else lambda: None

    def begin(self, slot: Slot, want: int, given: int) -> _Begun:
        """Begin to get the features of a decoded batch: from older rows, or from the network.

        Identical images are computed once. Features are copied from rows that are in the cache, and
        from those of batches that were begun before. The slot stays as it is until the batch is
        finished: the network computes on its pixels where they lie.
        """
        wanted = (slot.wanted[: slot.count] >> np.uint32(want) & 1).astype(bool)
        failures = [failure for at, failure in slot.failures() if wanted[at]]
        at = np.flatnonzero(wanted & (slot.status[: slot.count] == RowStatus.DONE))
        rows, digests = slot.rows[at], slot.digests[at]
        keys = self.cache.keys(digests, rows)
        features: Features = {
            name: np.empty((len(rows), dim), self.embedder.dtype)
            for name, dim in self.embedder.dims.items()
        }
        new = self.cache.from_old(keys, features)
        missing = self.cache.from_own(keys, features, new)
        awaited = np.isin(keys[missing], [*self._on_their_way]) if self._on_their_way else None
        later = missing[:0] if awaited is None else missing[awaited]
        now = missing if awaited is None else missing[~awaited]
        # Of several equal images in the batch the first is computed.
        _, first, same = np.unique(keys[now], return_index=True, return_inverse=True)
        order = np.argsort(first)
        chosen = now[first[order]]
        computed = self._forward.start(slot.images(given, at[chosen]), self.seconds, lent=True)
        self._on_their_way.update(keys[chosen].tolist())
        return _Begun(
            rows=rows,
            digests=digests,
            keys=keys,
            failures=failures,
            features=features,
            reused=len(rows) - len(new),
            copied=len(new) - len(missing),
            further=int(np.count_nonzero(slot.further[at])),
            computed=computed,
            chosen=chosen,
            now=now,
            source=np.argsort(order)[same],
            later=later,
            # Should what they wait for turn out to be no number, it is their turn.
            spare=slot.images(given, at[later]),
        )

    def finish(self, begun: _Begun) -> EmbeddedBatch:
        """Wait for the features of a batch; batches are finished in the order they were begun."""
        computed, finite = begun.computed()
        self._on_their_way.difference_update(begun.keys[begun.chosen].tolist())
        bad = _put(begun, begun.now, begun.source, computed, finite)
        later = self.cache.from_own(begun.keys, begun.features, begun.later)
        if len(later):
            spare = begun.spare[np.isin(begun.later, later)]
            computed, finite = self._forward(spare, self.seconds)
            own = _put(begun, later, np.arange(len(later)), computed, finite)
            bad = np.concatenate([bad, own])
        copied = begun.copied + len(begun.now) - len(begun.chosen) + len(begun.later) - len(later)
        rows, digests, features = begun.rows, begun.digests, begun.features
        failures = begun.failures + self.embedder.not_finite(rows[bad], digests[bad])
        if len(bad):
            good = np.ones(len(rows), bool)
            good[bad] = False
            features = {name: block[good] for name, block in features.items()}
            rows, digests = rows[good], digests[good]
        return EmbeddedBatch(rows, features, digests, failures, begun.reused, copied, begun.further)


def infer(
    decoder: Decoder,
    consumers: Sequence[Consumer],
    batches: Iterable[Batch],
    *,
    largest: int,
    views: int = 1,
    seconds: defaultdict[str, float],
) -> Generator[tuple[int, EmbeddedBatch, int]]:
    """Send rows of a source through networks; each image is read and decoded once for all.

    Parameters
    ----------
    decoder : Decoder
        Who decodes; closed at the end.
    consumers : sequence of Consumer
        The networks.
    batches : iterable of (rows, wanted)
        Row numbers, ascending, and the consumers that each of them is for, as bits.
    largest : int
        Rows of the largest batch.
    views : int
        Rows per image.
    seconds : defaultdict of float
        Receives the time spent in ``read`` and ``decode`` (summed over workers), and
        ``waiting`` (for decoded images).

    Yields
    ------
    consumer : int
        Position of who computed it.
    batch : EmbeddedBatch
        In order of the rows, each batch for one consumer after the other.
    finished : int
        Rows that all consumers are done with now and were not before.
    """
    inputs = tuple(dict.fromkeys(one.embedder.input for one in consumers))
    places = [inputs.index(one.embedder.input) for one in consumers]
    wants = tuple(Want(g, c.cache.old_keys) for g, c in zip(places, consumers, strict=True))
    for consumer in consumers:
        consumer.expect(largest)
    held = max(consumer.in_flight for consumer in consumers)
    takers = dict(zip(places, consumers, strict=True))  # one for each input

    def pin(slot: Slot) -> Callable[[], None]:
        ending = ExitStack()
        for given, taker in takers.items():
            ending.callback(taker.pin(slot.pixels[given]))
        return ending.close

    job = Job(inputs, wants, largest, views, held, consumers[0].embedder.network.device)
    slots = decode_stream(decoder, job, batches, pin)

    def begun() -> Iterator[tuple[int, _Begun, int]]:
        for slot in _timed(slots, seconds):
            for c, consumer in enumerate(consumers):
                last = slot.count if c == len(consumers) - 1 else 0
                yield c, consumer.begin(slot, c, places[c]), last

    with closing(slots):
        # A batch is finished before so many others have been asked for that its slot is used again.
        for c, part, finished in lagging(begun(), (held - 1) * len(consumers)):
            yield c, consumers[c].finish(part), finished


def embed(
    embedder: Embedder,
    source: Source,
    batches: Iterable[NDArray[np.int64]],
    *,
    workers: int,
    worker_kind: WorkerKind = "threads",
    watch: Watch | None = None,
    views: int = 1,
    seconds: defaultdict[str, float] | None = None,
) -> Iterator[EmbeddedBatch]:
    """Compute features of some rows of a source, in order, into memory.

    Parameters
    ----------
    embedder : Embedder
        The network.
    source : Source
        Where the images are.
    batches : iterable of ndarray of int64
        Row numbers of each forward pass, ascending; the first is one of the largest.
    workers : int
        Threads or processes that decode ahead.
    worker_kind : {"auto", "processes", "threads"}
        Which of them.
    watch : Watch, optional
        Time-out of an image, and who is told of stalls.
    views : int
        Rows per image.
    seconds : defaultdict of float, optional
        Receives the time of each stage.
    """
    spent = defaultdict[str, float](float) if seconds is None else seconds
    remaining = iter(batches)
    first = next(remaining, None)
    if first is None:
        return
    decoder = open_decoder(source, workers=workers, kind=worker_kind, watch=watch)
    wanted = ((rows, np.ones(len(rows), np.uint32)) for rows in chain([first], remaining))
    consumer = Consumer(embedder, seconds=spent)
    found = infer(decoder, [consumer], wanted, largest=len(first), views=views, seconds=spent)
    with closing(decoder), closing(found):
        for _, batch, _ in found:
            yield batch


def _put(
    begun: _Begun,
    places: NDArray[np.int64],
    source: NDArray[np.int64],
    computed: Features,
    finite: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Put computed features where they belong; return the places that got no numbers."""
    for name, block in computed.items():
        begun.features[name][places] = block[source]
    bad: NDArray[np.int64] = places[~finite[source]]
    return bad


def _timed(slots: Iterator[Slot], seconds: defaultdict[str, float]) -> Iterator[Slot]:
    """Pass slots on, and count what it took to read, decode and wait for them."""
    while True:
        started = time.perf_counter()
        slot = next(slots, None)
        seconds["waiting"] += time.perf_counter() - started
        if slot is None:
            return
        read, decode = slot.seconds.sum(axis=0).tolist()
        seconds["read"] += read
        seconds["decode"] += decode
        yield slot
