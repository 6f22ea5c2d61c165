"""The fault campaign: try to break feature files, and count.

Each part returns a :class:`Tally`; the tests run short parts and assert their counts, and

    PYTHONPATH=tests python -m faults.campaign --long

runs all of them in full and prints a table.
"""

import argparse
import errno
import random
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from faults import shim
from faults.lab import FILE, SCENARIOS, Lab, Scenario, explain, laboratory
from faults.powerloss import Disk
from faults.promise import Promise
from faults.shim import KINDS, Call, Kind, Op, Plan
from faults.world import World

from bottleneck.store import FeatureStore
from bottleneck.store.format import Layout

EXPLAINED = ("StoreError", "StoreLockedError")
"""What an error of the disk may look like to a person."""


@dataclass
class Tally:
    """What a part tried and found."""

    part: str
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def note(self, where: str, problems: Iterable[str]) -> None:
        """Keep what went wrong in one trial."""
        found = list(problems)
        self.counts["broken"] += bool(found)
        self.problems += [f"{where}: {problem}" for problem in found]

    def summary(self) -> list[str]:
        """Return the problems of a kind in one line, with their number and the first of them."""
        kinds: dict[str, list[str]] = {}
        for problem in self.problems:
            what = problem.splitlines()[0].partition(": ")[2]
            kinds.setdefault(re.sub(r"\S*/\S*|\d+(, \d+)*", "*", what)[:80], []).append(problem)
        return [f"{len(found)} like {found[0].splitlines()[0]}" for found in kinds.values()]

    def __str__(self) -> str:
        counts = ", ".join(f"{n} {name}" for name, n in self.counts.items() if name != "broken")
        return f"{self.part:<46} {counts}; {self.counts['broken']} broken ({self.seconds:.0f} s)"


def _leftovers(folder: Path, scenario: Scenario, before: Path) -> list[str]:
    known = {FILE, f"{FILE}.failures.jsonl", *(path.name for path in before.iterdir())}
    names = sorted(path.name for path in folder.iterdir() if path.name not in known)
    return [f"{scenario.name} leaves {', '.join(names)}"] if names else []


def _after(lab: Lab, promise: Promise, scenario: Scenario, folder: Path, log: Path) -> list[str]:
    """Check a file after an accident, finish it, and check again."""
    before = lab.prepared(scenario.prepared)
    told = promise.told(shim.read_log(log), before / FILE)
    problems = promise.broken(folder / FILE, told=told, versions=scenario.versions)
    problems += lab.finish(scenario, folder)
    problems += promise.broken(folder / FILE, versions=(scenario.final,), complete=True)
    return problems + _leftovers(folder, scenario, before)


# ---- kills ---------------------------------------------------------------------------------------


def boundaries(lab: Lab, scenario: Scenario, *, every: int = 1, sabotage: str = "") -> Tally:
    """Kill before every (or every k-th) call that writes."""
    tally, promise = Tally(f"kill before each call: {scenario.name}"), Promise(lab.world)
    total = len(lab.calls(scenario))
    tally.counts["calls"] = total
    for n in range(1, total + 1, every):
        with lab.trial(scenario.prepared) as folder:
            log = lab.log_path(folder)
            outcome = lab.run(
                scenario.job,
                folder,
                options=dict(scenario.options),
                plan=Plan(kill_at=n),
                log=log,
                sabotage=sabotage,
            )
            tally.counts["kills"] += outcome["exit"] == -9
            tally.note(f"before call {n}", _after(lab, promise, scenario, folder, log))
    return tally


