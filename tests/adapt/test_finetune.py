"""Fine-tuning: it starts as the head, leaves the frozen alone, resumes to the same weights."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import bottleneck
from bottleneck.adapt import finetune, training
from bottleneck.adapt.deployed import open_deployed
from bottleneck.adapt.layers import Body
from bottleneck.adapt.training import Checkpoint, Rates
from bottleneck.adapt.whole import whole_model
from bottleneck.errors import HeadError, OptionError
from bottleneck.heads import Head

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of Keras

QUICK = {"epochs": 2, "views": 2, "batch_size": 16, "workers": 1, "seed": 3}


def tuned(folder, output, **options):
    return bottleneck.finetune(
        folder / "h.head", folder / "photos", output, **{**QUICK, **options}
    ).to_json()


def weights_of(path):
    import keras

    return keras.saving.load_model(path, compile=False).get_weights()


def test_rates_rise_then_fall_by_a_cosine():
    rates = Rates(1e-4, 1e-3, 0.1, 0.0)
    shares = [rates.at(step, 100) for step in range(100)]
    np.testing.assert_allclose(shares[:10], np.arange(1, 11) / 10)
    np.testing.assert_allclose(shares[10:], 0.5 * (1 + np.cos(np.pi * np.arange(90) / 90)))
    assert Rates(1, 1, 0.0, 0).at(0, 1) == 1.0


def test_before_the_first_step_it_answers_as_the_head(trained):
    """The cut model: the frozen part, then the rest, with the head's weights in it."""
    import keras

    head = Head.load(trained / "h.head")
    store = bottleneck.FeatureStore.open(trained / "f.h5")
    expected = head.predict_proba(np.asarray(store.features("avg")[:]))
    from bottleneck.images import decode
    from bottleneck.sources import open_source

    source = open_source([str(trained / "photos")])
    for names in (["last:1"], ["last:3"], ["stem_conv"]):
        whole = whole_model(head, owner="h.head")
        body = Body.of(whole.backbone)
        upper = finetune._upper(keras, whole, body, body.chosen(names, None), False)
        pixels = np.stack([decode(source.read(i), whole.geometry) for i in range(len(source))])
        maps = pixels if upper.lower is None else upper.lower.predict_on_batch(pixels)
        assert (upper.lower is None) == (names == ["stem_conv"])
        found = upper.model.predict_on_batch(maps)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_allclose(
            upper.features.predict_on_batch(maps), store.features("avg")[:], rtol=1e-4, atol=1e-4
        )
        trainable = {v.path.split("/")[0] for v in upper.model.trainable_variables}
        assert not any(name.endswith("_bn") for name in trainable)


def test_only_what_was_named_moves(trained, tmp_path):
    result = tuned(
        trained, tmp_path / "m.keras", unfreeze="block7a", rate=1e-3, validation=0.3, patience=9
    )
    assert set(result["layers"]) == {
        "block7a_expand_conv",
        "block7a_dwconv",
        "block7a_project_conv",
    }
    before = whole_model(Head.load(trained / "h.head"), owner="h").model
    import keras

    after = keras.saving.load_model(tmp_path / "m.keras", compile=False)
    moved = {
        a.path for a, b in zip(before.weights, after.weights, strict=True)
        if not np.array_equal(a.numpy(), b.numpy())
    }  # fmt: skip
    if result["returned"] == "head":
        assert moved == set()
    else:
        assert all("block7a" in path or "top" in path or "head" in path for path in moved)
        assert moved
    # The file is a deployed model: classes and resize rule are in it.
    model = open_deployed(tmp_path / "m.keras")
    assert model.classes == ("bag", "sneaker", "trouser")
    assert result["selection"]["history"][0]["epoch"] == 0
    assert result["test"]["rows"] == 18
    json.dumps(result)


