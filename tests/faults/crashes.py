"""Faults that end a writer: kills, losses of power, errors of the disk, short writes."""

import errno
import random
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from faults import shim
from faults.lab import FILE, SCENARIOS, Lab, Scenario, explain
from faults.powerloss import Disk
from faults.promise import Promise
from faults.shim import KINDS, Call, Kind, Op, Plan
from faults.tally import Tally, after_a_fault, not_explained

from bottleneck.store import FeatureStore


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
            tally.note(f"before call {n}", after_a_fault(lab, promise, scenario, folder, log))
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
            tally.note(f"before call {n}", after_a_fault(lab, promise, scenario, folder, log))
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
            midway = (folder / FILE).exists() and n_flagged(folder / FILE)
            tally.counts["midway"] += bool(midway) and midway < lab.world.rows
            tally.note(scenario.name, after_a_fault(lab, promise, scenario, folder, log))
            tally.counts["files"] += 1
    return tally


def _duration(lab: Lab, scenario: Scenario) -> float:
    with lab.trial(scenario.prepared) as folder:
        started = time.perf_counter()
        lab.do(scenario.job, folder, options=dict(scenario.options))
        return time.perf_counter() - started


def n_flagged(path: Path) -> int:
    return int(np.count_nonzero(FeatureStore.open(path).status))


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
                problems = not_explained(outcome, _refused(log, code))
                problems += after_a_fault(lab, promise, scenario, folder, log)
                what = f"{call.op.name.lower()} {Path(call.path).suffix} (call {n})"
                tally.note(f"{what}{' and on' if fail_on else ''}", problems)
    return tally


def _refused(log: Path, code: int) -> Call | None:
    """Find the call that was refused: commits have a thread of their own, so calls change places.

    With that the number may have met a call of another kind, and so none of this one.
    """
    calls = shim.read_log(log)
    return next((c for c in calls if c.op != Op.NOTE and c.result == -code), None)


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
            tally.note(scenario.name, problems + after_a_fault(lab, promise, scenario, folder, log))
    return tally


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
