"""PyTorch's switches of TensorFloat-32, which keeps three digits of what is multiplied."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from bottleneck.process_wide import Together

_UNSET: Final = "none"
"""What a switch reads, and is set to, that leaves it to the one above it."""


def tf32_products(torch: Any, wanted: bool) -> AbstractContextManager[None]:
    """Let products be rounded to TF32, or not; afterwards the switches are as they were.

    Threads that want the same are inside together, the others wait.

    Since PyTorch 2.9 each kind of operation has its ``fp32_precision``. Once somebody has set
    one, reading the older switches raises, and setting them may change nothing. One that is not
    set reads what the one for all of CUDA says, and that what the one for everything says; so it
    is that of CUDA that is set here, and those of operations only where somebody has set them: set
    to what it read, one would follow those above it no more. CPU's are left alone.
    """
    return _SWITCHED((torch, wanted))


@contextmanager
def _switched(what: tuple[Any, bool]) -> Iterator[None]:
    torch, wanted = what
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    new = all(
        hasattr(one, "fp32_precision") for one in (matmul, cudnn, getattr(cudnn, "conv", None))
    )
    before: list[tuple[Any, str, Any]] = []
    try:
        if new:
            value = "tf32" if wanted else "ieee"
            kinds = (matmul, cudnn.conv, getattr(cudnn, "rnn", None))
            read = [(kind, kind.fp32_precision) for kind in kinds if kind is not None]
            before.append((cudnn, "fp32_precision", _own(torch.backends)))
            cudnn.fp32_precision = value
            for kind, was in read:
                if kind.fp32_precision != value:  # it has its own
                    before.append((kind, "fp32_precision", was))
                    kind.fp32_precision = value
        else:
            for owner in (matmul, cudnn):
                before.append((owner, "allow_tf32", owner.allow_tf32))
                owner.allow_tf32 = wanted
        yield
    finally:
        for owner, name, was in reversed(before):
            setattr(owner, name, was)


_SWITCHED: Final = Together(_switched)


def _own(backends: Any) -> str:
    """Return what the switch of all of CUDA was set to, not what it reads from the one above."""
    read: str = backends.cudnn.fp32_precision
    general = backends.fp32_precision
    if read == _UNSET or read != general:
        return read
    # Both say the same; whether that is one setting or two shows when the upper one moves.
    backends.fp32_precision = _UNSET
    try:
        own: str = backends.cudnn.fp32_precision
    finally:
        backends.fp32_precision = general
    return own
