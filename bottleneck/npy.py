"""NumPy's files, read by any number of threads.

The header of an array is a literal of Python. Python 3.11 counts how deep it is in literals for
all threads together (CPython's issue 106905), so that two threads that read headers end each
other's now and then by a ``SystemError``: one reads at a time here. That costs no time, as reading
hardly lets other threads run.
"""

import io
import threading
from os import PathLike
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

_READING: Final = threading.Lock()


def load_array(file: str | PathLike[str] | IO[bytes], *, mapped: bool = False) -> NDArray[Any]:
    """Read the array of an ``.npy`` file; pickled objects are refused.

    Parameters
    ----------
    file : path or binary stream
    mapped : bool
        Leave it in the file, of which what is asked for is read.

    Raises
    ------
    OSError, ValueError
        As :func:`numpy.load` does; damage makes errors of other kinds too.
    """
    with _READING:
        array: NDArray[Any] = np.load(file, mmap_mode="r" if mapped else None, allow_pickle=False)
    return array


def load_arrays(file: str | PathLike[str] | IO[bytes]) -> dict[str, NDArray[Any]]:
    """Read all arrays of an ``.npz`` file by their names; see :func:`load_array`."""
    with _READING, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays.items())


def read_header(head: bytes) -> tuple[int, tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header at the begin of an ``.npy`` file.

    Returns
    -------
    offset : int
        Of the first value, bytes.
    shape : tuple of int
    fortran : bool
        Whether the first axis changes fastest.
    dtype : dtype

    Raises
    ------
    Exception
        Of any kind, for bytes that are no header.
    """
    stream = io.BytesIO(head)
    version = np.lib.format.read_magic(stream)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    with _READING:
        shape, fortran, dtype = read(stream)
    return stream.tell(), shape, fortran, dtype
