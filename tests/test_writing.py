"""Files that are there whole or not at all, and tables that any reader of CSV gets back."""

import csv
import errno
import io
import os
import subprocess
from pathlib import Path

import pytest

from bottleneck.writing import csv_line, written_whole

PACKAGE = Path(__file__).parents[1] / "bottleneck"

ROWS = [
    ["a.png", "cat", None],
    ["carriage\rreturn", "new\nline", "both\r\n"],
    ['quo"te', "com,ma", ""],
    ["caf\u00e9", 3, 0.25],
]


def test_lines_come_back():
    text = "".join(map(csv_line, ROWS))
    found = list(csv.reader(io.StringIO(text, newline="")))
    assert found == [["" if cell is None else str(cell) for cell in row] for row in ROWS]


def test_plain_lines_are_those_of_the_csv_module():
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([ROWS[0], ROWS[2], ROWS[3]])
    assert "".join(map(csv_line, [ROWS[0], ROWS[2], ROWS[3]])) == stream.getvalue()


@pytest.fixture
def calls(monkeypatch):
    """What is done to files, in order."""
    done = []
    fsync, replace, link = os.fsync, os.replace, os.link

    def kind(descriptor):
        return "folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"

    monkeypatch.setattr(os, "fsync", lambda fd: done.append(f"sync {kind(fd)}") or fsync(fd))
    monkeypatch.setattr(os, "replace", lambda a, b: done.append("rename") or replace(a, b))
    monkeypatch.setattr(os, "link", lambda a, b: done.append("rename") or link(a, b))
    return done


@pytest.mark.parametrize("replace", [True, False])
def test_a_file_gets_its_name_when_its_content_is_on_the_disk(tmp_path, calls, replace):
    with written_whole(tmp_path / "x", replace=replace) as temporary:
        temporary.write_text("all")
        assert calls == []
        assert not (tmp_path / "x").exists()
    assert calls == ["sync file", "rename", "sync folder"]
    assert os.listdir(tmp_path) == ["x"]
    assert (tmp_path / "x").read_text() == "all"


@pytest.mark.parametrize("replace", [True, False])
def test_what_fails_leaves_what_was_there(tmp_path, monkeypatch, replace):
    (tmp_path / "x").write_text("before")

    def write():
        with written_whole(tmp_path / "x", replace=replace) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()

    def fail(descriptor):
        raise OSError(errno.EIO, "the disk fails")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="the disk fails"):
        with written_whole(tmp_path / "x", replace=replace) as temporary:
            temporary.write_text("all")
    assert os.listdir(tmp_path) == ["x"]
    assert (tmp_path / "x").read_text() == "before"


@pytest.mark.parametrize("links", [True, False])
def test_a_file_is_replaced_only_if_told_so(tmp_path, monkeypatch, links):
    def no_links(source, target):
        raise OSError(errno.EPERM, "no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    for text in ("first", "second"):
        try:
            with written_whole(tmp_path / "x", replace=False) as temporary:
                temporary.write_text(text)
        except FileExistsError:
            assert text == "second"
        assert (tmp_path / "x").read_text() == "first"
    with written_whole(tmp_path / "x") as temporary:
        temporary.write_text("third")
    assert (tmp_path / "x").read_text() == "third"
    assert os.listdir(tmp_path) == ["x"]


def test_nobody_else_renames_files():
    """There is one way to write a file whole."""
    renaming = r"\.hardlink_to\(|os\.link\(|os\.rename\(|os\.replace\(|temporary\.replace\("
    found = subprocess.run(
        ["grep", "-rlE", renaming, "--include=*.py", PACKAGE],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    assert found == [str(PACKAGE / "writing.py")]
