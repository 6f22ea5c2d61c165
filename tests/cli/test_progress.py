"""What people see while a head is fitted."""

import numpy as np
import pytest

from bottleneck.cli import progress as shown
from bottleneck.heads import matrix as feature_rows
from bottleneck.heads.rows import ArrayRows, WatchedRows


def test_watched_rows_are_the_rows_and_tell_the_passes(monkeypatch):
    monkeypatch.setattr(feature_rows, "_SECONDS_BETWEEN_WORDS", -1.0)
    X = np.arange(40, dtype=np.float32).reshape(10, 4)
    told = []
    rows = WatchedRows(ArrayRows(X), told.append)
    assert (rows.shape, rows.dtype) == ((10, 4), np.float32)
    for start, stop in ((0, 6), (6, 10), (0, 5)):
        assert np.array_equal(rows.read(start, stop, {}), X[start:stop])
    assert told == [
        "pass 1 over the rows, 60%",
        "pass 2 over the rows, 0%",
        "pass 2 over the rows, 50%",
    ]
    rows.end()
    assert np.array_equal(rows.read(0, 10, {}), X)
    assert len(told) == 3


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(shown.time, "monotonic", lambda: now[0])
    return now


def test_a_log_file_gets_a_line_now_and_then(clock, capsys):
    lines = shown.Lines()
    lines.stage("fitting")
    for second in range(1, 25):
        clock[0] = 100.0 + second
        lines.working(f"pass {second}")
    assert capsys.readouterr().err.splitlines() == ["fitting", "pass 10", "pass 20"]


def test_quiet_says_nothing_of_it(capsys):
    shown.NotesOnly().working("pass 1")
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_the_last_word_and_clears_it(capsys):
    live = shown.Live()
    live.working("pass 1 [of many]")
    live.working("pass 2")
    assert live._status.status == "pass 2"
    live.end()
    assert live._status is None
    live.end()


@pytest.mark.parametrize("prints_rows", [True, False])
@pytest.mark.parametrize("out", [True, False])
@pytest.mark.parametrize("err", [True, False])
def test_a_bar_does_not_run_into_rows_on_the_same_terminal(monkeypatch, err, out, prints_rows):
    monkeypatch.setattr("sys.stderr.isatty", lambda: err)
    monkeypatch.setattr("sys.stdout.isatty", lambda: out)
    made = shown.make_progress(False, prints_rows=prints_rows)
    assert isinstance(made, shown.Live) == (err and not (out and prints_rows))
    assert isinstance(made, shown.Live | shown.Lines)
