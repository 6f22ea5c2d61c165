import json

import pytest

from bottleneck.errors import OptionError
from bottleneck.fingerprint import fingerprint
from bottleneck.images import Geometry, parse_size


@pytest.mark.parametrize(
    ("geometry", "picture", "drawn", "window", "at"),
    [
        (Geometry(224), (500, 375), (341, 256), (58, 16, 282, 240), (0, 0)),
        (Geometry(224), (375, 500), (256, 341), (16, 58, 240, 282), (0, 0)),
        (Geometry(224), (28, 28), (256, 256), (16, 16, 240, 240), (0, 0)),
        (Geometry(299), (342, 342), (342, 342), (22, 22, 321, 321), (0, 0)),
        (Geometry(224, crop_ratio=1.0), (500, 375), (298, 224), (37, 0, 261, 224), (0, 0)),
        (Geometry(224, crop_ratio=224 / 248), (500, 375), (330, 248), (53, 12, 277, 236), (0, 0)),
        (Geometry(224, "squash", 0.9), (500, 375), (249, 249), (12, 12, 236, 236), (0, 0)),
        # 119 pixels are to be cut off: the middle lies between 59 and 60.
        (Geometry(224, crop_ratio=1.0), (343, 224), (343, 224), (60, 0, 284, 224), (0, 0)),
        (
            Geometry(224, crop_ratio=1.0, halves="down"),
            (343, 224),
            (343, 224),
            (59, 0, 283, 224),
            (0, 0),
        ),
        # Height and width: the picture covers 128 x 256 (wide), or lies inside 64 x 128.
        (Geometry((64, 128), crop_ratio=0.5), (500, 375), (256, 192), (64, 64, 192, 128), (0, 0)),
        (Geometry((64, 128), "squash"), (500, 375), (128, 64), (0, 0, 128, 64), (0, 0)),
        (Geometry((64, 128), "pad"), (500, 375), (85, 64), (0, 0, 85, 64), (21, 0)),
        (Geometry((128, 64), "pad"), (500, 375), (64, 48), (0, 0, 64, 48), (0, 40)),
        (Geometry(1), (9, 1), (9, 1), (4, 0, 5, 1), (0, 0)),
        (Geometry(224, "squash"), (500, 375), (224, 224), (0, 0, 224, 224), (0, 0)),
        (Geometry(224, "pad"), (500, 375), (224, 168), (0, 0, 224, 168), (0, 28)),
        (Geometry(224, "pad"), (3, 7), (96, 224), (0, 0, 96, 224), (64, 0)),
        (Geometry(224, "pad"), (65000, 1), (224, 1), (0, 0, 224, 1), (0, 111)),
    ],
)
def test_places_a_picture(geometry, picture, drawn, window, at):
    place = geometry.place(*picture)
    assert (place.drawn, place.window, place.at) == (drawn, window, at)


@pytest.mark.parametrize("size", [1, 2, 7, 28, 96, 160, 224, 299, 331, 600])
def test_crop_agrees_with_the_usual_evaluation_transform(size):
    # Resize(short side) and CenterCrop as torchvision documents them, in floating point.
    short = round(size / 0.875)
    for width, height in [(500, 375), (333, 500), (641, 640), (100, 1000), (17, 17)]:
        long = int(short * max(width, height) / min(width, height))
        drawn = (long, short) if width > height else (short, long)
        left = round((drawn[0] - size) / 2.0)
        top = round((drawn[1] - size) / 2.0)
        place = Geometry(size).place(width, height)
        assert place.drawn == drawn
        assert place.window == (left, top, left + size, top + size)


@pytest.mark.parametrize("size", [0, -1, 2.5, "224", True, None, (0, 5), (5,), (5, 2.0)])
def test_refuses_an_impossible_size(size):
    with pytest.raises(OptionError, match="at least 1 pixel"):
        Geometry(size)


def test_two_equal_sides_are_one_number():
    assert Geometry((96, 96)) == Geometry(96)
    assert Geometry((96, 64)).shape == (96, 64, 3)


@pytest.mark.parametrize(
    "options", [{"crop_ratio": 0.0}, {"crop_ratio": 1.5}, {"resize": "pad", "crop_ratio": 0.9}]
)
def test_refuses_a_ratio_that_is_none(options):
    with pytest.raises(OptionError, match="crop ratio"):
        Geometry(224, **options)


def test_refuses_an_unknown_interpolation():
    with pytest.raises(OptionError, match=r"nearest, bilinear, bicubic, lanczos, received 'area'"):
        Geometry(224, interpolation="area")


def test_refuses_an_unknown_rule_and_lists_the_known_ones():
    with pytest.raises(OptionError, match=r"crop, squash, pad, received 'stretch'"):
        Geometry(224, "stretch")


def test_recipe_is_json_and_tells_geometries_apart():
    geometries = [Geometry(s, r) for s in (96, 224) for r in ("crop", "squash", "pad")]
    geometries += [
        Geometry(224, crop_ratio=0.9),
        Geometry(224, "squash", 0.9),
        Geometry(224, interpolation="bilinear"),
        Geometry((224, 96)),
        Geometry(224, "pad", padding=(0, 0, 0)),
        Geometry(224, whole=True),
        Geometry(224, halves="down"),
        Geometry(224, rounded=False),
    ]
    recipes = [geometry.recipe() for geometry in geometries]
    assert json.loads(json.dumps(recipes)) == recipes
    assert len({fingerprint(recipe) for recipe in recipes}) == len(recipes)
    assert [Geometry.from_recipe(recipe) for recipe in recipes] == geometries
    assert Geometry(224).recipe()["resize"] == {
        "rule": "crop", "ratio": 0.875, "filter": "bicubic", "antialias": True,
    }  # fmt: skip
    assert Geometry(224, "pad").recipe()["resize"]["padding"] == [124, 116, 104]


def test_the_recipe_of_the_defaults_has_not_changed():
    # The fingerprints of version 0.1.0 at commit e1ed94e: files made then are resumed today.
    found = {
        rule: fingerprint(Geometry(224, rule).recipe())[:16] for rule in ("crop", "squash", "pad")
    }
    assert found == {
        "crop": "bd903eb5a3699c58",
        "squash": "31f198a5c3fd3804",
        "pad": "fb922c699da17d0a",
    }


@pytest.mark.parametrize(
    ("given", "size"),
    [(None, None), (224, 224), ("224", 224), ("320x240", (240, 320)), ("64X64", 64)],
)
def test_sizes_are_width_by_height_as_people_say_them(given, size) -> None:
    assert parse_size(given) == size


@pytest.mark.parametrize("given", ["0", "x5", "5x", "1x2x3", "-3", "a", "", "3.5"])
def test_what_is_no_size(given: str) -> None:
    with pytest.raises(OptionError, match="width x height"):
        parse_size(given)
