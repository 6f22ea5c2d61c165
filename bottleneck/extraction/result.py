"""What a run of the engine did, and what is logged of it."""

import resource
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.cores import available_cores
from bottleneck.declare import listed
from bottleneck.extraction.embedder import EmbeddedBatch
from bottleneck.extraction.plan import MaxFailed
from bottleneck.location import is_url
from bottleneck.options import ExtractOptions
from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore
from bottleneck.store.runs import append_run

STAGES: Final = ("read", "decode", "transfer", "forward", "write", "waiting")
"""``read`` and ``decode`` are summed over the workers, the others are of the main thread:
``waiting`` for decoded images, and what it does with them."""

_IN_TURN: Final = ("transfer", "forward", "write")


@dataclass(frozen=True)
class Limit:
    """What holds a run up.

    Parameters
    ----------
    stage : str
        ``read``, ``decode``, ``transfer``, ``forward`` or ``write``; empty if nothing ran.
    advice : str
        What to change.
    """

    stage: str
    advice: str


def limit(seconds: Mapping[str, float], *, workers: int, cores: int, device: str = "cpu") -> Limit:
    """Name the stage that holds a run up.

    The main thread does one thing at a time. If it spends most of its time waiting for images,
    the workers are the limit, and of what they do the longer part; else what it does itself.

    Parameters
    ----------
    seconds : mapping of str to float
        Time per stage; see :data:`STAGES`.
    workers : int
        Decode workers.
    cores : int
        CPU cores that may be used.
    device : str
        What the network runs on.
    """
    own = {stage: seconds.get(stage, 0.0) for stage in (*_IN_TURN, "waiting")}
    stage = max(own, key=own.__getitem__)
    if not own[stage]:
        return Limit("", "")
    if stage == "waiting":
        stage = "read" if seconds.get("read", 0.0) > seconds.get("decode", 0.0) else "decode"
    return Limit(stage, _advice(stage, workers, cores, device))


def _advice(stage: str, workers: int, cores: int, device: str) -> str:
    decode = "all cores decode: keep smaller copies of the images, or use more cores"
    if workers < cores:
        decode = f"--workers {cores}: there are {cores} cores"
    forward = "the network itself: --batch-size auto, --precision bfloat16"
    if device == "cpu":
        forward = "the network itself: --batch-size auto, another --runtime, a GPU, a smaller -b"
    return {
        "read": f"--workers {4 * max(workers, cores)}: readers mostly wait for disk or network",
        "decode": decode,
        "transfer": "--batch-size auto: larger batches copy faster",
        "forward": forward,
        "write": "--dtype float16 halves what is written; or a faster disk",
    }[stage]


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
        Seconds per stage (:data:`~bottleneck.extraction.result.STAGES`); ``read`` and ``decode``
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


def log_run(options: ExtractOptions, result: ExtractResult, batch_size: int) -> None:
    """Remember how fast and where a run was, and where the images are, if it did anything.

    Parameters
    ----------
    options : ExtractOptions
        What was asked for.
    result : ExtractResult
        What one file got of it.
    batch_size : int
        Images per forward pass.
    """
    images = result.ok + result.failed
    if not images:
        return
    execution = FeatureStore.open(result.output).recipe.execution
    append_run(
        result.output,
        {
            "images": images,
            "seconds": result.seconds,
            "images_per_second": result.images_per_second,
            "computed": result.computed,
            "forward_seconds": result.forward_seconds,
            "decode_seconds": result.decode_seconds,
            "stages": result.stages,
            "device": execution.get("device"),
            "runtime": execution.get("runtime"),
            "batch_size": batch_size,
            "workers": options.workers,
            "sources": [_absolute(source) for source in listed(options.sources)],
            "choice": asdict(options.choice()),
        },
    )


def _absolute(source: str) -> str:
    return source if is_url(source) else str(Path(source).resolve())
