"""Where files are put through it: the driver process, fresh folders, and the jobs under test."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from faults import shim
from faults.shim import Call, Plan
from faults.world import World

from bottleneck.store import FeatureStore, Writer, create, writer_lock

TESTS = Path(__file__).parents[1]
FILE = "x.h5"
PLAN = Plan()


@dataclass(frozen=True)
class Scenario:
    """A job on a feature file, what there is before it, and how it is finished afterwards.

    Parameters
    ----------
    name : str
        What people read.
    job : str
        The driver's job under attack.
    prepared : str
        Key of the folder it begins with, see :meth:`Lab.prepared`.
    options : mapping
        Options of the job.
    finish : tuple of (job, options)
        Jobs that bring the file to its end after any accident.
    versions : tuple of int
        Versions of the images that a done row may show meanwhile.
    final : int
        Version that all rows show at the end.
    """

    name: str
    job: str
    prepared: str = "nothing"
    options: Mapping[str, Any] = field(default_factory=dict)
    finish: tuple[tuple[str, Mapping[str, Any]], ...] = (("extract", {}),)
    versions: tuple[int, ...] = (0,)
    final: int = 0


SCENARIOS = [
    Scenario("create", "create"),
    Scenario("write", "extract"),
    Scenario("write, several batches a commit", "extract", options={"commit_bytes": 20_000}),
    Scenario("resume", "extract", "part"),
    Scenario("refresh", "refresh", "whole", finish=(("refresh", {}),), versions=(0, 1), final=1),
    Scenario("replace", "replace", "whole"),
    Scenario("merge", "merge", "shards", finish=(("merge", {}), ("extract", {}))),
]
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


class Lab:
    """A driver under the shim, and a folder (in memory where there is one) to work in.

    Parameters
    ----------
    base : Path
        Folder for everything.
    world : World
        The images.
    """

    def __init__(self, base: Path, world: World | None = None) -> None:
        self.base = base
        self.world = world or World()
        self.library = shim.build(base)
        self._fresh = 0
        self._templates: dict[str, Path] = {}
        self._errors = (base / "stderr.txt").open("w+")
        self._process: subprocess.Popen[str] | None = None

    def close(self) -> None:
        """Stop the driver."""
        if self._process is not None:
            self._process.stdin.close()  # type: ignore[union-attr]
            self._process.wait(30)
            self._process.stdout.close()  # type: ignore[union-attr]
        self._errors.close()

    @property
    def environment(self) -> dict[str, str]:
        """Variables of a process that is watched."""
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
            "LD_PRELOAD": str(self.library),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }

    # ---- folders ----

    def folder(self, prepared: str = "nothing") -> Path:
        """Make a folder of its own, with a copy of what was prepared."""
        self._fresh += 1
        folder = self.base / f"trial{self._fresh}"
        shutil.copytree(self.prepared(prepared), folder)
        return folder

    @contextmanager
    def trial(self, prepared: str = "nothing") -> Iterator[Path]:
        """Lend such a folder; it is removed afterwards."""
        folder = self.folder(prepared)
        yield folder
        shutil.rmtree(folder)

    def prepared(self, key: str) -> Path:
        """Make once, undisturbed: nothing, a part-done file, a whole file, two shards."""
        if key not in self._templates:
            folder = self.base / f"template_{key}"
            folder.mkdir()
            if key == "part":
                self.do("extract", folder, options={"limit": 17})
            elif key == "whole":
                self.do("extract", folder)
            elif key == "shards":
                self._shard(folder / "a.h5", range(25))
                self._shard(folder / "b.h5", range(20, self.world.rows))
            self._templates[key] = folder
        return self._templates[key]

    def _shard(self, path: Path, rows: range) -> None:
        truth = self.world.truth()
        good = np.array([row for row in rows if truth.status[row] == 1])
        create(
            path,
            manifest=self.world.manifest,
            recipe=self.world.recipe(),
            dims=self.world.embedder().dims,
        )
        with writer_lock(path), Writer(path, FeatureStore.open(path).layout) as writer:
            features = {name: block[good] for name, block in truth.features.items()}
            writer.write(good, features, truth.digest[good])

    # ---- runs ----

    def request(self, job: str, folder: Path, **more: Any) -> dict[str, Any]:
        """Say what the driver shall do; see :func:`faults.driver.perform`."""
        plan = more.pop("plan", PLAN)
        log = more.pop("log", None)
        return {
            "job": job,
            "path": str(folder / FILE),
            "world": asdict(self.world),
            "plan": asdict(plan),
            "log": log and str(log),
            **more,
        }

    def run(self, job: str, folder: Path, **more: Any) -> dict[str, Any]:
        """Run a job in a child of the driver; return what became of it."""
        return dict(self._ask(self.request(job, folder, **more)))

    def crowd(self, job: str, folder: Path, n: int, **more: Any) -> list[dict[str, Any]]:
        """Run a job in ``n`` children at the same moment."""
        return list(self._ask(self.request(job, folder, crowd=n, **more)))

    def _ask(self, request: dict[str, Any]) -> Any:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "faults.driver"],
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
            )
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            self._errors.seek(0)
            raise RuntimeError(f"the driver died:\n{self._errors.read()[-2000:]}")
        return json.loads(line)

    def do(self, job: str, folder: Path, **more: Any) -> dict[str, Any]:
        """Run a job that must succeed."""
        outcome = self.run(job, folder, **more)
        if outcome["exit"] != 0:
            raise AssertionError(f"{job} failed undisturbed: {outcome}")
        return outcome

    def finish(self, scenario: Scenario, folder: Path) -> list[str]:
        """Bring a file to its end; return what went wrong."""
        for job, options in scenario.finish:
            outcome = self.run(job, folder, options=dict(options))
            if outcome["exit"] != 0:
                return [f"{job} does not complete: {explain(outcome)}"]
        return []

    def start_once(self, job: str, folder: Path, **more: Any) -> subprocess.Popen[str]:
        """Run a job in an interpreter of its own, and do not wait."""
        return subprocess.Popen(
            [sys.executable, "-m", "faults.driver", "--once",
             json.dumps(self.request(job, folder, **more))],
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def calls(self, scenario: Scenario) -> list[Call]:
        """List the calls of a scenario that nothing disturbs (notes left out)."""
        with self.trial(scenario.prepared) as folder:
            log = self.log_path(folder)
            self.do(scenario.job, folder, options=dict(scenario.options), log=log, log_data=True)
            return [call for call in shim.read_log(log) if call.op != shim.Op.NOTE]

    def nth_sync(self, scenario: Scenario, n: int, name: str = FILE) -> int:
        """Find the number of the call that is the n-th sync (from 0) of a file or the folder."""
        syncs = [
            i
            for i, call in enumerate(self.calls(scenario), 1)
            if call.op == shim.Op.SYNC and (Path(call.path).name == name)
        ]
        return syncs[n]

    def log_path(self, folder: Path) -> Path:
        """Where the log of a trial goes: beside its folder."""
        path = folder.with_suffix(".log")
        path.unlink(missing_ok=True)
        return path


@contextmanager
def laboratory(world: World | None = None, base: Path | None = None) -> Iterator[Lab]:
    """Open a laboratory in memory (``/dev/shm``) if that can be, else among temporary files."""
    memory = Path("/dev/shm")
    root = base or (memory if os.access(memory, os.W_OK) else None)
    with tempfile.TemporaryDirectory(dir=root, prefix="bottleneck-faults-") as folder:
        lab = Lab(Path(folder).resolve(), world)
        try:
            yield lab
        finally:
            lab.close()


def explain(outcome: Mapping[str, Any]) -> str:
    """Say in a line what became of a run."""
    text = f"exit {outcome['exit']}"
    if outcome.get("hung"):
        text += ", hung"
    if outcome.get("error"):
        text += f", {outcome['error']}: {outcome['message']}"
    return text