def without_links(lab: Lab) -> Tally:
    """Kill before each call of a creation on a file system that has no hard links."""
    tally, promise = Tally("kill before each call: create without links"), Promise(lab.world)
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == "create")
    calls = lab.calls(scenario)
    link = next(i for i, call in enumerate(calls, 1) if call.op == Op.LINK)
    for n in range(link, len(calls) + 3):
        with lab.trial() as folder:
            log = lab.log_path(folder)
            plan = Plan(kill_at=n, fail_at=link, errno=errno.EPERM, kinds=Kind.NAME)
            outcome = lab.run(scenario.job, folder, plan=plan, log=log)
            tally.counts["kills"] += outcome["exit"] == -9
            tally.note(f"before call {n}", _after(lab, promise, scenario, folder, log))
    return tally


def random_kills(lab: Lab, count: int, chance: random.Random) -> Tally:
    """Kill at random moments, up to three times in a row."""
    tally, promise = Tally("SIGKILL at random moments"), Promise(lab.world)
    durations = {scenario.name: _duration(lab, scenario) for scenario in SCENARIOS}
    while tally.counts["kills"] < count:
        scenario = chance.choice(SCENARIOS)
        with lab.trial(scenario.prepared) as folder:
            log = lab.log_path(folder)
            for _ in range(chance.randint(1, 3)):
                outcome = lab.run(
                    scenario.job,
                    folder,
                    options=dict(scenario.options),
                    log=log,
                    kill_after=chance.uniform(0, durations[scenario.name]),
                )
                tally.counts["kills"] += outcome["exit"] == -9
                refused = outcome.get("error") == "StoreError" and scenario.job == "create"
                if outcome["exit"] not in (-9, 0) and not refused:  # create does not resume
                    tally.note(scenario.name, [explain(outcome)])
            midway = (folder / FILE).exists() and _n_flagged(folder / FILE)
            tally.counts["midway"] += bool(midway) and midway < lab.world.rows
            tally.note(scenario.name, _after(lab, promise, scenario, folder, log))
            tally.counts["files"] += 1
    return tally


def _duration(lab: Lab, scenario: Scenario) -> float:
    with lab.trial(scenario.prepared) as folder:
        started = time.perf_counter()
        lab.do(scenario.job, folder, options=dict(scenario.options))
        return time.perf_counter() - started


def _n_flagged(path: Path) -> int:
    return int(np.count_nonzero(FeatureStore.open(path).status))


# ---- power ---------------------------------------------------------------------------------------

_LOSSES_PER_STORY = 20


def power_losses(
    lab: Lab,
    count: int,
    chance: random.Random,
    *,
    scenarios: Iterable[Scenario] = SCENARIOS,
    sabotage: str = "",
    accidents: bool = True,
    finish: bool = True,
    enough: int | None = None,
    plans: Sequence[Plan] = (),
) -> Tally:
    """Lose the power at random points of logged stories.

    A story is a job; or, with ``accidents``, a job that was killed or met a failing disk and the
    jobs that went on with its file before the power went. ``plans`` says which accidents. After
    ``enough`` broken files no more are looked for.
    """
    tally, promise = Tally("losses of power"), Promise(lab.world)
    enough = enough or count
    while tally.counts["losses"] < count and tally.counts["broken"] < enough:
        for scenario in scenarios:
            folder = lab.folder(scenario.prepared)
            before = lab.base / "before"
            shutil.rmtree(before, ignore_errors=True)
            disk_of = _frozen(folder, before)
            log = lab.log_path(folder)
            story = _accidents(lab, scenario, chance) if accidents and not plans else plans
            _tell(lab, scenario, folder, log, story, sabotage=sabotage)
            calls = shim.read_log(log)
            shutil.rmtree(folder)
            tally.counts["stories"] += 1
            for _ in range(min(_LOSSES_PER_STORY, count - tally.counts["losses"])):
                tally.counts["losses"] += 1
                cut = _moment(calls, chance, late=bool(plans))
                disk = disk_of()
                disk.replay(calls[:cut], chance)
                target = lab.base / "after"
                fates = disk.lose_power(target, chance)
                told = promise.told(calls[:cut], before / FILE)
                tally.counts["with done rows"] += told is not None and bool(told.any())
                problems = promise.broken(target / FILE, told=told, versions=scenario.versions)
                if finish:
                    problems += lab.finish(scenario, target)
                    problems += promise.broken(
                        target / FILE, versions=(scenario.final,), complete=True
                    )
                where = f"{scenario.name} ({_jobs(calls[:cut])}), call {cut} of {len(calls)}"
                tally.note(f"{where}, {'/'.join(fates)}", problems)
                shutil.rmtree(target)
    return tally


