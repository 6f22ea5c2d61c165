"""Decode workers: the same pixels in order from threads and processes, whatever happens to them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from decoding import JOB, batches, run
from traps import CRASH, HANG, KILL, BrokenSource, TrapSource, Unportable

from bottleneck.decode import decode_stream, open_decoder
from bottleneck.decode.child import anonymous_file, dump_shared, load_shared
from bottleneck.decode.workers import Watch
from bottleneck.errors import WorkerError
from bottleneck.images import Geometry, decode
from bottleneck.sources import PixelSource, open_source
from bottleneck.status import RowStatus

KINDS = ("processes", "threads")


def start(source, kind="processes", workers=2, **watch):
    return open_decoder(source, workers=workers, kind=kind, watch=Watch(**watch))


def assert_exact(source, pixels):
    for row, found in pixels.items():
        expected = decode((source.base / f"{row}.png").read_bytes(), Geometry(16))
        np.testing.assert_array_equal(found, expected, err_msg=str(row))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("workers", [1, 3])
def test_rows_come_in_order_with_their_own_pixels_and_reasons(trapped, kind, workers):
    source = trapped(_3=b"", _17=b"<html>", _39=b"\x89PNG\r\n\x1a\n")
    status, pixels, messages = run(start(source, kind, workers))
    bad = {row: code for row, code in status.items() if code != RowStatus.DONE}
    assert bad == {
        3: RowStatus.EMPTY,
        17: RowStatus.NOT_AN_IMAGE,
        39: RowStatus.TRUNCATED,
    }
    assert len(pixels) == 37
    assert_exact(source, pixels)
    assert messages[3] == "the file has no bytes"


@pytest.mark.parametrize(
    "crashing", [(0,), (39,), (8, 9, 10, 11), (2, 6, 10, 14, 18, 22), (13, 14, 30)]
)
def test_a_crash_costs_exactly_its_image(trapped, crashing):
    source = trapped(**{f"_{row}": CRASH for row in crashing})
    status, pixels, messages = run(start(source))
    assert {row for row, code in status.items() if code != RowStatus.DONE} == set(crashing)
    assert_exact(source, pixels)
    for row in crashing:
        assert status[row] == RowStatus.DECODER_CRASHED
        assert messages[row] == "the decoder crashed: SIGSEGV"


def test_a_worker_that_the_system_ends_twice_may_have_lacked_memory(trapped):
    source = trapped(_5=KILL, _9=CRASH)
    status, pixels, messages = run(start(source))
    assert {row for row, code in status.items() if code != RowStatus.DONE} == {5, 9}
    assert_exact(source, pixels)
    assert status[5] == RowStatus.DECODER_CRASHED
    assert messages[5].startswith("the decoder crashed: SIGKILL, which the system sends where mem")
    assert "--workers" in messages[5]
    assert "memory" not in messages[9]


def test_a_hang_costs_its_image_and_is_named_before(trapped, monkeypatch):
    monkeypatch.setattr("bottleneck.decode.workers.STALL_SECONDS", 0.3)
    source, notes = trapped(_7=HANG, _21=HANG), []
    name = source.manifest.keys.__getitem__
    status, pixels, messages = run(start(source, timeout=1.0, name=name, note=notes.append))
    assert {row for row, code in status.items() if code != RowStatus.DONE} == {7, 21}
    assert status[7] == status[21] == RowStatus.TIMED_OUT
    assert messages[7] == "not decoded within 1 s"
    assert_exact(source, pixels)
    assert {note.split(" since")[0] for note in notes} == {
        "waiting for 7.png",
        "waiting for 21.png",
    }


def test_signals_that_end_commands_are_the_parents_alone(trapped, capfd):
    """As ``kill -- -GROUP``, a service manager or a container give them to every process."""
    source = trapped()
    decoder = start(source)
    workers = [worker._process for worker in decoder._team]
    # Before Python has started in them, while they start, and while they decode.
    for delay in (0.0, 0.05, 0.2):
        time.sleep(delay)
        for worker in workers:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                worker.send_signal(number)
    status, pixels, _ = run(decoder)
    assert set(status.values()) == {RowStatus.DONE}
    assert_exact(source, pixels)
    # Nobody was replaced; at the end the parent ended them, and they said nothing.
    ends = {worker.wait(timeout=5) for worker in workers}
    assert ends <= {-signal.SIGKILL, -signal.SIGIO}
    assert capfd.readouterr().err == ""


def test_the_parent_gets_its_signals_after_a_worker_has_started(trapped):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    start(trapped()).close()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_a_worker_that_others_kill_costs_nothing(trapped):
    source = trapped()
    decoder = start(source)
    seen = []
    for slot in decode_stream(decoder, JOB, batches()):
        os.kill(decoder._team[0]._process.pid, signal.SIGKILL)
        assert (slot.status[: slot.count] == RowStatus.DONE).all()
        seen += slot.rows[: slot.count].tolist()
    assert seen == list(range(40))


def test_a_decoder_that_crashes_on_everything_stops_the_run(trapped, monkeypatch):
    monkeypatch.setattr("bottleneck.decode.workers._CRASHES_BEFORE_ANY", 3)
    with pytest.raises(WorkerError, match="crashed on 3 images and decoded none: SIGSEGV"):
        run(start(trapped(**{f"_{row}": CRASH for row in range(40)})))


@pytest.mark.parametrize("kind", KINDS)
def test_a_fixed_number_of_batches_is_on_its_way(folder, tmp_path, kind):
    """Back pressure: a slow consumer holds the workers back."""
    log = tmp_path / "log"
    source = TrapSource(open_source([str(folder)]), log)
    decoder = start(source, kind)
    slots = 5  # two per worker and the consumer's; threads: the same here
    stream = decode_stream(decoder, JOB, batches())
    for taken in range(1, 4):
        next(stream)
        time.sleep(0.3)
        assert len(log.read_text().split()) == 4 * (taken + slots - 1)
    stream.close()


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_of_the_source_reaches_the_caller(folder, kind):
    with pytest.raises(RuntimeError, match="a defect, not a bad image"):
        run(start(BrokenSource(open_source([str(folder)])), kind))


def test_a_source_that_cannot_travel_is_decoded_in_threads_and_that_is_said(folder):
    class Local(TrapSource):
        pass

    for cls, why in ((Local, "cannot be handed"), (Unportable, "could not open the source")):
        source, notes = cls(open_source([str(folder)])), []
        decoder = start(source, "auto", note=notes.append)
        _, pixels, _ = run(decoder)
        assert len(pixels) == 40
        assert decoder.kind == "threads"
        assert why in notes[0]
        assert notes[0].endswith("decoding in threads instead")
        with pytest.raises(WorkerError, match=why):
            run(start(source, "processes"))


def test_pixels_in_memory_stay_in_this_process():
    source = PixelSource([np.full((3, 4), row, np.uint8) for row in range(5)])
    decoder = start(source, "auto")
    assert decoder.kind == "threads"
    _, pixels, _ = run(decoder, 5)
    assert [pixels[row][0, 0, 0] for row in range(5)] == [0, 1, 2, 3, 4]


def test_arrays_travel_once_and_are_not_copied(folder):
    manifest = open_source([str(folder)]).manifest
    descriptor = anonymous_file("test")
    dump_shared({"manifest": manifest, "text": "x"}, descriptor)
    loaded = load_shared(descriptor)
    os.close(descriptor)
    assert loaded["manifest"].keys == manifest.keys
    assert loaded["manifest"].sha256 == manifest.sha256
    assert not loaded["manifest"].keys.blob.flags.owndata
    assert not loaded["manifest"].keys.blob.flags.writeable


def test_workers_load_neither_the_network_nor_the_store():
    program = (
        "import sys, bottleneck.decode.worker, bottleneck.sources; "
        "print(*{'tensorflow', 'keras', 'h5py', 'sklearn', 'scipy', 'email', 'http', 'zipfile', "
        "'importlib.metadata'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "\n")


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads by /proc")
def test_workers_have_one_thread_unless_the_user_says_otherwise(folder, monkeypatch):
    """Those of NumPy's linear algebra take a third of a worker's start."""
    for said, count in (None, 1), ("2", 2):
        monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
        if said:
            monkeypatch.setenv("OPENBLAS_NUM_THREADS", said)
        decoder = start(open_source([str(folder)]))
        stream = decode_stream(decoder, JOB, batches())
        next(stream)
        tasks = [Path(f"/proc/{one._process.pid}/task") for one in decoder._team]
        assert {len(list(task.iterdir())) for task in tasks} == {count}
        stream.close()
        decoder.close()


PARENT = """
import sys, traps
from decoding import JOB, batches
from bottleneck.decode import decode_stream, open_decoder
from bottleneck.sources import open_source
decoder = open_decoder(traps.TrapSource(open_source([sys.argv[1]])), workers=2, kind="processes")
stream = decode_stream(decoder, JOB, batches())
next(stream)
print(*(worker._process.pid for worker in decoder._team), flush=True)
for slot in stream:
    pass
