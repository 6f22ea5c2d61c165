"""Flipped bits and missing ends."""

import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from faults.lab import FILE, Lab, Scenario, explain
from faults.promise import Promise
from faults.tally import Tally
from faults.world import World

from bottleneck.store import FeatureStore
from bottleneck.store.format import Layout


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