def _moment(calls: Sequence[Call], chance: random.Random, *, late: bool) -> int:
    """Choose when the power goes: at any call, or, as that is when most is at stake, at a sync.

    With ``late``, soon after the second job has begun.
    """
    begun = [i for i, call in enumerate(calls) if call.op == Op.NOTE and call.data[:1] == b"J"]
    first = begun[1] if late and len(begun) > 1 else 0
    syncs = [i for i, call in enumerate(calls) if call.op == Op.SYNC and i > first]
    last = len(calls)
    if first:
        syncs = syncs[:4]
        last = syncs[-1] if syncs else last
    if syncs and chance.random() < 0.5:
        return chance.choice(syncs)
    return chance.randint(first, last)


def _jobs(calls: Iterable[Call]) -> str:
    return " then ".join(
        call.data[1:].decode() for call in calls if call.op == Op.NOTE and call.data[:1] == b"J"
    )


def _frozen(folder: Path, copy: Path) -> Callable[[], Disk]:
    """Remember a folder as it is; return a maker of disks that begin with it."""
    shutil.copytree(folder, copy)
    inodes = {path.name: path.stat().st_ino for path in folder.iterdir()}
    return lambda: Disk(copy, inodes)


def _accidents(lab: Lab, scenario: Scenario, chance: random.Random) -> list[Plan]:
    """Up to two of them, at any call or at a sync."""
    calls = lab.calls(scenario)
    syncs = [i for i, call in enumerate(calls, 1) if call.op == Op.SYNC]
    plans = []
    for _ in range(chance.randint(0, 2)):
        at = chance.choice([chance.randint(1, len(calls)), chance.choice(syncs)])
        failing = Plan(fail_at=at, errno=errno.EIO, kinds=Kind.SYNC, fail_on=True)
        plans.append(chance.choice([Plan(kill_at=at), failing]))
    return plans


def _tell(
    lab: Lab, scenario: Scenario, folder: Path, log: Path, plans: Sequence[Plan], *, sabotage: str
) -> None:
    """Meet each accident in turn, then go on to the end."""
    more = {"log": log, "log_data": True, "sabotage": sabotage}
    for plan in plans:
        lab.run(scenario.job, folder, options=dict(scenario.options), plan=plan, **more)
    if plans:
        for job, options in scenario.finish:
            lab.run(job, folder, options=dict(options), **more)
    else:
        lab.do(scenario.job, folder, options=dict(scenario.options), **more)


# ---- a disk that refuses -------------------------------------------------------------------------


_FAILING = {
    errno.ENOSPC: Kind.WRITE | Kind.NAME,  # removing and syncing need no room
    errno.EIO: Kind.WRITE | Kind.SYNC,
}
"""Which calls give an error together."""


def disk_errors(lab: Lab, scenario: Scenario, code: int, *, every: int = 1) -> Tally:
    """Let each write, sync and naming fail: once, and from there on."""
    name = errno.errorcode[code]
    tally, promise = Tally(f"{name}: {scenario.name}"), Promise(lab.world)
    calls = lab.calls(scenario)
    for n, call in list(enumerate(calls, 1))[::every]:
        if KINDS[call.op] not in _FAILING[code]:
            continue
        for fail_on in (False, True):
            with lab.trial(scenario.prepared) as folder:
                log = lab.log_path(folder)
                outcome = lab.run(
                    scenario.job,
                    folder,
                    options=dict(scenario.options),
                    plan=Plan(fail_at=n, errno=code, kinds=_FAILING[code], fail_on=fail_on),
                    log=log,
                    log_data=True,
                    leave_properly=True,
                    timeout=20,
                )
                tally.counts[KINDS[call.op].name.lower() + "s"] += 1  # type: ignore[union-attr]
                problems = _not_explained(outcome, _refused(log, code))
                problems += _after(lab, promise, scenario, folder, log)
                what = f"{call.op.name.lower()} {Path(call.path).suffix} (call {n})"
                tally.note(f"{what}{' and on' if fail_on else ''}", problems)
    return tally


