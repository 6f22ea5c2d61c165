"""The first minutes: a pipeline for the images that are there, and the demo."""

import json
import re
import shlex
import shutil
import tomllib
from datetime import datetime
from importlib import import_module

import click
import numpy as np
import pytest
from fakes import write_png

import bottleneck
from bottleneck.api.description import LayerOutput
from bottleneck.cli.main import COMMANDS, EXAMPLES
from bottleneck.errors import BottleneckError
from bottleneck.pipeline import load_pipeline

pytestmark = pytest.mark.usefixtures("fake_backbone")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def steps(path):
    return {step["name"]: step for step in tomllib.loads(path.read_text())["step"]}


def test_a_pipeline_for_classes_and_splits(cli, colours, tmp_path):
    begun = cli("init", colours, "--json").json
    assert begun["steps"] == ["features", "head", "judgement"]
    assert begun["found"]["splits"] == {"train": 45, "test": 15}
    made = steps(tmp_path / "pipeline.toml")
    assert made["features"]["sources"] == ["colours"]
    assert "holdout" not in made["head"]
    outcomes = cli("run", "pipeline.toml", "--json").json
    assert [one["action"] for one in outcomes] == ["ran"] * 3
    assert outcomes[2]["result"]["rows"] == 15
    assert outcomes[2]["result"]["accuracy"] == 1.0
    again = cli("run", "pipeline.toml", "--json").json
    assert [one["action"] for one in again] == ["skipped"] * 3


def test_without_a_test_split_a_part_is_held_out(cli, colours, tmp_path):
    shutil.move(colours / "train", tmp_path / "all")
    assert cli("init", "all").code == 0
    assert steps(tmp_path / "pipeline.toml")["head"]["holdout"] == 0.2
    outcomes = cli("run", "pipeline.toml", "--json").json
    assert 0 < outcomes[2]["result"]["rows"] < 45


def test_without_classes_features_are_all_there_is(cli, colours, tmp_path):
    shutil.move(colours / "train/red", tmp_path / "flat")
    assert cli("init", "flat", "--json").json["steps"] == ["features"]
    assert "no classes" in (tmp_path / "pipeline.toml").read_text()
    assert cli("run", "pipeline.toml").code == 0


def test_targets(cli, colours, tmp_path):
    paths = [path.relative_to(tmp_path) for path in sorted(colours.rglob("*.png"))]
    lines = ["path,price", *(f"{path},{number}" for number, path in enumerate(paths))]
    (tmp_path / "houses.csv").write_text("\n".join(lines))
    assert cli("init", "houses.csv", "--target", "price").code == 0
    head = steps(tmp_path / "pipeline.toml")["head"]
    assert (head["head"], head["targets"], head["holdout"]) == ("ridge", ["price"], 0.2)
    told = cli("run", "pipeline.toml")
    assert told.code == 0, told.err
    assert "judgement: ran (not made yet): R2 " in told.out


@pytest.mark.parametrize("name", ['say "cheese"', "back\\slash", "new\nline", "tab\t", "Fotos äöü"])
def test_any_name_of_a_folder(cli, tmp_path, name):
    write_png(tmp_path / name / "1.png", np.zeros((4, 4, 3)))
    assert cli("init", name, "-o", "elsewhere/p.toml").code == 0
    (step,) = load_pipeline(tmp_path / "elsewhere/p.toml")
    assert step.step.sources == (name,)


def test_what_was_said_of_labels_is_in_the_pipeline(cli, colours, tmp_path):
    assert cli("init", colours, "--label-from", "none", "--json").json["steps"] == ["features"]
    cli("init", colours, "--depth", "2", "-o", "deep.toml")
    assert steps(tmp_path / "deep.toml")["features"]["depth"] == 2
    cli("init", colours, "--label-from", "parent", "-o", "parent.toml")
    assert steps(tmp_path / "parent.toml")["features"]["label_from"] == "parent"
    assert cli("run", "parent.toml", "--json").json[2]["result"]["accuracy"] == 1.0


def test_a_pipeline_is_not_replaced(cli, colours, tmp_path):
    (tmp_path / "pipeline.toml").write_text("mine")
    refused = cli("init", colours)
    assert refused.code == 2
    assert "--overwrite" in refused.err
    assert (tmp_path / "pipeline.toml").read_text() == "mine"
    assert bottleneck.init(colours, overwrite=True).steps == ("features", "head", "judgement")


