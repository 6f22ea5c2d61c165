"""How frameworks say that memory did not suffice."""

import re
from typing import Final

_KINDS: Final = frozenset({"ResourceExhaustedError", "OutOfMemoryError"})
"""TensorFlow's and PyTorch's own types."""

_WORDS: Final = re.compile(
    r"RESOURCE_EXHAUSTED|out of memory|OUT_OF_MEMORY|OutOfMemory|OOM when"
    r"|ALLOC_FAILED|MemoryAllocation"  # cuDNN and cuBLAS; CUDA's runtime
    r"|(?:failed|unable) to alloc|can(?:no|')t allocate memory|bad_alloc"  # hosts, pinned memory
    # What both say when no algorithm's workspace fits.
    r"|No algorithm worked|unable to find (?:a valid cuDNN algorithm|an engine)",
    re.IGNORECASE,
)


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that memory did not suffice, of a device or for copies to it.

    Types alone do not say: PyTorch raises ``OutOfMemoryError``, ``AcceleratorError`` or
    ``RuntimeError`` by which allocation failed, XLA one type for everything.
    """
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ in _KINDS
        or _WORDS.search(str(error)) is not None
    )
