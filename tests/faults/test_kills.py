"""A process that dies at any moment costs no row that was told, and leaves a file that opens."""

import pytest
from faults.crashes import boundaries, random_kills, short_writes, without_links
from faults.lab import BY_NAME

EVERY = {
    "create": 3,
    "write": 9,
    "write, several batches a commit": 9,
    "resume": 10,
    "refresh": 8,
    "replace": 10,
    "merge": 9,
}


@pytest.mark.parametrize("name", BY_NAME)
def test_killed_before_a_call(lab, name):
    tally = boundaries(lab, BY_NAME[name], every=EVERY[name])
    assert tally.problems == []
    assert tally.counts["kills"] == -(-tally.counts["calls"] // EVERY[name])


def test_killed_where_there_are_no_hard_links(lab):
    tally = without_links(lab)
    assert tally.problems == []
    assert tally.counts["kills"] >= 4


def test_killed_at_random(lab, chance):
    tally = random_kills(lab, 15, chance)
    assert tally.problems == []
    assert tally.counts["kills"] >= 15


def test_writes_that_take_half(lab):
    tally = short_writes(lab)
    assert tally.problems == []
    assert tally.counts["calls"] > 1000
