"""Published IDX sets get the names of their classes; what only looks like one keeps its numbers."""

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from makers import write_idx

import bottleneck
from bottleneck.sources import open_source
from bottleneck.sources.formats import known_sets

ROOT = Path(__file__).parents[2]
ORIGINAL = Path("/usr/share/datasets/fashion-mnist")
FASHION, KMNIST, LETTERS = known_sets.KNOWN


def write(folder, labels, name="train-{}-idx{}-ubyte"):
    folder.mkdir(exist_ok=True)
    images = np.zeros((len(labels), 2, 2), np.uint8)
    write_idx(folder / name.format("images", 3), images)
    write_idx(folder / name.format("labels", 1), np.asarray(labels, np.uint8))
    return folder


def classes(folder):
    source = open_source([str(folder)])
    return source.manifest.classes, source.listing.notes


def test_a_set_is_known_by_the_values_of_its_labels(tmp_path, monkeypatch, rng):
    labels = rng.integers(0, 10, 200).astype(np.uint8)
    values = frozenset({hashlib.sha256(labels.tobytes()).hexdigest()})
    monkeypatch.setattr(known_sets, "KNOWN", (replace(FASHION, values=values),))
    named, notes = classes(write(tmp_path / "a", labels))
    assert named == tuple(sorted(FASHION.classes))
    assert notes == ("known as Fashion-MNIST by its labels: classes have their names, not numbers",)
    manifest = open_source([str(tmp_path / "a")]).manifest
    assert [manifest.classes[code] for code in manifest.labels] == [
        FASHION.classes[label] for label in labels
    ]
    survey = bottleneck.survey(tmp_path / "a")
    assert any("known as Fashion-MNIST" in line for line in survey.lines())
    labels[17] = (labels[17] + 1) % 10
    named, notes = classes(write(tmp_path / "b", labels))
    assert named == tuple("0123456789")
    assert notes == ()


def test_or_by_the_published_hash_of_the_packed_file(tmp_path, monkeypatch, rng):
    labels = rng.integers(0, 10, 100)
    write(tmp_path / "k", labels)
    plain = tmp_path / "k/train-labels-idx1-ubyte"
    packed = gzip.compress(plain.read_bytes())
    plain.unlink()
    (tmp_path / "k/train-labels-idx1-ubyte.gz").write_bytes(packed)
    assert classes(tmp_path / "k")[0] == tuple("0123456789")
    hashes = frozenset({hashlib.md5(packed).hexdigest()})
    monkeypatch.setattr(known_sets, "KNOWN", (replace(KMNIST, packed=hashes),))
    assert classes(tmp_path / "k")[0] == tuple(sorted(KMNIST.classes))


def test_letters_by_name_number_and_range(tmp_path, monkeypatch):
    monkeypatch.setattr(known_sets, "KNOWN", (replace(LETTERS, counts=frozenset({52})),))
    labels = [*range(1, 27)] * 2
    name = "emnist-letters-train-{}-idx{}-ubyte"
    assert classes(write(tmp_path / "a", labels, name))[0] == LETTERS.classes
    for folder, others, called in (
        ("b", labels, "emnist-digits-train-{}-idx{}-ubyte"),
        ("c", labels[:-1], name),
        ("d", [*labels[:-1], 0], name),
        ("e", [25 if one == 26 else one for one in labels], name),
    ):
        assert "A" not in classes(write(tmp_path / folder, others, called))[0]


def test_all_files_have_to_be_of_one_set(tmp_path, monkeypatch):
    labels = np.arange(10, dtype=np.uint8)
    values = frozenset({hashlib.sha256(labels.tobytes()).hexdigest()})
    monkeypatch.setattr(known_sets, "KNOWN", (replace(FASHION, values=values),))
    write(tmp_path / "a", labels)
    write(tmp_path / "a", labels[::-1], "t10k-{}-idx{}-ubyte")
    assert classes(tmp_path / "a") == (tuple("0123456789"), ())


def test_names_are_those_of_the_sample():
    assert {*FASHION.classes} == {path.name for path in (ROOT / "data/sample/train").iterdir()}


@pytest.mark.skipif(not ORIGINAL.exists(), reason="Debian's dataset-fashion-mnist is not there")
def test_the_original_is_known_and_its_names_are_right():
    """The sample's images are named by their place in the original, in folders of their class."""
    manifest = open_source([str(ORIGINAL)]).manifest
    assert len(manifest) == 70_000
    labels = {
        key: manifest.classes[code]
        for key, code in zip(manifest.keys, manifest.labels, strict=True)
    }
    for split, stem in (("train", "train"), ("test", "t10k")):
        for path in sorted((ROOT / "data/sample" / split).rglob("*.png")):
            assert labels[f"{stem}/{int(path.stem)}"] == path.parent.name
