"""The campaign can fail: writers that are known to be bad are found out."""

import pytest
from faults.crashes import boundaries, power_losses
from faults.lab import BY_NAME

SEVERAL = "write, several batches a commit"


@pytest.mark.parametrize(
    ("sabotage", "name", "expected"),
    [
        ("one_sync", SEVERAL, "flagged and wrong"),
        ("no_sync", SEVERAL, "lost"),
        ("no_folder_sync", "write", "the file is gone"),
        ("no_unflag", "refresh", "flagged and wrong"),
    ],
)
def test_missing_syncs_are_found_by_losses_of_power(lab, chance, sabotage, name, expected):
    tally = power_losses(
        lab,
        400,
        chance,
        scenarios=[BY_NAME[name]],
        sabotage=sabotage,
        accidents=False,
        finish=False,
        enough=1,
    )
    assert any(expected in problem for problem in tally.problems)


def test_a_flag_before_its_row_is_found_by_kills(lab):
    tally = boundaries(lab, BY_NAME["write"], every=9, sabotage="flag_first")
    assert sum("flagged and wrong" in problem for problem in tally.problems) >= 3
