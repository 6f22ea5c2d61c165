"""Where the time of a run goes, which stage holds it up, and what to do about that."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

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
