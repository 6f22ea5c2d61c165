import pytest

from bottleneck.cli.progress import profile
from bottleneck.extraction.result import limit


@pytest.mark.parametrize(
    ("seconds", "stage", "advice"),
    [
        ({"waiting": 9, "forward": 1, "read": 2, "decode": 14}, "decode", "--workers 4"),
        ({"waiting": 9, "forward": 1, "read": 20, "decode": 14}, "read", "--workers 16"),
        ({"waiting": 1, "forward": 9, "decode": 30}, "forward", "--batch-size auto"),
        ({"waiting": 1, "forward": 2, "transfer": 3}, "transfer", "--batch-size auto"),
        ({"write": 5, "forward": 2}, "write", "--dtype float16"),
    ],
)
def test_the_limit_is_what_the_main_thread_spends_its_time_on(seconds, stage, advice):
    found = limit(seconds, workers=2, cores=4)
    assert found.stage == stage
    assert advice in found.advice


def test_with_all_cores_at_work_more_workers_are_not_the_advice():
    seconds = {"waiting": 9, "decode": 10}
    assert "--workers" not in limit(seconds, workers=4, cores=4).advice
    assert "--precision" in limit({"forward": 1}, workers=1, cores=4, device="gpu:0").advice


def test_nothing_ran():
    assert limit({}, workers=2, cores=2).stage == ""
    assert profile({}) == ""


def test_the_progress_line_splits_waiting_by_what_was_waited_for():
    seconds = {"waiting": 4, "read": 3, "decode": 9, "forward": 5, "write": 1, "transfer": 0.01}
    assert profile(seconds) == "forward 50% decode 30% write 10% read 10%"
