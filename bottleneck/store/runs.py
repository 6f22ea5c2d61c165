"""The log beside a feature file: what each extraction did, how fast and where.

The feature file itself is final in all but its rows (see ``docs/FORMAT.md``), and speed is no
part of what features are. So it goes to ``FILE.runs.jsonl``, one line per run. The log may be
lost without any harm but to ``bottleneck compare``, which then knows no images per second and
has to be told where the images are.
"""

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bottleneck.cores import available_cores


def runs_path(path: str | Path) -> Path:
    """Return where the log of a feature file is."""
    return Path(f"{path}.runs.jsonl")


def append_run(path: str | Path, record: Mapping[str, Any]) -> None:
    """Add a run to the log; time and machine are added to the record.

    A log that cannot be written is no reason to fail after hours of work: then it is left out.

    Parameters
    ----------
    path : str or Path
        The feature file.
    record : mapping
        JSON values: ``images``, ``seconds``, ``images_per_second``, ``device``, ``sources``, ...
        What the network cost is ``forward_seconds`` for ``computed`` images; ``decode_seconds``
        are of the pass, which files may share, and summed over its workers.
    """
    line = json.dumps(
        {"time": datetime.now(UTC).isoformat(timespec="seconds"), "machine": _machine(), **record}
    )
    try:
        with runs_path(path).open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
    except OSError:
        return


def read_runs(path: str | Path) -> list[dict[str, Any]]:
    """Read the log of a feature file, oldest first; lines that are no records are skipped."""
    try:
        lines = runs_path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("machine", {}), dict):
            found.append(record)
    return found


def _machine() -> dict[str, Any]:
    return {
        "name": platform.node(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": available_cores(),
    }


def _processor() -> str:
    try:
        facts = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in facts.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()
