"""What a run of the engine did."""

import resource
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cores import available_cores
from bottleneck.extraction.embedder import EmbeddedBatch
from bottleneck.extraction.plan import MaxFailed
from bottleneck.extraction.profile import STAGES, limit
from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore


@dataclass
class RunTally:
    """What a run has done to one file so far; ``copied`` and ``reused`` are part of ``ok``."""

    ok: int = 0
    failed: int = 0
    copied: int = 0
    reused: int = 0
    further: int = 0
    interrupted: bool = False

    def add(self, batch: EmbeddedBatch) -> None:
        """Count the rows of a batch that was written."""
        self.ok += len(batch.rows)
        self.failed += len(batch.failures)
        self.copied += batch.copied
        self.reused += batch.reused
        self.further += batch.further

    @property
    def done(self) -> int:
        """Rows of either kind."""
        return self.ok + self.failed


@dataclass(frozen=True)
class ExtractResult:
    """What a run did. ``rows = ok + failed + already_done + pending``.

    Parameters
    ----------
    output : str
        The feature file.
    rows : int
        Rows of the file.
    ok, failed : int
        Rows this run finished, and rows it found to be bad.
    copied, reused : int
        Rows among the ``ok`` ones whose features were copied from an identical image of this
        file, or taken over from an older file.
    first_of_several : int
        Images of this run whose file holds more pages or frames (an animation, a scan of several
        pages) than the first, which was used.
    computed : int
        Images that this run's network computed: neither copied nor taken over.
    forward_seconds : float
        What the network of this file took for them, whatever other networks of the same pass and
        the decoding took.
    decode_seconds : float
        What reading and decoding took in this pass, which several files may share; summed over
        the workers.
    already_done : int
        Rows that were finished, well or badly, before this run.
    pending : int
        Rows still to be computed (after an interrupt or with a limit), of this run's part.
    left_to_others : int
        Rows still to be computed that are not in this run's part.
    failed_total : int
        Bad rows of the file, from this run and earlier ones.
    reasons : dict of str to int
        Bad rows of the file by reason.
    too_many_failed : bool
        Whether ``failed_total`` exceeds what was allowed.
    interrupted : bool
        Whether the run was stopped by Ctrl-C.
    seconds : float
        Time this run took, without loading the backbone.
    images_per_second : float
        Images of this run over its time.
    stages : dict of str to float
        Seconds per stage (:data:`~bottleneck.extraction.profile.STAGES`); ``read`` and ``decode``
        are summed over the workers.
    limit, advice : str
        The stage that held the run up, and what to change; empty if nothing ran.
    backbone : str
        Its name.
    outputs : dict of str to int
        Length of the features of each output.
    peak_rss_mb : float
        Largest resident memory of the process so far, in MB.
    """

    output: str
    rows: int
    ok: int
    failed: int
    copied: int
    reused: int
    first_of_several: int
    computed: int
    forward_seconds: float
    decode_seconds: float
    already_done: int
    pending: int
    left_to_others: int
    failed_total: int
    reasons: dict[str, int]
    too_many_failed: bool
    interrupted: bool
    seconds: float
    images_per_second: float
    stages: dict[str, float]
    limit: str
    advice: str
    backbone: str
    outputs: dict[str, int]
    peak_rss_mb: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def summarise(
    before: FeatureStore,
    tally: RunTally,
    mine: NDArray[np.bool_],
    *,
    computed: int,
    forward_seconds: float,
    max_failed: MaxFailed,
    took: float,
    seconds: Mapping[str, float],
    workers: int,
) -> ExtractResult:
    """Put together what a run says at its end.

    Parameters
    ----------
    before : FeatureStore
        The feature file as it was when the run began.
    tally : RunTally
        What the run says it has done; what counts is what the file says now.
    mine : ndarray of bool, shape (n,)
        Which rows were this run's to do.
    computed, forward_seconds
        See :class:`ExtractResult`.
    max_failed : MaxFailed
        How many bad rows are allowed.
    took : float
        Seconds.
    seconds : mapping of str to float
        Seconds per stage.
    workers : int
        Decode workers.
    """
    store = FeatureStore.open(before.path)
    counts, earlier = store.counts(), before.counts()
    pending = counts.get(RowStatus.PENDING, 0)
    left_to_others = int(np.count_nonzero(~mine & np.equal(store.status, RowStatus.PENDING)))
    already_done = len(before) - earlier.get(RowStatus.PENDING, 0)
    ok = counts.get(RowStatus.DONE, 0) - earlier.get(RowStatus.DONE, 0)
    reasons = {status.label: count for status, count in counts.items() if status.failed}
    failed_total = sum(reasons.values())
    done_now = len(store) - pending - already_done
    device = str(store.recipe.execution.get("device", "cpu"))
    found = limit(seconds, workers=workers, cores=available_cores(), device=device)
    return ExtractResult(
        output=str(store.path),
        rows=len(store),
        ok=ok,
        failed=done_now - ok,
        copied=tally.copied,
        reused=tally.reused,
        first_of_several=tally.further,
        computed=computed,
        forward_seconds=round(forward_seconds, 6),
        decode_seconds=round(seconds.get("read", 0.0) + seconds.get("decode", 0.0), 6),
        already_done=already_done,
        pending=pending - left_to_others,
        left_to_others=left_to_others,
        failed_total=failed_total,
        reasons=reasons,
        too_many_failed=max_failed.exceeded(failed_total, int(np.count_nonzero(mine))),
        interrupted=tally.interrupted,
        seconds=round(took, 3),
        images_per_second=round(done_now / took, 2) if done_now else 0.0,
        stages={stage: round(seconds.get(stage, 0.0), 3) for stage in STAGES},
        limit=found.stage,
        advice=found.advice,
        backbone=store.recipe.backbone,
        outputs=store.outputs,
        peak_rss_mb=peak_rss_mb(),
    )


def peak_rss_mb() -> float:
    """Return the largest resident memory of this process so far, in MB (10**6 bytes).

    On Linux from ``/proc``: what ``getrusage`` says includes the parent from before ``exec``.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        kibibytes = int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return round(peak / 1e6, 1) if sys.platform == "darwin" else round(peak * 1.024e-3, 1)
    return round(kibibytes * 1.024e-3, 1)
