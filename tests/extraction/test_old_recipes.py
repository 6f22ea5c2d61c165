"""What the first version wrote is resumed, and computed again, by this one."""

import json
from pathlib import Path

import pytest

from bottleneck.extraction.run import build_embedder, rebuild_embedder
from bottleneck.fingerprint import fingerprint
from bottleneck.recipe import Recipe

RECIPES = json.loads((Path(__file__).parent / "recipes_0.1.json").read_text())
"""Written by commit e1ed94e: ``extract data/sample --size 32 --resize RULE``."""


@pytest.mark.parametrize("rule", RECIPES)
def test_the_identity_is_the_same(rule):
    before = RECIPES[rule]
    assert fingerprint(before["recipe"]["identity"]) == before["identity_sha256"]
    # The rule of the catalogue's backbones is crop, so it need not be said.
    embedder = build_embedder(size=32, resize=None if rule == "crop" else rule)
    assert embedder.recipe.identity_sha256 == before["identity_sha256"]


@pytest.mark.parametrize("rule", RECIPES)
def test_it_is_rebuilt(rule):
    recipe = Recipe(**RECIPES[rule]["recipe"])
    embedder = rebuild_embedder(recipe, owner="the old file")
    assert embedder.recipe.identity_sha256 == RECIPES[rule]["identity_sha256"]
    assert embedder.input.resize == rule
