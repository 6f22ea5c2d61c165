"""A set filled by a crew, without an engine: what is told, and what comes of it."""

from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
from click.testing import CliRunner
from crews import ThreadCrew
from fake_load import FakeLoad
from fakes import fake_embedder, write_png
from made_sets import plan_fake

from bottleneck.cli.main import cli
from bottleneck.cluster import extraction
from bottleneck.cluster.extraction import RangeWorker
from bottleneck.cluster.ray_crew import _Actor
from bottleneck.errors import OptionError, StoreError
from bottleneck.extract_options import ExtractSetOptions
from bottleneck.extraction import fill_store
from bottleneck.extraction.plan import MaxFailed
from bottleneck.extraction.ranges import FillSettings
from bottleneck.progress import SILENT
from bottleneck.sets import published, read_info
from bottleneck.sources import open_source
from bottleneck.store import FeatureStore, writer_lock

COUNT, RANGE = 23, 3


@dataclass
class Told:
    """A progress that remembers."""

    begun: list = field(default_factory=list)
    rows: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    def begin(self, total, done):
        self.begun.append((total, done))

    def advance(self, finished, failed, seconds):
        self.rows.append((finished, failed))

    def stage(self, what):
        pass

    def working(self, what):
        pass

    def note(self, message):
        self.notes.append(message)

    def end(self):
        pass


@pytest.fixture
def planned(tmp_path, rng):
    for i in range(COUNT):
        write_png(tmp_path / f"photos/class{i % 2}/{i}.png", rng.integers(0, 256, (16, 16, 3)))
    (tmp_path / "photos/class0/4.png").write_bytes(b"no image")
    plan_fake(tmp_path / "photos", tmp_path / "photos.set", rows=RANGE)
    return tmp_path


def run_with(monkeypatch, planned, *, count, fails_at=None, joins=(), **options):
    crews = []

    @contextmanager
    def crew_of(on, make, given):
        assert on == "ray"
        crews.append(ThreadCrew(count, lambda: make(*given), fails_at, joins))
        yield crews[-1]
        crews[-1].close()

    monkeypatch.setattr(extraction, "ray_crew", crew_of)
    monkeypatch.setattr("bottleneck.cluster.ranges._SECONDS", 0.05)
    told = Told()
    asked = ExtractSetOptions(str(planned / "photos.set"), on="ray", progress=told, **options)
    settings = FillSettings(FakeLoad(), planned / "scratch", 1, "threads")
    return extraction.extract_on(asked, settings), told, crews[0]


def test_a_crew_fills_a_set_though_one_is_lost_and_one_joins(monkeypatch, planned):
    run, told, crew = run_with(monkeypatch, planned, count=2, fails_at={0: 0}, joins=[3])
    assert (run.ranges, run.published, run.pending) == (8, 8, 0)
    assert (run.ok, run.failed) == (COUNT - 1, 1)
    assert told.begun == [(COUNT, 0)]
    assert np.sum(told.rows, axis=0).tolist() == [COUNT, 1]
    assert [note for note in told.notes if note.startswith("lost member 0")]
    assert len(crew.losses) == 1
    store = FeatureStore.open(str(planned / "photos.set"))
    assert store.complete
    path = planned / "alone.h5"
    with writer_lock(path):
        fill_store(
            open_source([str(planned / "photos")]),
            path,
            fake_embedder(),
            batch_size=16,
            workers=1,
            max_failed=MaxFailed(share=1.0),
            progress=SILENT,
        )
    alone = FeatureStore.open(path)
    np.testing.assert_array_equal(store.status, alone.status)
    good = alone.done
    for name in alone.outputs:
        ours, theirs = store.features(name)[:], alone.features(name)[:]
        np.testing.assert_allclose(ours[good], theirs[good], rtol=0, atol=1e-6)
    again, told, crew = run_with(monkeypatch, planned, count=1)
    assert (again.already_done, again.published, again.pending) == (8, 0, 0)
    assert crew.ever[0].calls == 0
    assert told.rows == []


