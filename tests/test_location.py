import subprocess
from pathlib import Path

import pytest

from bottleneck import api, backbones
from bottleneck.errors import OptionError, SourceError
from bottleneck.location import (
    cache_folder,
    expand_braces,
    expanded,
    has_wildcard,
    home,
    is_url,
    split_part,
)
from bottleneck.writing import prepare_output


@pytest.mark.parametrize(
    "text",
    [
        "plain.tar",
        "s-{000..009}.tar",
        "s-{8..11}.tar",
        "s-{3..1}",
        "{train,val}/{a,b}-{1..2}.tar",
        "a{b,c{1..2}d,}e",
        "no{range}here",
        "{open",
        "shut}",
        "{a,b",
    ],
)
def test_braces_mean_what_they_mean_to_bash(text):
    printed = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {text}"], capture_output=True, text=True, check=True
    ).stdout
    assert expand_braces(text) == printed.splitlines()


def test_a_slip_in_a_range_is_told():
    with pytest.raises(SourceError, match="million|1000000 names"):
        expand_braces("s-{0..99999999999}.tar")


def test_parts_are_behind_two_colons(tmp_path):
    assert split_part("a.h5::images,labels") == ("a.h5", "images,labels")
    assert split_part("s3://b/a.h5::group/images") == ("s3://b/a.h5", "group/images")
    assert split_part("a.h5") == ("a.h5", "")
    chained = "zip://a.png::s3://b/a.zip"
    assert split_part(chained) == (chained, "")
    odd = tmp_path / "odd::name"
    odd.mkdir()
    assert split_part(str(odd)) == (str(odd), "")


def test_urls_and_patterns_are_told_by_their_looks():
    assert is_url("s3://b/x")
    assert is_url("memory:///x")
    assert not is_url("c:/x")
    assert not is_url("a/b://c")
    assert has_wildcard("a*")
    assert has_wildcard("a[0-9]")
    assert not has_wildcard("a[]b{1..2}")


@pytest.mark.parametrize("given", ["{}::images", "{}", "{folder}/*.h5", "{folder}/{{x,y}}.h5"])
def test_an_output_is_never_one_of_the_inputs(tmp_path, given):
    place = tmp_path / "x.h5"
    place.write_bytes(b"\x89HDF\r\n\x1a\n")
    text = given.format(place, folder=tmp_path)
    with pytest.raises(OptionError, match="is also an input"):
        prepare_output(place, kind="features", inputs=[text])
    prepare_output(place, kind="features", inputs=[f"{tmp_path}/**/*.png", "s3://b/x.h5"])


@pytest.fixture
def nobody(monkeypatch):
    """A user of a number only, as in a container that was started with ``--user 12345``."""
    for name in ("HOME", "KERAS_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])
    with pytest.raises(RuntimeError):
        Path.home()


@pytest.mark.usefixtures("nobody")
def test_a_user_without_a_home_has_nothing_there_and_keeps_nothing():
    assert home() == cache_folder().parents[1]
    assert home().is_absolute()  # no folder `~` where one happens to be
    with pytest.raises(NotADirectoryError):  # root can make none, too
        cache_folder().mkdir(parents=True)
    assert backbones.cache_folder() == Path("/tmp/.keras/models")  # as Keras has it
    assert "efficientnet_lite0" in [row.name for row in api.backbones()]


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("text", ["~/x.onnx", "~no_such_user/x.onnx", "x.onnx", "/x.onnx"])
def test_a_home_that_nobody_knows_is_left_in_a_path(text):
    assert expanded(text) == Path(text)


def test_a_home_is_put_into_a_path(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded("~/x.onnx") == Path("/home/me/x.onnx")
    assert home() == Path("/home/me")
