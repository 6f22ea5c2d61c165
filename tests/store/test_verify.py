import random

import h5py
import numpy as np
import pytest

from bottleneck.errors import StoreError, StoreLockedError
from bottleneck.status import RowStatus
from bottleneck.store import FailedRow, FeatureStore, Writer, writer_lock
from bottleneck.store.verify import verify


def flip(path, offset, bit):
    with path.open("r+b") as stream:
        stream.seek(offset)
        value = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([value ^ (1 << bit)]))


@pytest.fixture
def filled(make, fill):
    path = make(300, {"avg": 40, "max": 7})
    values, _ = fill(path, range(250))
    with Writer(path, FeatureStore.open(path).layout) as writer:
        writer.fail([FailedRow(260, "img260.png", RowStatus.EMPTY, "")])
    return path, values


def test_a_sound_file_is_sound(filled):
    report = verify(filled[0])
    assert report.ok
    assert (report.rows, report.checked, report.bad_rows) == (300, 250, ())
    assert report.problems == ()


def test_every_flipped_bit_in_done_rows_is_found_and_mended(filled):
    path, values = filled
    layout = FeatureStore.open(path).layout
    chance = random.Random(2)
    extents = [*layout.features.values(), *layout.crc32.values()]
    for _ in range(200):
        extent, row = chance.choice(extents), chance.randrange(250)
        offset = extent.offset + row * extent.row_bytes + chance.randrange(extent.row_bytes)
        bit = chance.randrange(8)
        flip(path, offset, bit)
        assert verify(path).bad_rows == (row,)
        flip(path, offset, bit)
    assert verify(path).ok
    flip(path, layout.features["max"].offset + 17 * 28, 3)
    flip(path, layout.features["avg"].offset + 200 * 160, 0)
    report = verify(path, fix=True)
    assert (report.bad_rows, report.fixed, report.ok) == ((17, 200), True, True)
    store = FeatureStore.open(path)
    assert np.flatnonzero(store.status[:250] != RowStatus.DONE).tolist() == [17, 200]
    assert np.array_equal(store.features("avg")[:17], values["avg"][:17])
    assert verify(path).ok


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_status_never_passes_for_a_row(filled, bit):
    path, _ = filled
    status = FeatureStore.open(path).layout.status
    for row in (0, 249, 255, 260):  # done, done, pending, failed
        flip(path, status.offset + row, bit)
        before = FeatureStore.open(path).status[row]
        found = verify(path).bad_rows
        # What reads as pending is computed again, and what reads as another reason for failing
        # still is no row; anything else must be found.
        harmless = before == 0 or (row > 249 and 1 < before <= max(RowStatus))
        assert found == (() if harmless else (row,))
        verify(path, fix=True)
        assert verify(path).ok
        flip_back = FeatureStore.open(path).status[row]
        assert flip_back in (0, *([before] if harmless else []))
        with path.open("r+b") as stream:
            stream.seek(status.offset + row)
            stream.write(bytes([{255: 0, 260: RowStatus.EMPTY}.get(row, 1)]))


def test_other_damage_is_told(filled):
    path, _ = filled
    with h5py.File(path, "r+") as file:
        file["manifest/label"][3] = 2
    assert verify(path).problems == (
        "the manifest (keys, labels, splits) is not what its fingerprint says",
    )
    with h5py.File(path, "r+") as file:
        recipe = file.attrs["recipe"].decode().replace('"fake"', '"fako"')
        file.attrs.modify("recipe", np.bytes_(recipe))
    report = verify(path, fix=True)
    assert len(report.problems) == 2
    assert not report.ok


def test_mending_needs_the_lock(filled):
    with writer_lock(filled[0]), pytest.raises(StoreLockedError):
        verify(filled[0], fix=True)


def test_no_file_is_an_error(tmp_path):
    with pytest.raises(StoreError, match="there is no file"):
        verify(tmp_path / "none.h5")
