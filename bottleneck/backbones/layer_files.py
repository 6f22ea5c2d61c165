"""Layers that somebody declares: a TOML file, a Keras model's file, or a function of Python.

What ``bottleneck edit`` puts into a backbone, and what the head ``stack`` trains on a map. A TOML
file has a table for each layer, whose ``type`` is a class of ``keras.layers`` and whose other keys
are the arguments of that class::

    [[layers]]
    type = "Conv2D"
    filters = 64
    kernel_size = 3
    activation = "relu"

A Keras model has one input and one output; its layers come with their weights. A function,
``module:function``, takes the shape of what comes in, (height, width, channels), and returns such a
model.
"""

import difflib
import itertools
import re
import sys
import tomllib
from collections.abc import Collection, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from bottleneck.errors import OptionError
from bottleneck.location import expanded

_FUNCTION: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_HINT: Final = (
    "Layers are declared in a .toml file ([[layers]] with type = ...), a .keras file, or by "
    "module:function."
)


def require_layers(given: str) -> None:
    """Refuse what declares no layers, as far as can be told without Keras.

    Raises
    ------
    OptionError
        For a file that is missing or no declaration, and for anything else that is none.
    """
    if given.endswith(".toml"):
        _tables(given)
    elif given.endswith(".keras"):
        if not expanded(given).is_file():
            raise OptionError(f"expected layers in {given}, which is not there", hint=_HINT)
    elif not _FUNCTION.fullmatch(given):
        raise OptionError(f"expected a declaration of layers, got {given!r}", hint=_HINT)


def apply_layers(keras: Any, given: str, tensor: Any, taken: set[str] | None = None) -> Any:
    """Put declared layers behind a tensor.

    Parameters
    ----------
    keras : module
    given : str
        ``FILE.toml``, ``FILE.keras`` or ``module:function``.
    tensor : KerasTensor
        What comes in.
    taken : set of str, optional
        Names that layers cannot have, since others of the model do; theirs are added.

    Returns
    -------
    KerasTensor
        What comes out.

    Raises
    ------
    OptionError
        For layers that there are not, or that do not take what comes in.
    """
    require_layers(given)
    taken = set() if taken is None else taken
    if given.endswith(".toml"):
        for number, layer in enumerate(_built(keras, given, taken), 1):
            tensor = _applied(layer, tensor, f"{given}: layer {number}")
        return tensor
    model = _loaded(keras, given) if given.endswith(".keras") else _made(keras, given, tensor)
    if not _is_plain(keras, model):
        raise OptionError(f"{given}: expected a Keras model of one input and one output")
    # A Sequential model has a functional one inside.
    graph = getattr(model, "_functional", None) or model
    names = {layer.name for layer in graph.layers[1:]}
    if names & taken:
        raise _name_clash(given, min(names & taken))
    taken |= names
    try:
        found = graph._run_through_graph([tensor], operation_fn=_itself)
    except Exception as error:
        raise _misfit(given, tensor, error) from error
    return found[0] if isinstance(found, list | tuple) else found


def _tables(given: str) -> list[dict[str, Any]]:
    try:
        said = tomllib.loads(expanded(given).read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(
            f"expected layers in {given}, which cannot be read: {error.strerror or error}",
            hint=_HINT,
        ) from error
    except ValueError as error:  # of TOML, and of bytes that are no UTF-8
        raise OptionError(f"{given}: expected TOML, got {error}", hint=_HINT) from error
    tables = said.get("layers")
    more = sorted(set(said) - {"layers"})
    if not isinstance(tables, list) or not tables or more:
        told = f"{more[0]!r}" if more else "none" if tables in (None, []) else repr(tables)
        raise OptionError(f"{given}: expected [[layers]], one for each, got {told}", hint=_HINT)
    for number, table in enumerate(tables, 1):
        if not isinstance(table, dict) or not isinstance(table.get("type"), str):
            raise OptionError(
                f"{given}: expected the type of layer {number}, a class of keras.layers, got"
                f" {table!r}"
            )
    return tables


def _built(keras: Any, given: str, taken: set[str]) -> list[Any]:
    tables = _tables(given)
    stem = re.sub(r"\W+", "_", Path(given).stem)
    layers = []
    for number, table in enumerate(tables, 1):
        about = dict(table)
        kind = _class(keras, given, number, about.pop("type"))
        name = about.pop("name", None)
        if name in taken:
            raise _name_clash(given, str(name))
        name = name or _free(f"{stem}_{number}" if len(tables) > 1 else stem, taken)
        taken.add(name)
        try:
            layers.append(kind(**about, name=name))
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"{given}: layer {number}: expected the arguments of {kind.__name__}, got:"
                f" {_first_line(error)}"
            ) from error
    return layers


