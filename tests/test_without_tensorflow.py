"""An environment whose TensorFlow was uninstalled: features, heads, comparison, predictions.

Python is started without its site-packages, and with a folder of links to all packages in there
but TensorFlow and what is built on it. So ``find_spec``, imports and metadata find none.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SITE = Path(sysconfig.get_path("purelib"))
GONE = ("tensorflow", "tf2onnx", "tf_keras")

pytestmark = pytest.mark.skipif(
    find_spec("openvino") is None or find_spec("jax") is None, reason="the other frameworks"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make the environment, and some images."""
    made = tmp_path_factory.mktemp("environment")
    (made / "site").mkdir()
    for entry in SITE.iterdir():
        if not entry.name.lower().startswith(GONE) and entry.suffix != ".pth":
            (made / "site" / entry.name).symlink_to(entry)
    for split, count in (("train", 12), ("test", 6)):
        for name in ("bag", "coat", "dress"):
            here = made / "photos" / split / name
            here.mkdir(parents=True)
            for file in sorted((ROOT / "data/sample" / split / name).iterdir())[:count]:
                shutil.copy(file, here)
    return made


@pytest.fixture(scope="module")
def run(folder):
    def start(*arguments, code=0):
        environment = {**os.environ, "PYTHONPATH": f"{folder / 'site'}{os.pathsep}{ROOT}"}
        environment.pop("KERAS_BACKEND", None)
        done = subprocess.run(
            [sys.executable, "-S", "-m", *map(str, arguments)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done

    return lambda *arguments, code=0: start("bottleneck", *arguments, code=code)


@pytest.fixture(scope="module")
def features(run, folder):
    done = run("extract", "photos", "-o", "photos.h5", "--json")
    assert json.loads(done.stdout)["ok"] == 54
    return folder / "photos.h5"


def test_there_is_none(run):
    told = {one["what"]: one for one in json.loads(run("doctor", "--json").stdout)}
    assert told["tensorflow"]["detail"] == "not installed"
    assert told["--runtime auto"]["detail"] == "openvino"
    assert told["tiny run"]["state"] == "ok"


def test_the_whole_job(run, features, folder):
    done = run("train", "photos.h5", "-o", "photos.head", "--json")
    accuracy = json.loads(done.stdout)["test"]["accuracy"]
    assert accuracy > 0.6
    judged = json.loads(run("evaluate", "photos.head", "photos.h5", "--json").stdout)
    assert judged["accuracy"] == accuracy
    run("predict", "photos.head", "photos/test", "-o", "out.csv")
    lines = (folder / "out.csv").read_text().splitlines()[1:]
    right = [line.split(",")[1] == line.split("/")[0] for line in lines]
    assert sum(right) / len(right) == accuracy
    run("compare", "photos.h5", "--heads", "logreg,ridge", "-o", "page.html")
    assert (folder / "page.html").stat().st_size > 100_000


def test_what_is_missing_is_named(run, features, folder):
    told = run("extract", "photos", "-o", "t.h5", "--runtime", "tensorflow", code=1).stderr
    assert "tensorflow is not installed" in told
    assert "`pip install tensorflow`" in told
    assert re.search("installed: jax, (torch, )?openvino", told)
    run("train", "photos.h5", "-o", "other.head", "-q")
    told = run("export", "other.head", "--deploy", "-o", "m.onnx", code=1).stderr
    assert "`pip install tensorflow`" in told


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="an extra")
def test_a_graph_on_onnx_runtime(run, folder):
    import onnx_files

    onnx_files.maps(folder / "graph.onnx")
    done = run(
        *("extract", "photos", "-b", "onnx:graph.onnx", "--preprocess", "torch"),
        *("--runtime", "onnxruntime", "-o", "graph.h5", "--json"),
    )
    assert json.loads(done.stdout)["ok"] == 54


@pytest.mark.heavy
@pytest.mark.parametrize("head", ["mlp", "lda", "svm"])
def test_other_heads(run, features, folder, head):
    run("train", "photos.h5", "-o", f"{head}.head", "--head", head, "-q")


@pytest.mark.heavy
def test_jax_gives_the_same_features(run, features, folder):
    from bottleneck import FeatureStore

    run("extract", "photos", "-o", "jax.h5", "--runtime", "jax")
    ours, other = (FeatureStore.open(folder / name) for name in ("photos.h5", "jax.h5"))
    assert other.recipe.execution["runtime"] == "jax"
    assert abs(ours.features()[:] - other.features()[:]).max() < 1e-4
