"""The installed command with the real default backbone on real images."""

import csv
import io
import json
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
    told = done.stderr.splitlines()
    assert told[0].endswith("images: 100 images")
    assert told[1].startswith("10 classes, 10 images each: ankle_boot,")
    assert told[2] == "splits: train 70, test 30"
    assert all(line.startswith("100") for line in told[3:]), done.stderr
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


@pytest.fixture(scope="module")
def whole_sample(tmp_path_factory):
    """An uninterrupted run over all 1,000 images: about two seconds of them."""
    folder = tmp_path_factory.mktemp("whole")
    bottleneck("extract", SAMPLE, "-o", folder / "whole.h5", *SIZE)
    return FeatureStore.open(folder / "whole.h5")


@pytest.mark.timeout(1800)  # twenty starts of TensorFlow, on a machine that may be busy
def test_twenty_kills_of_the_real_command(whole_sample, tmp_path):
    """SIGKILL at a random moment, twenty times over, then run to the end."""
    chance = random.Random(11)
    kills = partial = files = 0
    output = tmp_path / "0.h5"
    while kills < 20:
        with started(SAMPLE, output, stdout=subprocess.DEVNULL) as process:
            if kills % 2:  # every other one when rows are there, however slow the machine is
                wait_for_rows(output, process)
            time.sleep(chance.uniform(0, 0.3 if kills % 2 else 2))
            process.send_signal(signal.SIGKILL)
        if process.returncode != -signal.SIGKILL:
            files += 1
            assert_equal(output, whole_sample)
            output = tmp_path / f"{files}.h5"
            continue
        kills += 1
        if output.exists():
            store = FeatureStore.open(output)
            partial += 0 < np.count_nonzero(store.done) < len(store)
            assert_done_rows_equal(store, whole_sample)
    bottleneck("extract", SAMPLE, "-o", output, *SIZE)
    assert_equal(output, whole_sample)
    assert partial >= 5


def test_ctrl_c_leaves_a_file_that_goes_on(whole_sample, tmp_path):
    output = tmp_path / "x.h5"
    with started(SAMPLE, output, stdout=subprocess.PIPE) as process:
        wait_for_rows(output, process)
        process.send_signal(signal.SIGINT)
        document = json.loads(process.stdout.read())
    assert process.returncode == 130
    assert document["interrupted"]
    assert 0 < document["ok"] < 1000
    assert document["ok"] + document["pending"] == 1000
    assert np.count_nonzero(FeatureStore.open(output).done) == document["ok"]
    again = json.loads(bottleneck("extract", SAMPLE, "-o", output, "--json", *SIZE).stdout)
    assert (again["ok"], again["already_done"]) == (document["pending"], document["ok"])
    assert_equal(output, whole_sample)


# A shell that starts its jobs in the background makes them deaf to Ctrl-C.
HEARS = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


def started(source, output, **options):
    """Start an extraction and wait until it has something to do, which it says."""
    process = subprocess.Popen(
        [sys.executable, "-c", HEARS, *COMMAND, "extract", source, "-o", output, "--json", *SIZE],
        stderr=subprocess.PIPE,
        **options,
    )
    # Before it come the lines on what was found; a finished file has nothing to do.
    for line in process.stderr:
        if line.endswith(b" to do\n"):
            break
    return process


def wait_for_rows(output, process):
    """Wait until the first rows are committed; a busy machine may take long."""
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        if output.exists() and FeatureStore.open(output).done.any():
            return
        time.sleep(0.02)


def test_the_quickstart_ends_well(tmp_path):
    """What `make demo` runs, with its outputs elsewhere."""
    text = (SAMPLE.parents[1] / "pipelines" / "quickstart.toml").read_text()
    text = text.replace('root = ".."', f'root = "{SAMPLE.parents[1]}"')
    (tmp_path / "quickstart.toml").write_text(text.replace("runs/quickstart", str(tmp_path)))
    command = ("run", tmp_path / "quickstart.toml")
    outcomes = json.loads(bottleneck(*command, "--json").stdout)
    assert [o["action"] for o in outcomes] == ["ran"] * 5
    accuracies = [o["result"]["accuracy"] for o in outcomes if o["run"] == "evaluate"]
    assert max(accuracies) >= 0.75
    again = bottleneck(*command).stdout
    assert again.count("skipped (up to date)") == 5
    assert f"{100 * max(accuracies):.1f}%" in again


def assert_done_rows_equal(store, whole):
    done = store.done
    np.testing.assert_array_equal(store.digests[done], whole.digests[done])
    np.testing.assert_allclose(store.features()[done], whole.features()[done], rtol=1e-5, atol=1e-5)


def assert_equal(output, whole):
    store = FeatureStore.open(output)
    assert store.complete
    np.testing.assert_array_equal(store.status, whole.status)
    assert_done_rows_equal(store, whole)


def test_doctor_finds_a_sound_installation():
    findings = json.loads(bottleneck("doctor", "--json").stdout)
    assert [f for f in findings if f["state"] == "problem"] == []
    assert {"tiny run", "name clash", "GPU", "tensorflow"} <= {f["what"] for f in findings}
