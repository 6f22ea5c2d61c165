"""A loss of power, replayed from logged calls, costs nothing that was told."""

import errno

import pytest
from faults.crashes import power_losses
from faults.lab import BY_NAME
from faults.shim import FOLDER, Kind, Op, Plan


def test_power_lost_while_a_job_runs(lab, chance):
    tally = power_losses(lab, 84, chance, accidents=False)
    assert tally.problems == []
    assert tally.counts["with done rows"] >= 28


def test_power_lost_after_other_accidents(lab, chance):
    tally = power_losses(lab, 42, chance)
    assert tally.problems == []


def killed_before_sync(lab, scenario, n, name="x.h5"):
    return [Plan(kill_at=lab.nth_sync(scenario, n, name))]


def losses(lab, chance, scenario, plans):
    return power_losses(lab, 80, chance, scenarios=[scenario], plans=plans, finish=False)


def test_rows_of_a_killed_run_are_durable_before_they_are_told(lab, chance):
    """Killed with the flags in the cache: the next run counts these rows as done."""
    scenario = BY_NAME["write, several batches a commit"]
    tally = losses(lab, chance, scenario, killed_before_sync(lab, scenario, 1))
    assert tally.problems == []


def test_the_name_is_durable_before_rows_are_told(lab, chance):
    """Killed after the file was published and before its folder was synced."""
    scenario = BY_NAME["write"]
    calls = lab.calls(scenario)
    at = next(i for i, call in enumerate(calls, 1) if call.op == Op.SYNC and call.flags & FOLDER)
    assert any(call.op == Op.LINK for call in calls[: at - 1])
    tally = losses(lab, chance, scenario, [Plan(kill_at=at)])
    assert tally.problems == []


def test_rows_taken_back_by_a_killed_run_stay_taken_back(lab, chance):
    """Killed with rows un-flagged in the cache only: the next run overwrites them."""
    scenario = BY_NAME["refresh"]
    tally = losses(lab, chance, scenario, killed_before_sync(lab, scenario, 0))
    assert tally.problems == []


@pytest.mark.parametrize("name", ["write, several batches a commit", "refresh"])
def test_a_failed_sync_is_not_believed_by_the_next_run(lab, chance, name):
    """Kernels take pages for clean after a failed sync: the next sync says nothing of them."""
    scenario = BY_NAME[name]
    at = lab.nth_sync(scenario, 1 if name != "refresh" else 0)
    plan = Plan(fail_at=at, errno=errno.EIO, kinds=Kind.SYNC)
    tally = losses(lab, chance, scenario, [plan])
    assert tally.problems == []


def test_a_name_whose_sync_failed_is_given_again(lab, chance):
    """Folders are no better: what their failed sync held may never reach the disk."""
    scenario = BY_NAME["create"]
    calls = lab.calls(scenario)
    at = next(i for i, call in enumerate(calls, 1) if call.op == Op.SYNC and call.flags & FOLDER)
    plan = Plan(fail_at=at, errno=errno.EIO, kinds=Kind.SYNC)
    tally = power_losses(lab, 80, chance, scenarios=[scenario], plans=[plan])
    assert tally.problems == []
