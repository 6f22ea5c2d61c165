"""The faster way is measured once and remembered; how fast anything is, is not tested."""

import json

import pytest

from bottleneck.runtimes.autotune import faster


class Clock:
    """A clock that only moves when something is computed."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def way(self, name, first, later):
        def compute():
            self.now += later if name in self.calls else first
            self.calls.append(name)

        return compute

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_compiling_does_not_count_and_the_choice_is_kept(clock, tmp_path):
    memory = tmp_path / "cache" / "faster.json"
    ways = {"plain": clock.way("plain", 1, 3), "xla": clock.way("xla", 60, 2)}
    assert faster(ways, key="a", memory=memory, clock=clock) == "xla"
    assert json.loads(memory.read_text()) == {"a": "xla"}
    measured = len(clock.calls)
    assert faster(ways, key="a", memory=memory, clock=clock) == "xla"
    assert len(clock.calls) == measured
    slow = {"plain": clock.way("plain", 1, 1), "xla": clock.way("xla", 1, 9)}
    assert faster(slow, key="another device", memory=memory, clock=clock) == "plain"
    assert json.loads(memory.read_text()) == {"a": "xla", "another device": "plain"}


def test_of_equals_the_first(clock, tmp_path):
    ways = {"plain": clock.way("plain", 1, 2), "xla": clock.way("xla", 1, 2)}
    assert faster(ways, key="a", memory=tmp_path / "m.json", clock=clock) == "plain"


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[1]", b'{"a": "gone"}'])
def test_a_memory_that_is_no_use_is_measured_anew(clock, tmp_path, content):
    memory = tmp_path / "faster.json"
    memory.write_bytes(content)
    ways = {"plain": clock.way("plain", 1, 3), "xla": clock.way("xla", 1, 2)}
    assert faster(ways, key="a", memory=memory, clock=clock) == "xla"
    assert json.loads(memory.read_text()) == {"a": "xla"}


def test_a_folder_that_cannot_be_written_is_no_error(clock, tmp_path):
    (tmp_path / "file").write_text("")
    ways = {"plain": clock.way("plain", 1, 3), "xla": clock.way("xla", 1, 2)}
    assert faster(ways, key="a", memory=tmp_path / "file" / "m.json", clock=clock) == "xla"
