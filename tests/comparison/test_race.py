"""The race: who leaves, that nothing is computed twice, and that its files are ordinary ones."""

import json
import shlex

import numpy as np
import pytest
from fakes import MeanBackbone, fake_recipe, write_png

import bottleneck
from bottleneck import backbones
from bottleneck.comparison.race import _Course, seconds_of
from bottleneck.errors import HeadError, OptionError
from bottleneck.extraction import Embedder
from bottleneck.images import Geometry
from bottleneck.manifest import SPLITS
from bottleneck.options import RaceOptions
from bottleneck.store import FeatureStore

NOISE = {
    "efficientnet_lite0": 15.0,
    "efficientnet_lite1": 16.0,
    "resnet50": 60.0,
    "mobilenet_v2": 200.0,
}
"""Of the colours that each sees."""


class Seen(MeanBackbone):
    """The mean colour, and noise that belongs to the picture."""

    def __init__(self, noise):
        super().__init__(dims={"avg": 3})
        self.noise = noise

    def __call__(self, batch):
        colours = super().__call__(batch)["mean"]
        seeds = [int(picture.astype(np.uint64).sum()) for picture in batch]
        drawn = np.stack([np.random.default_rng(seed).normal(0, 1, 3) for seed in seeds])
        return {"avg": (colours + self.noise * drawn).astype(np.float32)}


