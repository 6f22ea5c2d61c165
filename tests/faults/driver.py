"""The process that suffers: runs under the shim and does one job on a feature file.

As a server (``python -m faults.driver``) it reads a request per line, forks a child for it, which
costs milliseconds where a new interpreter costs half a second, and answers with what became of
the child. ``--once`` does a single request in the process itself.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from faults.shim import Armed, Plan
from faults.world import World

from bottleneck import writing
from bottleneck.errors import BottleneckError
from bottleneck.extraction import fill_store
from bottleneck.extraction.plan import MaxFailed
from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore, Writer, create, system, writer_lock

ANY_NUMBER = MaxFailed.parse("100%")


def tell(shim, path):
    """Note which rows are flagged at the moment when somebody is told so."""
    shim.note(b"S" + FeatureStore.open(path).status.tobytes())


class Telling:
    """Notes which rows are flagged whenever progress is reported: they must survive anything.

    Of the rows that this run has flagged those count that were reported as finished: the first
    ones, for rows are written in their order. A commit on its way may have flagged more.
    """

    def __init__(self, shim, path):
        self._shim = shim
        self._path = path

    def begin(self, total, done):
        self._before = FeatureStore.open(self._path).status
        self._shim.note(b"S" + self._before.tobytes())

    def advance(self, finished, failed, seconds):
        status = FeatureStore.open(self._path).status.copy()
        fresh = np.flatnonzero((status > 0) & (self._before == 0))
        if len(fresh) < finished:
            raise AssertionError(f"{finished} rows reported, {len(fresh)} flagged")
        status[fresh[finished:]] = 0
        self._shim.note(b"S" + status.tobytes())

    def note(self, message):
        pass

    def end(self):
        pass


# ---- jobs ----------------------------------------------------------------------------------------


def job_create(world, path, shim, **_):
    with writer_lock(path):
        create(
            path,
            manifest=world.manifest,
            recipe=world.recipe(),
            dims=world.embedder().dims,
            dtype="float32",
        )
    tell(shim, path)


def job_replace(world, path, shim, **options):
    """Begin anew over an existing file."""
    job_extract(world, path, shim, overwrite=True, **options)


def job_extract(
    world,
    path,
    shim,
    *,
    version=0,
    limit=None,
    refresh=False,
    overwrite=False,
    batch_size=4,
    seconds_per_batch=0.0,
    identity=None,
    **_,
):
    """Create or resume; the same for the first run and all later ones."""
    progress = Telling(shim, path)
    with writer_lock(path):
        result = fill_store(
            world.source(version),
            path,
            world.embedder(seconds_per_batch, **(identity or {})),
            batch_size=batch_size,
            workers=1,
            limit=limit,
            overwrite=overwrite,
            retry_failed=False,
            refresh=refresh,
            max_failed=ANY_NUMBER,
            progress=progress,
        )
    tell(shim, path)
    return {"ok": result.ok, "failed": result.failed, "pending": result.pending}


def job_refresh(world, path, shim, **options):
    """Recompute rows whose image changed."""
    return job_extract(world, path, shim, version=1, refresh=True, **options)


def job_merge(world, path, shim, *, shards=("a.h5", "b.h5"), **_):
    from bottleneck.store import merge as module

    module._BLOCK_ROWS = 4  # many writes from a small file
    module.merge([path.with_name(name) for name in shards], path)
    tell(shim, path)


def job_open(world, path, shim, **_):
    """Open and read everything: a damaged file may crash the library, so not in the checker."""
    store = FeatureStore.open(path)
    done = np.flatnonzero(store.done)
    rows = {name: np.asarray(store.features(name)[done]) for name in store.outputs}
    keys = list(store.keys)
    truth = world.truth()
    wrong = [
        int(row)
        for i, row in enumerate(done)
        if truth.status[row] != RowStatus.DONE
        or any(not np.array_equal(rows[name][i], truth.features[name][row]) for name in rows)
    ]
    return {
        "rows": len(store),
        "done": len(done),
        "wrong": wrong,
        "outputs": store.outputs,
        "same_manifest": keys == list(world.manifest.keys)
        and store.manifest.sha256 == world.manifest.sha256,
    }


def job_verify(world, path, shim, *, fix=False, **_):
    from bottleneck.store.verify import verify

    report = verify(path, fix=fix)
    return {
        "ok": bool(report.ok),
        "bad_rows": [int(row) for row in report.bad_rows],
        "problems": [str(problem) for problem in report.problems],
    }


def job_open_verify(world, path, shim, **_):
    """What a person would see of a damaged file: what opening says, and then what verify says."""
    seen = {}
    for name, job in {"open": job_open, "verify": job_verify}.items():
        try:
            seen[name] = job(world, path, shim)
        except BottleneckError as error:
            seen[name] = {"error": type(error).__name__, "message": str(error)}
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            seen[name] = {"crash": type(error).__name__, "message": traceback.format_exc()}
    return seen


JOBS = {name.removeprefix("job_"): value for name, value in globals().items() if "job_" in name}


# ---- known bad writers, to prove that the campaign would notice ----------------------------------


def sabotage_one_sync():
    """Data and flags under one sync: the first sync of every commit does nothing."""
    commit, sync, calls = Writer._make_durable, system.sync_data, [0]

    def only_the_second(descriptor):
        calls[0] += 1
        if calls[0] % 2 == 0:
            sync(descriptor)

    def with_one_sync(self, *of):
        system.sync_data = only_the_second
        try:
            commit(self, *of)
        finally:
            system.sync_data = sync

    Writer._make_durable = with_one_sync


def sabotage_flag_first():
    """The status is written before the data is."""
    write = Writer.write

    def flag_first(self, rows, features, digests):
        self._put(self.layout.status, rows, np.full(len(rows), RowStatus.DONE, np.uint8))
        write(self, rows, features, digests)

    Writer.write = flag_first


def sabotage_no_folder_sync():
    """Names are never made durable."""
    writing.sync_folder = lambda folder: None


def sabotage_no_sync():
    """Progress is reported, but nothing is ever synced."""
    system.sync_data = lambda descriptor: None


def sabotage_no_unflag():
    """Changed rows are overwritten while they are still marked done, with one sync."""

    def forget(self, rows):
        self._put(self.layout.status, rows, np.zeros(len(rows), np.uint8))

    Writer.unflag = forget


def sabotage_ignore_errors():
    """A failed sync is passed over."""
    real = system.sync_data

    def deaf(descriptor):
        with contextlib.suppress(OSError):
            real(descriptor)

    system.sync_data = deaf


SABOTAGES = {
    name.removeprefix("sabotage_"): value
    for name, value in globals().items()
    if name.startswith("sabotage_")
}


# ---- one request ---------------------------------------------------------------------------------


def perform(request):
    """Do the job under the shim; return what is to be told, an explained error included."""
    shim = Armed()
    world = World(**request.get("world", {}))
    options = request.get("options", {})
    if "commit_bytes" in options:
        Writer.__init__.__kwdefaults__["commit_bytes"] = options.pop("commit_bytes")
    else:  # every batch is a commit
        Writer.__init__.__kwdefaults__["commit_seconds"] = 0.0
    if request.get("sabotage"):
        SABOTAGES[request["sabotage"]]()
    path = Path(request["path"])
    log = request.get("log")
    shim.arm(
        path.parent,
        Path(log) if log else None,
        log_data=request.get("log_data", False),
        plan=Plan(**request.get("plan", {})),
    )
    shim.note(b"J" + request["job"].encode())
    answer = {"error": None, "value": None}
    try:
        answer["value"] = JOBS[request["job"]](world, path, shim, **options)
    except BottleneckError as error:
        answer |= {"error": type(error).__name__, "message": str(error)}
    except BaseException as error:  # noqa: BLE001 - this is what is looked for
        answer |= {"error": type(error).__name__, "message": str(error), "unexplained": True}
        answer["traceback"] = traceback.format_exc()
    answer["calls"] = shim.calls()
    return answer


@dataclass
class Child:
    """A child that performs a request, and the pipe its answer comes through."""

    pid: int
    reading: int

    def answer(self, patience):
        """Wait for the end; a child that takes too long is killed."""
        deadline = time.monotonic() + patience
        chunks, hung = [], False
        while True:
            ready, _, _ = select.select([self.reading], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                hung = True
                os.kill(self.pid, signal.SIGKILL)
                break
            chunk = os.read(self.reading, 1 << 16)
            if not chunk:
                break
            chunks.append(chunk)
        os.close(self.reading)
        _, status = os.waitpid(self.pid, 0)
        try:
            told = json.loads(b"".join(chunks))
        except ValueError:  # it died before it could tell
            told = {}
        return {**told, "pid": self.pid, "exit": os.waitstatus_to_exitcode(status), "hung": hung}


def fork(request, gate=None):
    """Start a child on a request; with a gate (a pipe to read from) it waits until that closes."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Child(pid, reading)
    os.close(reading)
    if gate is not None:
        os.close(gate[1])
        os.read(gate[0], 1)
    answer = perform(request)
    os.write(writing, json.dumps(answer).encode())
    if request.get("leave_properly"):  # the library's own clean-up at exit runs too
        raise SystemExit(answer["error"] is not None)
    os._exit(answer["error"] is not None)


def attend(request):
    """Perform a request in a child, killed after ``kill_after`` seconds if it still runs.

    With ``crowd`` that many children begin at the same moment, and a list is answered.
    """
    patience = request.get("timeout", 60)
    if "crowd" in request:
        gate = os.pipe()
        children = [fork(request, gate) for _ in range(request["crowd"])]
        os.close(gate[0])
        os.close(gate[1])
        return [child.answer(patience) for child in children]
    child = fork(request)
    if request.get("kill_after") is not None:
        time.sleep(request["kill_after"])
        os.kill(child.pid, signal.SIGKILL)
    return child.answer(patience)


def main():
    if sys.argv[1:2] == ["--once"]:
        answer = perform(json.loads(sys.argv[2]))
        print(json.dumps(answer), flush=True)
        return int(answer["error"] is not None)
    for line in sys.stdin:
        print(json.dumps(attend(json.loads(line))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
