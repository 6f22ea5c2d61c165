"""The fault campaign: try to break feature files, and count.

Each part returns a :class:`Tally`; the tests run short parts and assert their counts, and

    PYTHONPATH=tests python -m faults.campaign --long

runs all of them in full and prints a table.
"""

import argparse
import errno
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable

from faults import shim
from faults.crashes import (
    boundaries,
    controls,
    disk_errors,
    power_losses,
    random_kills,
    short_writes,
    without_links,
)
from faults.damage import flips_elsewhere, flips_in_rows, sized, truncations
from faults.lab import FILE, SCENARIOS, Lab, laboratory
from faults.tally import Tally
from faults.together import live_reader, races


def kills(lab: Lab, chance: random.Random, *, long: bool) -> Iterable[Tally]:
    """SIGKILL before every call, and at random moments."""
    for scenario in SCENARIOS:
        yield boundaries(lab, scenario, every=1 if long else 5)
    yield without_links(lab)
    yield random_kills(lab, 2000 if long else 50, chance)
    yield short_writes(lab)


def power(lab: Lab, chance: random.Random, *, long: bool) -> Iterable[Tally]:
    """Losses of power, and the proof that they find what is bad."""
    yield power_losses(lab, 1000 if long else 100, chance)
    yield controls(lab, chance)


def disk(lab: Lab, chance: random.Random, *, long: bool) -> Iterable[Tally]:
    """ENOSPC and EIO at every call."""
    for scenario in SCENARIOS:
        for code in (errno.ENOSPC, errno.EIO):
            yield disk_errors(lab, scenario, code, every=1 if long else 10)


def together(lab: Lab, chance: random.Random, *, long: bool) -> Iterable[Tally]:
    """Writers that race, and a reader among them."""
    yield races(lab, 100 if long else 5, 8)
    yield live_reader(lab, 500 if long else 50)


def damage(lab: Lab, chance: random.Random, *, long: bool) -> Iterable[Tally]:
    """Flipped bits and missing ends."""
    yield flips_in_rows(lab, 1000 if long else 50, chance)
    yield flips_elsewhere(lab, 2000 if long else 50, chance)
    size = (lab.prepared("whole") / FILE).stat().st_size
    yield truncations(lab, sized(size, 300 if long else 20))


PARTS = {part.__name__: part for part in (kills, power, disk, together, damage)}


def main() -> int:
    """Print a line per part; 1 if anything broke."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="the full counts; about ten minutes")
    parser.add_argument("--seed", type=int, default=0, help="of all that is left to chance")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this; repeatable")
    arguments = parser.parse_args()
    reason = shim.unavailable()
    if reason:
        print(reason, file=sys.stderr)
        return 2
    broken = 0
    totals: Counter[str] = Counter()
    with laboratory() as lab:
        started = time.perf_counter()
        for tally in (
            tally
            for name in arguments.part or PARTS
            for tally in PARTS[name](lab, random.Random(arguments.seed), long=arguments.long)
        ):
            tally.seconds = time.perf_counter() - started
            started = time.perf_counter()
            print(tally, flush=True)
            for line in tally.summary():
                print(f"    {line}", flush=True)
            broken += tally.counts["broken"]
            totals.update({k: tally.counts[k] for k in ("kills", "losses", "flips")})
    print(", ".join(f"{n} {name}" for name, n in totals.items()) + f"; {broken} broken in all")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
