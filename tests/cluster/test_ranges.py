"""Ranges are handed to whoever is free, and go back where a worker is lost."""

import threading

import pytest
from crews import ThreadCrew

from bottleneck.cluster import ranges as module
from bottleneck.cluster.ranges import NoWorkersError, work_ranges
from bottleneck.extraction.ranges import RangeBusyError, RangeFilled


def me():
    return threading.current_thread().name[:8]


class Recording:
    """A worker that notes what it was asked, for all of a crew."""

    def __init__(self, asked):
        self.asked = asked

    def fill(self, number, version, suspected):
        self.asked.append((number, suspected, me()))
        return RangeFilled(number, ok=9, failed=1, computed=10, seconds=0.1, published=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(module, "_SECONDS", 0.01)
    monkeypatch.setattr(module, "_PATIENCE", 60.0)


def test_every_range_is_done_once_though_workers_are_lost_and_join():
    """Who comes last to work is not left to chance: others wait for the losses, and who joins."""

    class Waiting(Recording):
        def fill(self, number, version, suspected):
            if me() in {"member 1", "member 3"}:
                assert lost.wait(60)
            found = super().fill(number, version, suspected)
            if me() == "member 3":
                joined.set()
            if me() == "member 1":
                assert joined.wait(60)
            return found

    class Crew(ThreadCrew):
        def lost(self, member):
            super().lost(member)
            if len(self.losses) == 2:
                lost.set()

    lost, joined = threading.Event(), threading.Event()
    asked = []
    crew = Crew(3, lambda: Waiting(asked), fails_at={0: 2, 2: 0}, joins=[4])
    lines = []
    course = work_ranges(
        crew, dict.fromkeys(range(5, 40), 0), lambda course, one: lines.append(str(course))
    )
    assert sorted(number for number, _, _ in asked) == list(range(5, 40))
    assert sorted(one.number for one in course.done) == list(range(5, 40))
    assert not any(suspected for _, suspected, _ in asked)
    assert sorted(course.lost) == ["member 0", "member 2"]
    assert lines[-1] == "35 of 35 ranges, 2 workers, 2 lost"
    assert {name for _, _, name in asked} == {"member 0", "member 1", "member 3"}
    crew.close()


def test_a_range_that_ends_its_workers_is_told_to_be_suspected():
    asked = []
    crew = ThreadCrew(1, lambda: Recording(asked), fails_at={0: 0}, joins=[3, 5, 7])
    made = []

    def members():
        found = ThreadCrew.members(crew)
        for member in found:
            if member not in made:
                made.append(member)
                if len(made) <= 3:
                    member.fails_at = 0
        return found

    crew.members = members
    course = work_ranges(crew, {7: 0, 8: 0}, lambda *_: None)
    assert [number for number, *_ in asked] == [7, 8]
    assert [suspected for _, suspected, _ in asked] == [True, False]
    assert len(course.lost) == 3
    crew.close()


def test_nobody_for_long_is_an_error_and_says_what_is_left(monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 0.1)
    crew = ThreadCrew(1, lambda: Recording([]), fails_at={0: 1})
    with pytest.raises(NoWorkersError, match="3 ranges are left"):
        work_ranges(crew, dict.fromkeys(range(4), 0), lambda *_: None)
    crew.close()


def test_an_error_of_the_work_itself_is_raised():
    class Broken:
        def fill(self, number, version, suspected):
            raise FileNotFoundError("no such image")

    crew = ThreadCrew(2, Broken)
    with pytest.raises(FileNotFoundError, match="no such image"):
        work_ranges(crew, dict.fromkeys(range(4), 0), lambda *_: None)
    crew.close()


def test_a_range_that_another_process_still_holds_is_tried_again():
    class Busy(Recording):
        def fill(self, number, version, suspected):
            if number == 1 and len(self.asked) < 3:
                self.asked.append((-1, suspected, ""))
                raise RangeBusyError("another process fills it")
            return super().fill(number, version, suspected)

    asked = []
    crew = ThreadCrew(1, lambda: Busy(asked))
    course = work_ranges(crew, dict.fromkeys(range(3), 0), lambda *_: None)
    assert [one.number for one in course.done] == [0, 2, 1]
    assert not course.lost
    crew.close()


def test_a_worker_that_cannot_do_its_work_gets_no_more_of_it():
    """A node whose disk is full: others do what it had, and it ends nothing."""

    class Full(Recording):
        def fill(self, number, version, suspected):
            if me() == "member 1":
                self.asked.append((number, suspected, "failed"))
                failed.set()
                raise OSError("no space left")
            assert failed.wait(60)
            return super().fill(number, version, suspected)

    failed = threading.Event()
    asked, told = [], []
    crew = ThreadCrew(3, lambda: Full(asked))
    course = work_ranges(
        crew, dict.fromkeys(range(20), 0), lambda course, one: told.append(one and one.number)
    )
    assert sorted(one.number for one in course.done) == list(range(20))
    assert sorted(filter(lambda one: one is not None, told)) == list(range(20))
    assert [name for *_, name in asked].count("failed") == 1
    assert course.aside == ["member 1: no space left"]
    crew.close()


def test_a_range_whose_worker_hangs_is_given_to_another_one(monkeypatch):
    """When all others are done: who comes first counts, and nobody waits for the other."""
    monkeypatch.setattr(module, "_LATE_SECONDS", 1.0)
    awake = threading.Event()

    class Hanging(Recording):
        def fill(self, number, version, suspected):
            found = super().fill(number, version, suspected)
            if number == 4 and [one for one, *_ in self.asked].count(4) == 1:
                awake.wait(30)
            return found

    asked, told = [], []
    crew = ThreadCrew(2, lambda: Hanging(asked))
    course = work_ranges(
        crew, dict.fromkeys(range(9), 0), lambda course, one: told.append(one and one.number)
    )
    assert not awake.is_set()
    assert sorted(one.number for one in course.done) == list(range(9))
    assert sorted(number for number, *_ in asked) == [0, 1, 2, 3, 4, 4, 5, 6, 7, 8]
    assert len({name for number, _, name in asked if number == 4}) == 2
    awake.set()
    crew.close()


def test_a_range_whose_worker_hangs_is_not_for_its_own_machine(monkeypatch):
    """Where the file that is being filled is held by the one that hangs."""
    monkeypatch.setattr(module, "_LATE_SECONDS", 1.0)
    awake = threading.Event()

    class Hanging(Recording):
        def fill(self, number, version, suspected):
            if number == 0 and me() == "member 1":  # on the machine of member 0
                self.asked.append((number, suspected, me()))
                raise RangeBusyError("another process fills it")
            found = super().fill(number, version, suspected)
            if number == 0 and me() == "member 0":
                awake.wait(30)
            return found

    asked = []
    crew = ThreadCrew(3, lambda: Hanging(asked))
    course = work_ranges(crew, dict.fromkeys(range(9), 0), lambda *_: None)
    assert not awake.is_set()
    assert sorted(one.number for one in course.done) == list(range(9))
    at = [name for number, _, name in asked if number == 0]
    assert (at[0], at[-1]) == ("member 0", "member 2")
    assert at.count("member 1") <= 1
    awake.set()
    crew.close()


def test_an_error_of_a_range_ends_no_more_than_two_workers():
    class Missing(Recording):
        def fill(self, number, version, suspected):
            found = super().fill(number, version, suspected)
            if number == 2:
                raise FileNotFoundError("no part 2")
            return found

    asked = []
    crew = ThreadCrew(4, lambda: Missing(asked))
    with pytest.raises(FileNotFoundError, match="no part 2"):
        work_ranges(crew, dict.fromkeys(range(12), 0), lambda *_: None)
    assert [number for number, *_ in asked].count(2) == 2
    crew.close()
