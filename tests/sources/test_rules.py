from decimal import Decimal

import numpy as np
import pytest

from bottleneck.errors import ManifestError
from bottleneck.manifest import split_code
from bottleneck.sources.layout import find_layout
from bottleneck.sources.rules import IMAGES, SOUNDS, is_hidden, label_of

NO_LABELS = [
    *(None, "", "  ", "nan", "NaN", "null", "<NA>", "-1", "-1.0", " -7 ", b"", b"-1"),
    *(
        -1,
        -1.0,
        float("nan"),
        np.float32("nan"),
        np.int8(-1),
        Decimal("NaN"),
        Decimal(-1),
        [],
        [-1],
    ),
    *([[None]], np.array([[-1]])),
]
LABELS = [
    ("cat", "cat"),
    (" cat\n", "cat"),
    ("\ufeffcat", "cat"),
    (b"cat\0\0", "cat"),
    ("none", "none"),
    ("007", "007"),
    ("0", "0"),
    ("3.0", "3"),
    ("1.5", "1.5"),
    ("v-1", "v-1"),
    (3, "3"),
    (3.0, "3"),
    (np.float16(3), "3"),
    (np.uint64(2**63), str(2**63)),
    (Decimal("3.00"), "3"),
    (True, "True"),
    (np.bool_(False), "False"),
    (np.str_("cat"), "cat"),
    (["cat"], "cat"),
    (np.array([[[3]]]), "3"),
]
REFUSED = [
    *(0.5, np.float32(0.5), Decimal("0.5"), float("inf"), [0, 1], [1, 0, 0], np.zeros((1, 2))),
    *(["a", "b"], b"\xff\xfe", {"a": 1}, object(), 1j),
]


@pytest.mark.parametrize("value", NO_LABELS, ids=repr)
def test_no_label(value):
    assert label_of(value, "x") is None


@pytest.mark.parametrize(("value", "label"), LABELS, ids=repr)
def test_labels_are_texts(value, label):
    found = label_of(value, "x")
    assert found == label
    assert type(found) is str


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_what_is_no_one_label_is_refused_by_name(value):
    with pytest.raises(
        ManifestError, match=r"^x\.csv, column 'y': expected (a|one) label"
    ) as caught:
        label_of(value, "x.csv, column 'y'")
    assert caught.value.hint


def test_hidden_names():
    for path in (
        *(".a.png", "a/.git/x.png", "p/__MACOSX/a/1.png", "a/Thumbs.db", "@eaDir/1.jpg/x.jpg"),
        *("a/.ipynb_checkpoints/1.png", "__macosx/._1.png"),
    ):
        assert is_hidden(path), path
    for path in ("a.png", "./a/1.png", "../a/1.png", "a.b/c..png", "thumbs/1.png"):
        assert not is_hidden(path), path
    assert IMAGES.is_name("A.JPeG")
    assert SOUNDS.is_name("A.FLaC")
    assert not SOUNDS.is_name("A.JPeG")
    assert not IMAGES.is_name("._a.jpg")


def test_names_of_splits():
    for code, names in {
        1: ("train", "TRAIN", "training", "training_set", "train2017", "trainset", "train-images"),
        2: ("val", "valid", "validation", "val2017", "validation_set"),
        3: ("test", "testing", "test_set", "Test Images", "test2015"),
        None: ("trains", "testbed", "training_day", "valley", "training_1", "test1", "dev", "2017"),
    }.items():
        assert {name: split_code(name) for name in names} == dict.fromkeys(names, code)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a/1.png"], [("a", "")]),
        (["1.png"], [(None, "")]),
        (["p/a/1.png", "p/b/1.png"], [("a", ""), ("b", "")]),
        (["p/q/a/1.png", "p/q/b/1.png"], [("a", ""), ("b", "")]),
        (["p/a/1.png", "p/cover.png"], [("a", ""), (None, "")]),
        (["p/train/a/1.png", "p/test/b/1.png"], [("a", "train"), ("b", "test")]),
        (["p/train/a/1.png"], [("a", "train")]),
        (["train/a/1.png"], [("a", "train")]),
        (["train/1.png", "val/1.png"], [(None, "train"), (None, "val")]),
        (["a/x/1.png", "b/1.png"], [("a", ""), ("b", "")]),
    ],
)
def test_folders_name_classes_and_splits_whatever_is_around_them(paths, expected):
    layout = find_layout(paths, "x")
    assert [(layout.label(path), layout.split(path)) for path in paths] == expected