def _refused(log: Path, code: int) -> Call | None:
    """Find the call that was refused: commits have a thread of their own, so calls change places.

    With that the number may have met a call of another kind, and so none of this one.
    """
    calls = shim.read_log(log)
    return next((c for c in calls if c.op != Op.NOTE and c.result == -code), None)


def _not_explained(outcome: dict, refused: Call | None) -> list[str]:
    if outcome["exit"] == 0 and (refused is None or refused.op == Op.LINK):
        return []  # nothing was refused, or there is another way to publish a file
    if outcome["exit"] == 0:
        return ["the error was passed over"]
    if outcome.get("error") not in EXPLAINED or outcome["exit"] != 1:
        return [f"no clear error: {explain(outcome)}"]
    return []


def short_writes(lab: Lab) -> Tally:
    """Let every write take only half of what it is given."""
    tally, promise = Tally("short writes"), Promise(lab.world)
    for scenario in SCENARIOS:
        with lab.trial(scenario.prepared) as folder:
            log = lab.log_path(folder)
            outcome = lab.run(
                scenario.job, folder, options=dict(scenario.options),
                plan=Plan(short_from=1), log=log,
            )  # fmt: skip
            tally.counts["runs"] += 1
            tally.counts["calls"] += outcome["calls"]
            problems = [] if outcome["exit"] == 0 else [explain(outcome)]
            tally.note(scenario.name, problems + _after(lab, promise, scenario, folder, log))
    return tally


# ---- together ------------------------------------------------------------------------------------


def races(lab: Lab, rounds: int, writers: int) -> Tally:
    """Start many writers of one file at the same moment."""
    tally, promise = Tally(f"{writers} writers at once"), Promise(lab.world)
    for i in range(rounds):
        with lab.trial() as folder:
            outcomes = lab.crowd("extract", folder, writers, options={"seconds_per_batch": 0.01})
            tally.counts["writers"] += writers
            problems = _of_race(lab.world, outcomes, tally)
            problems += promise.broken(folder / FILE, complete=True)
            tally.note(f"round {i}", problems)
    return tally


def _of_race(world: World, outcomes: list[dict], tally: Tally) -> list[str]:
    problems = []
    computed = 0
    workers = {outcome["pid"] for outcome in outcomes if outcome["exit"] == 0}
    for outcome in outcomes:
        if outcome["exit"] == 0:
            computed += outcome["value"]["ok"] + outcome["value"]["failed"]
        elif outcome.get("error") != "StoreLockedError":
            problems.append(f"refused without reason: {explain(outcome)}")
        else:
            tally.counts["refused"] += 1
            named = [pid for pid in workers if f"process {pid} on" in outcome["message"]]
            if not named:
                problems.append(f"the holder is not named: {outcome['message']}")
    if computed != world.rows:
        problems.append(f"{computed} rows were computed by {len(workers)} writers")
    return problems


