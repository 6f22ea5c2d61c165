"""What a part of the fault campaign tried and found, and what has to hold after a fault."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from faults import shim
from faults.lab import FILE, Lab, Scenario, explain
from faults.promise import Promise
from faults.shim import Call, Op

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


def after_a_fault(
    lab: Lab, promise: Promise, scenario: Scenario, folder: Path, log: Path
) -> list[str]:
    """Check a file after an accident, finish it, and check again."""
    before = lab.prepared(scenario.prepared)
    told = promise.told(shim.read_log(log), before / FILE)
    problems = promise.broken(folder / FILE, told=told, versions=scenario.versions)
    problems += lab.finish(scenario, folder)
    problems += promise.broken(folder / FILE, versions=(scenario.final,), complete=True)
    return problems + _leftovers(folder, scenario, before)


def not_explained(outcome: dict, refused: Call | None) -> list[str]:
    if outcome["exit"] == 0 and (refused is None or refused.op == Op.LINK):
        return []  # nothing was refused, or there is another way to publish a file
    if outcome["exit"] == 0:
        return ["the error was passed over"]
    if outcome.get("error") not in EXPLAINED or outcome["exit"] != 1:
        return [f"no clear error: {explain(outcome)}"]
    return []
