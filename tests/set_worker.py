"""A worker on a set as a process of its own, with the NumPy backbone: ``set_worker.py SET ...``."""

import os
import signal
import sys
import time
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


def options(location, scratch, **more):
    return ExtractSetOptions(location, scratch=scratch, workers=1, worker_kind="threads", **more)


def main(location, scratch, part, lease_seconds):
    started = time.time()
    run = work_on_set(
        options(location, scratch, part=part or None), load=load, lease_seconds=float(lease_seconds)
    )
    print(f"published {run.published} duplicates {run.duplicates} {time.time() - started:.2f}")
    return 1 if run.interrupted or run.pending else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
