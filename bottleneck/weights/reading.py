"""One door for every kind of weights file; the content decides, never the name."""

from pathlib import Path

from bottleneck.errors import WeightsError
from bottleneck.weights import hdf5
from bottleneck.weights.layout import TAKEN, Weights


def is_weights(source: str | Path) -> bool:
    """Tell whether there is something at a path that could be weights."""
    return Path(source).is_file()


def read(path: Path) -> Weights:
    """Read a weights file of any kind.

    Raises
    ------
    WeightsError
        When it is damaged, or of a kind that is not known.
    """
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise WeightsError(
            f"{path}: expected a weights file. Received: {error.strerror or error}."
        ) from error
    if start.startswith(hdf5.MAGIC):
        return hdf5.read_hdf5(path)
    raise WeightsError(
        f"{path}: expected weights. Received: no readable HDF5 file, nor any other kind that is"
        " known.",
        hint=f"It takes {TAKEN}",
    )