def test_in_bfloat16_it_is_trained_and_float32_is_what_comes_out(trained, tmp_path):
    """The backbone's dense convolutions compute in it; the head that comes back is bit for bit."""
    import keras

    head = Head.load(trained / "h.head")
    short = whole_model(head, owner="h", precision="bfloat16")
    plain = whole_model(head, owner="h")
    types = {layer.name: layer.compute_dtype for layer in short.backbone.layers}
    assert types["top_conv"] == "bfloat16"
    assert types["block7a_dwconv"] == "float32"
    from bottleneck.images import decode
    from bottleneck.sources import open_source

    source = open_source([str(trained / "photos")])
    pixels = np.stack([decode(source.read(i), plain.geometry) for i in range(len(source))])
    near, exact = (one.model.predict_on_batch(pixels) for one in (short, plain))
    assert 0 < np.abs(near - exact).mean() < 0.02
    assert np.mean(near.argmax(axis=1) == exact.argmax(axis=1)) > 0.9
    result = tuned(
        trained, tmp_path / "m.keras", rate=1.0, head_rate=50.0, precision="bfloat16", epochs=1
    )
    assert result["returned"] == "head"
    after = keras.saving.load_model(tmp_path / "m.keras", compile=False)
    for one, other in zip(plain.model.get_weights(), after.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    inside = after.get_layer("backbone").layers
    assert {layer.compute_dtype for layer in inside} == {"float32"}


def test_the_page_has_the_curves(trained, tmp_path):
    result = tuned(trained, tmp_path / "m.keras", page=tmp_path / "m.html", epochs=2)
    text = (tmp_path / "m.html").read_text()
    assert text.count("<polyline") == 3
    assert result["verdict"] in text
    history = result["selection"]["history"]
    assert all(f"<td>{one['val_log_loss']:.4g}</td>" in text for one in history)
    assert all(
        len(line.split()) >= len(history) - 1 for line in re.findall(r'points="(.*?)"', text)
    )
    with pytest.raises(OptionError, match=r"a page that ends in \.html"):
        tuned(trained, tmp_path / "n.keras", page=tmp_path / "n.txt")


def test_a_head_that_is_not_improved_is_handed_back(trained, tmp_path):
    """With rates that destroy it, the model is the head, and the run says so."""
    result = tuned(trained, tmp_path / "m.keras", rate=1.0, head_rate=50.0)
    assert result["returned"] == "head"
    assert "the model is the head" in result["verdict"]
    assert result["test"]["difference"]["mean"] == 0
    before = whole_model(Head.load(trained / "h.head"), owner="h").model.get_weights()
    for one, other in zip(before, weights_of(tmp_path / "m.keras"), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [p.name for p in tmp_path.iterdir()] == ["m.keras"]


def test_a_bad_image_costs_its_row_only(trained, tmp_path):
    photos = tmp_path / "photos"
    shutil.copytree(trained / "photos", photos)
    (photos / "train/bag/broken.png").write_bytes(b"no picture")
    result = bottleneck.finetune(
        trained / "h.head", photos, tmp_path / "m.keras", **{**QUICK, "epochs": 1}
    ).to_json()
    assert list(result["failed"]) == ["train/bag/broken.png"]


def test_images_that_failed_are_known_after_a_stop(trained, tmp_path, monkeypatch):
    """Resumed behind the selection, a run that keeps the head looks at no training image again."""
    photos = tmp_path / "photos"
    shutil.copytree(trained / "photos", photos)
    (photos / "train/bag/broken.png").write_bytes(b"no picture")
    options = {**QUICK, "epochs": 1, "rate": 1.0, "head_rate": 50.0}

    def stopped(**about):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(finetune, "_finished", stopped)
        with pytest.raises(KeyboardInterrupt):
            bottleneck.finetune(trained / "h.head", photos, tmp_path / "m.keras", **options)
    result = bottleneck.finetune(trained / "h.head", photos, tmp_path / "m.keras", **options)
    document = result.to_json()
    assert document["returned"] == "head"
    assert list(document["failed"]) == ["train/bag/broken.png"]


def test_what_cannot_be_is_refused_before_any_work(trained, tmp_path):
    out = tmp_path / "m.keras"
    with pytest.raises(OptionError, match=r"ends in \.keras"):
        tuned(trained, tmp_path / "m.onnx")
    with pytest.raises(OptionError, match="--rate and --head-rate above 0"):
        tuned(trained, out, rate=0.0)
    with pytest.raises(OptionError, match="--gradual or --unfreeze, got both"):
        tuned(trained, out, gradual=True, unfreeze="last:1")
    with pytest.raises(OptionError, match="--label-smoothing of 0 to below 1"):
        tuned(trained, out, label_smoothing=1.0)
    bottleneck.train(trained / "f.h5", tmp_path / "r.head", head="ridge", C="1", cv=0)
    with pytest.raises(HeadError, match="a head with probabilities of classes"):
        bottleneck.finetune(tmp_path / "r.head", trained / "photos", out)
    other = tmp_path / "other/train/zebra"
    other.mkdir(parents=True)
    (other / "a.png").write_bytes(next((trained / "photos/train/bag").iterdir()).read_bytes())
    with pytest.raises(HeadError, match="got also zebra"):
        bottleneck.finetune(trained / "h.head", tmp_path / "other", out)
    other.rename(other.with_name("bag"))
    with pytest.raises(HeadError, match="every class of the head, got none of"):
        bottleneck.finetune(trained / "h.head", tmp_path / "other", out)


RUN = """
import sys, bottleneck
folder, output, epochs = sys.argv[1], sys.argv[2], int(sys.argv[3])
bottleneck.finetune(folder + "/h.head", folder + "/photos", output, epochs=epochs, views=2,
                    batch_size=16, workers=1, rate=3e-4, seed=3, patience=99, unfreeze="last:2")
"""


def started(folder, output, epochs):
    single = dict.fromkeys(
        ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1"
    )
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder), str(output), str(epochs)],
        env={**os.environ, **single, "PYTHONPATH": str(Path(bottleneck.__file__).parents[1])},
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.heavy
@pytest.mark.parametrize("kills", [10])
def test_killed_at_any_moment_it_ends_with_the_same_weights(trained, tmp_path, kills):
    rng = random.Random(11)
    begun = time.monotonic()
    whole = started(trained, tmp_path / "whole.keras", 6)
    assert whole.wait(600) == 0
    took = time.monotonic() - begun
    expected = weights_of(tmp_path / "whole.keras")
    killed = 0
    for number in range(kills):
        output = tmp_path / f"{number}.keras"
        run = started(trained, output, 6)
        time.sleep(rng.uniform(0.2, 0.95) * took)
        if run.poll() is None:
            os.killpg(run.pid, 9)
            killed += 1
        run.wait()
        again = started(trained, output, 6) if not output.exists() else None
        assert again is None or again.wait(600) == 0
        for one, other in zip(expected, weights_of(output), strict=True):
            np.testing.assert_array_equal(one, other)
    assert killed >= kills // 2


