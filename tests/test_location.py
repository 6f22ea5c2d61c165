import subprocess

import pytest

from bottleneck.errors import OptionError, SourceError
from bottleneck.location import expand_braces, has_wildcard, is_url, split_part
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
