"""A head of a set is that of the merged file, whoever holds the shards."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from crews import ThreadCrew
from fakes import fake_recipe, write_png

import bottleneck
from bottleneck.cluster import fitting
from bottleneck.errors import OptionError
from bottleneck.heads.head import Head
from bottleneck.runtimes import placed
from bottleneck.sets import open_shards, place_of
from bottleneck.sets.planning import write_set
from bottleneck.sets.publishing import publish
from bottleneck.sources.streaming import stream_blocks
from bottleneck.status import RowStatus
from bottleneck.store import FailedRow, FeatureStore, Writer, create, writer_lock

ROWS, LENGTH = 41, 6
HEADS = ("logreg", "svm", "ridge", "lda", "nearest_mean")


def fill(path, manifest, info, values, failed):
    """Write features of some rows; those of ``failed`` have a reason instead."""
    with writer_lock(path):
        create(path, manifest=manifest, recipe=info.recipe, dims=info.outputs, dtype=info.dtype)
        good = np.array([row for row in range(len(manifest)) if row not in failed])
        with Writer(path, FeatureStore.open(path).layout) as writer:
            writer.write(good, {"mean": values[good]}, np.zeros((len(good), 16), np.uint8))
            writer.fail(
                FailedRow(row, manifest.keys[row], RowStatus.EMPTY, "no bytes") for row in failed
            )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A set of seven shards, and the file of the same rows; one of them failed."""
    folder = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(5)
    for i in range(6 * ROWS + 30):
        write_png(folder / f"photos/class{i % 3}/{i}.png", rng.integers(0, 256, (4, 4, 3)))
    info = write_set(
        place_of(folder / "photos.set"),
        stream_blocks([str(folder / "photos")], rows=ROWS),
        recipe=fake_recipe({"size": 4}),
        outputs={"mean": LENGTH},
        rows_per_shard=ROWS,
    )
    shards = open_shards(folder / "photos.set")
    whole = FeatureStore.open(str(folder / "photos.set")).manifest
    X = rng.normal(size=(3, LENGTH))[whole.labels] + rng.normal(size=(len(whole), LENGTH))
    X = X.astype(np.float32)
    for number in range(info.n_ranges):
        start, stop = info.range(number)
        path = folder / f"{number}.h5"
        fill(path, shards.manifest(number), info, X[start:stop], [3] if number == 2 else [])
        publish(place_of(folder / "photos.set"), info, number, path)
    fill(folder / "merged.h5", whole, info, X, [2 * ROWS + 3])
    return folder, X, whole.labels


@contextmanager
def three_workers(on, make, given=()):
    # Each has room for two shards, and reads the others in every pass.
    _, _, *engine = given
    crew = ThreadCrew(3, lambda: make(1, 2 * 4 * ROWS * LENGTH, *engine), fails_at={1: 5})
    yield crew
    crew.close()
    assert len(crew.losses) == 1
    assert not any(isinstance(value, np.ndarray) for value in given)


@pytest.mark.parametrize("head", HEADS)
def test_a_head_of_a_set_is_that_of_the_merged_file(made, tmp_path, monkeypatch, head):
    folder, _, _ = made
    about = {"head": head, "cv": 3, "holdout": 0.2}
    merged = bottleneck.train(str(folder / "merged.h5"), str(tmp_path / "merged.head"), **about)
    here = bottleneck.train(str(folder / "photos.set"), str(tmp_path / "here.head"), **about)
    monkeypatch.setattr(fitting, "ray_crew", three_workers)
    there = bottleneck.train(
        str(folder / "photos.set"), str(tmp_path / "there.head"), **about, on="ray"
    )
    assert here.document["rows"] == merged.document["rows"] == there.document["rows"]
    assert here.document["left_out"]["failed"] == 1
    assert here.document["best"] == merged.document["best"]
    ours, theirs = (Head.load(tmp_path / name).estimator for name in ("here.head", "merged.head"))
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=2e-4, atol=1e-5)
    if hasattr(ours, "objective_"):
        assert ours.objective_ == pytest.approx(theirs.objective_, rel=0, abs=1e-7)
    for mine, its in zip(here.document["cv"], merged.document["cv"], strict=True):
        assert mine["mean"] == pytest.approx(its["mean"], abs=0.01)
    away = Head.load(tmp_path / "there.head").estimator
    np.testing.assert_array_equal(away.coef_, ours.coef_)
    np.testing.assert_array_equal(away.intercept_, ours.intercept_)
    assert there.document["cv"] == here.document["cv"]
    assert there.document["test"] == here.document["test"]


def test_workers_are_told_the_device_and_tell_theirs(made, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "ray_crew", three_workers)
    asked = []

    def on_gpu(backend, device):
        asked.append(device)
        name = "cpu" if device == "cpu" else "gpu:0"
        return replace(placed(backend, "cpu"), name=name, free_bytes=lambda: 0)

    monkeypatch.setattr("bottleneck.heads.solver.keras_engine.placed", on_gpu)
    found = bottleneck.train(
        str(made[0] / "photos.set"), str(tmp_path / "gpu.head"), C=0.1, cv=0, engine="keras",
        on="ray", device="gpu",
    )  # fmt: skip
    assert asked == ["gpu"] * 3 + ["cpu"]  # whoever asks them leaves GPUs alone
    (told,) = [note for note in found.document["notes"] if note.startswith("fitted through Keras")]
    assert told.endswith(", by the workers of a cluster, on gpu:0")
    assert found.document["device"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": "knn"}, "nearest_mean for --on, got knn"),
        ({"on": "dask"}, "expected ray or ray://HOST:PORT"),
    ],
)
def test_what_a_cluster_cannot_do_is_refused_first(made, tmp_path, change, message):
    about = {"on": "ray", **change}
    with pytest.raises(OptionError, match=message):
        bottleneck.train(str(made[0] / "photos.set"), str(tmp_path / "a.head"), **about)


def test_a_feature_file_is_for_one_machine(made, tmp_path):
    with pytest.raises(OptionError, match="expected a set for --on ray, got the feature file"):
        bottleneck.train(str(made[0] / "merged.h5"), str(tmp_path / "a.head"), on="ray")
