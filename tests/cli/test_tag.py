"""``bottleneck tag``: what a network says by its own top."""

import numpy as np
import pytest
from sounds import write_sound

import bottleneck
from bottleneck import backbones
from bottleneck.audio import Window, decode_all
from bottleneck.errors import BackboneError

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)


@pytest.fixture
def songs(tmp_path):
    for i in range(3):
        write_sound(tmp_path / f"songs/{i}.flac", i, seconds=8.0, rate=16_000)
    (tmp_path / "songs/9.mp3").write_bytes(b"none")
    return tmp_path / "songs"


def test_tags_are_those_of_the_networks_own_top(cli, songs):
    options = ("-b", "musicnn_vgg", "--weights", "none", "--max-failed", "50%")
    rows = cli("tag", songs, *options, "--top-k", "all", "--views", 2, "--json").json
    assert [row["key"] for row in rows] == ["0.flac", "1.flac", "2.flac", "9.mp3"]
    network = backbones.load("musicnn_vgg", weights="none")
    names = network.spec.top.names
    for i, row in enumerate(rows[:3]):
        windows = [(network.input, Window(view, 2)) for view in range(2)]
        heard = np.stack(decode_all((songs / f"{i}.flac").read_bytes(), windows))
        expected = network.model.predict(heard, verbose=0).mean(axis=0)
        found = np.array([row["tags"][name] for name in names])
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert list(row["tags"].values()) == sorted(row["tags"].values(), reverse=True)
        assert row["error"] is None
    assert rows[3]["tags"] == {}
    assert rows[3]["error"].startswith("not a sound: ")
    shown = cli("tag", songs / "0.flac", *options[:4], "--top-k", 2).out
    assert f"{next(iter(rows[0]['tags']))} 0." in shown
    assert shown.count(" 0.") == 2


def test_failures_and_backbones_without_a_top_are_told(cli, songs):
    failed = cli("tag", songs, "-b", "musicnn_vgg", "--weights", "none")
    assert failed.code == 3
    assert "1 of 4 songs failed" in failed.err
    with pytest.raises(BackboneError, match="a top of its own, got mobilenet_v2") as caught:
        bottleneck.tag(songs, backbone="mobilenet_v2")
    assert "music_tagger_crnn, musicnn_vgg" in caught.value.hint
