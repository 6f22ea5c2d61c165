"""A worker on a set as a process of its own, with the NumPy backbone."""

import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass

import numpy as np
from fakes import MeanBackbone, fake_embedder

from bottleneck.extraction.sets import work_on_set
from bottleneck.options import ExtractSetOptions

POISON = (255, 0, 255)
"""Colour of an image that ends the process which computes it."""


@dataclass
class DeadlyBackbone(MeanBackbone):
    def __call__(self, batch):
        if np.any(np.all(batch[:, 0, 0] == POISON, axis=1)):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)


def load(info):
    """Load what computes; travels by its name."""
    return fake_embedder(DeadlyBackbone(seconds_per_batch=0.01)), 2


def load_nothing(info):
    """As a machine whose disk is full."""
    raise OSError("no space left")


def load_and_end(info):
    """As a machine whose memory does not suffice for the network."""
    os.kill(os.getpid(), signal.SIGKILL)


def options(location, scratch, **more):
    return ExtractSetOptions(location, scratch=scratch, workers=1, worker_kind="threads", **more)


def run(errors, environment, location, scratch, lease_seconds, more):
    """Be a worker: what goes wrong is written to a file, and ends the process with 1."""
    os.environ.update(environment)
    with open(errors, "a") as stream:
        os.dup2(stream.fileno(), sys.stderr.fileno())
    done = work_on_set(options(location, scratch, **more), load=load, lease_seconds=lease_seconds)
    sys.exit(1 if done.interrupted or done.pending else 0)


def start(where, tmp_path, scratch="scratch", lease_seconds=2.0, **more):
    """Start a worker whose program is loaded already: it is at work at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["set_worker", "s3fs"])
    environment = {name: text for name, text in os.environ.items() if name.startswith("AWS_")}
    worker = context.Process(
        target=run,
        args=(
            tmp_path / "errors.txt",
            environment,
            str(where),
            str(tmp_path / scratch),
            lease_seconds,
            more,
        ),
    )
    worker.start()
    return worker
