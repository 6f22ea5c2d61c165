"""The example notebook runs, in a kernel of its own, and is committed without what came out."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_what_came_out_is_not_committed(path):
    for cell in json.loads(path.read_text())["cells"]:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
        assert {*cell["metadata"]} <= {"tags"}


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Run the notebook, and give the outputs of each cell of code by its first line."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    folder = tmp_path_factory.mktemp("clone")
    (folder / "data").symlink_to(ROOT / "data")
    notebook = nbformat.read(ROOT / "examples/first_steps.ipynb", as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        nbclient.NotebookClient(notebook, timeout=240, resources=resources).execute()
    return {
        cell.source.partition("\n")[0]: cell.outputs
        for cell in notebook.cells
        if cell.cell_type == "code"
    }


def html(outputs):
    return "".join(one.data.get("text/html", "") for one in outputs if "data" in one)


def text(outputs):
    return "".join(one.text for one in outputs if one.output_type == "stream")


def cell(shown, start):
    (found,) = [outputs for line, outputs in shown.items() if line.startswith(start)]
    return found


def test_progress_is_a_line_of_text(shown):
    told = text(cell(shown, "bottleneck.extract("))
    assert "1000 images to do" in told
    assert re.search(r"\r1000/1000 images, [\d.]+/s", told)


def test_stores_heads_judgements_and_comparisons_are_shown(shown):
    assert "1000: 1000 done" in html(cell(shown, "store = "))
    assert "<td>bag</td><td>100</td>" in html(cell(shown, "store = "))
    assert "Head logreg" in html(cell(shown, "trained = "))
    judged = html(cell(shown, "judged = "))
    assert float(re.search(r"accuracy</th><td[^>]*>([\d.]+)", judged)[1]) > 0.6
    comparison = html(cell(shown, "heads = "))
    assert "<td>ridge</td>" in comparison
    assert "<td>logreg</td>" in comparison


def test_tables(shown):
    for start, column in (
        ("store.to_pandas()", "avg_3"),
        ("judged.to_pandas()", "recall"),
        ("comparison.to_polars()", "accuracy_low"),
        ("paths = ", "avg_3"),
    ):
        assert column in html(cell(shown, start))
    assert "(64, 1280) float32 [" in text(cell(shown, "for features, labels"))
