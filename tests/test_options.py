"""Options are declared once; Python, the command line and pipelines read the same fields."""

import ast
import inspect
import os
import pickle
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from PIL import Image

import bottleneck
from bottleneck import api
from bottleneck.cli.main import COMMANDS
from bottleneck.cli.options import options_of
from bottleneck.declare import declared
from bottleneck.errors import OptionError
from bottleneck.options import OPTIONS, ExtractOptions, PredictOptions, TrainOptions

ONLY_PRINTING = {"as_json", "quiet", "verbose"}
# Of extract, which then calls survey or extract_set; of View.serve.
OTHER_FUNCTION = {
    "extract": {"dry_run", "chosen_set", "scratch", "on"},
    "view": {"port", "browser"},
}
ONLY_PYTHON = {"run": ["each"], "demo": ["each"]}  # a command prints instead


def test_what_computes_a_network_can_be_told_by_what_and_where():
    fields = {name: {option.name for option in declared(OPTIONS[name])} for name in OPTIONS}
    computing = {name for name, found in fields.items() if "runtime" in found}
    assert computing >= {"bench", "drift", "extract", "plan", "predict", "race", "tag"}
    assert [name for name in sorted(computing) if "devices" not in fields[name]] == []
    one = {name for name, found in fields.items() if "device" in found}
    assert one == {
        *("train", "evaluate", "compare", "finetune", "serve", "neighbors", "export", "graph")
    }
    # What has a head or a backbone of its own to compute, and what a backbone is built by only.
    assert fields.keys() - computing - one == {
        *("backbones", "demo", "doctor", "edit", "info", "init", "merge"),
        *("relabel", "rescue", "run", "seal", "verify", "view"),
    }


def test_every_command_is_a_function_with_options_and_the_other_way_round():
    assert set(OPTIONS) == set(COMMANDS)
    assert set(api.__all__) >= set(COMMANDS)
    # The package of the backbones has the name of a command: its function is in the API alone.
    assert set(COMMANDS) - set(bottleneck.__all__) == {"backbones"}
    for name in set(COMMANDS) - {"backbones"}:
        assert getattr(bottleneck, name) is getattr(api, name)


@pytest.mark.parametrize("name", COMMANDS)
def test_python_and_the_command_line_have_the_same_options(name):
    function = getattr(api, name)
    assert inspect.isfunction(function)
    assert pickle.loads(pickle.dumps(function)) is function
    signature = inspect.signature(function).parameters
    fields = {option.name: option for option in declared(OPTIONS[name])}
    more = [*ONLY_PYTHON.get(name, []), "progress"]
    assert [*signature] == [*fields, *more]
    assert all(f"{option} :" in function.__doc__ for option in more)
    command = import_module(f"bottleneck.cli.{name}").command
    parameters = {parameter.name: parameter for parameter in command.params}
    own = ONLY_PRINTING | OTHER_FUNCTION.get(name, set())
    assert set(parameters) - own == set(fields)
    least = [
        word
        for parameter in parameters.values()
        if parameter.required
        for word in [*(parameter.opts[:1] if isinstance(parameter, click.Option) else []), "x"]
    ]
    with command.make_context(name, least) as context:
        for option in fields.values():
            default = signature[option.name].default
            assert (default is inspect.Parameter.empty) == option.required
            assert f"{option.name} :" in function.__doc__
            assert option.about.help in function.__doc__
            if not option.required:
                # What the command line hands on where nothing is given means Python's default.
                given = context.params[option.name]
                assert option.checked(given) == option.checked(default), option.name


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_parses_calls_the_function_and_prints(name):
    """It imports nothing of the package that could do work beside the function it calls."""
    path = Path(bottleneck.__file__).parent / "cli" / f"{name}.py"
    tree = ast.parse(path.read_text())
    for_types = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    skipped = {id(one) for node in for_types for one in ast.walk(node)}
    imported = {
        f"{node.module}.{alias.name}" if node.module == "bottleneck" else node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and id(node) not in skipped
        for alias in node.names
    }
    ours = {module for module in imported if module.split(".")[0] == "bottleneck"}
    printing = {f"bottleneck.cli.{module}" for module in ("options", "progress", "show")}
    assert ours <= printing | {"bottleneck.api", "bottleneck.errors", "bottleneck.options"}
    called = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "api"
    }
    others = {
        "extract": {"extract_many", "extract_set", "survey"},
        "backbones": {"backbones", "add_backbone", "remove_backbone"},
    }
    assert called == others.get(name, {name})