def _free(name: str, taken: Collection[str]) -> str:
    """Number a name until nobody has it."""
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return name if name not in taken else next(one for one in numbered if one not in taken)


def _class(keras: Any, given: str, number: int, name: str) -> Any:
    """Find a class of keras.layers; one that runs code of the file is none."""
    base, none = keras.layers.Layer, (keras.layers.Lambda, keras.layers.InputLayer)
    classes = {
        one: found
        for one, found in vars(keras.layers).items()
        if isinstance(found, type) and issubclass(found, base) and found not in (base, *none)
    }
    if name not in classes:
        near = difflib.get_close_matches(name, classes, n=3, cutoff=0.4)
        raise OptionError(
            f"{given}: layer {number}: expected a class of keras.layers, got {name!r}",
            hint=f"Nearest: {', '.join(near)}." if near else None,
        )
    return classes[name]


def _applied(layer: Any, tensor: Any, owner: str) -> Any:
    try:
        return layer(tensor)
    except Exception as error:
        raise _misfit(f"{owner} ({type(layer).__name__})", tensor, error) from error


def _loaded(keras: Any, given: str) -> Any:
    try:
        return keras.saving.load_model(expanded(given), compile=False, safe_mode=True)
    except Exception as error:
        raise OptionError(
            f"{given}: expected a model that Keras opens, got {_first_line(error)}"
        ) from error


def _made(keras: Any, given: str, tensor: Any) -> Any:
    function = imported_function(given)
    made = function(tuple(tensor.shape[1:]))
    if not isinstance(made, keras.Model):
        raise OptionError(
            f"{given}: expected a keras.Model from the function, got"
            f" {type(made).__module__}.{type(made).__qualname__}"
        )
    return made


def imported_function(name: str) -> Any:
    """Import ``module:function``; the module may be in the current folder.

    Raises
    ------
    OptionError
        When that cannot be.
    """
    module, _, function = name.partition(":")
    here = str(Path.cwd())
    added = here not in sys.path
    try:
        if added:
            sys.path.insert(0, here)
        return getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise OptionError(f"{name}: cannot be imported: {error}") from error
    finally:
        if added:
            sys.path.remove(here)


def _is_plain(keras: Any, model: Any) -> bool:
    if not isinstance(model, keras.Model) or not model.built:
        return False
    graph = getattr(model, "_functional", None) or model
    ends = (getattr(graph, "inputs", None), getattr(graph, "outputs", None))
    return all(isinstance(end, list) and len(end) == 1 for end in ends)


def _itself(operation: Any) -> Any:
    return operation


def _misfit(owner: str, tensor: Any, error: Exception) -> OptionError:
    shape = " x ".join("?" if side is None else str(side) for side in tensor.shape[1:])
    return OptionError(
        f"{owner}: expected layers that take {shape}, which comes in, got: {_first_line(error)}"
    )


def _name_clash(given: str, name: str) -> OptionError:
    return OptionError(
        f"{given}: expected names of layers that the model does not have yet, got {name!r}",
        hint="Give the layer another name = ... .",
    )


def _first_line(error: Exception) -> str:
    lines: Sequence[str] = str(error).strip().splitlines() or [repr(error)]
    return lines[0]
