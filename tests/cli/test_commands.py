"""Every command, end to end in this process, with the NumPy backbone."""

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from fakes import write_png

from bottleneck.cli.main import COMMANDS
from bottleneck.store import FeatureStore, writer_lock

pytestmark = pytest.mark.usefixtures("fake_backbone")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["extract", "nowhere", "-o", "x.h5"], 1, "nowhere, which does not exist"),
        (["extract", ".", "-o", "x.h5"], 1, "expected images below ., found none"),
        (["extract", ".", "-o", "x.h5", "-b", "resnet5"], 2, "resnet50"),
        (["extract", ".", "-o", "x.h5", "--pool", "median"], 2, "'avg', 'max'"),
        (["extract", ".", "-o", "x.h5", "--batch-size", "0"], 2, "batch_size to be at least 1"),
        (["extract", "."], 2, "--output"),
        (["train", "none.h5", "-o", "h"], 1, "there is no file none.h5"),
        (["train", "none.h5", "-o", "h", "--C", "a:b"], 2, "a:b"),
        (["evaluate", "none", "none.h5"], 1, "none"),
        (["predict", "none", "."], 1, "none"),
        (["run", "none.toml"], 1, "cannot read none.toml"),
        (["info", "none.h5"], 1, "there is no file none.h5"),
        (["backbones", "resnet5x"], 2, "resnet50"),
        (["conquer"], 2, "No such command"),
    ],
)
def test_errors_are_a_message_and_an_exit_code(cli, tmp_path, monkeypatch, arguments, code, says):
    monkeypatch.chdir(tmp_path)
    result = cli(*arguments)
    assert result.code == code
    assert says in result.err
    assert "Traceback" not in result.err
    assert result.out == ""
    assert list(tmp_path.glob("*.h5")) == []


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("info", "FILE"),
        ("verify", "FILE"),
        ("evaluate", "HEAD"),
        ("view", "FEATURES.h5"),
        ("neighbors", "FEATURES.h5"),
        ("run", "PIPELINE.toml"),
        ("seal", "PHOTOS.set"),
        ("edit", "BACKBONE"),
        ("serve", "MODEL"),
        ("compare", "A.h5 B.h5 ..."),
    ],
)
def test_a_missing_argument_is_named_as_the_help_names_it(cli, command, wanted):
    result = cli(command)
    assert result.code == 2
    assert f"Missing argument '{wanted}'" in result.err
    assert f"bottleneck {command} --help" in result.err
    assert result.out == ""


def test_debug_shows_the_traceback(cli):
    result = cli("--debug", "info", "none.h5")
    assert "Traceback" in result.err
    assert "error: there is no file none.h5" in result.err


def test_predict_writes_a_row_per_image_in_order(cli, head, colours, tmp_path):
    (colours / "test/blue/4.png").write_bytes(b"")
    result = cli("predict", head, colours / "test")
    rows = list(csv.DictReader(io.StringIO(result.out)))
    assert [row["key"] for row in rows[:6]] == [
        *(f"blue/{i}.png" for i in (0, 4, 8, 12, 16)),
        "green/0.png",
    ]
    assert (rows[1]["label"], rows[1]["probability"]) == ("", "")
    assert rows[1]["error"].startswith("empty")
    good = [row for row in rows if not row["error"]]
    assert len(good) == 14
    assert all(row["label"] == row["key"].split("/")[0] for row in good)
    assert all(1 / 3 < float(row["probability"]) <= 1 for row in good)
    assert result.code == 0


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
def test_predict_formats_agree(cli, head, colours, tmp_path, kind):
    file = tmp_path / f"rows.{kind}"
    assert cli("predict", head, colours / "test", "-o", file, "-q").out == ""
    text = file.read_text()
    rows = {
        "csv": lambda: list(csv.DictReader(io.StringIO(text))),
        "jsonl": lambda: [json.loads(line) for line in text.splitlines()],
        "json": lambda: json.loads(text),
    }[kind]()
    assert [row["label"] for row in rows] == ["blue"] * 5 + ["green"] * 5 + ["red"] * 5
    assert [*rows[0]] == ["key", "label", "probability", "error"]
    printed = cli("predict", head, colours / "test", "--format", kind).out
    assert printed == text
    assert list(tmp_path.glob("*.part")) == []


