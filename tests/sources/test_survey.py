"""What a source is said to hold, against lists that are written down here."""

import numpy as np
import pytest
from fakes import write_png

from bottleneck import api
from bottleneck.manifest import Manifest
from bottleneck.sources import Survey
from bottleneck.sources.base import Listing


class Listed:
    """A source that is only a list."""

    name = "listed"

    def __init__(self, manifest):
        self.manifest = manifest
        self.listing = Listing({".svg": 2}, {"hidden": 1}, ("understood so",))


def survey_of(labels, splits=None, groups=None):
    keys = [f"{i}.png" for i in range(len(labels))]
    return Survey.of(Listed(Manifest.build(keys, labels, splits, groups)), rows=2)


def test_counts_are_those_of_the_list():
    survey = survey_of(
        ["cat", "dog", "cat", None, "dog", "cat"],
        ["train", "train", "val", "", "test", "train"],
        ["a", "a", None, "b", None, None],
    )
    assert survey.to_json() == {
        "name": "listed",
        "images": 6,
        "classes": {"cat": 3, "dog": 2},
        "unlabelled": 1,
        "splits": {"no split": 1, "train": 3, "val": 1, "test": 1},
        "groups": 2,
        "targets": {},
        "left_out": {
            "endings": {".svg": 2},
            "reasons": {"hidden": 1},
            "notes": ("understood so",),
        },
        "first": (
            {"key": "0.png", "label": "cat", "split": "train", "group": "a"},
            {"key": "1.png", "label": "dog", "split": "train", "group": "a"},
        ),
        "warnings": (),
    }
    assert survey.lines() == [
        "listed: 6 images",
        "2 classes: cat 3, dog 2",
        "without a class: 1",
        "splits: no split 1, train 3, val 1, test 1",
        "2 groups of images that stay together",
        "left out by ending: .svg 2",
        "left out: hidden 1",
        "understood so",
    ]


def test_of_many_classes_the_first_and_the_smallest_are_named():
    labels = [name for i, name in enumerate("abcdefgh") for _ in range(9 - i)]
    assert survey_of(labels).lines()[1] == (
        "8 classes: a 9, b 8, c 7, d 6, e 5, ...; the smallest is h with 2"
    )
    assert survey_of(["abcdefgh"[i % 8] for i in range(24)]).lines()[1] == (
        "8 classes, 3 images each: a, b, c, d, e, ..."
    )
    assert survey_of([None, None]).lines()[1].startswith("no classes")


@pytest.mark.parametrize(
    ("labels", "splits", "says"),
    [
        (["cat"] * 3, None, "only one class, cat"),
        (
            ["train", "test", "cat"] * 2,
            None,
            "read as classes, though called like a split: test, train;",
        ),
        (["Dev", "cat"] * 2, None, "read as a class, though called like a split: Dev;"),
        (["cat", "Cat"] * 2, None, "'Cat' and 'cat' differ only in case"),
        (["cat", "cat", "dog"], None, "1 class has a single image (dog)"),
        (
            ["cat", "dog"] * 2,
            ["train", "test"] * 2,
            "1 class has test images but none to train on: dog",
        ),
    ],
)
def test_what_is_rarely_meant_is_a_warning(labels, splits, says):
    (warning,) = survey_of(labels, splits).warnings
    assert says in warning


def test_python_surveys_what_extract_would_store(tmp_path):
    for name, count in (("cat", 2), ("dog", 1)):
        for i in range(count):
            write_png(tmp_path / "train" / name / f"{i}.png", np.zeros((4, 4, 3)))
    survey = api.survey(tmp_path)
    assert (survey.images, survey.classes, survey.splits) == (3, {"cat": 2, "dog": 1}, {"train": 3})


def test_targets_are_counted_where_they_have_a_value(tmp_path):
    for i in range(3):
        write_png(tmp_path / f"{i}.png", np.zeros((4, 4, 3)))
    (tmp_path / "t.csv").write_text("path,price,tags\n0.png,3,a|b\n1.png,,b\n2.png,5,\n")
    survey = api.survey(tmp_path / "t.csv", targets=["price", "tags"])
    assert survey.targets == {"price": 2, "tags/a": 2, "tags/b": 2}
