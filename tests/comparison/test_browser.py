"""The page in a real browser: drawn, sorted, hovered, opened; no errors, no requests."""

import csv
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from blobs import write_blobs, write_pictures
from browser import Browser, find_chromium
from evil import EVIL_CLASSES, evil_keys

from bottleneck import compare, relabel, train
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


def show(browser, number, text):
    """Choose an entry of a menu over the images."""
    browser.run(
        f"(() => {{ const s = document.querySelectorAll('#image-filters select')[{number}];"
        f"s.value = [...s.options].find(o => o.textContent.startsWith('{text}')).value;"
        "s.dispatchEvent(new Event('change')); })()"
    )


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


def place_of_point(browser, number):
    """Scroll the map into view and return where a point of it is in the window."""
    browser.place_of("#map-picture")
    return browser.run(
        "(() => { const c = document.getElementById('map-picture'), b = c.getBoundingClientRect();"
        f"const [x, y] = c.placeOf({number}); return [b.x + x, b.y + y]; }})()"
    )


def test_a_point_of_the_map_shows_its_image(browser, page):
    path, document = page
    browser.open(path)
    browser.wait("document.getElementById('map-picture').placeOf(239)[0] > 0")
    browser.move_to(*place_of_point(browser, 17))
    assert not browser.run("document.getElementById('tip').hidden")
    key = document["map"]["images"][17]
    text = browser.run("document.getElementById('tip').textContent")
    # Points may lie on each other: then another one answers. It is one of that class's place.
    assert text.endswith(".png")
    if key in text:
        assert text.startswith(document["images"][key]["label"])
    painted = browser.run(
        "(() => { const c = document.querySelector('#tip canvas');"
        "const d = c.getContext('2d').getImageData(0, 0, 64, 64).data;"
        "return new Set(d.filter((_, i) => i % 4 === 0)).size; })()"
    )
    assert painted > 50  # noise: many values, not one colour
    # By keyboard: an arrow goes to another image and tells it, Space chooses it.
    browser.run("document.getElementById('map-picture').focus()")
    browser.press("ArrowRight")
    first = browser.run("document.getElementById('tip').textContent")
    browser.press("ArrowDown")
    assert browser.run("document.getElementById('tip').textContent") != first
    browser.press(" ")
    assert "1 image chosen" in browser.run("document.getElementById('selection').textContent")
    browser.press("Escape")
    assert browser.run("document.getElementById('selection').textContent") == ""
    browser.press("Enter")
    assert browser.run("document.getElementById('viewer').open")
    browser.press("Escape")
    assert not browser.run("document.getElementById('viewer').open")
    assert browser.console == []


def downloaded(browser, folder, name):
    """Wait for a file, and read it."""
    for _ in range(500):
        if (folder / name).exists():
            return (folder / name).read_text()
        time.sleep(0.02)
    raise AssertionError(f"no {name} in {[*folder.iterdir()]}")


