"""The feature file: created whole, written in place, resumable at any moment."""

from bottleneck.store.choice import RowChoice, Rows
from bottleneck.store.create import create
from bottleneck.store.reader import FeatureStore
from bottleneck.store.system import writer_lock
from bottleneck.store.writer import Writer, failures_path

__all__ = ["FeatureStore", "RowChoice", "Rows", "Writer", "create", "failures_path", "writer_lock"]