@pytest.fixture
def networks(monkeypatch):
    """Networks of known worth under names of the catalogue, by name."""
    made = {}

    def build(*, backbone, size, resize=None, dtype="float32", precision="float32", **_):
        made[backbone] = Seen(NOISE[backbone])
        made[backbone].seconds_per_batch = made.get("seconds", 0.0)
        geometry = Geometry(16, resize or "crop")
        recipe = fake_recipe(
            {"backbone": backbone, "image": geometry.recipe()},
            {"dtype": dtype, "precision": precision},
        )
        return Embedder(recipe, geometry, made[backbone])

    monkeypatch.setattr("bottleneck.extraction.run.build_embedder", build)
    return made


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Four classes of colours, 100 for training and 20 for the test of each."""
    root = tmp_path_factory.mktemp("race") / "pictures"
    rng = np.random.default_rng(4)
    for number, name in enumerate(("red", "green", "blue", "white")):
        for i in range(120):
            pixels = rng.integers(0, 120, (12, 14, 3))
            pixels[..., number if number < 3 else slice(None)] += 80
            write_png(root / ("train" if i < 100 else "test") / name / f"{i}.png", pixels)
    return root


def run(pictures, tmp_path, *names, **options):
    return bottleneck.race(
        pictures, tmp_path / "race/race.json", backbone=names or tuple(NOISE), **options
    ).to_json()


def done_rows(path):
    return np.flatnonzero(FeatureStore.open(path).done)


def test_who_is_behind_leaves_and_the_best_goes_on(networks, pictures, tmp_path):
    found = run(pictures, tmp_path)
    assert json.loads((tmp_path / "race/race.json").read_text()) == found
    board = {one["name"]: one for one in found["leaderboard"]}
    assert found["pick"] in ("efficientnet_lite0", "efficientnet_lite1")
    assert board["mobilenet_v2"]["left"].startswith("behind by ")
    assert board["mobilenet_v2"]["round"] == 1
    assert board["mobilenet_v2"]["behind"]["low"] > 0
    for one in ("efficientnet_lite0", "efficientnet_lite1"):
        assert board[one]["left"] is None
        assert board[one]["accuracy"] > board["mobilenet_v2"]["accuracy"]
    for each in found["rounds"]:
        for one in each["contenders"]:
            assert one["left"] is None or one["behind"]["low"] > 0
    images = [one["images"] for one in found["rounds"]]
    assert images[0] == 100
    assert images == sorted(images)
    assert [one["rank"] for one in found["leaderboard"]] == [1, 2, 3, 4]
    left = [one["left"] is not None for one in found["leaderboard"]]
    assert left == sorted(left)


def test_accuracies_are_of_heads_that_did_not_see_the_row(networks, pictures, tmp_path):
    found = run(pictures, tmp_path, "mobilenet_v2", "efficientnet_lite0")
    board = {one["name"]: one for one in found["leaderboard"]}
    # Noise of 200 leaves next to nothing of differences of 80: four classes, so about a quarter.
    assert board["mobilenet_v2"]["accuracy"] < 0.5
    assert board["efficientnet_lite0"]["accuracy"] > 0.9
    low, high = board["efficientnet_lite0"]["interval"]
    assert 0.9 < low < board["efficientnet_lite0"]["accuracy"] <= high
    assert board["efficientnet_lite0"]["log_me"] > board["mobilenet_v2"]["log_me"]
    # Three colours, alike in spread, are shrunk to one: the score is there, and tells nothing.
    assert all(0 <= one["h_score"] < 3 for one in board.values())


def test_samples_are_of_the_training_images_stratified_and_nested(networks, pictures, tmp_path):
    found = run(pictures, tmp_path, budget="10m")
    board = {one["name"]: one for one in found["leaderboard"]}
    first, all_of_them = (
        done_rows(board[name]["file"]) for name in ("mobilenet_v2", found["pick"])
    )
    store = FeatureStore.open(board[found["pick"]]["file"])
    assert set(first) < set(all_of_them)
    assert (store.splits[all_of_them] == SPLITS.index("train")).all()
    assert np.bincount(store.labels[first]).tolist() == [25] * 4
    assert found["stopped"] == "every training image is used"
    assert len(all_of_them) == found["training_images"] == 400
    again = run(pictures, tmp_path / "again", "mobilenet_v2", "efficientnet_lite0", seed=1)
    other = done_rows(again["leaderboard"][-1]["file"])
    assert set(other) != set(first)


def test_the_full_run_goes_on_with_the_files(networks, pictures, tmp_path):
    found = run(pictures, tmp_path)
    (best, *_) = found["leaderboard"]
    before = len(done_rows(best["file"]))
    assert best["images_to_finish"] == 480 - before
    words = shlex.split(found["command"])
    assert words[:3] == ["bottleneck", "extract", str(pictures)]
    assert words[words.index("-o") + 1] == best["file"]
    result = bottleneck.extract(pictures, best["file"], backbone=best["backbone"])
    assert (result.already_done, result.computed, result.pending) == (before, 480 - before, 0)
    bottleneck.extract(pictures, tmp_path / "whole.h5", backbone=best["backbone"])
    one, other = (FeatureStore.open(path) for path in (best["file"], tmp_path / "whole.h5"))
    np.testing.assert_array_equal(one.features("avg")[:], other.features("avg")[:])
    assert one.identity_sha256 == other.identity_sha256


def test_a_second_race_computes_nothing(networks, pictures, tmp_path):
    first = run(pictures, tmp_path, budget="10m")
    second = run(pictures, tmp_path, budget="10m")
    assert all(not networks[name].batches for name in NOISE)
    assert [one["name"] for one in second["leaderboard"]] == [
        one["name"] for one in first["leaderboard"]
    ]
    assert [one["accuracy"] for one in second["leaderboard"]] == [
        one["accuracy"] for one in first["leaderboard"]
    ]


def test_a_complete_file_is_judged_on_the_sample_alone(networks, pictures, tmp_path):
    alone = run(pictures, tmp_path / "a", "efficientnet_lite0", "mobilenet_v2")
    for name in ("efficientnet_lite0", "mobilenet_v2"):
        bottleneck.extract(pictures, tmp_path / f"b/race/{name}.h5", backbone=name)
    complete = run(pictures, tmp_path / "b", "efficientnet_lite0", "mobilenet_v2")
    assert alone["rounds"][0]["images"] == complete["rounds"][0]["images"] == 100
    for one, other in zip(
        alone["rounds"][0]["contenders"], complete["rounds"][0]["contenders"], strict=True
    ):
        assert one["accuracy"] == other["accuracy"]


def test_a_budget_ends_it(networks, pictures, tmp_path):
    networks["seconds"] = 0.1  # for each batch of 32
    short = run(pictures, tmp_path, "efficientnet_lite0", "efficientnet_lite1", budget="2s")
    assert short["stopped"] == "the next round would take more than 2 s"
    assert short["rounds"][-1]["images"] < 400
    assert short["budget_seconds"] == 2


def test_resize_rules_race_too(networks, pictures, tmp_path):
    found = run(pictures, tmp_path, "efficientnet_lite0", resizes=("crop", "squash"))
    assert {one["name"] for one in found["leaderboard"]} == {
        "efficientnet_lite0, crop",
        "efficientnet_lite0, squash",
    }
    for rule in ("crop", "squash"):
        store = FeatureStore.open(tmp_path / f"race/efficientnet_lite0_{rule}.h5")
        assert store.recipe.identity["image"]["resize"]["rule"] == rule
    assert "--resize" in found["command"]


def test_options_of_one_backbone(networks, pictures, tmp_path):
    options = RaceOptions(
        pictures,
        tmp_path / "r.json",
        backbone=("onnx:a.onnx", "resnet50"),
        weights=("resnet50=none",),
        preprocess=("onnx:a.onnx=mean=0.5;std=0.5",),
        size=("64", "resnet50=32"),
    )
    from bottleneck.comparison.race import _contenders

    onnx, resnet = (one.options for one in _contenders(options, tmp_path / "r.json"))
    assert (onnx.weights, resnet.weights) == (None, "none")
    assert (onnx.preprocess, resnet.preprocess) == ("mean=0.5;std=0.5", None)
    assert (onnx.size, resnet.size) == (64, 32)


def test_who_catches_up_stays(networks, pictures):
    source = bottleneck.Manifest.build([f"{i}" for i in range(1000)], ["a", "b"] * 500)
    course = _Course(source, np.arange(1000), RaceOptions(pictures, backbone=("a", "b")))
    clear = np.array([0.01, 0.09])
    assert course._reason(0.05, clear, 0.05, 8, 100).startswith("behind by 5.0 points (1.0 to 9.0)")
    # From 30 to 5 points behind between 8 and 100 images: ahead before there are 1000.
    assert course._reason(0.05, clear, 0.30, 8, 100) is None
    assert course._reason(0.05, np.array([-0.01, 0.11]), 0.05, 8, 100) is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400)]
)
def test_times(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "ten", "5 days", "-1"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(OptionError, match="expected a time"):
        seconds_of(text)


def test_what_cannot_be_raced_is_refused(networks, pictures, tmp_path):
    with pytest.raises(OptionError, match="two or more contenders"):
        run(pictures, tmp_path, "resnet50")
    with pytest.raises(OptionError, match="different backbones"):
        run(pictures, tmp_path, "resnet50", "resnet50")
    with pytest.raises(OptionError, match="head that is fitted on few rows"):
        run(pictures, tmp_path, head="mlp")
    with pytest.raises(HeadError, match="training images with a class"):
        run(pictures, tmp_path, label_from="none")
    with pytest.raises(OptionError, match="one --size for all"):
        run(pictures, tmp_path, size=("32", "64"))


def test_a_pipeline_races(networks, pictures, tmp_path):
    (tmp_path / "p.toml").write_text(
        f"[[step]]\nrun = 'race'\nsources = '{pictures}'\noutput = 'race/race.json'\n"
        "backbone = ['efficientnet_lite0', 'mobilenet_v2']\n"
    )
    (first,) = bottleneck.run(tmp_path / "p.toml")
    (second,) = bottleneck.run(tmp_path / "p.toml")
    assert (first.action, second.action) == ("ran", "skipped")
    assert first.result["pick"] == "efficientnet_lite0"


def test_the_names_are_of_the_catalogue():
    assert all(backbones.get(name) for name in NOISE)
