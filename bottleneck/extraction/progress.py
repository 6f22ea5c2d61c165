"""Where the engine's callers know :mod:`bottleneck.progress` from."""

from bottleneck.progress import Progress, Silent

__all__ = ["Progress", "Silent"]
