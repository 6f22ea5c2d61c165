from pathlib import Path

import pytest
from fakes import fake_embedder

from bottleneck.extraction import fill_store
from bottleneck.extraction.plan import MaxFailed
from bottleneck.progress import Silent
from bottleneck.sources import open_source
from bottleneck.store import writer_lock


@pytest.fixture
def run(tmp_path):
    """Extract with the NumPy backbone, as ``extract`` does with a real one."""

    def extract(source, output=tmp_path / "x.h5", embedder=None, **options):
        defaults = {
            "batch_size": 4,
            "workers": 2,
            "max_failed": MaxFailed.parse("10%"),
            "progress": Silent(),
        }
        listed = open_source([str(source)]) if isinstance(source, str | Path) else source
        with writer_lock(output):
            return fill_store(listed, output, embedder or fake_embedder(), **defaults | options)

    return extract
