"""SIGTERM and SIGHUP end a command like Ctrl-C, with what is done committed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bottleneck.store import FeatureStore

# Extracts with the NumPy backbone and one image a batch, a tenth of a second each.
# A SIGHUP that is ignored where the tests run, as below nohup, would be so in the job.
SCRIPT = """
import signal
import sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)
sys.path[:0] = {paths!r}
from fakes import MeanBackbone, fake_embedder
from bottleneck.cli.main import main
import bottleneck.extraction.run as run
run.build_embedder = lambda **_: fake_embedder(MeanBackbone(seconds_per_batch=0.1))
sys.argv = ["bottleneck", "extract", {source!r}, "-o", {output!r}, "--batch-size", "1",
            "--workers", "1"]
if __name__ == "__main__":
    main()
"""


def command(tmp_path, colours):
    tests = Path(__file__).parents[1]
    script = tmp_path / "job.py"
    script.write_text(
        SCRIPT.format(
            paths=[str(tests), str(tests.parent)],
            source=str(colours),
            output=str(tmp_path / "f.h5"),
        )
    )
    return [sys.executable, str(script)]


def wait_for_rows(path, job, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and job.poll() is None:
        if path.exists():
            time.sleep(1.0)
            return
        time.sleep(0.05)
    pytest.fail(f"nothing was written: {job.communicate(timeout=10)}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_commits_and_sums_up(tmp_path, colours, number, code):
    job = subprocess.Popen(
        command(tmp_path, colours), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for_rows(tmp_path / "f.h5", job)
    job.send_signal(number)
    out, err = job.communicate(timeout=60)
    assert job.returncode == code, err
    assert f"ended by {number.name}" in err
    assert "still to do: run the same command again" in out
    assert "Traceback" not in err
    store = FeatureStore.open(tmp_path / "f.h5")
    assert f"{60 - int(store.done.sum())} still to do" in out


def test_a_process_with_number_1_ends_too(tmp_path, colours):
    unshare = [shutil.which("unshare") or "", "--pid", "--fork"]
    if not unshare[0] or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("no namespace of processes can be made here")
    job = subprocess.Popen(
        [*unshare, *command(tmp_path, colours)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_rows(tmp_path / "f.h5", job)
    children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGTERM)
    out, err = job.communicate(timeout=60)
    assert job.returncode == 143, err
    assert "still to do: run the same command again" in out


HANDLERS = """
import os, signal, time
from bottleneck.cli.main import Stopped, ended_by_signals

signal.signal(signal.SIGHUP, signal.SIG_IGN)
with ended_by_signals() as received:
    os.kill(os.getpid(), signal.SIGHUP)
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    except Stopped as stopped:
        print(stopped.number == signal.SIGTERM, received == [signal.SIGTERM])
print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
"""


def test_handlers_are_put_back_and_ignored_signals_stay_ignored():
    done = subprocess.run(
        [sys.executable, "-c", HANDLERS], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, ["True"] * 3), done.stderr