"""


@pytest.mark.parametrize("hanging", [False, True])
def test_workers_die_with_their_parent_even_while_they_hang(trapped, folder, hanging):
    if hanging:
        trapped(_6=HANG, _10=HANG)
    tests = Path(__file__).parent
    path = os.pathsep.join([str(tests.parents[1]), str(tests.parent)])
    command = [sys.executable, "-c", PARENT, str(folder)]
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        workers = [int(number) for number in parent.stdout.readline().split()]
        time.sleep(0.5 if hanging else 0.05)
        parent.send_signal(signal.SIGKILL)
    assert len(workers) == 2
    until = time.monotonic() + 10
    while any(map(alive, workers)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(map(alive, workers))


def alive(pid):
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_clock_of_an_image_stands_still_while_a_worker_is_replaced(trapped, monkeypatch):
    """A crash is no time-out, however long a new worker takes to start."""
    from bottleneck.decode.workers import ProcessDecoder

    replace = ProcessDecoder._replace

    def slow(self, worker, start):
        time.sleep(0.6)
        replace(self, worker, start)

    monkeypatch.setattr(ProcessDecoder, "_replace", slow)
    status, _, _ = run(start(trapped(_8=CRASH, _9=CRASH, _12=CRASH), timeout=0.5))
    bad = {row: code for row, code in status.items() if code != RowStatus.DONE}
    assert bad == dict.fromkeys((8, 9, 12), RowStatus.DECODER_CRASHED)
