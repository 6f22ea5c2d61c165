"""Networks of sound: their features and tags are those of the released weights."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from bottleneck import backbones, runtimes
from bottleneck.backbones.network import OutputSpec
from bottleneck.errors import BackboneError, OptionError, WeightsError

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

ZOO = Path(os.environ.get("BOTTLENECK_ZOO") or Path(__file__).parents[2] / "../shared/zoo")

released = pytest.mark.skipif(not ZOO.is_dir(), reason="the released weights are not here")
musicnn = pytest.mark.skipif(
    find_spec("musicnn") is None, reason="pip install --no-deps musicnn brings the weights"
)


def compiled(name, *outputs, **options):
    network = backbones.load(name, **options)
    wanted = [OutputSpec(*one) for one in outputs]
    return network, runtimes.get("tensorflow", "float32").compile(network, wanted)


@released
@pytest.mark.parametrize("order", ["theano", "tensorflow"])
def test_the_released_crnn_gives_the_published_tags_and_features(order):
    network, compute = compiled(
        "MusicTaggerCRNN",
        (None, None),
        ("output", None),
        weights=ZOO / f"music_tagger_crnn_weights_{order}.h5",
    )
    golden = np.load(ZOO / "golden.npz")
    songs = [np.load(ZOO / f"bensound-{name}.npy").squeeze() for name in ("cute", "actionable")]
    found = compute(np.stack(songs)[..., None].astype(np.float32))
    np.testing.assert_allclose(found["own"], golden["f"], atol=1e-4)
    np.testing.assert_allclose(found["output.own"], golden["p"], atol=1e-3)
    tags = dict(zip(network.spec.top.names, found["output.own"][0].tolist(), strict=True))
    # As the page of the network's makers prints them.
    best = sorted(tags, key=tags.get, reverse=True)[:3]
    assert best == ["jazz", "instrumental", "folk"]
    assert tags["jazz"] == pytest.approx(0.444, abs=5e-4)


@released
def test_both_files_have_one_fingerprint_and_any_layer_can_be_taken(tmp_path):
    first, second = (
        backbones.load("music_tagger_crnn", weights=ZOO / f"music_tagger_crnn_weights_{order}.h5")
        for order in ("theano", "tensorflow")
    )
    assert first.weights.sha256 == second.weights.sha256
    taken = first.taken([OutputSpec("pool4", "none"), OutputSpec("gru1", "avg")])
    assert [shape for _, shape in taken] == [
        backbones.Map(1, 15, 128), backbones.Tokens(15, 32, prefix=0),
    ]  # fmt: skip
    # Saved again by today's Keras, with the tags and without.
    first.model.save_weights(tmp_path / "a.weights.h5")
    again = backbones.load("music_tagger_crnn", weights=tmp_path / "a.weights.h5")
    assert again.weights.sha256 == first.weights.sha256
    report = backbones.inspect_weights(ZOO / "music_tagger_crnn_weights_theano.h5")
    assert [(fit.backbone, fit.left_over) for fit in report.fits] == [
        ("music_tagger_crnn", ("output",))
    ]


def test_random_weights_are_the_same_every_time_and_a_file_may_lack_the_tags(tmp_path):
    for name in ("music_tagger_crnn", "musicnn_vgg"):
        first, second = (backbones.load(name, weights="none") for _ in range(2))
        assert first.weights.sha256 == second.weights.sha256
        assert first.spec.params == first.model.count_params() - sum(
            int(np.prod(w.shape)) for w in first.model.get_layer(first.spec.top.layer).weights
        )
        assert first.shape(None).channels == first.spec.dim
        keras = backbones.import_keras()
        headless = keras.Model(first.model.input, first.model.get_layer(first.main).output)
        headless.save_weights(tmp_path / f"{name}.weights.h5")
        bare = backbones.load(name, weights=tmp_path / f"{name}.weights.h5")
        np.testing.assert_array_equal(
            bare.model.get_layer(first.main).output.shape, headless.output.shape
        )
        assert first.spec.top.layer in first.layers
        assert first.spec.top.layer not in bare.layers


_ORACLE = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np, tensorflow as tf
folder, given, result = sys.argv[1:]
tf.compat.v1.disable_eager_execution()
meta = tf.compat.v1.MetaGraphDef()
meta.ParseFromString(open(folder + "/.meta", "rb").read())
for node in meta.graph_def.node:
    node.attr.pop("_output_shapes", None)  # of old, which today's TensorFlow finds inconsistent
saver = tf.compat.v1.train.import_meta_graph(meta, clear_devices=True)
graph = tf.compat.v1.get_default_graph()
with tf.compat.v1.Session() as session:
    saver.restore(session, folder + "/")
    holders = [op for op in graph.get_operations() if op.type == "Placeholder"]
    x, = [op.outputs[0] for op in holders if op.outputs[0].shape.rank == 3]
    training, = [op.outputs[0] for op in holders if op.outputs[0].dtype == tf.bool]
    pools = [op.outputs[0] for op in graph.get_operations() if op.type == "MaxPool"]
    logits = [op.outputs[0] for op in graph.get_operations()
              if op.type == "BiasAdd" and op.outputs[0].shape.rank == 2]
    found = session.run([pools[-1], logits[-1]], {x: np.load(given), training: False})
np.savez(result, pool=found[0], logits=found[1])
"""


