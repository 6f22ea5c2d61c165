"""The feature file: created whole, written in place, resumable at any moment."""

from bottleneck.store.creation import create
from bottleneck.store.reader import FeatureStore, LoadedRows, RowChoice
from bottleneck.store.system import writer_lock
from bottleneck.store.writer import FailedRow, Writer, failures_path, settle

__all__ = [
    "FailedRow",
    "FeatureStore",
    "LoadedRows",
    "RowChoice",
    "Writer",
    "create",
    "failures_path",
    "settle",
    "writer_lock",
]
