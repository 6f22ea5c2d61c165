"""``--runtime auto`` continues a file with what began it; others have to be named."""

import numpy as np
import pytest
from fakes import MeanBackbone, fake_recipe, write_png

from bottleneck import runtimes
from bottleneck.errors import OptionError
from bottleneck.extraction import Embedder, extract_many
from bottleneck.images import Geometry
from bottleneck.options import ExtractOptions
from bottleneck.runtimes import choice

AUTO = "openvino"


@pytest.fixture
def asked(monkeypatch):
    """The runtimes that networks were asked of, with ``auto`` standing for OpenVINO."""
    names = []

    def build(*, runtime, precision="float32", backbone, **_):
        names.append(runtime)
        chosen = AUTO if runtime == "auto" else runtime
        execution = {"runtime": chosen, "precision": precision}
        return Embedder(
            fake_recipe({"backbone": backbone}, execution), Geometry(16), MeanBackbone()
        )

    monkeypatch.setattr("bottleneck.extraction.run.build_embedder", build)
    return names


@pytest.fixture
def extract(tmp_path, asked):
    rng = np.random.default_rng(0)
    for i in range(4):
        write_png(tmp_path / "in" / f"{i}.png", rng.integers(0, 256, (20, 20, 3)))

    def run(names=("vgg16",), output="{backbone}.h5", **options):
        options = {"worker_kind": "threads", "workers": 1, **options}
        return extract_many(
            ExtractOptions(tmp_path / "in", tmp_path / output, backbone=names, **options)
        )

    return run


def test_a_file_is_continued_with_what_began_it(extract, asked):
    extract(runtime="jax", limit=2)
    (result,) = extract()
    assert (result.already_done, result.ok) == (2, 2)
    assert asked == ["jax", "jax"]
    extract(overwrite=True)
    assert asked[-1] == "auto"


def test_another_one_has_to_be_named(extract, asked):
    extract(runtime="jax", limit=2)
    (result,) = extract(runtime="torch")
    assert (asked, result.ok) == (["jax", "torch"], 2)


def test_rows_are_taken_over_into_a_file_of_the_same_runtime(extract, asked, tmp_path):
    extract(runtime="jax")
    (result,) = extract(output="other.h5", reuse=(str(tmp_path / "vgg16.h5"),))
    assert (asked, result.reused) == (["jax", "jax"], 4)


def test_files_of_several_runtimes_are_not_continued_at_once(extract):
    extract(["vgg16"], runtime="jax", limit=2)
    extract(["vgg19"], runtime="torch", limit=2)
    with pytest.raises(OptionError, match=r"vgg16.h5 by jax.*vgg19.h5 by torch") as caught:
        extract(["vgg16", "vgg19"])
    assert "--runtime" in (caught.value.hint or "")
    assert [result.ok for result in extract(["vgg16", "vgg19"], runtime="jax")] == [2, 2]


def test_a_recipe_is_rebuilt_on_its_runtime_where_that_is_to_be_had(monkeypatch):
    monkeypatch.setattr(choice, "installed", lambda: ("tensorflow", "jax"))
    monkeypatch.setattr(choice, "current_backend", lambda: None)
    monkeypatch.setattr(choice, "wanted_backend", lambda: None)
    monkeypatch.setattr(choice, "has_gpu", lambda: False)
    assert runtimes.choose(before="jax") == "jax"
    assert runtimes.choose(before="openvino") == "tensorflow"  # not installed
    assert runtimes.choose() == "tensorflow"