@musicnn
def test_musicnn_computes_what_its_own_graph_does(tmp_path, rng):
    network, compute = compiled("musicnn_vgg", (None, "none"), ("dense", None))
    assert network.weights.source == "bundled"
    heard = rng.uniform(0, 4, (3, *network.input.shape)).astype(np.float32)
    found = compute(heard)
    # The graph that its makers left beside the weights, which is (time, frequency).
    np.save(tmp_path / "x.npy", heard[..., 0].transpose(0, 2, 1))
    folder = str(Path(find_spec("musicnn").submodule_search_locations[0]) / "MSD_vgg")
    arguments = [folder, str(tmp_path / "x.npy"), str(tmp_path / "y.npz")]
    subprocess.run([sys.executable, "-c", _ORACLE, *arguments], check=True, capture_output=True)
    golden = np.load(tmp_path / "y.npz")
    np.testing.assert_allclose(found["none"], golden["pool"].reshape(3, -1), atol=1e-4)
    np.testing.assert_allclose(found["dense.own"], 1 / (1 + np.exp(-golden["logits"])), atol=1e-5)


def test_what_is_for_images_is_refused():
    with pytest.raises(OptionError, match="expected neither --size nor --preprocess"):
        backbones.load("music_tagger_crnn", weights="none", size=224)
    with pytest.raises(OptionError, match="no --resize"):
        backbones.get("musicnn_vgg").input((96, 187), "squash")
    with pytest.raises(WeightsError, match="expected msd, none or a weights file, got 'imagenet'"):
        backbones.load("music_tagger_crnn", weights="imagenet")
    with pytest.raises(BackboneError, match="takes images, .* takes sounds"):
        backbones.item_of(["resnet50", "musicnn_vgg"])


@released
def test_weights_of_another_network_are_refused():
    with pytest.raises(WeightsError, match="expected weights of the headless musicnn_vgg"):
        backbones.load("musicnn_vgg", weights=ZOO / "music_tagger_crnn_weights_theano.h5")


def test_the_release_is_found_where_keras_keeps_downloads(monkeypatch, tmp_path):
    source = backbones.load("music_tagger_crnn", weights="none")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    source.model.save_weights(tmp_path / "models" / "a.weights.h5")
    (tmp_path / "models" / "a.weights.h5").rename(tmp_path / "models" / source.spec.weights_file)
    assert backbones.weights_at_hand(source.spec) == "cached"
    found = backbones.load("music_tagger_crnn")
    assert (found.weights.source, found.weights.sha256) == ("msd", source.weights.sha256)
