"""The line of progress of notebooks, and when it is shown."""

import sys
import types

import pytest

from bottleneck.progress import AUTO, SILENT, Line, in_notebook


@pytest.fixture
def kernel(monkeypatch):
    """Make this process look like the kernel of a notebook."""
    shell = types.SimpleNamespace(kernel=object())
    python = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", python)
    return shell


def tell(progress):
    progress.begin(10, 5)
    progress.advance(5, 1, {"forward": 3.0, "write": 1.0})
    progress.note("two\nlines \udcff")
    progress.advance(10, 1, {"forward": 3.0, "write": 1.0})
    progress.stage("statistics")
    progress.end()


def screen(text):
    """Give the lines that are seen: what follows a carriage return covers what was there."""
    lines = []
    for line in text.split("\n"):
        seen = ""
        for part in line.split("\r"):
            seen = part + seen[len(part) :]
        lines.append(seen.rstrip())
    return lines


def test_a_line_is_written_over_and_notes_stay(capsys):
    tell(Line())
    out = capsys.readouterr().out
    assert "\r10 images to do, 5 done before" in out
    assert "5/10 images, 1 failed, " in out
    assert "forward 75% write 25%" in out
    assert screen(out) == ["note: two lines ?", "statistics", ""]


def test_many_words_a_second_are_not_all_written(capsys):
    line = Line()
    line.begin(1000, 0)
    for done in range(1, 1001):
        line.advance(done, 0, {})
        line.working(f"row {done}")
    line.end()
    told = capsys.readouterr().out.split("\r")
    assert len(told) < 20
    assert any(part.startswith("1000/1000 images") for part in told)


def test_a_line_in_a_notebook(kernel, capsys):
    assert in_notebook()
    tell(AUTO)
    assert "statistics" in capsys.readouterr().out


@pytest.mark.parametrize("shell", [None, types.SimpleNamespace(kernel=None), object()])
def test_nothing_elsewhere(shell, monkeypatch, capsys):
    """Not in a script, where IPython may be imported, nor in its terminal."""
    python = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", python)
    assert not in_notebook()
    tell(AUTO)
    monkeypatch.delitem(sys.modules, "IPython")
    tell(AUTO)
    assert capsys.readouterr().out == ""


def test_a_notebook_can_be_silent(kernel, capsys):
    tell(SILENT)
    assert capsys.readouterr().out == ""