@pytest.fixture
def grown(tmp_path):
    """A copy of the package with one more option of extract, and its use: two files changed."""
    package = Path(bottleneck.__file__).parent
    shutil.copytree(package, tmp_path / "bottleneck", ignore=shutil.ignore_patterns("__pycache__"))
    edits = {
        "extract_options.py": (
            '    overwrite: Annotated[bool, Option("Start over',
            '    refuse: Annotated[str | None, Option("Refuse, saying so.", metavar="W")] = None\n',
        ),
        "extraction/run.py": (
            "    progress, output = options.progress, options.output\n",
            "    if options.refuse:\n        raise OptionError(options.refuse)\n",
        ),
    }
    for name, (before, more) in edits.items():
        file = tmp_path / "bottleneck" / name
        text = file.read_text()
        assert text.count(before) == 1
        file.write_text(text.replace(before, more + before))
    return tmp_path


def test_a_new_extract_option_is_added_in_two_files(grown):
    """It is in the help, the signature and its help, taken from all four places, and does it."""
    pipeline = grown / "pipeline.toml"
    pipeline.write_text(
        '[[step]]\nrun = "extract"\nsources = "in"\noutput = "x.h5"\nrefuse = "by the file"\n'
    )
    (grown / "in").mkdir()
    Image.new("RGB", (9, 9)).save(grown / "in" / "a.png")

    def run(*arguments, **environment):
        return subprocess.run(
            [sys.executable, "-m", "bottleneck", *arguments],
            cwd=grown,
            env={**os.environ, "PYTHONPATH": str(grown), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    extract = ("extract", "in", "-o", "x.h5")
    shown = run("extract", "--help").stdout
    assert "--refuse W" in shown
    assert "Refuse, saying so." in shown
    assert run(*extract, "--refuse", "by the flag").stderr == "error: by the flag\n"
    of_environment = run(*extract, BOTTLENECK_EXTRACT_REFUSE="by the environment")
    assert of_environment.stderr == "error: by the environment\n"
    assert "error: by the file\n" in run("run", str(pipeline)).stderr
    code = """
import inspect, bottleneck
option = inspect.signature(bottleneck.extract).parameters["refuse"]
assert option.default is None, option
assert "Refuse, saying so." in bottleneck.extract.__doc__
try:
    bottleneck.extract("in", "x.h5", refuse="by the call")
except bottleneck.BottleneckError as error:
    print(error)
"""
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=grown, capture_output=True, text=True, check=True
    )
    assert said.stdout == "by the call\n"


def test_flags_that_are_on_by_default_stay_on():
    seen = []

    @click.command()
    @options_of(ExtractOptions)
    def command(**options):
        seen.append(ExtractOptions(**options))

    command.main(["in", "-o", "out"], standalone_mode=False)
    command.main(["in", "-o", "out", "--no-preallocate"], standalone_mode=False)
    assert [options.preallocate for options in seen] == [True, False]
    assert seen[0] == ExtractOptions("in", "out")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExtractOptions("a", "b", pool="median"), "pool to be one of 'avg', 'max'"),
        (lambda: ExtractOptions("a", "b", size="big"), "size to be a whole number, got 'big'"),
        (lambda: ExtractOptions("a", "b", size=True), "size to be a whole number, got True"),
        (lambda: ExtractOptions("a", "b", views=0), "views to be at least 1, got 0"),
        (lambda: ExtractOptions("a", "b", batch_size="some"), "a whole number or 'auto'"),
        (lambda: ExtractOptions("a", "b", batch_size=1.5), "a whole number or 'auto', got 1.5"),
        (lambda: ExtractOptions("a", "b", overwrite="no"), "overwrite to be true or false"),
        (lambda: ExtractOptions([1], "b"), r"sources to be a list of strings, got \[1\]"),
        (lambda: TrainOptions("a", "b", holdout="x"), "holdout to be a number, got 'x'"),
        (lambda: TrainOptions(None, "b"), "features to be a string, got None"),
    ],
)
def test_values_are_checked_wherever_they_come_from(make, message):
    with pytest.raises(OptionError, match=message):
        make()


def test_values_get_the_type_of_the_field(tmp_path):
    import numpy as np

    options = ExtractOptions(tmp_path, tmp_path / "x.h5", batch_size="64", size=np.int64(9))
    assert options.sources == (str(tmp_path),)
    assert (options.batch_size, options.size) == (64, 9)
    assert type(options.size) is int
    assert TrainOptions("a", "b", C=[0.01, 1]).C == "0.01,1"
    assert TrainOptions("a", "b", C=0.5).C == "0.5"
    assert TrainOptions("a", "b", holdout=1).holdout == 1.0
    assert ExtractOptions("a", "b", max_failed=3).max_failed == "3"
    with pytest.raises(TypeError, match="bach_size"):
        api.extract("a", "b", bach_size=3)


def test_defaults_and_help_that_mean_the_same_are_the_same():
    extract = {option.name: option for option in declared(ExtractOptions)}
    predict = {option.name: option for option in declared(PredictOptions)}
    for name in ("workers", "runtime", "max_failed"):
        assert extract[name].about is predict[name].about
        assert extract[name].default == predict[name].default