def test_predict_takes_single_files_and_says_when_too_many_fail(cli, head, colours, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"x")
    good = colours / "test/red/0.png"
    result = cli("predict", head, good, bad, "--json")
    assert result.code == 3
    assert [(row["key"], row["label"]) for row in result.json] == [
        (str(good), "red"),
        (str(bad), None),
    ]
    assert cli("predict", head, good, bad, "--json", "--max-failed", "1").code == 0


def test_info_tells_features_and_heads(cli, features, head):
    store = cli("info", features, "--json").json
    assert store["status"] == {"done": 60}
    assert store["outputs"] == {"avg": 3}
    assert store["splits"] == {"train": 45, "test": 15}
    assert store["recipe"]["identity"]["backbone"] == "fake"
    assert store["recipe"]["execution"]["dtype"] == "float32"
    about = cli("info", head, "--json").json
    assert about["classes"] == ["blue", "green", "red"]
    assert about["recipe"]["identity"] == store["recipe"]["identity"]
    assert "rows      60: 60 done" in cli("info", features).out
    assert "head logreg" in cli("info", head).out


def test_backbones_lists_the_catalogue(cli):
    rows = {row["name"]: row for row in cli("backbones", "--json").json}
    assert rows["resnet50"] | {"weights": ""} == {
        "name": "resnet50",
        "takes": "image",
        "input_size": 224,
        "dim": 2048,
        "params": 23587712,
        "preprocess": "caffe",
        "weights": "",
        "provider": "keras_applications",
        "license": None,
    }
    assert rows["efficientnet_lite0"]["weights"] == "bundled"
    crnn = rows["music_tagger_crnn"]
    assert (crnn["takes"], crnn["input_size"], crnn["dim"]) == ("sound", [96, 1366], 32)
    assert [row["name"] for row in cli("backbones", "MobileNetV2", "--json").json] == [
        "mobilenet_v2"
    ]
    assert "efficientnet_lite0 (default)" in cli("backbones").out


def test_backbones_are_searched_and_filtered(cli):
    def names(*arguments):
        return [row["name"] for row in cli("backbones", *arguments, "--json").json]

    assert names("resnet", "v2") == [
        *("inception_resnet_v2", "resnet101_v2", "resnet152_v2", "resnet50_v2"),
        *("slim_resnet_v2_101", "slim_resnet_v2_152", "slim_resnet_v2_50"),
    ]
    assert names("--provider", "early_keras") == ["inception_v3_v02", "resnet50_v02"]
    lite = ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
    assert names("--provider", "lite") == lite
    assert names("--license", "apache") == lite
    assert names("--max-params", "1.6M") == [
        *("mobilenet_v3_small", "music_tagger_crnn", "musicnn_vgg")
    ]
    assert names("mobilenet", "--max-params", "2257984") == [
        *("mobilenet_v2", "mobilenet_v3_small", "slim_mobilenet_v2")
    ]
    assert cli("backbones", "--max-params", "many").code == 2
    assert "nearest" in cli("backbones", "resnet5x").err.lower()


def test_backbones_lists_what_can_be_taken_of_a_file(cli, tmp_path):
    import onnx_files

    file = onnx_files.transformer(tmp_path / "t.onnx")
    rows = cli("backbones", f"onnx:{file}", "--layers", "--json").json
    assert {"layer": "patches", "height": 4, "width": 4, "channels": 6} in rows
    assert {"layer": "/block/tokens", "tokens": 19, "channels": 6} in rows
    assert "tokens" in cli("backbones", f"onnx:{file}", "--layers").out


def test_backbones_lists_layers_with_their_shapes(cli):
    rows = cli("backbones", "MobileNetV3Small", "--layers", "--size", "64", "--json").json
    assert {"layer": "activation_17", "height": 2, "width": 2, "channels": 576} in rows
    assert "expanded_conv_3_project_bn" in {row["layer"] for row in rows}
    assert cli("backbones", "--layers").code == 2


def test_options_can_come_from_the_environment(cli, colours, tmp_path, monkeypatch):
    monkeypatch.setenv("BOTTLENECK_EXTRACT_SIZE", "24")
    result = cli("extract", colours, "-o", tmp_path / "f.h5", "-q")
    assert result.code == 0
    assert FeatureStore.open(tmp_path / "f.h5").recipe.identity["image"]["size"] == 24


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_everywhere_and_every_option_explained(cli, command):
    result = cli(*filter(None, [command]), "-h")
    assert result.code == 0
    assert result.out.startswith("Usage:")
    if command:
        from importlib import import_module

        for parameter in import_module(f"bottleneck.cli.{command}").command.params:
            if parameter.param_type_name == "option":
                assert parameter.help, f"{command} {parameter.name}"
    else:
        for name in COMMANDS:
            assert f"  {name}" in result.out