def test_the_demo_runs_and_runs_again(cli, tmp_path):
    outcomes = cli("demo", "--json").json
    assert [one["name"] for one in outcomes][:2] == ["features", "logreg"]
    assert outcomes[0]["result"]["ok"] == 1000
    assert (tmp_path / "bottleneck-demo/runs/quickstart/logreg.head").exists()
    assert {one["action"] for one in cli("demo", "--json").json} == {"skipped"}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_help_of_every_command_has_two_examples_that_parse(cli, name):
    shown = cli(name, "--help")
    examples = re.findall(r"^ +bottleneck (.*)$", shown.out.partition("Examples:")[2], re.M)
    assert examples == [*EXAMPLES[name]]
    assert len(examples) == 2
    for example in examples:
        words = shlex.split(example)
        assert words[0] == name
        command = import_module(f"bottleneck.cli.{name}").command
        command.make_context(name, words[1:])  # refuses what it does not know


def test_what_happens_is_logged_as_json_lines(cli, colours, tmp_path):
    log = tmp_path / "log.jsonl"
    assert cli("--log", log, "extract", colours, "-o", "x.h5", "-q").code == 0
    assert cli("--log", log, "train", "x.h5", "-o", "h", "-q").code == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    told = [(line["command"], line["event"]) for line in lines]
    assert [command for command, event in told if event == "started"] == ["extract", "train"]
    (begun,) = [line for line in lines if line["event"] == "begin"]
    assert begun["total"] == 60
    last = [line for line in lines if line["event"] == "advance"][-1]
    assert (last["finished"], last["failed"]) == (60, 0)
    assert all(datetime.fromisoformat(line["time"]).tzinfo for line in lines)
    refused = cli("--log", tmp_path, "train", "x.h5", "-o", "i")
    assert refused.code == 2
    assert "cannot write the log" in refused.err


def test_info_counts_images_per_class(cli, colours, tmp_path):
    cli("extract", colours, "-o", "x.h5", "-q")
    document = cli("info", "x.h5", "--json").json
    assert document["per_class"] == {"blue": 20, "green": 20, "red": 20}
    assert "blue (20), green (20), red (20)" in cli("info", "x.h5").out


@pytest.mark.parametrize(
    ("command", "option", "typed", "expected"),
    [
        ("extract", "backbone", "efficientnet_lite", {f"efficientnet_lite{i}" for i in range(3)}),
        ("train", "head", "ri", {"ridge"}),
        ("compare", "heads", "knn,log", {"knn,logreg"}),
    ],
)
def test_shells_complete_names(command, option, typed, expected):
    found = import_module(f"bottleneck.cli.{command}").command
    (parameter,) = [one for one in found.params if one.name == option]
    offered = parameter.shell_complete(click.Context(found), typed)
    assert expected <= {one.value for one in offered}
    assert all(one.value.startswith(typed) for one in offered)


def offered(command, option, typed, **params):
    found = import_module(f"bottleneck.cli.{command}").command
    (parameter,) = [one for one in found.params if one.name == option]
    context = click.Context(found)
    context.params.update(params)
    return [one.value for one in parameter.shell_complete(context, typed)]


def test_shells_complete_layers_of_the_backbone_that_was_typed(monkeypatch, tmp_path):
    asked = []

    def rows(name, *, layers):
        asked.append(name)
        if name == "nothing":
            raise BottleneckError("expected a backbone")
        return [LayerOutput(f"{name}_{part}", 8) for part in ("stem", "block1", "block2")]

    monkeypatch.setattr("bottleneck.api.backbones", rows)
    for _ in range(2):  # the second time from what was kept
        assert offered("extract", "layers", "resnet50_bl", backbone=("resnet50",)) == [
            "resnet50_block1",
            "resnet50_block2",
        ]
    assert asked == ["resnet50"]
    for _ in range(2):  # a file may change
        assert len(offered("extract", "layers", "", backbone=("onnx:x.onnx", "resnet50"))) == 3
    assert asked == ["resnet50", "onnx:x.onnx", "onnx:x.onnx"]
    assert offered("extract", "layers", "", backbone=("nothing",)) == []
    assert offered("extract", "layers", "") == []


def test_verbose_says_where_options_are_from_and_when_it_was(cli, colours, monkeypatch):
    monkeypatch.setenv("BOTTLENECK_EXTRACT_BATCH_SIZE", "16")
    plain = cli("extract", colours, "-o", "plain.h5")
    told = cli("extract", colours, "-o", "x.h5", "-v")
    assert told.code == 0
    assert "  batch_size = 16 (environment)" in told.err
    assert "  output = x.h5 (commandline)" in told.err
    assert "resize" not in told.err.partition("s: ")[0]
    assert re.search(r"^[\d.]+ s: 60 rows to do, 0 done before$", told.err, re.M)
    assert re.search(r"^[\d.]+ s: done, \d+ MB at most; .*forward [\d.]+ s", told.err, re.M)
    assert "(environment)" not in plain.err
    before = cli("-v", "train", "x.h5", "-o", "h", "--json")
    assert before.json["rows"] == 45
    assert "  as_json = True (commandline)" in before.err
