"""Writers that race for one file, and a reader among them."""

from faults.crashes import n_flagged
from faults.lab import FILE, Lab, explain
from faults.promise import Promise
from faults.tally import Tally
from faults.world import World


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
                        flagged = n_flagged(folder / FILE)
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
