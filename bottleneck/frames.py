"""Tables for notebooks: pandas, Polars, HTML. Each library is imported when it is asked for."""

import html
import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import OptionError
from bottleneck.process_wide import ALONE

if TYPE_CHECKING:
    import pandas
    import polars

PandasFrame: TypeAlias = "pandas.DataFrame"
PolarsFrame: TypeAlias = "polars.DataFrame"

Columns: TypeAlias = Mapping[str, Sequence[Any] | NDArray[Any]]
"""A column by its name; an array of two dimensions is a column for each of its own, name_0 on."""


def records_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Make columns of rows; what a row lacks is None, and mappings in a row are columns too.

    Parameters
    ----------
    rows : iterable of mapping
        ``{"a": 1, "b": {"c": 2}}`` gives the columns ``a`` and ``b_c``.
    """
    flat = [_flat(row) for row in rows]
    names = dict.fromkeys(name for row in flat for name in row)
    return {name: [row.get(name) for row in flat] for name in names}


def _flat(row: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}_")
        else:
            found[before + name] = value
    return found


def numbered(name: str, count: int) -> list[str]:
    """Name the columns of an output: ``avg_0``, ``avg_1``, ..."""
    return [f"{name}_{number}" for number in range(count)]


def pandas_frame(columns: Columns, index: Sequence[Any] | None = None) -> PandasFrame:
    """Make a pandas table; features stay one block, in their own type.

    Parameters
    ----------
    columns : mapping
        See :data:`Columns`.
    index : sequence, optional
        Names of the rows.

    Raises
    ------
    OptionError
        Where pandas is not installed.
    """
    pd = _imported("pandas")
    pieces = [
        pd.DataFrame(values, columns=numbered(name, values.shape[1]), copy=False)
        if _is_block(values)
        else pd.DataFrame({name: values})
        for name, values in columns.items()
    ]
    frame = pd.concat(pieces, axis=1) if pieces else pd.DataFrame()
    if index is not None:
        frame.index = pd.Index(index, name="key")
    return frame


def polars_frame(columns: Columns) -> PolarsFrame:
    """Make a Polars table; features keep their type.

    Parameters
    ----------
    columns : mapping
        See :data:`Columns`.

    Raises
    ------
    OptionError
        Where Polars is not installed.
    """
    pl = _imported("polars")
    made: dict[str, Any] = {}
    for name, values in columns.items():
        if _is_block(values):
            made |= dict(zip(numbered(name, values.shape[1]), values.T, strict=True))
        else:
            made[name] = values
    return pl.DataFrame(made, strict=False)


def _is_block(values: Any) -> TypeGuard[NDArray[Any]]:
    return isinstance(values, np.ndarray) and values.ndim == 2


def _imported(library: str) -> Any:
    try:
        with ALONE, warnings.catch_warnings():
            # Its `bottleneck` is another package (docs/decisions/0001): `doctor` says so.
            warnings.filterwarnings(
                "ignore", "Pandas requires version .* of 'bottleneck'", UserWarning
            )
            return import_module(library)
    except ImportError as error:
        raise OptionError(
            f"expected {library} for a table of its own, got {error}",
            hint=f"`pip install 'bottleneck-features[{library}]'`",
        ) from error


def html_table(
    title: str,
    facts: Mapping[str, object],
    rows: Sequence[Sequence[object]] = (),
    names: Sequence[str] = (),
) -> str:
    """Write what a notebook shows of something: its title, its facts, a table.

    Colours and type are the notebook's own, so that light and dark ones look right.

    Parameters
    ----------
    title : str
        What it is.
    facts : mapping
        Words and values; None is left out.
    rows, names : sequence
        A table below, and the heads of its columns.
    """
    told = "".join(
        f"<tr><th style='text-align:left'>{_safe(name)}</th>"
        f"<td style='text-align:left'>{_safe(value)}</td></tr>"
        for name, value in facts.items()
        if value is not None
    )
    head = "".join(f"<th>{_safe(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{_safe(value)}</td>" for value in row) + "</tr>" for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
    return f"<div><b>{_safe(title)}</b><table><tbody>{told}</tbody></table>{table}</div>"


def _safe(value: object) -> str:
    # Names of files may hold bytes that are no text.
    return html.escape(str(value).encode("utf-8", "replace").decode("utf-8"))
