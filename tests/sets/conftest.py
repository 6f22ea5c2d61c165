"""Where sets are: in folders, and in an object store on loopback."""

import uuid

import numpy as np
import pytest
from fakes import write_png
from made_sets import write_small
from object_store import s3, s3_endpoint, s3_environment

__all__ = ["s3", "s3_endpoint", "s3_environment"]


@pytest.fixture
def photos(tmp_path):
    """23 images of three classes; their own pixels tell them apart."""
    rng = np.random.default_rng(7)
    for number in range(23):
        pixels = rng.integers(0, 256, (20, 24, 3))
        write_png(tmp_path / "photos" / f"class{number % 3}" / f"{number}.png", pixels)
    return tmp_path / "photos"


@pytest.fixture(params=["folder", "s3"])
def where(request, tmp_path):
    """The location of a set that is to be made."""
    if request.param == "folder":
        return str(tmp_path / "photos.set")
    store = request.getfixturevalue("s3")
    bucket = f"b{uuid.uuid4().hex}"
    store.mkdir(bucket)
    return f"s3://{bucket}/some/photos.set"


@pytest.fixture
def small(tmp_path):
    """26 images of 16 pixels."""
    return write_small(tmp_path / "small", 26, classes=2, seed=3)
