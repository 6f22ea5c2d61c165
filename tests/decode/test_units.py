"""Units of a batch: what a worker takes at a time, and where its images lie."""

import mmap
import threading

import numpy as np
import pytest
from decoding import batches

from bottleneck.decode import Job, decode_stream, open_decoder
from bottleneck.decode.slot import Slot, slot_bytes
from bottleneck.images import Geometry, decode
from bottleneck.sources import open_source

ITEM = 16 * 16 * 3


def slot(job, rows):
    made = Slot(bytearray(slot_bytes(job)), 0, job)
    made.begin(np.asarray(rows), np.ones(len(rows), np.uint32))
    return made


@pytest.mark.parametrize(
    ("batch", "workers", "size"),
    [(1, 2, 1), (3, 8, 3), (32, 2, 16), (32, 16, 4), (256, 2, 32), (256, 64, 16), (512, 64, 16)],
)
def test_a_unit_is_small_whatever_the_batch(batch, workers, size):
    job = Job.simple(Geometry(16), batch)
    assert job.unit_size(workers) == size
    units = list(slot(job, range(batch)).units(size))
    assert [unit.number for unit in units] == list(range(-(-batch // size)))
    assert [(unit.start, unit.stop) for unit in units] == [
        (start, min(start + size, batch)) for start in range(0, batch, size)
    ]


def test_memory_holds_batches_in_hand_and_units_ahead_not_a_batch_per_worker():
    """64 workers and batches of 512: two in hand and 2,048 images ahead, not 129 batches."""
    job = Job((Geometry(16),), batch_size=512, held=2)
    assert job.slots(64) * 512 == 2 * 512 + 2 * 64 * 16
    assert slot_bytes(job) < 512 * (ITEM + 1000)


def test_views_of_an_image_are_not_divided():
    job = Job((Geometry(16),), batch_size=32, views=3)
    made = slot(job, range(1, 32))
    assert [(unit.start, unit.stop) for unit in made.units(8, 3)] == [
        (0, 8), (8, 17), (17, 26), (26, 31)
    ]  # fmt: skip


def test_a_slot_is_the_consumers_until_it_has_asked_for_as_many_as_it_holds(folder):
    source = open_source([str(folder)])
    expected = [
        decode((source.base / f"{row}.png").read_bytes(), Geometry(16)) for row in range(40)
    ]
    decoder = open_decoder(source, workers=2, kind="threads")
    held = []
    job = Job((Geometry(16),), Job.simple(Geometry(16), 4).wants, 4, held=3)
    for taken in decode_stream(decoder, job, batches()):
        held = [*held, (taken, taken.rows[: taken.count].tolist())][-3:]
        for one, rows in held:
            assert one.rows[: one.count].tolist() == rows
            for position, row in enumerate(rows):
                np.testing.assert_array_equal(one.pixels[0][position], expected[row])


@pytest.mark.parametrize("taken", [0, 1, 3, 10])
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_memory_that_is_pinned_is_whole_pages_and_is_let_go_however_it_ends(folder, kind, taken):
    decoder = open_decoder(open_source([str(folder)]), workers=2, kind=kind)
    job = Job((Geometry(16),), Job.simple(Geometry(16), 4).wants, 4, held=2)
    calls, close = [], decoder.close

    def pin(one):
        calls.append(("pin", id(one)))
        assert one.pixels[0].ctypes.data % mmap.PAGESIZE == 0
        return lambda: calls.append(("end", id(one)))

    decoder.close = lambda: (calls.append(("close", 0)), close())
    slots = decode_stream(decoder, job, batches(), pin)
    next(slots)
    pinned = [one for what, one in calls if what == "pin"]
    assert len(pinned) == len({*pinned}) == job.slots(2)
    for _ in range(taken):
        next(slots, None)
    slots.close()
    assert calls[len(pinned) :] == [*(("end", one) for one in reversed(pinned)), ("close", 0)]


def test_all_workers_have_a_part_in_one_batch(trapped, monkeypatch):
    """The first batch comes when each of four workers has decoded a quarter of it."""
    source = trapped()
    together = threading.Barrier(4, timeout=60)
    read = type(source).read
    met = set()

    def meet(self, row):
        if row % 8 == 0 and row < 32 and row not in met:
            met.add(row)
            together.wait()
        return read(self, row)

    monkeypatch.setattr(type(source), "read", meet)
    decoder = open_decoder(source, workers=4, kind="threads")
    stream = decode_stream(decoder, Job.simple(Geometry(16), 32), batches(40, 32))
    assert next(stream).status[:32].tolist() == [1] * 32
    stream.close()


def test_what_failed_leaves_a_gap_and_what_is_whole_is_not_copied(trapped):
    source = trapped(_5=b"")
    decoder = open_decoder(source, workers=2, kind="processes")
    first, second = (
        (one.images(0), one.pixels[0].base, [failure.row for _, failure in one.failures()])
        for one in decode_stream(decoder, Job.simple(Geometry(16), 20), batches(40, 20))
    )
    assert first[2] == [5]
    assert first[0].shape == (19, 16, 16, 3)
    assert first[0].base is None or not np.shares_memory(first[0], first[1])
    expected = decode((source.base / "6.png").read_bytes(), Geometry(16))
    np.testing.assert_array_equal(first[0][5], expected)
    assert np.shares_memory(second[0], second[1])
