"""What a run of the engine can be told, checked once."""

from dataclasses import dataclass
from typing import Literal

from bottleneck.backbones.spec import Pool
from bottleneck.decode.stream import KINDS, WorkerKind
from bottleneck.decode.watch import TIMEOUT_SECONDS
from bottleneck.errors import OptionError
from bottleneck.images import ResizeRule
from bottleneck.store.format import FEATURE_DTYPES

BATCH_SIZE = 32
"""Images per forward pass: on a CPU more brings nothing, and 32 of 224x224 are 5 MB."""


@dataclass(frozen=True, kw_only=True)
class ExtractOptions:
    """Options of a run; :func:`bottleneck.extract` explains each.

    Raises
    ------
    OptionError
        For a value that cannot be used.
    """

    weights: str | None = None
    layers: tuple[str, ...] = ()
    pool: Pool = "avg"
    size: int | None = None
    resize: ResizeRule = "crop"
    views: int = 1
    batch_size: int | Literal["auto"] = BATCH_SIZE
    workers: int | None = None
    worker_kind: WorkerKind = "auto"
    timeout: float = TIMEOUT_SECONDS
    precision: str = "float32"
    dtype: str = "float32"
    runtime: str = "auto"
    devices: tuple[str, ...] = ()
    reuse: tuple[str, ...] = ()
    limit: int | None = None
    targets: tuple[str, ...] = ()
    overwrite: bool = False
    preallocate: bool = True
    retry_failed: bool = False
    refresh: bool = False
    max_failed: str = "10%"

    def __post_init__(self) -> None:
        counts = ("batch_size", "workers", "limit", "views")
        for name in counts:
            value = getattr(self, name)
            if value not in (None, "auto") and value < 1:
                raise OptionError(f"expected {name} to be at least 1, got {value}")
        if not self.timeout > 0:
            raise OptionError(f"expected timeout to be more than 0 seconds, got {self.timeout:g}")
        if self.dtype not in FEATURE_DTYPES:
            raise OptionError(
                f"expected dtype to be {' or '.join(FEATURE_DTYPES)}, got {self.dtype!r}"
            )
        if self.worker_kind not in KINDS:
            raise OptionError(
                f"expected worker_kind to be one of {', '.join(KINDS)}, got {self.worker_kind!r}"
            )
