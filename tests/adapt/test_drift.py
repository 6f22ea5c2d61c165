"""Drift: the level of its tests, what it finds, and how many images it calls unlike."""

import csv
import json

import numpy as np
import pytest
from PIL import Image, ImageOps

import bottleneck
from bottleneck.adapt.drift import Nearness, conformal, two_sample
from bottleneck.errors import ManifestError, OptionError


def test_false_alarms_are_as_many_as_said(rng):
    """200 resamplings of one population, neither normal nor isotropic, of unequal sizes."""
    alarms = 0
    for number in range(200):
        rows = rng.standard_exponential((160, 12)) * np.arange(1, 13) + rng.choice([0, 9], (160, 1))
        alarms += two_sample(rows[:60], rows[60:], permutations=99, seed=number).p <= 0.05
    assert 6 <= alarms <= 14  # 3 to 7%


def test_groups_go_together(rng):
    """Twenty frames of each scene: taken one by one, every pair of sets of scenes would differ."""
    alone = grouped = 0
    for number in range(60):
        scenes = np.repeat(rng.standard_normal((12, 6)), 20, axis=0)
        rows = scenes + 0.1 * rng.standard_normal(scenes.shape)
        groups = np.repeat(np.arange(12), 20)
        new, old = slice(0, 80), slice(80, None)
        alone += two_sample(rows[new], rows[old], permutations=99, seed=number).p <= 0.05
        grouped += (
            two_sample(
                rows[new], rows[old], new_groups=groups[new], reference_groups=groups[old],
                permutations=99, seed=number,
            ).p
            <= 0.05
        )  # fmt: skip
    assert alone > 50
    assert grouped <= 8


def test_a_difference_is_found_and_the_number_is_the_discrepancy(rng):
    a, b = rng.standard_normal((50, 5)), rng.standard_normal((70, 5)) + 1
    found = two_sample(a.astype(np.float32), b.astype(np.float32), permutations=199)
    assert found.p == pytest.approx(1 / 200)
    # By hand: means of the kernel within and between the sets.
    X = np.concatenate([a, b]).astype(np.float32).astype(np.float64)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    apart = np.sum((Z[:, None] - Z[None]) ** 2, axis=2)
    K = np.exp(-apart / np.median(apart[np.triu_indices(120, 1)]))
    by_hand = K[:50, :50].mean() + K[50:, 50:].mean() - 2 * K[:50, 50:].mean()
    assert found.discrepancy == pytest.approx(by_hand)
    assert found.expected < found.discrepancy / 3


def test_distances_and_shares(rng):
    rows = rng.standard_normal((40, 8)).astype(np.float32)
    near = Nearness(rows)
    Z = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    Z /= np.linalg.norm(Z, axis=1, keepdims=True)
    cosines = np.sort(Z @ Z.T, axis=1)[:, ::-1]
    np.testing.assert_allclose(near.distances(rows, itself=True), 1 - cosines[:, 5], atol=1e-6)
    np.testing.assert_allclose(near.distances(rows), 1 - cosines[:, 4], atol=1e-6)
    np.testing.assert_allclose(
        conformal(np.array([0.0, 2.5, 3.0, 9.0]), np.array([1.0, 2.0, 3.0])), [1, 0.5, 0.5, 0.25]
    )


def altered(folder, tmp_path, change):
    for file in sorted((folder / "photos").rglob("*.png")):
        image = Image.open(file)
        name = "_".join(file.relative_to(folder / "photos").parts)
        (tmp_path / "new").mkdir(exist_ok=True)
        change(image).save(tmp_path / "new" / name)
    return tmp_path / "new"


@pytest.mark.parametrize(
    "change", [lambda image: image.rotate(90), ImageOps.invert], ids=["rotated", "inverted"]
)
def test_turned_and_inverted_images_are_found(trained, tmp_path, change):
    new = altered(trained, tmp_path, change)
    result = bottleneck.drift(
        trained / "h.head", new, features=trained / "f.h5", output=tmp_path / "d.csv",
        permutations=199,
    ).to_json()  # fmt: skip
    assert result["drift"]
    assert result["p"] <= 0.01
    assert result["rows"] == 66
    with open(tmp_path / "d.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 66
    assert [float(row["p"]) for row in table] == sorted(float(row["p"]) for row in table)
    json.dumps(result)


def test_the_same_kind_of_images_is_not(trained, tmp_path):
    """The test split, which the head has not seen, against all: as features, without images."""
    result = bottleneck.drift(
        trained / "h.head", trained / "photos/test", features=trained / "f.h5",
        output=tmp_path / "d.html", permutations=199,
    ).to_json()  # fmt: skip
    assert not result["drift"]
    assert result["held_out_rows"] == 18
    assert {one["class"]: one["p"] for one in result["per_class"]} == dict.fromkeys(
        ["bag", "sneaker", "trouser"]
    )  # six images of each are too few
    page = (tmp_path / "d.html").read_text()
    assert "are not told apart from" in page
    again = bottleneck.drift(
        trained / "h.head", trained / "f.h5", features=trained / "f.h5", permutations=19
    ).to_json()
    assert again["rows"] == 66
    assert again["p"] == 1.0


def test_what_cannot_be_compared_is_refused(trained, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for file in sorted((trained / "photos/test/bag").iterdir())[:3]:
        (few / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ManifestError, match="expected 10 images or more, got 3"):
        bottleneck.drift(trained / "h.head", few, features=trained / "f.h5")
    with pytest.raises(OptionError, match=r"an output of \.csv or \.html"):
        bottleneck.drift(trained / "h.head", few, features=trained / "f.h5", output="x.txt")
    with pytest.raises(OptionError, match="--level and --rate between 0 and 1"):
        bottleneck.drift(trained / "h.head", few, features=trained / "f.h5", level=1.0)
