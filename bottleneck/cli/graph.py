"""``bottleneck graph``."""

from typing import Any

import click

from bottleneck.cli.options import json_option, options_of, quiet_option
from bottleneck.cli.progress import make_progress
from bottleneck.cli.show import print_json, print_lines
from bottleneck.options import GraphOptions


@click.command(name="graph")
@options_of(GraphOptions)
@json_option
@quiet_option
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Write the exact graph of nearest neighbours of a feature file.

    GRAPH.npz is a sparse matrix of distances (scipy.sparse.load_npz), row i for finished row i.
    Rows are read block by block, so that features may be larger than memory.
    """
    from bottleneck import api

    result = api.graph(**options, progress=make_progress(quiet))
    if as_json:
        print_json(result.to_json())
    else:
        print_lines(
            f"{result.output}: {result.k} neighbours of {result.rows} rows by {result.metric}, "
            f"{result.seconds:.1f} s"
        )
