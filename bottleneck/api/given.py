"""Files given in the place of others: told before any work, with the order that was meant."""

from pathlib import Path

from bottleneck.declare import Options, declared, listed
from bottleneck.errors import OptionError
from bottleneck.location import is_set, is_url
from bottleneck.store.foreign import is_foreign
from bottleneck.writing import kind_of

_WANTED = {"head": "a head", "features": "a feature file", "images": "images"}

_NAMED = {"head": "a head", "features": "features", "folder": "a folder"}

_NO_FEATURES = ("extract", "plan", "race", "finetune")
"""Commands whose images are not features that are there already."""

_FROM = {
    "head": "A head is what `bottleneck train FEATURES.h5 -o HEAD` writes.",
    "features": "A feature file is what `bottleneck extract SOURCE -o FEATURES.h5` writes.",
    "images": "A head labels images: bottleneck predict HEAD SOURCE",
}


def require_kinds(options: Options, command: str) -> None:
    """Refuse a head where features or images are expected, and anything else in place of a head.

    Parameters
    ----------
    options : Options
        What was given.
    command : str
        Of which command, to write it as it should be.

    Raises
    ------
    OptionError
        Naming what was expected, what was given, and the right order if two were swapped.
    """
    fields = [option for option in declared(type(options)) if option.about.holds]
    given = {option.name: listed(getattr(options, option.name) or ()) for option in fields}
    for option in fields:
        wanted = option.about.holds
        for path in given[option.name]:
            if wanted == "images" and command in _NO_FEATURES and _is_set_here(path):
                raise OptionError(
                    f"expected images, got the set {path}",
                    hint=f"Its shards are filled by `bottleneck extract --set {path}`, and it is "
                    "read as a feature file is.",
                )
            found = _found(path)
            if found is None or (found == "head") == (wanted == "head"):
                continue
            arguments = [one for o in fields if o.about.argument for one in given[o.name]]
            heads = [one for one in arguments if _found(one) == "head"]
            hint = _FROM[str(wanted)]
            if len(heads) == 1 and any(o.about.holds == "head" for o in fields):
                others = [one for one in arguments if one not in heads]
                hint = f"The head comes first: bottleneck {command} {' '.join(heads + others)}"
            raise OptionError(
                f"expected {_WANTED[str(wanted)]}, got {_NAMED[found]}: {path}", hint=hint
            )


def _is_set_here(path: str) -> bool:
    return not is_url(path) and is_set(path)


def _found(path: str) -> str | None:
    """Tell what is at a path, as far as it matters here; None for anything else."""
    place = Path(path)
    try:
        if is_set(path):
            return "features"
        if is_foreign(place):
            return "features"
        if place.is_dir():
            return "folder"
        kind = kind_of(place) if place.is_file() else None
    except OSError:
        return None
    return kind if kind in ("head", "features") else None
