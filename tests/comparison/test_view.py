"""One feature file to look at: what is found without heads, served, and written as a page."""

import json
import re
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest
from blobs import CLASSES, write_blobs, write_pictures
from browser import Browser, find_chromium

import bottleneck
from bottleneck.comparison.view import UNNAMED, Server, look_at
from bottleneck.errors import OptionError

CHROMIUM = find_chromium()


@pytest.fixture
def seen(blobs, tmp_path):
    """Images with a test split, twelve without a label, two of them equal files."""
    keys = [f"{CLASSES[i % 6]}/{i}.png" for i in range(240)]
    labels = [None if i < 12 else CLASSES[i % 6] for i in range(240)]
    digests = np.random.default_rng(5).integers(0, 256, (240, 16), np.uint8)
    digests[30] = digests[0]
    path = blobs("x.h5", keys=keys, labels=labels, digests=digests, failed=[7])
    return path, str(write_pictures(tmp_path / "pictures", keys))


@pytest.fixture
def server(seen):
    path, pictures = seen
    with Server(look_at(path, images=(pictures,), map="pca")) as opened:
        thread = threading.Thread(target=opened.serve_forever, daemon=True)
        thread.start()
        yield opened
        opened.shutdown()
        thread.join(10)


def test_what_is_seen_needs_no_labels(seen, tmp_path):
    path, pictures = seen
    view = bottleneck.view(path, output=tmp_path / "page.html", images=pictures, map="pca")
    document = view.to_json()
    assert repr(view) == "<View 239 images, 7 classes>"
    assert (document["data"]["compared"], document["data"]["left_out"]["failed"]) == (239, 1)
    assert document["data"]["per_class"][-1] == 11  # one of the twelve failed
    assert document["leaderboard"] == []
    assert document["images"]["ant/0.png"] == {"label": UNNAMED, "split": "test"}
    assert document["duplicates"]["sets"][0]["images"] == ["ant/0.png", "ant/30.png"]
    assert document["duplicates"]["leaks"] == 1
    assert document["page"]["thumbnails"] == 239
    text = (tmp_path / "page.html").read_text()
    assert "<title>x: 239 images</title>" in text
    page = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    assert page["data"]["unlabelled"] == 6


def test_pages_and_pictures_are_served_to_this_machine(server):
    page = urllib.request.urlopen(server.url, timeout=10).read().decode()
    assert "img-src data: &#x27;self&#x27;" in page
    assert server.url.startswith("http://127.0.0.1:")
    picture = urllib.request.urlopen(f"{server.url}image/3", timeout=10)
    assert picture.headers["Content-Type"] == "image/webp"
    assert picture.read()[8:12] == b"WEBP"
    for path in ("image/5000", "image/-1", "image/x", "thumb/../../etc/passwd", "nothing"):
        with pytest.raises(urllib.error.HTTPError, match="404") as refused:
            urllib.request.urlopen(server.url + path, timeout=10)
        refused.value.close()
    # A page of elsewhere that calls this machine by its own name gets nothing.
    asked = urllib.request.Request(server.url, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        urllib.request.urlopen(asked, timeout=10)
    refused.value.close()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_the_page_works_where_it_is_served(server, tmp_path):
    browser = Browser(CHROMIUM, tmp_path / "profile")
    try:
        browser.open_url(server.url)
        assert "239" in browser.run("document.getElementById('facts').textContent")
        browser.click("#found-images .thumb")
        browser.wait("document.querySelector('.large img')?.naturalWidth === 640")
        browser.click("#viewer [data-verdict=wrong]")
        assert "1 image marked" in browser.run("document.getElementById('marks').textContent")
        assert browser.console == []
        assert all(one.startswith(server.url) for one in browser.requests)
    finally:
        browser.close()


def test_a_port_that_is_taken_is_named(server, seen):
    with pytest.raises(OptionError, match="cannot serve at port"):
        Server(look_at(seen[0], map="pca"), server.server_address[1])


def test_several_outputs_are_several_maps(tmp_path):
    path = write_blobs(tmp_path, "two.h5", dims={"a": 5, "b": 7})
    document = look_at(path, map="pca").to_json()
    assert [one["name"] for one in document["features"]] == ["a", "b"]
    assert [one["features"] for one in document["map"]["maps"]] == [0, 1]
