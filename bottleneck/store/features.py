"""Which of the things people name are feature files."""

from collections.abc import Sequence
from pathlib import Path

import h5py

from bottleneck.errors import OptionError
from bottleneck.store.format import FORMAT


def feature_files(given: Sequence[str]) -> list[Path]:
    """Return the paths if what is given are feature files, none if it is anything else.

    Raises
    ------
    OptionError
        For feature files among other things.
    """
    found = [Path(text) for text in given if _is_feature_file(text)]
    if found and len(found) < len(given):
        other = next(text for text in given if not _is_feature_file(text))
        raise OptionError(
            f"expected feature files or images, got both: {found[0]} and {other}",
            hint="Take them one after the other.",
        )
    return found


def _is_feature_file(text: str) -> bool:
    try:
        if not Path(text).is_file() or not h5py.is_hdf5(text):
            return False
        with h5py.File(text, "r") as file:
            return file.attrs.get("format") in (FORMAT, FORMAT.encode())
    except OSError:  # damaged, or no name of a file at all
        return False