def test_a_box_and_a_lasso_choose_images_to_see_and_to_export(browser, page, tmp_path):
    path, document = page
    browser.open(path)
    browser.downloads_to(tmp_path)
    browser.wait("document.getElementById('map-picture').placeOf(239)[0] > 0")
    where = [place_of_point(browser, i) for i in range(240)]
    low = [min(p[i] for p in where) for i in (0, 1)]
    high = [max(p[i] for p in where) for i in (0, 1)]
    middle = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
    keys = document["map"]["images"]

    def chosen():
        return browser.run("document.querySelector('#selection h3').textContent")

    browser.click("[data-tool=box]")
    place_of_point(browser, 0)
    browser.drag([[low[0] - 3, low[1] - 3], [middle[0], middle[1]], [middle[0], high[1] + 3]])
    left = {keys[i] for i, (x, _) in enumerate(where) if x <= middle[0]}
    assert chosen() == f"{len(left)} images chosen"
    browser.click("#export-list")
    rows = list(csv.reader(downloaded(browser, tmp_path, "selection.csv").splitlines()))
    assert rows[0] == ["path", "label", "split"]
    assert {row[0] for row in rows[1:]} == left
    assert all(row[1:] == [*document["images"][row[0]].values()] for row in rows[1:])
    # A triangle over the upper left corner.
    browser.click("[data-tool=lasso]")
    place_of_point(browser, 0)
    corners = [[low[0] - 5, low[1] - 5], [high[0], low[1] - 5], [low[0] - 5, high[1]]]
    browser.drag([corners[0], corners[1], corners[2], corners[0]])
    (ax, ay), (bx, by), (cx, cy) = corners

    def inside(x, y):
        sides = [
            (qx - px) * (y - py) - (qy - py) * (x - px)
            for (px, py), (qx, qy) in (
                ((ax, ay), (bx, by)), ((bx, by), (cx, cy)), ((cx, cy), (ax, ay)),
            )
        ]  # fmt: skip
        return all(side > 0 for side in sides) or all(side < 0 for side in sides)

    count = sum(inside(x, y) for x, y in where)
    assert 0 < count < 240
    assert chosen() == f"{count} images chosen"
    browser.click("#similar")
    assert "Images like these" in browser.run("document.getElementById('selection').textContent")
    listed = browser.run("document.querySelectorAll('#selection .gallery')[1].children.length")
    assert listed == 12
    # By key.
    browser.run("document.getElementById('search-map').focus()")
    browser.type("a/12")
    browser.press("Enter")
    found = [key for key in keys if "a/12" in key]
    assert chosen() == f"{len(found)} images chosen"
    quiet(browser, path)


def test_marked_images_are_exported_relabelled_and_trained_on_again(browser, page, tmp_path):
    path, document = page
    browser.open(path)
    browser.downloads_to(tmp_path)
    browser.run("localStorage.clear()")
    browser.open(path)
    show(browser, 0, "mistakes")
    card = "#found-images .gallery li:nth-child({})"
    keys = browser.run(
        "[...document.querySelectorAll('#found-images .key')].slice(0, 4).map(e => e.textContent)"
    )
    mistakes = document["leaderboard"][0]["mistakes"]["rows"]
    assert keys == [row["image"] for row in mistakes[:4]]
    for number in (1, 2, 3):
        browser.click(f"{card.format(number)} [data-verdict=wrong]")
    browser.run(f"document.querySelector('{card.format(4)} .marking input').focus()")
    browser.type("gnu, the")
    browser.press("Enter")
    assert "4 images marked: 3 wrong, 1 with another label, 0 fine" in browser.run(
        "document.getElementById('marks').textContent"
    )
    browser.open(path)  # nothing is lost with the window
    show(browser, 0, "mistakes")
    pressed = "document.querySelectorAll('#found-images [aria-pressed=true]').length"
    assert browser.run(pressed) == 3
    browser.downloads_to(tmp_path)
    browser.click("#export-corrections")
    text = downloaded(browser, tmp_path, "corrections.csv")
    rows = {row["path"]: row for row in csv.DictReader(text.splitlines())}
    assert set(rows) == set(keys)
    assert [rows[key]["label"] for key in keys] == ["", "", "", "gnu, the"]
    assert [rows[key]["was"] for key in keys] == [document["images"][key]["label"] for key in keys]
    store = Path(document["features"][0]["file"])
    relabelled = relabel(store, tmp_path / "corrections.csv", tmp_path / "new.h5")
    assert (relabelled.changed, relabelled.new_classes) == (4, ("gnu, the",))
    before = train(store, tmp_path / "before.head", head="ridge").to_json()
    after = train(tmp_path / "new.h5", tmp_path / "after.head", head="ridge").to_json()
    learnt = [key for key in keys[:3] if document["images"][key]["split"] == "train"]
    assert after["rows"] == before["rows"] - len(learnt)
    assert after["left_out"]["unlabelled"] == len(learnt)
    left_out = train(store, tmp_path / "x.head", head="ridge", exclude=tmp_path / "corrections.csv")
    doubted = [key for key in keys if document["images"][key]["split"] == "train"]
    assert left_out.to_json()["rows"] == before["rows"] - len(doubted)
    browser.run("window.confirm = () => true")
    browser.click("#marks button:nth-of-type(2)")
    assert browser.run("document.getElementById('marks').hidden")
    quiet(browser, path)


