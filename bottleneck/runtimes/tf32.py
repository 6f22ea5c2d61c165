"""PyTorch's switches of TensorFloat-32, which keeps three digits of what is multiplied."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def tf32_products(torch: Any, wanted: bool) -> Iterator[None]:
    """Let products be rounded to TF32, or not; afterwards the switches are as they were.

    Since PyTorch 2.9 each kind of operation has its ``fp32_precision``. Once somebody has set
    one, reading the older switches raises, and setting them may change nothing.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    convolution = getattr(cudnn, "conv", None)
    if hasattr(matmul, "fp32_precision") and hasattr(convolution, "fp32_precision"):
        kinds = (matmul, convolution, getattr(cudnn, "rnn", None))
        switches = [(kind, "fp32_precision") for kind in kinds if hasattr(kind, "fp32_precision")]
        value: str | bool = "tf32" if wanted else "ieee"
    else:
        switches = [(matmul, "allow_tf32"), (cudnn, "allow_tf32")]
        value = wanted
    before = [getattr(owner, name) for owner, name in switches]
    try:
        for owner, name in switches:
            setattr(owner, name, value)
        yield
    finally:
        for (owner, name), was in zip(switches, before, strict=True):
            setattr(owner, name, was)