def live_reader(lab: Lab, snapshots: int) -> Tally:
    """Read all the time while three writers, one after the other, are killed and restarted."""
    tally, promise = Tally("snapshots while writers work and die"), Promise(lab.world)
    more = {"options": {"batch_size": 2, "seconds_per_batch": 0.004}}
    while tally.counts["midway"] < snapshots:
        with lab.trial() as folder:
            for writer in range(3):
                process = lab.start_once("extract", folder, **more)
                kill_at = lab.world.rows * (writer + 1) // 3
                while process.poll() is None:
                    flagged = 0
                    if (folder / FILE).exists():
                        tally.note("live", promise.broken(folder / FILE, live=True))
                        flagged = _n_flagged(folder / FILE)
                        tally.counts["snapshots"] += 1
                        tally.counts["midway"] += 0 < flagged < lab.world.rows
                    if writer < 2 and flagged >= kill_at:
                        process.kill()
                        tally.counts["kills"] += 1
                        break
                process.communicate()
                if writer == 2 and process.returncode:
                    tally.note("the last writer", [f"exit {process.returncode}"])
            tally.note("the end", promise.broken(folder / FILE, complete=True))
            tally.counts["files"] += 1
    return tally


# ---- damage --------------------------------------------------------------------------------------


def flips_in_rows(lab: Lab, count: int, chance: random.Random, *, at_once: int = 10) -> Tally:
    """Flip bits of done rows: verify must name exactly these rows, and fixing must mend them."""
    tally, promise = Tally("bits flipped in done rows"), Promise(lab.world)
    scenario = Scenario("mend", "extract", "whole")
    whole = lab.prepared("whole") / FILE
    store = FeatureStore.open(whole)
    done = np.flatnonzero(store.done).tolist()
    while tally.counts["flips"] < count:
        with lab.trial("whole") as folder:
            rows = sorted(chance.sample(done, min(at_once, count - tally.counts["flips"])))
            content = bytearray(whole.read_bytes())
            for row in rows:
                extent = chance.choice(
                    [*_layout(store).features.values(), *_layout(store).crc32.values()]
                )
                at = extent.offset + row * extent.row_bytes + chance.randrange(extent.row_bytes)
                content[at] ^= 1 << chance.randrange(8)
            (folder / FILE).write_bytes(content)
            report = lab.do("verify", folder)["value"]
            fixed = lab.do("verify", folder, options={"fix": True})["value"]
            problems = [] if not report["ok"] and fixed["ok"] else ["verify says it is sound"]
            for found in (report, fixed):
                if found["bad_rows"] != rows:
                    problems.append(f"flipped rows {rows}, verify found {found['bad_rows']}")
            problems += lab.finish(scenario, folder)
            problems += promise.broken(folder / FILE, complete=True)
            if (folder / FILE).read_bytes() != whole.read_bytes():
                problems.append("the mended file differs from the original")
            tally.counts["flips"] += len(rows)
            tally.counts["found"] += len({*rows} & {*report["bad_rows"]})
            tally.note(f"rows {rows}", problems)
    return tally


def flips_elsewhere(lab: Lab, count: int, chance: random.Random) -> Tally:
    """Flip one bit outside the rows: header, index, attributes, manifest, status.

    What may come of it: the flip hits nothing that means anything; opening is refused clearly;
    or verify is not content. Never may a done row be wrong and verify be content.
    """
    tally = Tally("a bit flipped in header, index, manifest, status")
    whole = lab.prepared("whole") / FILE
    original = whole.read_bytes()
    places = _meaningful(whole, original)
    for _ in range(count):
        with lab.trial("whole") as folder:
            content = bytearray(original)
            at, bit = chance.choice(places), chance.randrange(8)
            content[at] ^= 1 << bit
            (folder / FILE).write_bytes(content)
            outcome = lab.run("open_verify", folder, timeout=30)
            tally.counts["flips"] += 1
            verdict, problems = _verdict(lab.world, outcome)
            tally.counts[verdict] += 1
            tally.note(f"byte {at} bit {bit}", problems)
    return tally


def _meaningful(path: Path, content: bytes) -> list[int]:
    """Bytes outside features, checksums and digests that are not just unused space."""
    layout = _layout(FeatureStore.open(path))
    used = np.frombuffer(content, np.uint8) != 0
    near = np.convolve(used, np.ones(17), "same") > 0  # zeros among other bytes are fields
    for extent in [*layout.features.values(), *layout.crc32.values(), layout.digest]:
        near[extent.offset : extent.offset + extent.n_rows * extent.row_bytes] = False
    return [int(at) for at in np.flatnonzero(near)]


