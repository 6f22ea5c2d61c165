"""The bench measures what it says; how fast anything is, is not tested."""

import time
from dataclasses import replace

import numpy as np
import pytest
from fakes import MeanBackbone, fake_embedder

from bottleneck import bench
from bottleneck import speed as module
from bottleneck.errors import DeviceMemoryError, OptionError
from bottleneck.progress import Silent


@pytest.fixture
def network(monkeypatch):
    slow = MeanBackbone(seconds_per_batch=0.05)
    embedder = fake_embedder(slow)
    monkeypatch.setattr(module, "build_embedder", lambda **options: embedder)
    monkeypatch.setattr("bottleneck.extraction.run.build_embedder", lambda **options: embedder)
    return slow


def test_everything_is_measured(network):
    result = bench(backbone="efficientnet_lite0", batch_sizes=(1, 4), images=12, seconds=0.1)
    assert list(result.forward) == ["1", "4"]
    # A batch sleeps 50 ms whatever its size: these are bounds that no machine can break.
    assert 0 < result.forward["1"] <= 20
    assert 0 < result.forward["4"] <= 80
    assert result.batch_size == 4
    assert 0 < result.end_to_end <= 80
    assert result.images == 12
    assert network.batches.count(4) >= 5 + 3
    assert network.batches[-3:] == [4, 4, 4]  # extraction came last, decoding called no network
    slower = min(result.forward["4"], result.decoding)
    assert result.limit == ("network" if slower == result.forward["4"] else "decoding")


def test_a_batch_that_does_not_fit_ends_what_is_tried_and_not_the_bench(network, monkeypatch):
    notes, computed = [], MeanBackbone.__call__

    def small(self, batch):
        if len(batch) > 8:
            raise DeviceMemoryError(f"gpu:0 has not enough memory for {len(batch)} images")
        return computed(self, batch)

    monkeypatch.setattr(MeanBackbone, "__call__", small)
    result = bench(batch_sizes=(16, 4, 8, 32), images=8, seconds=0.01, progress=Told(notes))
    assert list(result.forward) == ["4", "8"]
    assert "gpu:0 has not enough memory for 16 images" in notes
    with pytest.raises(DeviceMemoryError, match="for 16 images"):
        bench(batch_sizes=(16, 32), images=8, seconds=0.01)


class Told(Silent):
    def __init__(self, notes):
        self.note = notes.append


def test_given_images_are_left_alone(network, colours_folder):
    before = sorted(colours_folder.rglob("*"))
    result = bench([str(colours_folder)], batch_sizes=(2,), images=3, seconds=0.01)
    assert result.images == 3
    assert sorted(colours_folder.rglob("*")) == before


@pytest.fixture
def colours_folder(tmp_path):
    from fakes import write_png

    for i in range(5):
        write_png(tmp_path / "in" / f"{i}.png", np.full((8, 8, 3), i))
    return tmp_path / "in"


def test_numbers_that_make_no_sense():
    for wrong in ({"batch_sizes": (0,)}, {"batch_sizes": ()}, {"images": 0}):
        with pytest.raises(OptionError, match="to be at least 1|batch sizes to try"):
            bench(**wrong)


def test_drawn_pictures_differ_and_are_like_photographs(tmp_path):
    from PIL import Image

    files = sorted(module.draw_jpegs(tmp_path / "drawn", 3).iterdir())
    for file in files:
        with Image.open(file) as image:
            assert image.size == (500, 375)
    assert len({file.read_bytes() for file in files}) == 3
    assert all(30_000 < file.stat().st_size < 300_000 for file in files)


def test_another_decoder_is_that_of_the_run_and_is_measured_by_the_clock(monkeypatch, tmp_path):
    asked = []

    def build(**options):
        asked.append(options["decoder"])
        made = fake_embedder(MeanBackbone())
        return replace(made, input=replace(made.input, decoder=options["decoder"]))

    def drawn_by_one_thread(embedder, source, batches, *, seconds, **options):
        seconds["read"] = 1e-6  # what workers did for it says nothing
        for batch in batches:
            time.sleep(0.05)
            yield batch

    monkeypatch.setattr(module, "build_embedder", build)
    monkeypatch.setattr(module, "embed", drawn_by_one_thread)
    monkeypatch.setattr(module, "extract_many", lambda options: [ran.append(options) or Result()])
    ran = []
    result = bench(decoder="torchvision", batch_sizes=(2,), images=8, seconds=0.01)
    assert asked == ["torchvision"]
    assert [options.decoder for options in ran] == ["torchvision"]
    assert 0 < result.decoding <= 2 / 0.05


class Result:
    images_per_second = 1.0