def test_a_picture_is_enlarged_from_its_file(browser, page):
    path, _ = page
    browser.open(path)
    show(browser, 0, "mistakes")
    first = "#found-images .gallery li:first-child"
    key = browser.run(f"document.querySelector('{first} .key').textContent")
    browser.click(f"{first} .thumb")
    file = path.parent / "pictures" / key
    browser.wait("document.querySelector('.large img')?.src.startsWith('file:')")
    size = browser.run(
        "(() => { const i = document.querySelector('.large img'), b = i.getBoundingClientRect();"
        "return [i.naturalWidth, i.naturalHeight, b.width, i.src]; })()"
    )
    assert size[:2] == [30, 20]  # the file's own pixels, not the page's
    assert size[2] >= 320
    assert size[3] == file.as_uri()
    link = "document.querySelector('#viewer a[target=_blank]').href"
    assert browser.run(link) == file.as_uri()
    browser.press("ArrowRight")
    second = browser.run("document.querySelector('#viewer .key').textContent")
    assert second == browser.run(
        "document.querySelectorAll('#found-images .key')[1].textContent"
    )  # fmt: skip
    assert len(browser.run("document.querySelector('#viewer .strip').textContent")) > 0
    browser.press("Escape")
    assert not browser.run("document.getElementById('viewer').open")
    assert browser.console == []
    assert all(one.startswith("file:") for one in browser.requests)


def test_the_picture_of_the_page_stands_in_where_the_file_is_gone(browser, page, tmp_path):
    path, _ = page
    text = path.read_text().replace(str(path.parent / "pictures"), "/no/such/folder")
    (tmp_path / "sent.html").write_text(text)
    browser.open(tmp_path / "sent.html")
    browser.click("#found-images .gallery li:first-child .thumb")
    browser.wait("document.querySelector('.large img')?.naturalWidth === 320")
    assert browser.run("document.querySelector('.large img').src.startsWith('data:image/webp')")


def test_images_are_filtered_by_flag_class_split_and_key(browser, page):
    path, document = page
    browser.open(path)

    def keys():
        while not browser.run(
            "(() => { const b = document.querySelector('#found-images > div > button');"
            "if (!b || b.hidden) return true; b.click(); return false; })()"
        ):
            pass
        return browser.run(
            "[...document.querySelectorAll('#found-images .key')].map(e => e.textContent)"
        )

    doubts = document["label_errors"]["rows"]
    assert keys() == [row["image"] for row in doubts if row["likely"]]
    show(browser, 0, "doubtful labels")
    assert keys() == [row["image"] for row in doubts if not row["likely"]]
    show(browser, 0, "mistakes")
    assert keys() == [row["image"] for row in document["leaderboard"][0]["mistakes"]["rows"]]
    show(browser, 0, "leaks")
    assert keys() == [row["image"] for row in document["duplicates"]["leaked"]]
    show(browser, 0, "all images")
    show(browser, 1, "cat")
    show(browser, 2, "test")
    expected = {
        key
        for key, one in document["images"].items()
        if (one["label"], one["split"]) == ("cat", "test")
    }
    assert set(keys()) == expected
    browser.run("document.getElementById('search-key').focus()")
    browser.type("8")
    assert set(keys()) == {key for key in expected if "8" in key}
    quiet(browser, path)