def test_version(cli):
    import bottleneck

    assert cli("--version").out == f"bottleneck, version {bottleneck.__version__}\n"


def test_outputs_never_replace_inputs_or_other_kinds(cli, features, head, colours, tmp_path):
    table = tmp_path / "images.csv"
    table.write_text("path,label\ncolours/train/red/1.png,red\n")
    image = colours / "test/red/0.png"
    kept = {path: path.read_bytes() for path in (features, head, table, image)}
    attempts = [
        ("train", features, "-o", features),
        ("predict", head, image, "-o", image),
        ("predict", head, image, "-o", features),
        ("predict", head, image, "-o", head),
        ("evaluate", head, features, "-o", features),
        ("evaluate", head, features, "-o", head),
        ("extract", table, "-o", table, "--overwrite"),
        ("extract", colours, "-o", head, "--overwrite"),
        ("extract", colours, "-o", image),
        ("train", features, "-o", table),
        ("train", features, "-o", tmp_path),
        ("predict", head, image, "-o", tmp_path),
        ("evaluate", head, features, "-o", tmp_path),
        ("extract", colours, "-o", tmp_path),
    ]
    for arguments in attempts:
        result = cli(*arguments)
        assert result.code == 2, arguments
        assert "Traceback" not in result.err
        assert "output" in result.err
    assert {path: path.read_bytes() for path in kept} == kept


def test_names_that_are_no_text_are_shown_and_predicted(cli, head, colours, tmp_path):
    folder = tmp_path / "odd"
    write_png(folder / "x.png", np.full((5, 5, 3), 9))
    (folder / "x.png").rename(os.fsdecode(os.fsencode(folder) + b"/caf\xe9\n.png"))
    rows = cli("predict", head, folder, "--json").json
    assert rows[0]["key"] == "caf\\xe9\n.png"
    result = cli("extract", folder, "-o", tmp_path / "odd.h5", "-q")
    assert result.code == 0


def test_terminal_codes_in_class_names_are_harmless(cli, tmp_path):
    for name in ("red\x1b[31m", "line\nbreak"):
        for i in range(4):
            write_png(tmp_path / "set" / name / f"{i}.png", np.full((5, 5, 3), len(name) * i))
    told = cli("extract", tmp_path / "set", "-o", tmp_path / "f.h5").err
    assert "line\\nbreak" in told
    assert "red\\x1b[31m" in told
    assert "\x1b" not in cli("info", tmp_path / "no\x1b[31m.h5").err  # an error
    out = cli("info", tmp_path / "f.h5").out
    assert "red\\x1b[31m" in out
    assert "line\\nbreak" in out


def test_class_names_that_are_no_text_are_written_as_keys_are(cli, tmp_path):
    kept = tmp_path / "set"
    for value, name in enumerate((b"caf\xe9", "m\u00fcll".encode())):
        for i in range(12):
            write_png(kept / "class" / f"{i}.png", np.full((5, 5, 3), 200 * value + i))
        (kept / "class").rename(os.fsdecode(os.fsencode(kept) + b"/" + name))
    f, head = tmp_path / "f.h5", tmp_path / "h"
    assert cli("extract", kept, "-o", f, "-q").code == 0
    assert cli("train", f, "-o", head).code == 0
    expected = ["caf\\xe9"] * 12 + ["m\u00fcll"] * 12
    for i, source in enumerate((kept, f)):
        table = tmp_path / f"{i}.csv"
        assert cli("predict", head, source, "-o", table, "--top-k", "all").code == 0
        rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))))
        assert [row["label"] for row in rows] == expected
        assert set(expected) < set(rows[0])
        assert cli("predict", head, source, "--top-k", "all").out == table.read_text("utf-8")
    assert cli("drift", head, kept, "-f", f, "-o", tmp_path / "d.csv").code == 0
    assert "caf\\xe9" in (tmp_path / "d.csv").read_text("utf-8")
    for to in ("fiftyone", "cleanlab", "tensorboard"):
        assert cli("export", f, "-o", tmp_path / to, "--to", to).code == 0
    assert json.loads((tmp_path / "cleanlab/classes.json").read_text("utf-8")) == expected[11:13]
    labels = json.loads((tmp_path / "fiftyone/labels.json").read_text("utf-8"))
    assert labels["classes"] == expected[11:13]
    lines = (tmp_path / "tensorboard/metadata.tsv").read_text("utf-8").splitlines()
    assert [line.split("\t")[1] for line in lines[1:]] == expected


