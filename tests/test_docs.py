"""The documentation is true: every option is in it, and what it tells people to type runs."""

import csv
import importlib.util
import re
import shlex
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import bottleneck
from bottleneck.cli.main import cli

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "docs/index.md",
    "docs/guide.md",
    "docs/compare.md",
    "docs/FORMAT.md",
    "docs/notebooks.md",
)

# What is not run here, and where it is run instead.
ELSEWHERE = {
    "make": "the targets themselves run these tests",
    "pip": "the set-up of these tests installs the package",
    "bottleneck doctor": "tests/cli/test_commands.py",
    "bottleneck run pipelines": "tests/cli/test_real.py",
    "bottleneck view photos.h5  ": "tests/comparison/test_view.py",  # it serves until Ctrl-C
}


def written_by(page):
    spec = importlib.util.spec_from_file_location("make_pages", ROOT / "docs/make_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pages()[page]


@pytest.mark.parametrize("page", ["commands.md", "reference.md"])
def test_every_command_option_and_function_is_in_the_docs(page):
    assert (ROOT / "docs" / page).read_text() == written_by(page), "run python docs/make_pages.py"


def test_every_command_is_in_the_readme():
    named = set(re.findall(r"`bottleneck (\w+)", (ROOT / "README.md").read_text()))
    assert {*cli.list_commands(None)} <= named


def test_every_page_of_the_docs_is_in_the_contents():
    contents = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert f": {page.relative_to(ROOT / 'docs').as_posix()}" in contents


def blocks(page):
    """Give the language and the text of each block of code."""
    for found in re.finditer(r"^```(\w+)\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S):
        yield found.groups()


def lines_of_recipes():
    text = (ROOT / "docs/recipes.md").read_text()
    return re.findall(r"`bottleneck ([a-z]+ [^`\n]*)`", text)


@pytest.mark.parametrize("line", lines_of_recipes())
def test_a_recipe_is_a_line_that_parses(line):
    name, *words = shlex.split(line)
    command = cli.get_command(None, name)
    command.make_context(name, words)  # refuses what it does not know


def test_there_is_a_recipe_for_nearly_every_command():
    used = {line.split()[0] for line in lines_of_recipes()}
    assert {*cli.list_commands(None)} - used <= {"demo", "doctor", "info", "backbones", *EVALUATES}


EVALUATES = {"evaluate", "tag"}
"""What ``train`` does as well, and what no head is needed for."""


def test_links_between_files_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Make a folder that holds what the examples take for given."""
    folder = tmp_path_factory.mktemp("docs")
    for split, per_class in (("train", 12), ("test", 6)):
        for kind in sorted((ROOT / "data/sample" / split).iterdir()):
            copies = folder / "photos" / split / kind.name
            copies.mkdir(parents=True)
            for file in sorted(kind.iterdir())[:per_class]:
                shutil.copy(file, copies)
    tests = sorted((folder / "photos/test").rglob("*.*"))
    for name in ("new_photos", "new"):
        (folder / name).mkdir()
        for file in tests[::10]:
            shutil.copy(file, folder / name / f"{file.parent.name}_{file.name}")
    shutil.copytree(folder / "photos", folder / "photos_now")
    Image.effect_noise((40, 30), 60).save(folder / "photos_now/test/bag/new.png")
    for name in ("a.jpg", "b.jpg", "new.jpg"):
        Image.open(tests[1]).convert("RGB").save(folder / name)
    with open(folder / "houses.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "price", "tags"])
        for number, path in enumerate(sorted((folder / "photos/train").rglob("*.*"))):
            tags = [tag for tag, every in (("garden", 2), ("garage", 3)) if number % every == 0]
            table.writerow([path.relative_to(folder), 1000 + 7 * number, "|".join(tags) or "|"])

    (folder / "fixes.csv").write_text("path,label\ntest/bag/00053.png,coat\n")
    photos = folder / "photos"
    lite = [f"efficientnet_lite{number}" for number in range(3)]
    bottleneck.extract_many(photos, folder / "{backbone}.h5", backbone=lite)
    for file in folder.glob("efficientnet_*.h5*"):
        file.rename(file.with_name(file.name.removeprefix("efficientnet_")))
    bottleneck.extract(photos, folder / "layers.h5", layers=["top_bn", "top_activation"])
    for name in ("a", "b", "photos"):
        bottleneck.extract(photos, folder / f"{name}.h5", limit=100)
    for name, split in (("c", "train"), ("d", "test")):
        bottleneck.extract(photos / split, folder / f"{name}.h5")
    shutil.copy(folder / "lite0.h5", folder / "broken.h5")

    rows = np.arange(10)
    features = np.ones((10, 4), np.float32)
    with h5py.File(folder / "slides.h5", "w") as file:
        file["feats"], file["y"] = features, rows % 2
        file["names"] = [f"{row}.png" for row in rows]
    np.save(folder / "x.npy", features)
    lines = ["path,label", *(f"{row}.png,{'ab'[row % 2]}" for row in rows)]
    (folder / "x.csv").write_text("\n".join(lines))
    for part in ("img_emb", "metadata"):
        (folder / "clip_output" / part).mkdir(parents=True)
    np.save(folder / "clip_output/img_emb/img_emb_0.npy", features.astype(np.float16))
    table = {"image_path": [f"{row}.png" for row in rows], "kind": ["a", "b"] * 5}
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is missing")
    parquet.write_table(
        sys.modules["pyarrow"].table(table), folder / "clip_output/metadata/metadata_0.parquet"
    )
    return folder


def run(line):
    """Run a command line in this process: each would load its framework anew."""
    words = shlex.split(line.partition(" > ")[0], comments=True)
    if line.startswith(tuple(ELSEWHERE)):
        return
    assert words[0] == "bottleneck", line
    assert not cli.main(words[1:], prog_name="bottleneck", standalone_mode=False), line


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_tells_to_type_runs(page, prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(prepared, tmp_path / "here"))
    names = {}
    for language, text in blocks(page):
        if language == "python":
            exec(compile(text, page, "exec"), names)
        elif language == "console":
            for line in text.splitlines():
                if line.startswith("$ "):
                    with monkeypatch.context() as weights:
                        if "resnet50" in line:  # they would be downloaded
                            weights.setenv("BOTTLENECK_EXTRACT_WEIGHTS", "none")
                            weights.setenv("BOTTLENECK_RACE_WEIGHTS", "resnet50=none")
                        run(line[2:])
