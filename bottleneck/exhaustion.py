"""Whether an error says that the machine is out of something, rather than that a file is bad.

A file that cannot be read or decoded costs its own row. Where memory, open files or room on a disk
are used up, every file fails so, and none is to blame: that ends the run, and what is done is kept.
"""

import errno
import os
import re
from typing import Final

import numpy as np

from bottleneck.errors import BottleneckError, ExhaustedError

_KINDS: Final = frozenset({"ResourceExhaustedError", "OutOfMemoryError"})
"""TensorFlow's and PyTorch's own types."""

_WORDS: Final = re.compile(
    r"RESOURCE_EXHAUSTED|(?:out of|not enough|insufficient) memory|OUT_OF_MEMORY|OutOfMemory"
    r"|OOM when|ALLOC(?:ATION)?_?FAILED|MemoryAllocation"  # cuDNN, cuBLAS, MIOpen; CUDA's runtime
    r"|allocator[_ ](?:error|failure)"  # nvJPEG, nvImageCodec
    r"|(?:failed to|unable to|could not) alloc|can(?:no|')t allocate memory|malloc ?\(\) failed"
    r"|bad[_ ]alloc|smaller than requested bytes",  # hosts, pinned memory; ONNX Runtime's limit
    re.IGNORECASE,
)

_NO_ROOM_FOR_WORK: Final = re.compile(
    r"No algorithm worked|unable to find (?:a valid cuDNN algorithm|an engine)"
    r"|Failed to (?:get convolution|determine best cudnn convolution) algorithm"
    r"|(?:CUDNN|CUBLAS)_STATUS_NOT_INITIALIZED",
    re.IGNORECASE,
)
"""What is said where no algorithm's workspace fits, or a library's own handle: full memory is why,
mostly. Where it is not, one image fails as well, and the hint has the framework's words."""

_HINTS: Final = {
    errno.ENOMEM: "Fewer --workers, or a smaller --batch-size, take less of it.",
    errno.EMFILE: "`ulimit -n` shows the limit of a process, and raises it; fewer --workers open "
    "fewer at a time.",
    errno.ENFILE: "That is the limit of all processes of this machine together.",
    errno.ENOSPC: "Free some space; TMPDIR names the folder for temporary files.",
    errno.EDQUOT: "Free some of yours; TMPDIR names the folder for temporary files.",
}
"""By what the system is out of: what to do."""


def _sayings() -> dict[int, re.Pattern[str]]:
    """Return how libraries quote the system, in errors of their own types: by number."""
    found = {}
    for number in _HINTS:
        words = os.strerror(number)
        # Memory has more words; what a system has no words for is the same for many numbers.
        if number == errno.ENOMEM or words.startswith("Unknown"):
            continue
        text = re.escape(words)
        found[number] = re.compile(
            rf"(?:^|: |\()\[Errno {number}\] {text}(?:$|[:'\")\]])"  # Python's, and after the name
            rf"|\bOSError\({number}, '{text}'"
            rf"|\berrno = {number}(?:\)|$|, error message = '{text}')"  # HDF5's
            rf"|(?:\A|: |\] | \[){text}[\])]?\.?$",  # the loader's; aiohttp's
            re.IGNORECASE | re.MULTILINE,
        )
    return found


_SAYINGS: Final = _sayings()

_OF_CONTENT: Final = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, NameError),
    *(NotImplementedError, SyntaxError, TypeError, ValueError, BottleneckError),
)
"""Types of errors about what is in a file: those quote it, whatever it says."""

_ORDINARY: Final = 1 << 28
"""Bytes that must be left for a file to be too large by itself: 256 MiB, enough for any but the
largest pictures."""


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that memory did not suffice, of a device or for copies to it.

    Types alone do not say: PyTorch raises ``OutOfMemoryError``, ``AcceleratorError`` or
    ``RuntimeError`` by which allocation failed, XLA one type for everything.
    """
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ in _KINDS
        or (_WORDS.search(str(error)) or _NO_ROOM_FOR_WORK.search(str(error))) is not None
    )


def surely_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception says so by itself, not only by that no way to compute was found."""
    return out_of_memory(error) and not _NO_ROOM_FOR_WORK.search(str(error))


def raise_if_exhausted(error: BaseException) -> None:
    """Raise an error of its own where one of a file says that the machine is out of something.

    Of memory it is if it has none left that an ordinary file takes: a decoder may also run out of
    it for what one file's header says.

    Raises
    ------
    ExhaustedError
    """
    if isinstance(error, ExhaustedError):
        raise error
    number = _lacking(error)
    if number == errno.ENOMEM and _can_have(_ORDINARY):
        return
    if number is not None:
        raise ExhaustedError(
            f"the machine, not a file, is at its limit: {os.strerror(number)}",
            hint=f"{_HINTS[number]} What is done is kept.",
        ) from error


def _lacking(error: BaseException) -> int | None:
    """Return the system's number of what it is out of, as an error says; None where it is not.

    A number decides alone: beside it are names of files, which say anything.
    """
    if isinstance(error, OSError) and isinstance(error.errno, int):
        return error.errno if error.errno in _HINTS else None
    if not isinstance(error, _OF_CONTENT):
        text = str(error)
        for number, saying in _SAYINGS.items():
            if saying.search(text):
                return number
    return errno.ENOMEM if surely_out_of_memory(error) else None


def _can_have(count: int) -> bool:
    try:
        np.empty(count, np.uint8)
    except MemoryError:
        return False
    return True
