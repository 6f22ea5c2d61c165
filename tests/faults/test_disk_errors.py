"""A disk that is full or broken: a clear error, nothing flagged in vain, and a resume."""

import errno

import pytest
from faults.crashes import disk_errors
from faults.lab import BY_NAME

CODES = pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])


@CODES
def test_while_a_file_is_created(lab, code):
    tally = disk_errors(lab, BY_NAME["create"], code, every=3)
    assert tally.problems == []
    assert tally.counts["writes"] >= 8


@CODES
@pytest.mark.parametrize("name", ["resume", "refresh"])
def test_while_rows_are_written(lab, code, name):
    tally = disk_errors(lab, BY_NAME[name], code, every=23)
    assert tally.problems == []
    assert tally.counts["writes"] >= 4


@CODES
def test_while_files_are_merged(lab, code):
    tally = disk_errors(lab, BY_NAME["merge"], code, every=23)
    assert tally.problems == []
