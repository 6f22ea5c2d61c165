"""The step that turns images into a feature file."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from bottleneck.backbones.catalogue import DEFAULT
from bottleneck.backbones.spec import Pool
from bottleneck.extract.progress import Progress


@dataclass(frozen=True, kw_only=True)
class ExtractStep:
    """Images to features; the fields are the options of :func:`bottleneck.extract`."""

    reads: ClassVar[tuple[str, ...]] = ("sources",)
    writes: ClassVar[tuple[str, ...]] = ("output",)

    sources: tuple[str, ...]
    output: str
    backbone: str = DEFAULT
    weights: str | None = None
    layers: tuple[str, ...] = ()
    pool: Pool = "avg"
    size: int | None = None
    resize: Literal["crop", "squash", "pad"] = "crop"
    batch_size: int = 32
    workers: int | None = None
    precision: Literal["float32", "bfloat16", "float16", "int8"] = "float32"
    dtype: Literal["float32", "float16"] = "float32"
    runtime: Literal["auto", "tensorflow", "jax", "torch", "openvino"] = "auto"
    limit: int | None = None
    overwrite: bool = False
    preallocate: bool = True
    retry_failed: bool = False
    refresh: bool = False
    max_failed: str = "10%"

    def run(self, progress: Progress) -> dict[str, Any]:
        """Extract; see :class:`bottleneck.extract.ExtractResult` for the document."""
        from bottleneck.extract import extract

        options = {field.name: getattr(self, field.name) for field in fields(self)}
        sources, output = options.pop("sources"), options.pop("output")
        return extract(sources, output, **options, progress=progress).to_json()
