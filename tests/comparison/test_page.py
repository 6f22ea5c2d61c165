"""The page as a file: self-contained, escaped, small; what is in it is what the JSON says."""

import base64
import hashlib
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from evil import EVIL, EVIL_CLASSES, evil_keys
from PIL import Image

from bottleneck import compare
from bottleneck.comparison.packing import mentioned, pack, show
from bottleneck.comparison.page import (
    SCRIPTS,
    make_previews,
    make_sheets,
    open_pictures,
    render,
)
from bottleneck.images import Geometry, decode
from bottleneck.location import readable
from bottleneck.store import FeatureStore


@pytest.fixture
def evil(blobs):
    path = blobs("evil.h5", n=120, classes=EVIL_CLASSES, keys=evil_keys(120), noise=3)
    return compare([path], heads=("logreg", "knn"), map="pca")


def packed(comparison):
    shown = show(comparison.document, comparison.aligned)
    nowhere = [None] * len(shown.rows)
    return pack(comparison.document, comparison.aligned, shown, nowhere)


def embedded(text):
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(data)


def test_the_data_is_the_documents_and_cannot_end_its_element(evil, tmp_path):
    evil.write_html(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    page, document = embedded(text), json.loads(json.dumps(evil.to_json()))
    assert page["data"] == document["data"]
    images = page["images"]
    folders = np.frombuffer(base64.b64decode(images["folder"]), "<u4")
    keys = [images["folders"][i] + name for i, name in zip(folders, images["names"], strict=True)]
    assert keys == [readable(key) for key in evil.aligned.keys]
    labels = np.frombuffer(base64.b64decode(images["label"]), "<u4")
    assert {key: page["data"]["classes"][i] for key, i in zip(keys, labels, strict=True)} == {
        key: one["label"] for key, one in document["images"].items()
    }
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
    document = packed(evil)
    document["features"][0]["name"] = "%DATA%<b>%SCRIPT%"
    text = render(document)
    assert "<title>Take %DATA%&lt;b&gt;%SCRIPT% with" in text
    assert embedded(text)["features"][0]["name"] == "%DATA%<b>%SCRIPT%"


def test_scripts_are_text_only(evil):
    from importlib.resources import files

    for name in SCRIPTS:
        script = files("bottleneck.comparison").joinpath("assets", name).read_text()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script
        )


