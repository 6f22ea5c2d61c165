"""What the functions return, as tables and in notebooks."""

import numpy as np
import pytest
from fakes import write_png
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import bottleneck
from bottleneck.errors import OptionError

pytestmark = pytest.mark.usefixtures("fake_backbone")


@pytest.fixture
def made(colours, tmp_path):
    bottleneck.extract(colours, tmp_path / "x.h5")
    bottleneck.train(tmp_path / "x.h5", output=tmp_path / "x.head")
    return tmp_path


def test_a_judgement_is_a_row_per_class(made):
    judged = bottleneck.evaluate(made / "x.head", made / "x.h5")
    table = judged.to_pandas()
    assert [*table["class"]] == ["blue", "green", "red"]
    assert [*table.support] == [5, 5, 5]
    for told, row in zip(judged.to_json()["per_class"], table.to_dict("records"), strict=True):
        assert told == row
    assert judged.to_polars().to_dicts() == judged.to_json()["per_class"]
    assert "accuracy</th>" in judged._repr_html_()
    assert "<td>green</td><td>1.000</td>" in judged._repr_html_()


def test_a_comparison_is_a_row_per_head(made):
    comparison = bottleneck.compare(made / "x.h5", heads="logreg,ridge")
    document = comparison.to_json()
    table = comparison.to_polars()
    assert table["rank"].to_list() == [1, 2]
    assert table["head"].to_list() == [line["head"] for line in document["leaderboard"]]
    assert table["accuracy"].to_list() == [line["accuracy"] for line in document["leaderboard"]]
    best = document["leaderboard"][0]
    assert table.row(0, named=True)["accuracy_low"] == best["intervals"]["accuracy"][0]
    assert table.row(0, named=True)["behind_best"] is None
    assert {name for name in table.columns if name.startswith("best_")} >= {
        f"best_{name}" for name in best["best"]
    }
    assert [*comparison.to_pandas().columns] == table.columns
    made_html = comparison._repr_html_()
    assert f"<td>{best['head']}</td>" in made_html
    assert "take" in made_html


def test_a_view_has_no_heads(made):
    view = bottleneck.view(made / "x.h5")
    assert len(view.to_pandas()) == 0
    assert "<b>View</b>" in view._repr_html_()
    assert "60 of 60" in view._repr_html_()


def test_a_head_says_what_was_tried(made):
    made_html = bottleneck.heads.load(made / "x.head")._repr_html_()
    assert "Head logreg" in made_html
    assert "3: blue, green, red" in made_html
    assert "C=0.01" in made_html


def test_a_prediction_is_a_row_per_image(made, colours):
    predicted = bottleneck.predict(made / "x.head", colours / "test")
    table = predicted.to_pandas()
    assert [*table["key"]] == [record["key"] for record in predicted.records]
    assert [*table["label"]] == [key.split("/")[0] for key in table["key"]]
    assert predicted.to_polars()["probability"].to_list() == [*table["probability"]]
    written = bottleneck.predict(made / "x.head", colours / "test", output=made / "out.csv")
    with pytest.raises(OptionError, match=r"its rows are in .*out\.csv"):
        written.to_pandas()


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_the_transformer_gives_tables(library, tmp_path, monkeypatch):
    build = bottleneck.extraction.run.build_embedder  # the fake one, of fake_backbone
    monkeypatch.setattr(
        "bottleneck.extraction.transformer.build_embedder",
        lambda **options: build(dtype="float32", **options),
    )
    paths = [tmp_path / f"{name}.png" for name in "ab"]
    for value, path in enumerate(paths):
        write_png(path, np.full((20, 20, 3), 100 * value))
    plain = bottleneck.FeatureExtractor()
    with pytest.raises(NotFittedError):
        plain.get_feature_names_out()
    expected = plain.fit_transform(paths)
    assert plain.get_feature_names_out().tolist() == ["avg_0", "avg_1", "avg_2"]
    table = bottleneck.FeatureExtractor().set_output(transform=library).fit_transform(paths)
    assert type(table).__module__.startswith(library)
    assert [*table.columns] == ["avg_0", "avg_1", "avg_2"]
    assert np.array_equal(table.to_numpy(), expected)
    whole = make_pipeline(bottleneck.FeatureExtractor(), StandardScaler())
    whole.set_output(transform=library).fit(paths)
    assert [*whole.transform(paths).columns] == ["avg_0", "avg_1", "avg_2"]
    assert whole.get_feature_names_out().tolist() == ["avg_0", "avg_1", "avg_2"]
