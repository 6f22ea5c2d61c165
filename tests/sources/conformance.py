"""What every source promises, as tests. A subclass gives a ``case``."""

import multiprocessing
import pickle
import random
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

from bottleneck.errors import ImageError
from bottleneck.manifest import SPLITS
from bottleneck.sources import open_source
from bottleneck.status import RowStatus


def same(found, expected):
    if isinstance(expected, bytes):
        return type(found) is bytes and found == expected
    return found.dtype == expected.dtype and np.array_equal(found, expected)


def read_all(source, rows):
    """Read rows where a source was sent to: by name, so that spawned processes find it."""
    return [source.read(row) for row in rows]


def spawned():
    """Yield a spawned process: nothing is inherited but what is pickled."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        yield pool


class SourceConformance:
    """Every test opens the source of the fixture ``case``, a :class:`makers.Case`."""

    def test_lists_every_image_in_order_with_label_and_split(self, case):
        source = open_source(case.given)
        manifest = source.manifest
        assert len(source) == len(manifest) == len(case.keys)
        assert list(manifest.keys) == case.keys
        assert manifest.classes == tuple(sorted({label for label in case.labels if label}))
        labels = [manifest.classes[i] if i >= 0 else None for i in manifest.labels]
        assert labels == case.labels
        assert [SPLITS[code] for code in manifest.splits] == case.splits
        assert repr(source).startswith("<")
        assert str(len(case.keys)) in repr(source)

    def test_rows_are_exact_in_any_order_and_again(self, case):
        source = open_source(case.given)
        rows = list(range(len(case.keys)))
        for order in (rows, rows[::-1], rows[::2] + rows[::2]):
            for row in order:
                assert same(source.read(row), case.contents[row]), row

    def test_many_threads_read_at_once(self, case):
        source = open_source(case.given)
        rows = [row for row in range(len(case.keys)) for _ in range(case.repeats)]
        random.Random(0).shuffle(rows)
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            with ThreadPoolExecutor(16) as threads:
                found = list(threads.map(source.read, rows))
        finally:
            sys.setswitchinterval(before)
        assert all(same(image, case.contents[row]) for image, row in zip(found, rows, strict=True))

    def test_travels_small_and_reads_where_it_arrives(self, case, other_process):
        source = open_source(case.given)
        source.read(0)  # whatever is opened by reading stays here
        packed = pickle.dumps(source)
        images = sum(len(c) if isinstance(c, bytes) else c.nbytes for c in case.contents)
        assert len(packed) < 3000 + 200 * len(case.keys) + len(pickle.dumps(source.manifest))
        assert len(packed) < images
        rows = list(range(len(case.keys)))
        here = pickle.loads(packed)
        assert list(here.manifest.keys) == case.keys
        if case.elsewhere:
            found = other_process.submit(read_all, source, rows).result()
        else:
            found = read_all(here, rows)
        assert all(same(a, b) for a, b in zip(found, case.contents, strict=True))

    def test_what_is_gone_fails_its_rows_as_missing(self, case):
        source = open_source(case.given)
        source.read(0)
        case.take_away()
        for row, expected in enumerate(case.contents):
            if case.keeps:
                # A connection is not asked again for what was read before; that is still right.
                with suppress(ImageError):
                    assert same(source.read(row), expected)
                continue
            with pytest.raises(ImageError) as caught:
                source.read(row)
            assert caught.value.reason is RowStatus.MISSING
        if case.keeps:
            arrived = pickle.loads(pickle.dumps(source))  # without what was kept
            with pytest.raises(ImageError) as caught:
                arrived.read(0)
            assert caught.value.reason is RowStatus.MISSING

    def test_the_stamp_changes_with_the_images(self, case):
        source = open_source(case.given)
        before = source.stamp()
        assert open_source(case.given).stamp() == before
        case.alter()
        assert source.stamp() != before
