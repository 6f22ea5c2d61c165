"""Which of several ways to compute the same is faster on this device: measured once, remembered."""

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from bottleneck.location import cache_folder

_RUNS: Final = 5
"""Each way is tried so often, and its best time counts."""


def faster(
    ways: Mapping[str, Callable[[], Any]],
    *,
    key: str,
    memory: Path,
    clock: Callable[[], float] = time.perf_counter,
) -> str:
    """Name the fastest of some ways.

    Parameters
    ----------
    ways : mapping of str to callable
        Each computes a batch and waits for its result. The first call of each, which may
        compile, does not count. Of equally fast ones the first is taken.
    key : str
        What decides which is fastest: network, size, precision, device, versions.
    memory : Path
        A JSON file where the choice is kept. What cannot be read or written is measured again.
    clock : callable
        Returns seconds.
    """
    known = _read(memory)
    if known.get(key) in ways:
        return str(known[key])
    took = {name: _best(compute, clock) for name, compute in ways.items()}
    chosen = min(took, key=took.__getitem__)
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        partial = memory.with_name(f"{memory.name}.part")
        partial.write_text(json.dumps({**_read(memory), key: chosen}, indent=1), encoding="utf-8")
        partial.replace(memory)
    return chosen


def memory_file() -> Path:
    """Return where choices are kept."""
    return cache_folder() / "faster.json"


def _best(compute: Callable[[], Any], clock: Callable[[], float]) -> float:
    compute()
    took = []
    for _ in range(_RUNS):
        started = clock()
        compute()
        took.append(clock() - started)
    return min(took)


def _read(memory: Path) -> dict[str, Any]:
    try:
        found = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
