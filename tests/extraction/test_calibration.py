import numpy as np
import pytest
from fakes import write_png

from bottleneck.errors import ManifestError
from bottleneck.extraction.run import calibration_images
from bottleneck.images import Geometry
from bottleneck.sources import open_source


@pytest.fixture
def shades(tmp_path):
    for i in range(20):
        write_png(tmp_path / "all" / f"{i:02d}.png", np.full((8, 8, 3), i * 10))
    return tmp_path / "all"


def test_evenly_spread(shades):
    found = calibration_images(open_source([str(shades)]), Geometry(size=4), count=5)
    assert found.shape == (5, 4, 4, 3)
    assert found.dtype == np.uint8
    assert found[:, 0, 0, 0].tolist() == [0, 40, 80, 120, 160]


def test_all_of_a_small_set_but_the_bad_ones(shades):
    (shades / "03.png").write_bytes(b"no image")
    found = calibration_images(open_source([str(shades)]), Geometry(size=4))
    assert found[:, 0, 0, 0].tolist() == [i * 10 for i in range(20) if i != 3]


def test_none_at_all(shades):
    for file in shades.iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(ManifestError, match="images to calibrate int8 with"):
        calibration_images(open_source([str(shades)]), Geometry(size=4))


def test_pixels_in_memory():
    from bottleneck.sources import PixelSource

    images = [np.full((8, 8, 3), i, np.uint8) for i in range(4)]
    found = calibration_images(PixelSource(images), Geometry(size=8))
    np.testing.assert_array_equal(found, np.stack(images))
