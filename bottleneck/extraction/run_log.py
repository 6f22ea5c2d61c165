"""What an extraction leaves in the log beside its file; see :mod:`bottleneck.store.runs`."""

from dataclasses import asdict
from pathlib import Path

from bottleneck.declare import listed
from bottleneck.extraction.result import ExtractResult
from bottleneck.location import is_url
from bottleneck.options import ExtractOptions
from bottleneck.store import FeatureStore
from bottleneck.store.runs import append_run


def log_run(options: ExtractOptions, result: ExtractResult) -> None:
    """Remember how fast and where a run was, and where the images are, if it did anything.

    Parameters
    ----------
    options : ExtractOptions
        What was asked for.
    result : ExtractResult
        What one file got of it.
    """
    images = result.ok + result.failed
    if not images:
        return
    execution = FeatureStore.open(result.output).recipe.execution
    append_run(
        result.output,
        {
            "images": images,
            "seconds": result.seconds,
            "images_per_second": result.images_per_second,
            "computed": result.computed,
            "forward_seconds": result.forward_seconds,
            "decode_seconds": result.decode_seconds,
            "stages": result.stages,
            "device": execution.get("device"),
            "runtime": execution.get("runtime"),
            "batch_size": options.batch_size,
            "workers": options.workers,
            "sources": [_absolute(source) for source in listed(options.sources)],
            "choice": asdict(options.choice()),
        },
    )


def _absolute(source: str) -> str:
    return source if is_url(source) else str(Path(source).resolve())
