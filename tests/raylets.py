"""A Ray cluster of processes on this machine, whose nodes can be killed and joined."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

_TESTS = Path(__file__).parent
LOOPBACK = "127.0.0.1"
_START = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block")
_QUIET = ("--disable-usage-stats", "--object-store-memory=80000000")


def free_port():
    with socket.socket() as found:
        found.bind((LOOPBACK, 0))
        return found.getsockname()[1]


class Raylets:
    """A head node without a CPU, so that work is on nodes that can be killed."""

    def __init__(self, folder):
        self.folder = folder
        self.address = f"{LOOPBACK}:{free_port()}"
        self.processes = {}
        self._start("head", "--head", f"--port={self.address.partition(':')[2]}", cpus=0)

    def join(self, name, cpus=1):
        self._start(name, f"--address={self.address}", cpus=cpus)

    def _start(self, name, *options, cpus):
        environment = {
            **os.environ,
            "RAY_health_check_period_ms": "500",
            "RAY_health_check_failure_threshold": "3",
            "PYTHONWARNINGS": "ignore",
            "PYTHONPATH": os.pathsep.join(map(str, (_TESTS.parent, _TESTS))),
        }
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [
                    *_START,
                    *_QUIET,
                    f"--node-ip-address={LOOPBACK}",
                    f"--num-cpus={cpus}",
                    *(("--include-dashboard=false",) if "--head" in options else ()),
                    *options,
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        end = time.monotonic() + 120
        log = self.folder / f"{name}.log"
        while "Ray runtime started" not in log.read_text(errors="replace"):
            assert self.processes[name].poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < end, f"no Ray node within two minutes: {log.read_text()}"
            time.sleep(0.2)

    def kill(self, name):
        """Kill a node as a loss of power does: all its processes at once, with no word."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self):
        for name in reversed(list(self.processes)):
            self.kill(name)
