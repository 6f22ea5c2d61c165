"""Run a decoder to its end and keep what came out."""

import numpy as np

from bottleneck.decode import Job, decode_stream
from bottleneck.images import Geometry

JOB = Job.simple(Geometry(16), 4)


def whole(slot):
    """What a slot holds, in arrays of its own."""
    n = slot.count
    return {
        "rows": slot.rows[:n].tolist(),
        "status": slot.status[:n].tolist(),
        "digests": slot.digests[:n].tolist(),
        "pixels": slot.images(0).copy(),
        "messages": {f.row: f.message for _, f in slot.failures()},
    }


def batches(n=40, size=4):
    for start in range(0, n, size):
        rows = np.arange(start, min(start + size, n))
        yield rows, np.ones(len(rows), np.uint32)


def run(decoder, n=40):
    """Decode everything: status by row, pixels by row, messages by row."""
    status, pixels, messages = {}, {}, {}
    for slot in decode_stream(decoder, JOB, batches(n)):
        part = whole(slot)
        status |= dict(zip(part["rows"], part["status"], strict=True))
        good = [row for row, code in zip(part["rows"], part["status"], strict=True) if code == 1]
        pixels |= dict(zip(good, part["pixels"], strict=True))
        messages |= part["messages"]
    assert list(status) == list(range(n))
    return status, pixels, messages
