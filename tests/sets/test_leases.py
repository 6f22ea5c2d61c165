"""A range is one worker's as long as that one lives."""

import json
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from made_sets import plan_fake

from bottleneck.sets import read_info
from bottleneck.sets.leases import Lease, Leases


def test_leases_are_of_one_and_end(small, where):
    info = plan_fake(small, where)
    place, _ = read_info(where)
    mine = Leases(place, info, seconds=30)
    other = Leases(place, info, seconds=30)
    lease = mine.take(2)
    assert lease is not None
    assert other.take(2) is None
    with mine.kept(2, lease):
        assert other.take(2) is None
    assert other.take(2) is not None
    # One of another day is dead; so is one whose process is gone.
    old = Lease("w", "elsewhere", 1, "", time.time() - 30 * 30 - 1)
    place.replace(f"leases/{info.stem(3)}.json", old.to_json())
    assert mine.take(3).deaths == 1
    young = Lease("w", "elsewhere", 1, "", time.time() - 30 * 30 + 60)
    place.replace(f"leases/{info.stem(3)}.json", young.to_json())
    assert mine.take(3) is None
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    gone = Lease("w", json.loads(lease.to_json())["host"], child.pid, "", time.time(), deaths=2)
    place.replace(f"leases/{info.stem(3)}.json", gone.to_json())
    assert mine.take(3).suspected
    # The same part again is a task that was started anew.
    part = Leases(place, info, part="1/2", seconds=30)
    before = Lease("w", "elsewhere", 1, "1/2", time.time() - 10)
    place.replace(f"leases/{info.stem(4)}.json", before.to_json())
    assert mine.take(4) is None
    assert part.take(4).deaths == 1
    # What is no lease is nobody's.
    place.replace(f"leases/{info.stem(0)}.json", b"{}")
    assert mine.take(0).deaths == 0


@pytest.mark.parametrize("wrong_by", [-600, 0, 600, 4000])
def test_leases_are_right_where_clocks_are_wrong(small, where, monkeypatch, wrong_by):
    """A lease lives while its holder does, whatever the holder's clock says, and then ends."""
    info = plan_fake(small, where)
    place, _ = read_info(where)
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    mine = Leases(place, info, seconds=30)
    theirs = Lease("w", "elsewhere", 1, "", time.time() + wrong_by)
    for renewal in range(8):
        renewed = replace(theirs, time=theirs.time + 20 * renewal)
        place.replace(f"leases/{info.stem(3)}.json", renewed.to_json())
        assert mine.take(3) is None
        now[0] += 20
    now[0] += 9  # it was renewed 29 seconds ago, and then never again
    assert mine.take(3) is None
    now[0] += 2
    assert mine.take(3).deaths == 1
    # Nor does one who comes later take it for dead at the first look.
    assert Leases(place, info, seconds=30).take(3) is None


def test_a_lease_is_renewed_while_the_work_goes_on(small, where):
    info = plan_fake(small, where)
    place, _ = read_info(where)
    mine, other = (Leases(place, info, seconds=0.4) for _ in range(2))
    with mine.kept(1, mine.take(1)):
        time.sleep(1.2)
        assert other.take(1) is None


def test_who_was_suspended_leaves_the_lease_of_another_alone(small, where):
    info = plan_fake(small, where)
    place, _ = read_info(where)
    mine, other = (Leases(place, info, seconds=0.4) for _ in range(2))
    name = f"leases/{info.stem(1)}.json"
    with mine.kept(1, mine.take(1)):
        place.replace(name, other.take(2).to_json())  # while nothing was done here
        theirs = place.read(name)
        time.sleep(0.5)
        assert place.read(name) == theirs
    assert place.read(name) == theirs