def test_every_control_is_reached_by_keyboard(browser, page):
    path, _ = page
    browser.open(path)
    browser.run("document.querySelector('#found-images [data-verdict=wrong]').click()")
    wanted = browser.run(
        """(() => {
          const kinds = 'a[href], button, select, input, summary, [tabindex="0"]';
          window.controls = [...document.querySelectorAll(kinds)]
            .filter(e => e.getClientRects().length && !e.disabled && e.tabIndex >= 0
              && getComputedStyle(e).visibility !== 'hidden' && !e.closest('dialog')
              && (e.tagName === 'SUMMARY' || !e.closest('details:not([open])')));
          window.reached = new Set();
          document.addEventListener('focusin', (e) => window.reached.add(e.target));
          document.body.focus();
          return window.controls.length;
        })()"""
    )
    assert wanted > 100
    for _ in range(wanted + 20):
        browser.press("Tab")
    missed = browser.run(
        "window.controls.filter(e => !window.reached.has(e)).map(e => e.outerHTML.slice(0, 90))"
    )
    assert missed == []
    browser.run("document.querySelector('#found-images [data-verdict=fine]').focus()")
    browser.press("Enter")
    assert browser.run("document.activeElement.getAttribute('aria-pressed')") == "true"
    browser.press(" ")
    assert browser.run("document.activeElement.getAttribute('aria-pressed')") == "false"
    quiet(browser, path)


def test_a_wide_table_says_that_there_is_more(browser, page):
    path, _ = page
    browser.open(path, width=390)
    cue = "document.querySelector('#board .cue').textContent"
    assert browser.run(cue).startswith("scroll for ")
    browser.run("(() => { const b = document.querySelector('#board .scroll');"
                "b.scrollLeft = b.scrollWidth; })()")  # fmt: skip
    browser.wait(f"{cue} === ''")
    quiet(browser, path)


def test_costs_are_drawn_from_zero(browser, page):
    path, document = page
    browser.open(path)
    ticks = "[...document.querySelectorAll('#pareto-figure svg text')].map(e => e.textContent)"
    assert "0" in browser.run(ticks)
    places = browser.run(
        "[...document.querySelectorAll('#pareto-figure svg .mark')].map(e => {"
        "const b = e.getBoundingClientRect(); return b.x + b.width / 2; })"
    )
    # 5 and 25 ms: from zero, the second is five times as far from the axis.
    axis = browser.run(
        "(() => { const b = document.querySelector('#pareto-figure svg .axis')"
        ".getBoundingClientRect(); return b.x; })()"
    )
    milliseconds = [e["costs"]["milliseconds_per_image"] for e in document["leaderboard"]]
    ratio = (max(places) - axis) / (min(places) - axis)
    assert ratio == pytest.approx(max(milliseconds) / min(milliseconds), rel=0.25)
    browser.click("#log-cost")
    assert "0" not in browser.run(ticks)
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
        row["image"]
        for row in best["mistakes"]["rows"]
        if row["predicted"] == classes[j]
        and document["images"][row["image"]]["label"] == classes[i]
    )
    assert len(opened) == count
    seen = browser.run(
        "(() => { const b = document.getElementById('cell').getBoundingClientRect();"
        "return b.top >= 0 && b.bottom <= innerHeight + 1 && b.height > 60; })()"
    )
    assert seen
    browser.press("ArrowRight")
    moved = browser.run("document.activeElement.dataset.said")
    assert int(moved) == j + 1 if j < 5 else int(moved) == j
    quiet(browser, path)


def test_all_sections_follow_the_chosen_entry(browser, page):
    path, document = page
    browser.open(path)
    last = document["leaderboard"][-1]
    browser.click("#leaderboard tbody tr:last-child button")
    assert browser.run("document.querySelector('#images select').value") == str(
        len(document["leaderboard"]) - 1
    )
    show(browser, 0, "mistakes")
    text = browser.run("document.querySelector('#images [role=status]').textContent")
    total = last["mistakes"]["total"]
    name = document["features"][last["features"]]["name"]
    assert text.startswith(f"{total} of {total}: mistakes of {name} + {last['head']} in 60 judged")
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
                  '.tag.warn', '.gallery .key', 'thead th', 'label', 'footer', '.mark-button',
                  '.command code', '.cue', '.button'].map((name) => {
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
    assert browser.run("document.querySelector('h1').textContent").startswith(
        "Take <b>net</b> with"
    )
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    text = browser.run("document.body.innerText")
    assert "</script><img src=x onerror=alert(1)>" in text
    assert "\\u202etxet desrever" in text  # shown, not obeyed
    assert "\u202e" not in text
    quiet(browser, tmp_path / "evil.html")
