"""Files that were begun when some formats were decoded to other values than today."""

import numpy as np
import pytest
from fakes import MeanBackbone, fake_embedder
from PIL import Image

from bottleneck.comparison.alignment import align
from bottleneck.errors import RecipeMismatchError
from bottleneck.images import CHANGES, Geometry
from bottleneck.items import KINDS
from bottleneck.store import FeatureStore
from bottleneck.store.merge import merge
from bottleneck.store.outdated import outdated_rows


def embedder(decoding, network=None):
    """An embedder of this version's, or as it was before ``decoding`` was recorded."""
    execution = {} if decoding == 1 else {"decoding": decoding}
    return fake_embedder(network, identity={"image": Geometry(16).recipe()}, execution=execution)


NOW = KINDS["image"].decoding


@pytest.fixture
def mixed(photos):
    """Photos, and three pictures of formats that were decoded to other values."""
    for number, ending in enumerate(("bmp", "TIF", "jp2")):
        image = Image.new("L", (20, 20), 40 * number)
        image.save(photos / "test" / f"p.{ending}")
    return photos


def test_every_change_has_a_version():
    assert max(CHANGES) == NOW
    assert KINDS["image"].changed_since(NOW) == ()
    assert {".xbm", ".psd"} <= set(KINDS["image"].changed_since(1))
    # What nearly all files are has never changed.
    assert not {".jpg", ".jpeg", ".png", ".webp", ".gif"} & set(KINDS["image"].changed_since(1))


def test_files_of_photos_go_on_without_a_word(photos, run, tmp_path):
    run(photos, embedder=embedder(1), limit=3)
    network = MeanBackbone()
    result = run(photos, embedder=embedder(NOW, network))
    assert result.already_done == 3
    assert sum(network.batches) == result.rows - 3
    store = FeatureStore.open(result.output)
    assert store.complete
    assert not len(outdated_rows(store))


@pytest.mark.parametrize("limit", [None, 1])
def test_files_with_rows_that_may_have_changed_are_not_resumed(mixed, run, limit):
    """Nor where those rows wait: once computed, nothing would tell them from older ones."""
    result = run(mixed, embedder=embedder(1), limit=limit)
    store = FeatureStore.open(result.output)
    assert [store.keys[row] for row in outdated_rows(store)] == [
        key for key in store.keys if key.endswith(("bmp", "TIF", "jp2"))
    ]
    with pytest.raises(RecipeMismatchError, match=r"3 of its rows.*'test/p\.") as caught:
        run(mixed, embedder=embedder(NOW))
    assert "--reuse" in caught.value.hint
    run(mixed, embedder=embedder(1))  # those who have the older version go on
    again = run(mixed, embedder=embedder(NOW), overwrite=True)
    assert again.ok == again.rows
    assert not len(outdated_rows(FeatureStore.open(again.output)))
    run(mixed, embedder=embedder(NOW))


def test_reuse_takes_over_the_other_rows(mixed, run, tmp_path):
    old = run(mixed, embedder=embedder(1))
    network = MeanBackbone()
    reuse = [FeatureStore.open(old.output)]
    new = run(mixed, tmp_path / "new.h5", embedder(NOW, network), reuse=reuse)
    assert sum(network.batches) == 3
    stores = [FeatureStore.open(one.output) for one in (old, new)]
    np.testing.assert_array_equal(*(store.features("mean") for store in stores))
    assert not len(outdated_rows(stores[1]))


def test_they_are_not_merged_with_newer_ones_and_compare_says_so(mixed, run, tmp_path):
    old = run(mixed, embedder=embedder(1), limit=5)
    new = run(mixed, tmp_path / "new.h5", embedder(NOW), limit=5)
    for inputs in ([old, new], [new, old]):
        with pytest.raises(RecipeMismatchError, match=r"x\.h5 was begun when"):
            merge([one.output for one in inputs], tmp_path / "both.h5")
    assert merge([old.output], tmp_path / "copy.h5").copied == 5
    run(mixed, embedder=embedder(1))
    found = align([old.output])
    assert any("was begun when" in note for note in found.notes)
