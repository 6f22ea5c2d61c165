"""The page as a file: self-contained, escaped, small; what is in it is what the JSON says."""

import base64
import hashlib
import json
import re

import numpy as np
import pytest
from evil import EVIL, EVIL_CLASSES, evil_keys

from bottleneck import compare
from bottleneck.comparison.page import SCRIPTS, make_sheet, render


@pytest.fixture
def evil(blobs):
    path = blobs("evil.h5", n=120, classes=EVIL_CLASSES, keys=evil_keys(120), noise=3)
    return compare([path], heads=("logreg", "knn"), map="pca")


def embedded(text):
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(data)


def test_the_data_is_the_documents_and_cannot_end_its_element(evil, tmp_path):
    evil.write_html(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert embedded(text) == json.loads(json.dumps(evil.to_json()))
    for markup in ("<img", "<svg", "onerror=alert", "</script><"):
        data = re.search(r'id="data">(.*?)</script>', text, re.S)[1]
        assert "<" not in data
        assert markup in json.dumps(embedded(text)), "the test itself lost its point"


def test_nothing_is_loaded_from_anywhere(evil, tmp_path):
    evil.write_html(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    outside = re.sub(r'id="data">.*?</script>', "", text, flags=re.S)
    addresses = set(re.findall(r"""(?:https?:)?//[\w.]+[^\s"'`]*""", outside))
    assert {a for a in addresses if a.startswith("http")} == {"http://www.w3.org/2000/svg"}
    assert re.findall(r'(?:src|href)="([^"#]*)"', outside) == ["data:,"]


def test_the_policy_allows_the_one_style_and_script_only(evil, tmp_path):
    evil.write_html(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    policy = policy.replace("&#x27;", "'")
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    script = re.search(r"</script>\s*<script>(.*?)</script>", text, re.S)[1]
    for name, body in (("style-src", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert len(re.findall(r"<script", text)) == 2


def test_places_of_the_template_in_names_stay_names(evil):
    document = evil.to_json()
    document["features"][0]["name"] = "%DATA%<b>%SCRIPT%"
    text = render(document)
    assert "<title>%DATA%&lt;b&gt;%SCRIPT% with" in text
    assert embedded(text)["features"][0]["name"] == "%DATA%<b>%SCRIPT%"


def test_scripts_are_text_only(evil):
    from importlib.resources import files

    for name in SCRIPTS:
        script = files("bottleneck.comparison").joinpath("assets", name).read_text()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script
        )


def test_thumbnails_are_where_the_document_says(evil, pictures, tmp_path):
    keys = [f"{i}.png" for i in range(50)]
    folder = pictures(keys)
    (folder / "7.png").write_bytes(b"not an image")
    sheet, places, note = make_sheet([str(folder)], ["3.png", "gone.png", "7.png", "44.png"])
    assert places == [0, -1, -1, 1]
    assert note == ""
    import io

    from PIL import Image

    from bottleneck.images import Geometry, decode

    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet.uri.partition(",")[2]))))
    assert image.shape == (64, 64 * 40, 3)
    for place, key in ((0, "3.png"), (1, "44.png")):
        expected = decode((folder / key).read_bytes(), Geometry(64, "pad")).astype(float)
        tile = image[:, 64 * place : 64 * place + 64].astype(float)
        assert np.abs(tile - expected).mean() < 25  # noise is the worst there is for WebP


def test_a_page_without_images_says_why(evil, tmp_path):
    page = evil.write_html(tmp_path / "page.html")
    assert page["thumbnails"] == 0
    assert page["notes"] == [
        "thumbnails: it is not known where the images are: say --images SOURCE"
    ]
    _, places, note = make_sheet([str(tmp_path / "nowhere")], ["a.png"])
    assert places == [-1]
    assert note.startswith("the images cannot be listed")


def test_a_large_sheet_loses_its_least_wanted(pictures, monkeypatch):
    folder = pictures([f"{i}.png" for i in range(120)])
    monkeypatch.setattr("bottleneck.comparison.page._MOST_BYTES", 60_000)
    keys = [f"{i}.png" for i in reversed(range(120))]
    sheet, places, note = make_sheet([str(folder)], keys)
    kept = [place for place in places if place >= 0]
    assert kept == list(range(len(kept)))  # the first ones
    assert 0 < len(kept) < 120
    assert note == f"{120 - len(kept)} thumbnails were left out to keep the page small"
    assert len(sheet.uri) < 90_000


def test_evil_names_are_evil():
    assert any("\udcff" in key for key in evil_keys(12))
    assert "</script>" in EVIL