@pytest.mark.parametrize("closed", ["1", "2", "0", "0 1 2"])
def test_a_closed_stream_harms_nothing(tmp_path, closed):
    """A file that the command opens must not get the number that something is said on."""
    script = (
        "import os, sys\n"
        "from bottleneck.cli.main import main\n"
        "import bottleneck.cli.main as at\n"
        "def run(received):\n"
        "    with open(sys.argv[1], 'w') as stream:\n"
        "        os.write(1, b'out'); os.write(2, b'err'); print('out'); stream.write('mine')\n"
        "    sys.exit(7)\n"
        "at._run = run\n"
        "main()\n"
    )
    close = "".join(f" {number}>&-" for number in closed.split())
    place = tmp_path / "kept"
    command = f'exec "{sys.executable}" -c "$0" "$1"{close}'
    done = subprocess.run(["sh", "-c", command, script, place], check=False, timeout=60)
    assert done.returncode == 7
    assert place.read_text() == "mine"


def test_letters_that_the_output_does_not_have_are_escaped(tmp_path):
    write_png(tmp_path / "set" / "m\u00fcll" / "1.png", np.full((5, 5, 3), 9))
    done = subprocess.run(
        [sys.executable, "-m", "bottleneck", "init", tmp_path / "set", "-o", tmp_path / "p.toml"],
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "m\\xfcll/1.png" in done.stdout, done.stdout


def test_two_names_of_one_file_are_one(cli, colours, features, tmp_path):
    (tmp_path / "alias.h5").symlink_to(features)
    with writer_lock(tmp_path / "alias.h5"):
        assert "is being written by" in cli("extract", colours, "-o", features).err
    cli("extract", colours, "-o", tmp_path / "alias.h5", "--overwrite", "-q")
    assert (tmp_path / "alias.h5").is_symlink()
    assert not list(tmp_path.glob("*.lock"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("extract", "colours", "-o", "s3://bucket/f.h5"),
        ("train", "f.h5", "-o", "s3://bucket/h"),
        ("evaluate", "logreg.head", "f.h5", "-o", "gs://bucket/j.json"),
        ("predict", "logreg.head", "colours", "-o", "https://host/l.csv"),
        ("compare", "f.h5", "-o", "s3://bucket/r.html"),
        ("merge", "f.h5", "-o", "s3://bucket/all.h5"),
        ("export", "f.h5", "-o", "s3://bucket/x.npy"),
        ("export", "f.h5", "-o", "s3://bucket/x.h5", "--compress", "gzip"),
        ("export", "logreg.head", "-o", "s3://bucket/x.onnx"),
        ("rescue", "f.h5", "-o", "s3://bucket/x.h5"),
    ],
)
def test_urls_are_no_places_for_results(cli, head, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    result = cli(*arguments)
    assert result.code == 2
    assert "expected a path for the output, got the URL" in result.err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("typed", "meant"), [("extrct", "extract"), ("Train", "train")])
def test_misspelt_commands_name_the_nearest(cli, typed, meant):
    result = cli(typed, "x")
    assert result.code == 2
    assert f"Did you mean {meant}" in result.err


def test_swapped_arguments_are_told_with_the_right_order(cli, features, head, colours, tmp_path):
    right = f"The head comes first: bottleneck evaluate {head} {features}"
    swapped = cli("evaluate", features, head)
    assert swapped.code == 2
    assert swapped.err.splitlines() == [f"error: expected a head, got features: {features}", right]
    swapped = cli("predict", colours, head)
    assert swapped.code == 2
    assert swapped.err.splitlines() == [
        f"error: expected a head, got a folder: {colours}",
        f"The head comes first: bottleneck predict {head} {colours}",
    ]
    for arguments in (
        ("train", head, "-o", tmp_path / "x"),
        ("compare", features, head),
        ("merge", features, head, "-o", tmp_path / "x.h5"),
    ):
        refused = cli(*arguments)
        assert refused.code == 2
        assert f"error: expected a feature file, got a head: {head}" in refused.err
        assert "bottleneck extract" in refused.err
    refused = cli("extract", head, "-o", tmp_path / "x.h5")
    assert refused.code == 2
    assert f"expected images, got a head: {head}" in refused.err
    assert not list(tmp_path.glob("x*"))
