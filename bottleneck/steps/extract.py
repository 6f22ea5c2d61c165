"""The step that turns images into a feature file."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from bottleneck.backbones.catalogue import DEFAULT
from bottleneck.backbones.spec import Pool
from bottleneck.errors import OptionError
from bottleneck.extraction.progress import Progress


@dataclass(frozen=True, kw_only=True)
class ExtractStep:
    """Images to features; the fields are the options of :func:`bottleneck.extract`."""

    reads: ClassVar[tuple[str, ...]] = ("sources", "reuse")
    writes: ClassVar[tuple[str, ...]] = ("output",)

    sources: tuple[str, ...]
    output: str
    backbone: str = DEFAULT
    weights: str | None = None
    layers: tuple[str, ...] = ()
    pool: Pool = "avg"
    size: int | None = None
    resize: Literal["crop", "squash", "pad"] = "crop"
    views: int = 1
    batch_size: str = "32"
    workers: int | None = None
    worker_kind: Literal["auto", "processes", "threads"] = "auto"
    timeout: float = 60.0
    precision: Literal["float32", "tf32", "bfloat16", "float16", "int8"] = "float32"
    dtype: Literal["float32", "float16"] = "float32"
    runtime: Literal["auto", "tensorflow", "jax", "torch", "openvino"] = "auto"
    devices: tuple[str, ...] = ()
    reuse: tuple[str, ...] = ()
    limit: int | None = None
    targets: tuple[str, ...] = ()
    overwrite: bool = False
    preallocate: bool = True
    retry_failed: bool = False
    refresh: bool = False
    max_failed: str = "10%"

    def run(self, progress: Progress) -> dict[str, Any]:
        """Extract; see :class:`bottleneck.extract.ExtractResult` for the document."""
        (document,) = self.run_many([self.backbone], progress)
        return document

    def run_many(self, backbones: Sequence[str], progress: Progress) -> list[dict[str, Any]]:
        """Extract with several backbones in one pass; a document for each."""
        from bottleneck.extraction import ExtractOptions, extract_many

        options = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in ("sources", "output", "backbone"):
            del options[name]
        options["batch_size"] = _batch_size(self.batch_size)
        results = extract_many(
            self.sources, self.output, backbones, ExtractOptions(**options), progress
        )
        documents = [result.to_json() for result in results]
        for document in documents:
            _log_run(self, document)
        return documents


def _batch_size(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    try:
        return int(text)
    except ValueError:
        raise OptionError(f"expected batch_size to be a number or auto, got {text!r}") from None


def _log_run(step: ExtractStep, result: dict[str, Any]) -> None:
    """Remember how fast and where it was, and where the images are; see ``store/runs.py``."""
    from bottleneck.store import FeatureStore
    from bottleneck.store.runs import append_run

    images = result["ok"] + result["failed"]
    if not images:
        return
    execution = FeatureStore.open(result["output"]).recipe.execution
    append_run(
        result["output"],
        {
            "images": images,
            "seconds": result["seconds"],
            "images_per_second": result["images_per_second"],
            "stages": result["stages"],
            "device": execution.get("device"),
            "runtime": execution.get("runtime"),
            "batch_size": step.batch_size,
            "workers": step.workers,
            "sources": [str(Path(source).resolve()) for source in step.sources],
        },
    )
