"""One file of a run: which rows it lacks, and how it gets them from decoded batches."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bottleneck.decode import Failure, Slot
from bottleneck.decode.digests import row_keys
from bottleneck.decode.job import Want
from bottleneck.extraction.embedder import EmbeddedBatch, Embedder
from bottleneck.extraction.forward import Computed, Forward
from bottleneck.extraction.known import Features, OldFile, OwnRows
from bottleneck.extraction.result import Tally
from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore

_NONE = -1


@dataclass(frozen=True, eq=False)
class Begun:
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
    computed: Callable[[], Computed]
    chosen: NDArray[np.int64]
    now: NDArray[np.int64]
    source: NDArray[np.int64]
    later: NDArray[np.int64]
    spare: NDArray[np.uint8]


class Target:
    """A feature file that is being filled.

    Parameters
    ----------
    store : FeatureStore
        The file as it was when the run began.
    embedder : Embedder
        What computes its rows.
    old : OldFile, optional
        Where features are taken from that need not be computed.
    views : int
        Rows per image.
    at_most : int, optional
        Images per forward pass.
    note : callable
        Receives what is worth knowing.

    Attributes
    ----------
    tally : Tally
        What was done so far.
    seconds : defaultdict of float
        Time of its stages.
    """

    def __init__(
        self,
        store: FeatureStore,
        embedder: Embedder,
        *,
        old: OldFile | None,
        views: int,
        at_most: int | None,
        note: Callable[[str], None],
    ) -> None:
        self.store = store
        self.embedder = embedder
        self.tally = Tally()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._old = old
        self._views = views
        self._own = OwnRows(store.path, store.layout, views)
        self._own.add_finished(store.done)
        self._on_their_way: set[bytes] = set()
        self._forward = Forward(embedder.network, embedder.dtype, at_most=at_most, note=note)

    def __repr__(self) -> str:
        return f"<Target {self.store.path} {self.embedder.recipe.backbone}>"

    def want(self, geometry: int) -> Want:
        """Say what it needs of decoders."""
        return Want(geometry, self._old.keys if self._old else None)

    def expect(self, count: int) -> None:
        """Say how many images a batch has at most; see :meth:`Forward.expect`."""
        self._forward.expect(count)

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

    def begin(self, slot: Slot, want: int, geometry: int) -> "Begun":
        """Begin to get the features of a decoded batch: from older rows, or from the network.

        Identical images are computed once. Features are copied from rows that
        :meth:`remember` was told of, and from those of batches that were begun before. The slot
        may be filled again as soon as this has returned.
        """
        wanted = (slot.wanted[: slot.count] >> np.uint32(want) & 1).astype(bool)
        failures = [failure for at, failure in slot.failures() if wanted[at]]
        at = np.flatnonzero(wanted & (slot.status[: slot.count] == RowStatus.DONE))
        rows, digests = slot.rows[at], slot.digests[at]
        keys = row_keys(digests, rows, self._views)
        features: Features = {
            name: np.empty((len(rows), dim), self.embedder.dtype)
            for name, dim in self.embedder.dims.items()
        }
        new = self._from_old(keys, features)
        missing = self._from_own(keys, features, new)
        awaited = np.isin(keys[missing], [*self._on_their_way]) if self._on_their_way else None
        later = missing[:0] if awaited is None else missing[awaited]
        now = missing if awaited is None else missing[~awaited]
        # Of several equal images in the batch the first is computed.
        _, first, same = np.unique(keys[now], return_index=True, return_inverse=True)
        order = np.argsort(first)
        chosen = now[first[order]]
        computed = self._forward.start(_pixels(slot, geometry, at[chosen]), self.seconds)
        self._on_their_way.update(keys[chosen].tolist())
        return Begun(
            rows=rows,
            digests=digests,
            keys=keys,
            failures=failures,
            features=features,
            reused=len(rows) - len(new),
            copied=len(new) - len(missing),
            computed=computed,
            chosen=chosen,
            now=now,
            source=np.argsort(order)[same],
            later=later,
            # Should what they wait for turn out to be no number, it is their turn.
            spare=_pixels(slot, geometry, at[later]).copy(),
        )

    def finish(self, begun: "Begun") -> EmbeddedBatch:
        """Wait for the features of a batch; batches are finished in the order they were begun."""
        computed, finite = begun.computed()
        self._on_their_way.difference_update(begun.keys[begun.chosen].tolist())
        bad = self._put(begun, begun.now, begun.source, computed, finite)
        later = self._from_own(begun.keys, begun.features, begun.later)
        if len(later):
            spare = begun.spare[np.isin(begun.later, later)]
            computed, finite = self._forward(spare, self.seconds)
            bad = np.concatenate(
                [bad, self._put(begun, later, np.arange(len(later)), computed, finite)]
            )
        self.tally.reused += begun.reused
        self.tally.copied += begun.copied + len(begun.now) - len(begun.chosen)
        self.tally.copied += len(begun.later) - len(later)
        rows, digests = begun.rows, begun.digests
        failures = begun.failures + self.embedder.not_finite(rows[bad], digests[bad])
        good = np.ones(len(rows), bool)
        good[bad] = False
        if good.all():
            return EmbeddedBatch(rows, begun.features, digests, failures)
        kept = {name: block[good] for name, block in begun.features.items()}
        return EmbeddedBatch(rows[good], kept, digests[good], failures)

    @staticmethod
    def _put(
        begun: "Begun",
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

    def remember(self, batch: EmbeddedBatch) -> None:
        """Take note of rows that are written now, so that equal ones can be copied from them."""
        keys, first = np.unique(row_keys(batch.digests, batch.rows, self._views), return_index=True)
        new = self._own.find(keys) == _NONE
        self._own.add(batch.rows[first[new]], keys[new])

    def _from_old(self, keys: NDArray[np.bytes_], features: Features) -> NDArray[np.int64]:
        """Copy from the older file; return the positions that are still missing."""
        if self._old is None:
            return np.arange(len(keys))
        found = self._old.find(keys)
        have = np.flatnonzero(found != _NONE)
        for name, block in self._old.take(found[have]).items():
            features[name][have] = block
        return np.flatnonzero(found == _NONE)

    def _from_own(
        self, keys: NDArray[np.bytes_], features: Features, missing: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Copy from rows of this file; return the positions that are still missing."""
        found = self._own.find(keys[missing])
        have = found != _NONE
        if not have.any():
            return missing
        copies, sound = self._own.take(found[have])
        places = missing[have]
        for name, block in copies.items():
            features[name][places[sound]] = block[sound]
        return np.sort(np.concatenate([missing[~have], places[~sound]]))


def _pixels(slot: Slot, geometry: int, at: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the pixels of some positions, without a copy where they lie in one run."""
    drawn = slot.drawn[: slot.count] >> np.uint32(geometry) & 1
    places = (np.cumsum(drawn) - 1)[at]
    pixels = slot.pixels[geometry]
    if len(places) and places[-1] - places[0] + 1 == len(places):
        return pixels[places[0] : places[-1] + 1]
    picked: NDArray[np.uint8] = pixels[places]
    return picked
