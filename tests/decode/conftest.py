import numpy as np
import pytest
from fakes import write_png
from traps import TrapSource

from bottleneck.sources import open_source


@pytest.fixture
def folder(tmp_path):
    """Forty different images of different shapes, named by their row."""
    rng = np.random.default_rng(5)
    for row in range(40):
        shape = (10 + row % 7, 9 + row % 5, 3)
        write_png(tmp_path / "set" / f"{row}.png", rng.integers(0, 256, shape))
    return tmp_path / "set"


@pytest.fixture
def trapped(folder):
    def make(**traps):
        """Put ``name=content`` in the place of ``name.png``."""
        for name, content in traps.items():
            (folder / f"{name.lstrip('_')}.png").write_bytes(content)
        return TrapSource(open_source([str(folder)]))

    return make