def _layout(store: FeatureStore) -> Layout:
    layout = store.layout
    assert layout is not None
    return layout


def _verdict(world: World, outcome: dict) -> tuple[str, list[str]]:
    if outcome["exit"] != 0 or outcome.get("error"):
        return "crashed", [explain(outcome)]
    opened, verified = outcome["value"]["open"], outcome["value"]["verify"]
    for step, seen in outcome["value"].items():
        if "crash" in seen:
            return "crashed", [f"{step}: {seen['message'].strip().splitlines()[-1]}"]
    content = "error" not in verified and verified["ok"]
    if "error" in opened:
        return "refused", ["verify is content with what cannot be opened"] if content else []
    n_done = int(np.count_nonzero(world.truth().status == 1))
    whole = {
        "rows": world.rows,
        "done": n_done,
        "wrong": [],
        "outputs": world.embedder().dims,
        "same_manifest": True,
    }
    differs = [name for name, value in whole.items() if opened[name] != value]
    if differs == ["done"] and opened["done"] == n_done - 1:
        return "one row pending again", []  # the next extract computes it
    if content and differs:
        return "unnoticed", [f"verify is content, but {', '.join(differs)} changed: {opened}"]
    if content:
        return "harmless", []
    return "found by verify", []


def truncations(lab: Lab, lengths: Iterable[int]) -> Tally:
    """Cut the file off: it is refused, never misread."""
    tally = Tally("files cut short")
    whole = (lab.prepared("whole") / FILE).read_bytes()
    for length in lengths:
        with lab.trial("whole") as folder:
            (folder / FILE).write_bytes(whole[:length])
            outcome = lab.run("open_verify", folder, timeout=30)
            verdict, problems = _verdict(lab.world, outcome)
            if verdict not in ("refused", "found by verify"):
                problems.append(f"a file of {length} of {len(whole)} bytes is {verdict}")
            tally.counts["lengths"] += 1
            tally.counts[verdict] += 1
            tally.note(f"{length} bytes", problems)
    return tally


def sized(world_bytes: int, n: int) -> list[int]:
    """Lengths from nothing to one byte too few, evenly spread."""
    return sorted({*np.linspace(0, world_bytes - 1, n).astype(int).tolist()})


# ---- known bad -----------------------------------------------------------------------------------


def controls(lab: Lab, chance: random.Random, losses: int = 400) -> Tally:
    """Writers that are known to be bad must be found out; a control that passes is the problem."""
    tally = Tally("known bad writers")
    named = {scenario.name: scenario for scenario in SCENARIOS}
    several = named["write, several batches a commit"]
    for sabotage, scenario, expected in [
        ("one_sync", several, "flagged and wrong"),
        ("no_sync", several, "lost"),
        ("no_folder_sync", named["write"], "the file is gone"),
        ("no_unflag", named["refresh"], "flagged and wrong"),
    ]:
        found = power_losses(
            lab,
            losses,
            chance,
            scenarios=[scenario],
            sabotage=sabotage,
            accidents=False,
            finish=False,
            enough=3,
        )
        fitting = sum(expected in problem for problem in found.problems)
        tally.counts["losses"] += found.counts["losses"]
        tally.counts[f"found of {sabotage}"] = fitting
        tally.note(sabotage, [] if fitting else ["was not found out"])
    killed = boundaries(lab, named["write"], every=2, sabotage="flag_first")
    tally.counts["kills"] += killed.counts["kills"]
    tally.counts["found of flag_first"] = killed.counts["broken"]
    tally.note("flag_first", [] if killed.counts["broken"] else ["was not found out"])
    return tally


# ---- all of it -----------------------------------------------------------------------------------


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
