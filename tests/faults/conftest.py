import random

import pytest
from faults import shim
from faults.lab import laboratory
from faults.promise import Promise


@pytest.fixture(scope="session")
def lab():
    """One driver for all tests; skipped where there is no compiler, or no Linux."""
    reason = shim.unavailable()
    if reason:
        pytest.skip(reason)
    with laboratory() as opened:
        yield opened


@pytest.fixture(scope="session")
def promise(lab):
    return Promise(lab.world)


@pytest.fixture
def chance():
    return random.Random(3)
