"""Commands of the pages about old scripts and fine-tuning: each is one that there is."""

import re
import shlex
from pathlib import Path

import pytest

from bottleneck.adapt.layers import Body
from bottleneck.cli.main import cli

DOCS = Path(__file__).parents[2] / "docs"
LINES = [
    (page, line)
    for page in ("seeds.md", "adapt.md")
    for line in re.findall(r"^\$ (bottleneck .*)$", (DOCS / page).read_text(), re.MULTILINE)
]


@pytest.mark.parametrize(("page", "line"), LINES, ids=[line for _, line in LINES])
def test_a_command_of_a_page_is_one(page, line):
    """Its name, its options and their values are taken; nothing is run."""
    words = shlex.split(line, comments=True)[1:]
    with cli.make_context("bottleneck", list(words)) as context:
        name, command, rest = cli.resolve_command(context, words)
        with command.make_context(name, list(rest), parent=context) as made:
            assert made.params


def test_the_page_has_the_line_of_every_old_script():
    text = (DOCS / "seeds.md").read_text()
    for what in (
        "ImageDataGenerator", "predict_generator", ".npy", "Dense(256", "block2_pool", "5 x 5",
        "249 layers", "SGD", "how many layers to reuse", "th_dim_ordering", "h5py", "TF-slim",
        "caffemodel", "MusicTagger", "Deployment",
    ):  # fmt: skip
        assert what in text


def test_the_first_249_layers_of_inception_are_those_before_mixed9():
    import keras

    model = keras.applications.InceptionV3(weights=None, include_top=False)
    body = Body.of(model)
    trained = {body.names[i] for i in body.chosen([], "mixed9")}
    assert trained == {layer.name for layer in model.layers[249:] if layer.weights}
