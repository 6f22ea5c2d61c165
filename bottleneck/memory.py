"""How much memory this process may still use."""

import os
from pathlib import Path
from typing import Final

_MEMINFO: Final = Path("/proc/meminfo")

_GROUPS: Final = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
"""Limit and use of the control group, of version 2 and 1, as a container sees its own."""

_GROUP_FOLDER: Final = Path("/sys/fs/cgroup")


def available_memory() -> float:
    """Return the bytes that can be had without swapping, within the control group's limit.

    Infinite where neither is told.
    """
    return min(_of_machine(), *(_of_group(*names) for names in _GROUPS))


def _of_machine() -> float:
    try:
        # Free pages alone would leave out the page cache, which gives way.
        return float(_lines(_MEMINFO)["MemAvailable:"]) * 1024
    except (OSError, ValueError, LookupError):
        pass
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError, AttributeError):
        return float("inf")


def _of_group(limit: str, used: str) -> float:
    try:
        most = (_GROUP_FOLDER / limit).read_text(encoding="ascii").strip()
        now = int((_GROUP_FOLDER / used).read_text(encoding="ascii"))
        cache = int(_lines((_GROUP_FOLDER / used).with_name("memory.stat"))["inactive_file"])
        return float("inf") if most == "max" else float(max(0, int(most) - now + cache))
    except (OSError, ValueError, LookupError):
        return float("inf")


def _lines(path: Path) -> dict[str, str]:
    """Read lines of a name and a number."""
    words = (line.split() for line in path.read_text(encoding="ascii").splitlines())
    return {word[0]: word[1] for word in words if len(word) > 1}