def test_what_others_published_meanwhile_is_not_computed(monkeypatch, planned):
    """Of a worker that was lost after it had published; or of another run on the same set."""
    where = str(planned / "photos.set")
    settings = FillSettings(FakeLoad(), planned / "elsewhere", 1, "threads")
    worker = extraction.RangeWorker(where, settings)
    told = worker.fill(1, 0, False)
    assert (told.published, told.computed) == (True, RANGE)

    class Late(extraction.RangeWorker):
        def fill(self, number, version, suspected):
            if number == 3:  # handed out, and then published by somebody else
                assert worker.fill(3, 0, False).published
            found = super().fill(number, version, suspected)
            assert found.computed == (0 if number == 3 else RANGE if number < 7 else COUNT % RANGE)
            return found

    monkeypatch.setattr(extraction, "RangeWorker", Late)
    run, told, _ = run_with(monkeypatch, planned, count=1)
    assert (run.already_done, run.published, run.others, run.duplicates) == (1, 6, 1, 0)
    assert np.sum(told.rows, axis=0).tolist() == [COUNT - RANGE, 1]


def test_a_worker_that_cannot_be_made_says_why(tmp_path):
    """A node that does not see the set's folder: to Ray its actor would be one that was lost."""
    actor = _Actor(RangeWorker, (str(tmp_path / "p.set"), FillSettings(FakeLoad())), 0)
    assert actor.ready()
    with pytest.raises(StoreError, match="there is no set at"):
        actor.call("fill", 0, 0, False)


def test_only_some_ranges(monkeypatch, planned):
    run, told, _ = run_with(monkeypatch, planned, count=1, ranges="2-4")
    assert (run.ranges, run.published, run.pending) == (2, 2, 0)
    assert told.begun == [(2 * RANGE, 0)]
    run, told, _ = run_with(monkeypatch, planned, count=1)
    assert (run.already_done, run.published) == (2, 6)
    assert told.begun == [(COUNT - 2 * RANGE, 2 * RANGE)]


def test_failed_images_are_tried_again_where_a_set_is_done_and_where_not(monkeypatch, planned):
    """Shards with failed images are corrected, once; the ranges that lack one are filled."""
    bad = planned / "photos/class0/8.png"
    bad.write_bytes(b"")
    first, _, _ = run_with(monkeypatch, planned, count=2, ranges="0-5")
    assert (first.published, first.failed) == (5, 2)
    place, info = read_info(planned / "photos.set")
    write_png(bad, np.full((16, 16, 3), 77))
    run, told, _ = run_with(
        monkeypatch, planned, count=2, fails_at={0: 1}, joins=[3], retry_failed=True
    )
    # The other bad image is one still: its shard stays as it is.
    store = FeatureStore.open(str(planned / "photos.set"))
    row = list(store.keys).index("class0/8.png")
    assert (run.already_done, run.published, run.duplicates, run.pending) == (5, 4, 0, 0)
    newest = {number: 2 if number == row // RANGE else 1 for number in range(info.n_ranges)}
    assert published(place, info) == newest
    assert store.done.sum() == COUNT - 1
    np.testing.assert_allclose(store.features("mean")[row], 77, atol=1e-5)
    assert np.sum(told.rows, axis=0)[0] == COUNT
    again, _, _ = run_with(monkeypatch, planned, count=1, retry_failed=True)
    assert (again.published, again.duplicates) == (0, 0)
    assert published(place, info) == newest


@pytest.mark.parametrize("option", ["--on", "--scratch"])
def test_what_is_for_sets_is_refused_without_one(tmp_path, option):
    found = CliRunner().invoke(cli, ["extract", str(tmp_path), "-o", "a.h5", option, "ray"])
    assert isinstance(found.exception, OptionError)
    assert found.exception.message == f"expected --set with {option}, got none"
