"""The installed command with the real default backbone on real images."""

import csv
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bottleneck.heads import Head
from bottleneck.store import FeatureStore

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
COMMAND = [sys.executable, "-m", "bottleneck"]
SIZE = ["--size", "64", "--batch-size", "8"]


def bottleneck(*arguments, check=True, **options):
    """Run the command in a process of its own, as people do."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def some_images(tmp_path_factory):
    """Every tenth image of the sample: 70 for training, 30 for the test."""
    root = tmp_path_factory.mktemp("real") / "images"
    for path in sorted(SAMPLE.rglob("*.png"))[::10]:
        target = root / path.relative_to(SAMPLE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return root


@pytest.fixture(scope="module")
def extracted(some_images):
    """An uninterrupted run: the file and what the command printed."""
    file = some_images.parent / "whole.h5"
    done = bottleneck("extract", some_images, "-o", file, "--json", *SIZE)
    return file, done


def test_extract_prints_json_alone_and_no_noise(extracted):
    file, done = extracted
    document = json.loads(done.stdout)
    assert (document["rows"], document["ok"], document["failed"]) == (100, 100, 0)
    assert document["backbone"] == "efficientnet_lite0"
    assert document["outputs"] == {"avg": 1280}
    assert all(line.startswith("100") or "images" in line for line in done.stderr.splitlines()), (
        done.stderr
    )
    assert FeatureStore.open(file).complete


def test_alone_batched_resumed_and_predicted_features_agree(extracted, some_images, tmp_path):
    from bottleneck import FeatureExtractor, extract

    file, _ = extracted
    whole = FeatureStore.open(file)
    reference = np.array(whole.features())
    scale = np.abs(reference).max()

    alone = tmp_path / "alone.h5"
    extract(some_images, alone, size=64, batch_size=1, limit=10)
    single = FeatureStore.open(alone)
    done = single.done
    assert np.count_nonzero(done) == 10
    np.testing.assert_allclose(
        single.features()[done], reference[done], rtol=1e-5, atol=1e-5 * scale
    )

    extract(some_images, alone, size=64, batch_size=32)  # the other 90, in other batches
    resumed = FeatureStore.open(alone)
    assert resumed.complete
    np.testing.assert_allclose(resumed.features(), reference, rtol=1e-5, atol=1e-5 * scale)

    paths = [some_images / key for key in whole.keys]
    transformed = FeatureExtractor(size=64).fit_transform(paths[::9])
    np.testing.assert_allclose(transformed, reference[::9], rtol=1e-5, atol=1e-5 * scale)


def test_predict_uses_the_same_features_as_training(extracted, some_images, tmp_path):
    file, _ = extracted
    bottleneck("train", file, "-o", tmp_path / "head", "--C", "0.01", "--cv", "0", "-q")
    rows = csv.DictReader(
        io.StringIO(bottleneck("predict", tmp_path / "head", some_images / "test").stdout)
    )
    predicted = {f"test/{row['key']}": row for row in rows}
    store, head = FeatureStore.open(file), Head.load(tmp_path / "head")
    test = store.load("test")
    probabilities = head.predict_proba(test.X)
    assert len(predicted) == len(test.keys) == 30
    for key, code, row in zip(test.keys, head.predict(test.X), probabilities, strict=True):
        assert predicted[key]["label"] == head.classes[code]
        assert float(predicted[key]["probability"]) == pytest.approx(row[code], abs=2e-5)


def test_predict_refuses_other_weights(extracted, some_images, tmp_path):
    file, _ = extracted
    bottleneck("train", file, "-o", tmp_path / "head", "--C", "0.01", "--cv", "0", "-q")
    done = bottleneck(
        "predict", tmp_path / "head", some_images / "test", "--weights", "none", check=False
    )
    assert done.returncode == 1
    assert "weights_sha256" in done.stderr
    assert done.stdout == ""


def test_twenty_kills_of_the_real_command(extracted, some_images, tmp_path):
    """SIGKILL at a random moment, twenty times over, then run to the end."""
    whole = FeatureStore.open(extracted[0])
    chance = random.Random(11)
    kills, partial, output, files = 0, 0, tmp_path / "0.h5", 0
    while kills < 20:
        with subprocess.Popen(
            [*COMMAND, "extract", some_images, "-o", output, "--json", *SIZE],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            process.stderr.readline()  # "100 images to do": the network is loaded
            time.sleep(chance.uniform(0, 0.8))
            process.send_signal(signal.SIGKILL)
        if process.returncode == 0:
            assert_equal(output, whole)
            files += 1
            output = tmp_path / f"{files}.h5"
            continue
        kills += 1
        if output.exists():
            partial += 0 < np.count_nonzero(FeatureStore.open(output).done) < 100
    bottleneck("extract", some_images, "-o", output, *SIZE)
    assert_equal(output, whole)
    assert os.path.exists(output)


def assert_equal(output, whole):
    store = FeatureStore.open(output)
    assert store.complete
    np.testing.assert_array_equal(store.status, whole.status)
    np.testing.assert_array_equal(store.digests, whole.digests)
    np.testing.assert_allclose(store.features(), whole.features(), rtol=1e-5, atol=1e-5)


def test_doctor_finds_a_sound_installation():
    findings = json.loads(bottleneck("doctor", "--json").stdout)
    assert [f for f in findings if f["state"] == "problem"] == []
    assert {"tiny run", "name clash", "GPU", "tensorflow"} <= {f["what"] for f in findings}
