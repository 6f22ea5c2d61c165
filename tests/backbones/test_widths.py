"""MobileNets of every width: rows, files and recipes."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from bottleneck import backbones
from bottleneck.backbones import inspect_weights
from bottleneck.backbones.catalogue import get, widths_of
from bottleneck.backbones.keras_scope import isolated
from bottleneck.errors import BackboneError, WeightsError

MANY = [
    spec
    for spec in backbones.all_backbones()
    if len(widths_of(spec)) > 1 and spec.provider == "keras_applications"
]


def outline(function: str, **options):
    """Have Keras build a network without giving its variables values."""
    with isolated() as keras:
        from keras.src.backend.common import global_state
        from keras.src.backend.common.stateless_scope import StatelessScope

        with StatelessScope():
            try:
                made = getattr(keras.applications, function)
                return made(include_top=False, input_shape=(224, 224, 3), **options)
            finally:
                global_state.set_global_attribute("uninitialized_variables", [])


@pytest.mark.parametrize("spec", [w for s in MANY for w in widths_of(s)], ids=lambda s: s.name)
def test_row_is_what_keras_builds(spec, monkeypatch: pytest.MonkeyPatch) -> None:
    keras = backbones.import_keras()
    from keras.src.utils import file_utils

    from bottleneck.backbones.catalogue import weights_file

    asked = []
    monkeypatch.setattr(file_utils, "get_file", lambda name, *_, **__: asked.append(name))
    monkeypatch.setattr(keras.Model, "load_weights", lambda *_: None)
    options = {"alpha": spec.alpha}
    if spec.family == "mobilenet":
        options["depth_multiplier"] = spec.depth_multiplier
    weights = "imagenet" if spec.depth_multiplier == 1 else None
    model = outline(spec.network or spec.class_name, weights=weights, **options)
    assert model.count_params() == spec.params
    assert model.output.shape[-1] == spec.dim
    assert asked == [weights_file(spec, 224)] * bool(weights)
    assert get(spec.name).params == spec.params


def test_names_and_options() -> None:
    name = backbones.name_with_width
    assert name("mobilenet") == "mobilenet"
    assert get(name("MobileNet", 0.75)).name == "mobilenet_0.75"
    assert get(name("mobilenet", 1)).name == "mobilenet"
    assert get(name("mobilenet", 0.5, 2)).name == "mobilenet_0.5_depth2"
    assert backbones.find("mobilenet_v2_1.4").file_name == "mobilenet_v2_1.4"
    for wrong, said in (
        ("mobilenet_0.3", r"alpha of 0\.25, 0\.5, 0\.75, 1\.0, got 0\.3"),
        ("resnet50_0.5", "expected no alpha"),
        ("mobilenet_v2_0.5_depth2", "depth multiplier of 1, got 2"),
    ):
        with pytest.raises(BackboneError, match=said):
            get(wrong)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of MobileNets of other widths, as Keras writes them."""
    folder = tmp_path_factory.mktemp("widths")
    found = {}
    for name, function, options, suffix in (
        ("mobilenet_0.25", "MobileNet", {"alpha": 0.25}, ".weights.h5"),
        ("mobilenet_0.25_depth2", "MobileNet", {"alpha": 0.25, "depth_multiplier": 2}, ".h5"),
        ("mobilenet_v2_0.35", "MobileNetV2", {"alpha": 0.35}, ".keras"),
        ("mobilenet_v3_small_0.75", "MobileNetV3Small", {"alpha": 0.75}, ".weights.h5"),
    ):
        with isolated() as keras:
            build = getattr(keras.applications, function)
            model = build(weights=None, include_top=False, input_shape=(64, 64, 3), **options)
        found[name] = folder / f"{name}{suffix}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras's own, of NumPy and of its older layout
            (model.save_weights if suffix == ".weights.h5" else model.save)(found[name])
        np.save(folder / f"{name}.npy", model(np.ones((1, 64, 64, 3), np.float32)))
    return found


@pytest.mark.parametrize(
    ("row", "name", "facts"),
    [
        ("mobilenet", "mobilenet_0.25", {"alpha": 0.25}),
        ("mobilenet", "mobilenet_0.25_depth2", {"alpha": 0.25, "depth_multiplier": 2}),
        ("mobilenet_v2", "mobilenet_v2_0.35", {"alpha": 0.35}),
        ("mobilenet_v3_small", "mobilenet_v3_small_0.75", {"alpha": 0.75}),
    ],
)
def test_the_file_says_how_wide_it_is(files, row: str, name: str, facts: dict) -> None:
    path = files[name]
    loaded = backbones.load(row, weights=path, size=64)
    assert (loaded.spec.name, dict(loaded.facts)) == (name, facts)
    expected = np.load(path.parent / f"{name}.npy")
    ours = loaded.model(np.ones((1, 64, 64, 3), np.float32))
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)
    named = backbones.load(name, weights=path, size=64)
    assert named.weights.sha256 == loaded.weights.sha256
    with pytest.raises(WeightsError, match="expected weights of the headless"):
        backbones.load(f"{row}_1.0", weights=path, size=64)  # one that was named is kept to


def test_info_says_the_width(files) -> None:
    fits = inspect_weights(files["mobilenet_0.25_depth2"]).fits
    assert [fit.backbone for fit in fits] == ["mobilenet_0.25_depth2"]


def test_the_recipe_keeps_the_width(tmp_path: Path) -> None:
    from PIL import Image

    import bottleneck

    for number in range(2):
        Image.new("RGB", (40, 40), (number * 90, 5, 60)).save(tmp_path / f"{number}.png")
    options = {"weights": "none", "size": 32, "workers": 1, "worker_kind": "threads"}
    result = bottleneck.extract(
        tmp_path, tmp_path / "{backbone}.h5", backbone="mobilenet", alpha=0.25, **options
    )
    store = bottleneck.FeatureStore.open(tmp_path / "mobilenet_0.25.h5")
    assert store.recipe.identity["backbone"] == result.backbone == "mobilenet_0.25"
    assert store.recipe.identity["network"] == {"alpha": 0.25}
    assert store.outputs == {"avg": 256}
    from bottleneck.extraction import rebuild_embedder

    again = rebuild_embedder(store.recipe, owner="the file")
    assert again.recipe.identity == store.recipe.identity
