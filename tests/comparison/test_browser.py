"""The page in a real browser: drawn, sorted, hovered, opened; no errors, no requests."""

import shutil

import numpy as np
import pytest
from blobs import write_blobs, write_pictures
from browser import Browser, find_chromium
from evil import EVIL_CLASSES, evil_keys

from bottleneck import compare
from bottleneck.store.runs import append_run

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: apt-get install chromium, or set CHROMIUM to one"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    profile = tmp_path_factory.mktemp("profile")
    opened = Browser(CHROMIUM, profile)
    yield opened
    opened.close()
    shutil.rmtree(profile, ignore_errors=True)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page of two backbones with everything on it: leaks, doubts, mistakes, thumbnails."""
    folder = tmp_path_factory.mktemp("page")
    keys = [f"{'abcdef'[i % 6]}/{i}.png" for i in range(240)]
    digests = np.random.default_rng(5).integers(0, 256, (240, 16), np.uint8)
    digests[30] = digests[0]
    paths = []
    for name, noise, rate in (("small", 3.0, 200.0), ("large", 2.0, 40.0)):
        path = write_blobs(folder, f"{name}.h5", noise=noise, keys=keys, digests=digests)
        append_run(path, {"images": 240, "images_per_second": rate, "device": "cpu"})
        paths.append(path)
    comparison = compare(paths, images=[str(write_pictures(folder / "pictures", keys))], map="pca")
    comparison.write_html(folder / "page.html")
    return folder / "page.html", comparison.to_json()


def quiet(browser, path):
    assert browser.console == []
    assert browser.requests == [path.resolve().as_uri()]


def rows(browser, column):
    return browser.run(
        f"[...document.querySelectorAll('#leaderboard tbody tr')].map(r => "
        f"r.children[{column}].textContent)"
    )


def test_the_table_sorts_by_mouse_and_by_keyboard(browser, page):
    path, document = page
    browser.open(path)
    names = [one["name"] for one in document["features"]]
    board = document["leaderboard"]
    expected = [f"{names[e['features']]} + {e['head']}" for e in board]
    assert rows(browser, 0) == expected
    assert rows(browser, 1) == [f"{100 * e['accuracy']:.1f} %" for e in board]
    header = "#leaderboard th:nth-child(2)"
    browser.click(f"{header} button")
    assert rows(browser, 0) != expected
    percents = [float(text.split()[0]) for text in rows(browser, 1)]
    assert percents == sorted(percents)
    assert browser.run(f"document.querySelector('{header}').ariaSort") == "ascending"
    browser.press("Enter")  # the button still has the focus
    percents = [float(text.split()[0]) for text in rows(browser, 1)]
    assert percents == sorted(percents, reverse=True)
    assert browser.run(f"document.querySelector('{header}').ariaSort") == "descending"
    browser.click("#leaderboard th:nth-child(1) button")
    assert rows(browser, 0) == sorted(expected)
    quiet(browser, path)


def test_a_point_of_the_map_shows_its_image(browser, page):
    path, document = page
    browser.open(path)
    browser.wait("document.querySelectorAll('#map-picture .mark').length === 240")
    browser.hover("#map-picture [data-point='17']")
    assert not browser.run("document.getElementById('tip').hidden")
    shown = document["images"][str(document["map"]["images"][17])]
    text = browser.run("document.getElementById('tip').textContent")
    # Points may lie on each other: then the upper one answers. It is one of that class's place.
    assert text.endswith(".png")
    if shown["key"] in text:
        assert text.startswith(document["data"]["classes"][shown["label"]])
    painted = browser.run(
        "(() => { const c = document.querySelector('#tip canvas');"
        "const d = c.getContext('2d').getImageData(0, 0, 64, 64).data;"
        "return new Set(d.filter((_, i) => i % 4 === 0)).size; })()"
    )
    assert painted > 50  # noise: many values, not one colour
    # By keyboard: an arrow goes to another image and tells it.
    browser.run("document.getElementById('map-picture').focus()")
    browser.press("ArrowRight")
    browser.press("ArrowDown")
    assert browser.run("document.querySelectorAll('#map-picture .at').length") == 1
    quiet(browser, path)


def test_a_cell_of_the_confusion_matrix_opens_its_images(browser, page):
    path, document = page
    browser.open(path)
    best = document["leaderboard"][0]
    confusion = best["confusion"]
    count, i, j = max((confusion[i][j], i, j) for i in range(6) for j in range(6) if i != j)
    assert count
    cell = f"#confusion button[data-true='{i}'][data-said='{j}']"
    classes = document["data"]["classes"]
    browser.hover(cell)
    words = f"{classes[i]} taken for {classes[j]}: {count} of {sum(confusion[i])}"
    assert words in browser.run("document.getElementById('tip').textContent")
    browser.click(cell)
    opened = browser.run(
        "[...document.querySelectorAll('#cell .key')].map(e => e.textContent).sort()"
    )
    assert opened == sorted(
        document["images"][str(row["image"])]["key"]
        for row in best["mistakes"]["rows"]
        if row["predicted"] == j and document["images"][str(row["image"])]["label"] == i
    )
    assert len(opened) == count
    browser.press("ArrowRight")
    moved = browser.run("document.activeElement.dataset.said")
    assert int(moved) == j + 1 if j < 5 else int(moved) == j
    quiet(browser, path)


def test_all_sections_follow_the_chosen_entry(browser, page):
    path, document = page
    browser.open(path)
    last = document["leaderboard"][-1]
    browser.click("#leaderboard tbody tr:last-child button")
    assert browser.run("document.querySelector('#mistakes select').value") == str(
        len(document["leaderboard"]) - 1
    )
    text = browser.run("document.querySelector('#mistakes').textContent")
    assert f"{last['mistakes']['total']} mistakes in 60" in text
    hardest = min(last["per_class"], key=lambda c: c["f1"] or 0)
    assert f"Hardest is {hardest['class']}" in browser.run(
        "document.querySelector('#classes').textContent"
    )
    leak = browser.run("document.querySelector('#duplicates .sets').textContent")
    assert "leak: in training and test" in leak
    assert "a/0.png" in leak
    assert "a/30.png" in leak
    quiet(browser, path)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
def test_it_fits_and_can_be_read(browser, page, width, dark):
    path, _ = page
    browser.open(path, width=width, dark=dark)
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    # Contrast of text on the page, on cards and in the tooltip, by WCAG's formula.
    contrasts = browser.run(
        """(() => {
          const rgb = (c) => c.match(/[\\d.]+/g).slice(0, 3).map(Number);
          const light = (c) => rgb(c).map((v) => v / 255)
            .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
          const back = (e) => { for (; e; e = e.parentElement) {
            const c = getComputedStyle(e).backgroundColor;
            if (!c.endsWith(', 0)') && c !== 'transparent') return c; }
            return 'rgb(255,255,255)'; };
          return ['h1', '.lead', '.soft', '.facts dd', 'nav a', '#leaderboard td', '.tag',
                  '.tag.warn', '.gallery .key', 'thead th', 'label', 'footer'].map((name) => {
            const e = document.querySelector(name);
            const [a, b] = [light(getComputedStyle(e).color), light(back(e))];
            return [name, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
          });
        })()"""
    )
    assert [pair for pair in contrasts if pair[1] < 4.5] == []
    scheme = browser.run("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, scheme[4:-1].split(",")))
    assert (brightness < 200) == dark
    quiet(browser, path)


def test_every_chart_has_its_words_and_its_table(browser, page):
    path, _ = page
    browser.open(path)
    assert browser.run("document.querySelectorAll('figure').length") == 3
    missing = browser.run(
        "[...document.querySelectorAll('figure')].filter(f => !f.querySelector('svg[role]')"
        ".getAttribute('aria-label') || !f.querySelector('details table tbody tr')).length"
    )
    assert missing == 0
    unnamed = browser.run(
        "[...document.querySelectorAll('button, select, a, canvas, [tabindex=\"0\"]')]"
        ".filter(e => !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length))"
        ".map(e => e.outerHTML.slice(0, 120))"
    )
    assert unnamed == []
    quiet(browser, path)


def test_evil_names_are_text(browser, blobs, tmp_path):
    keys = evil_keys(120)
    path = blobs("evil.h5", n=120, classes=EVIL_CLASSES, keys=keys, noise=3, backbone="<b>net</b>")
    compare([path], heads=("logreg",), map="pca").write_html(tmp_path / "evil.html")
    browser.open(tmp_path / "evil.html")
    assert browser.run("document.querySelectorAll('img, main b b, script').length") == 2
    assert browser.run("document.querySelector('h1').textContent").startswith("<b>net</b> with")
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    text = browser.run("document.body.innerText")
    assert "</script><img src=x onerror=alert(1)>" in text
    assert "\\u202etxet desrever" in text  # shown, not obeyed
    assert "\u202e" not in text
    quiet(browser, tmp_path / "evil.html")
