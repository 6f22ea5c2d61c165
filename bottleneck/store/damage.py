"""What is said of a file whose inside does not hold together."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bottleneck.errors import BottleneckError, StoreError


@contextlib.contextmanager
def damage_explained(path: Path) -> Iterator[None]:
    """Turn whatever comes of reading metadata that does not hold together into a StoreError.

    What a flipped bit makes of HDF5's objects is of every kind: a dataset where a group was, a
    type of no meaning, a shape beyond all memory.
    """
    try:
        yield
    except BottleneckError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> StoreError:
    """Make the error for a file whose inside does not hold together."""
    return StoreError(
        f"{path} is damaged: {str(error) or type(error).__name__}",
        hint="`bottleneck rescue` saves its sound rows; or restore it from a copy.",
    )