def test_a_checkpoint_of_another_run_is_not_resumed(tmp_path):
    first = Checkpoint(tmp_path / "c.part", "one", {"a": {"best_epoch": 1}}, {}, {"w": np.ones(2)})
    first.save()
    same = Checkpoint.opened(tmp_path / "c.part", "one")
    assert same.finished == {"a": {"best_epoch": 1}}
    np.testing.assert_array_equal(same.arrays["w"], np.ones(2))
    assert Checkpoint.opened(tmp_path / "c.part", "two").finished == {}
    (tmp_path / "c.part").write_bytes(b"nothing")
    with pytest.raises(HeadError, match="a checkpoint of an earlier run"):
        Checkpoint.opened(tmp_path / "c.part", "one")


def test_two_rates_and_decoupled_decay(rng):
    """One step of ours is one of Adam's at each variable's own rate, after the decay."""
    import keras

    fast, slow = (keras.Variable(np.ones((2, 2)), dtype="float32") for _ in range(2))
    gradient = np.full((2, 2), 0.3, np.float32)
    ours = training._optimizer(keras, Rates(1e-2, 1e-1, 0.0, 0.5), [fast])
    ours.apply([gradient, gradient], [fast, slow])
    # The first step of Adam is the rate times the sign.
    np.testing.assert_allclose(slow.numpy(), 1 - 1e-2 * 0.5 - 1e-2, rtol=1e-5)
    np.testing.assert_allclose(fast.numpy(), 1 - 1e-1 * 0.5 - 1e-1, rtol=1e-5)


def test_gradual_adds_blocks_until_one_does_not_pay(trained, tmp_path):
    result = tuned(trained, tmp_path / "m.keras", gradual=True, views=1)
    first, *more = result["steps"]
    assert first["from"] == "top_conv"
    assert first["gain"] is None
    assert all({"mean", "low", "high"} <= set(step["gain"]) for step in more)
    # All but the last paid; the last did not, and is not what was kept.
    assert [step["pays"] for step in more[:-1]] == [True] * len(more[:-1])
    assert not more[-1]["pays"]
    assert len(result["layers"]) == result["steps"][-2]["layers"]


def test_the_pipeline_that_ships(trained, tmp_path):
    """As it ships, on fewer and smaller images and for one epoch; run again, nothing is done."""
    root = Path(__file__).parents[2]
    text = (root / "pipelines/finetune.toml").read_text()
    text = text.replace('root = ".."', f'root = "{root}"').replace('"runs/', f'"{tmp_path}/')
    text = text.replace('"data/sample"', f'"{trained / "photos"}"')
    (tmp_path / "finetune.toml").write_text(text)
    settings = ("size=64", "epochs=1", "views=1", "model.workers=1", "cv=0", "C=0.01")
    first = bottleneck.run(tmp_path / "finetune.toml", settings=settings)
    assert [one.action for one in first] == ["ran", "ran", "ran"]
    result = first[-1].result
    assert result["test"]["rows"] == 18
    assert result["verdict"]
    assert open_deployed(tmp_path / "finetune/model.keras").classes == ("bag", "sneaker", "trouser")
    again = bottleneck.run(tmp_path / "finetune.toml", settings=settings)
    assert [one.action for one in again] == ["skipped", "skipped", "skipped"]
    changed = bottleneck.run(tmp_path / "finetune.toml", settings=(*settings, "rate=1e-4"))
    assert [one.action for one in changed] == ["skipped", "skipped", "ran"]
