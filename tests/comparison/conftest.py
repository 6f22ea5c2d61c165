from functools import partial

import pytest
from blobs import write_blobs, write_pictures


@pytest.fixture
def blobs(tmp_path):
    """Write a feature file; see :func:`blobs.write_blobs`."""
    return partial(write_blobs, tmp_path)


@pytest.fixture
def pictures(tmp_path):
    """Write an image for every key."""
    return partial(write_pictures, tmp_path / "pictures")
