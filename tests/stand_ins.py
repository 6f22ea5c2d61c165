"""Processes in which devices of the CPU stand in for GPUs."""

import os
import subprocess
import sys


def lines_beside(devices, code, *given, **environment):
    """Run code where JAX has so many devices of the CPU; return what it prints, in lines."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, given)],
        env={
            **os.environ,
            **environment,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        },
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