def pixels_of(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_thumbnails_are_where_the_document_says(pictures):
    keys = [f"{i}.png" for i in range(50)]
    folder = pictures(keys)
    (folder / "7.png").write_bytes(b"not an image")
    wanted = {"3.png": 0, "gone.png": 1, "7.png": 2, "44.png": 3}
    found = open_pictures([str(folder)], wanted)
    assert found.note == ""
    assert found.locations(range(4)) == [
        str(folder / "3.png"), None, str(folder / "7.png"), str(folder / "44.png")
    ]  # fmt: skip
    sheets = make_sheets(found, range(4), 1_000_000)
    assert (sheets.places, sheets.wanted) == ({0: 0, 3: 1}, 4)
    image = pixels_of(sheets.uris[0])
    assert image.shape == (64, 64 * 20, 3)
    for place, key in ((0, "3.png"), (1, "44.png")):
        expected = decode((folder / key).read_bytes(), Geometry(64, "pad")).astype(float)
        tile = image[:, 64 * place : 64 * place + 64].astype(float)
        assert np.abs(tile - expected).mean() < 25  # noise is the worst there is for WebP
    large = make_previews(found, range(4), 1_000_000)
    assert [*large] == [0, 3]
    assert pixels_of(large[3]).shape == (320, 320, 3)
    expected = decode((folder / "44.png").read_bytes(), Geometry(320, "pad")).astype(float)
    assert np.abs(pixels_of(large[3]) - expected).mean() < 25
    assert [*make_previews(found, range(4), len(large[0]) + 10)] == [0]


def test_a_page_without_images_says_why(evil, tmp_path):
    page = evil.write_html(tmp_path / "page.html")
    assert page["thumbnails"] == 0
    assert page["notes"] == [
        "thumbnails: it is not known where the images are: say --images SOURCE"
    ]
    found = open_pictures([str(tmp_path / "nowhere")], {"a.png": 0})
    assert found.read(0, 64) is None
    assert found.note.startswith("the images cannot be listed")
    assert make_sheets(found, [0], 1000).places == {}


def test_sheets_lose_the_least_wanted(pictures, monkeypatch):
    folder = pictures([f"{i}.png" for i in range(120)])
    monkeypatch.setattr("bottleneck.comparison.page._PER_SHEET", 40)
    keys = {f"{i}.png": 119 - i for i in range(120)}
    found = open_pictures([str(folder)], keys)
    whole = make_sheets(found, range(120), 10**9)
    assert len(whole.uris) == 3
    assert [whole.places[i] for i in range(120)] == [*range(120)]
    tile = pixels_of(whole.uris[1])[64:128, 320:384].astype(float)  # place 40 + 25
    expected = decode((folder / f"{119 - 65}.png").read_bytes(), Geometry(64, "pad"))
    assert np.abs(tile - expected).mean() < 25
    room = len(whole.uris[0]) + len(whole.uris[1]) * 3 // 4
    less = make_sheets(found, range(120), room)
    assert [*less.places] == [*range(len(less.places))]  # the first ones
    assert 40 < len(less.places) < 80
    assert sum(map(len, less.uris)) <= room


def test_images_inside_of_a_file_have_no_address(pictures, tmp_path):
    import zipfile

    folder = pictures(["a/1.png", "a/2.png"])
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for key in ("a/1.png", "a/2.png"):
            archive.write(folder / key, key)
    found = open_pictures([str(tmp_path / "all.zip")], {"a/1.png": 0, "a/2.png": 1})
    assert found.locations([0, 1]) == [None, None]
    assert found.read(1, 64).shape == (64, 64, 3)


def test_similar_images_are_those_of_the_features(blobs):
    """The page's few directions rank nearly as all features do."""
    path = blobs("x.h5", dims={"avg": 64}, noise=1)
    comparison = compare([path], heads=("ridge",), map="pca")
    similar = packed(comparison)["images"]["similar"]
    codes = np.frombuffer(base64.b64decode(similar["codes"]), np.int8)
    along = codes.reshape(-1, similar["axes"]) * np.array(similar["scale"])
    X = np.asarray(FeatureStore.open(path).features(), float)
    X -= X.mean(axis=0)

    def nearest(rows):
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        cosine = unit @ unit.T
        np.fill_diagonal(cosine, -2)
        return np.argsort(-cosine, axis=1)[:, :10]

    ours, exact = nearest(along), nearest(X)
    assert np.mean([len({*a} & {*b}) / 10 for a, b in zip(ours, exact, strict=True)]) > 0.9
    assert similar["share"] > 0.99


def test_a_page_of_very_many_images_is_a_sample_with_all_it_speaks_of(blobs, monkeypatch):
    path = blobs("x.h5", noise=3)
    comparison = compare([path], heads=("ridge",), map="pca")
    short = {**comparison.document, "map": {"images": [], "maps": []}}
    comparison = replace(comparison, document=short)
    spoken_of = mentioned(short)
    monkeypatch.setattr("bottleneck.comparison.packing.MOST_IMAGES", len(spoken_of) + 10)
    shown = show(short, comparison.aligned)
    assert len(shown.rows) == len(spoken_of) + 10
    assert set(spoken_of) <= set(shown.rows.tolist())
    document = packed(comparison)
    assert (document["images"]["of"], len(document["images"]["names"])) == (240, len(shown.rows))
    rows = document["label_errors"]["rows"]
    for ours, theirs in zip(rows, short["label_errors"]["rows"], strict=True):
        folder = np.frombuffer(base64.b64decode(document["images"]["folder"]), "<u4")
        key = document["images"]["folders"][folder[ours["image"]]]
        key += document["images"]["names"][ours["image"]]
        assert key == comparison.aligned.keys[theirs["image"]]


def test_evil_names_are_evil():
    assert any("\udcff" in key for key in evil_keys(12))
    assert "</script>" in EVIL
