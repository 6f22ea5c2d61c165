"""Ctrl-C and its like, whenever they come: what was computed is committed, and the rest is told."""

import os
import subprocess
import sys
from pathlib import Path

from bottleneck.store import Writer


def test_at_any_moment():
    """Interrupts at random moments, with threads and processes: in a process of their own."""
    program = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*program, Path(__file__).with_name("random_interrupts.py")],
        capture_output=True,
        text=True,
        env=own,
        timeout=300,
        check=False,
    )
    assert "4 passed" in done.stdout, done.stdout[-3000:] + done.stderr[-1000:]


def test_in_the_middle_of_a_commit(photos, run, monkeypatch):
    """A signal that comes while rows are made durable does not cost them."""
    commit, calls = Writer.commit, []

    def interrupted(self):
        calls.append(len(self._pending))
        if len(calls) == 2:  # the first is that of settling
            raise KeyboardInterrupt
        commit(self)

    monkeypatch.setattr(Writer, "commit", interrupted)
    result = run(photos)
    assert result.interrupted
    assert (result.ok, result.pending) == (12, 0)
