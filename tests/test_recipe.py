import json
import pickle

import pytest

from bottleneck.errors import BottleneckError, ImageError, RecipeMismatchError, StoreLockedError
from bottleneck.fingerprint import canonical_json, fingerprint, fingerprint_parts
from bottleneck.recipe import Recipe
from bottleneck.status import RowStatus


def test_canonical_json_has_one_text_per_value():
    assert canonical_json({"b": [1, 2.5], "a": "ü"}) == '{"a":"ü","b":[1,2.5]}'
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_parts_do_not_run_on():
    assert fingerprint_parts([b"ab", b"c"]) != fingerprint_parts([b"a", b"bc"])


def test_recipe_survives_json():
    recipe = Recipe({"backbone": "b", "image": {"size": 8}}, {"dtype": "float32"})
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe
    assert json.loads(recipe.to_json())["identity"]["image"]["size"] == 8


def test_mismatch_names_every_field_with_both_values():
    ours = Recipe({"backbone": "b", "image": {"size": 8}, "new": 1}, {})
    theirs = Recipe({"backbone": "c", "image": {"size": 9}}, {})
    with pytest.raises(RecipeMismatchError) as caught:
        ours.require_same_identity(theirs, ours="the head", theirs="x.h5", hint="Do that.")
    message = caught.value.message
    assert "backbone: b (the head), c (x.h5)" in message
    assert "image.size: 8 (the head), 9 (x.h5)" in message
    assert "new: 1 (the head), (absent) (x.h5)" in message
    assert caught.value.hint == "Do that."


def test_execution_is_not_identity():
    a = Recipe({"backbone": "b"}, {"device": "cpu"})
    b = Recipe({"backbone": "b"}, {"device": "gpu"})
    assert a.identity_sha256 == b.identity_sha256
    assert [d.field for d in a.execution_differences(b)] == ["device"]
    a.require_same_identity(b, ours="a", theirs="b", hint="")


def test_errors_are_their_builtin_and_travel_between_processes():
    error = StoreLockedError("busy", hint="wait")
    again = pickle.loads(pickle.dumps(error))
    assert (again.message, again.hint, type(again)) == ("busy", "wait", StoreLockedError)
    assert isinstance(error, BlockingIOError)
    image = pickle.loads(pickle.dumps(ImageError(RowStatus.EMPTY, "0 bytes")))
    assert (image.reason, image.message) == (RowStatus.EMPTY, "0 bytes")
    assert isinstance(image, BottleneckError)


def test_status_codes_never_change():
    assert {status.name: int(status) for status in RowStatus} == {
        "PENDING": 0,
        "DONE": 1,
        "NOT_AN_IMAGE": 2,
        "TRUNCATED": 3,
        "EMPTY": 4,
        "TOO_LARGE": 5,
        "UNREADABLE": 6,
        "MISSING": 7,
        "UNSUPPORTED": 8,
        "DECODER_CRASHED": 9,
        "TIMED_OUT": 10,
        "NON_FINITE": 11,
        "NOT_A_SOUND": 12,
    }
