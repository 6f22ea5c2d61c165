import numpy as np
import pytest

from bottleneck.errors import HeadError
from bottleneck.heads import Head, select
from bottleneck.judge import judge_head
from bottleneck.recipe import Recipe

CENTRES = {"cat": (-4.0, 0.0), "dog": (4.0, 0.0), "owl": (0.0, 5.0)}


def rows(names):
    rng = np.random.default_rng(0)
    return np.array([CENTRES.get(n, (0, 0)) + rng.normal(size=2) * 0.3 for n in names], np.float32)


@pytest.fixture(scope="module")
def head() -> Head:
    names = ["cat", "dog", "owl"] * 10
    fitted = select(
        rows(names),
        [0, 1, 2] * 10,
        classes=("cat", "dog", "owl"),
        keys=[str(i) for i in range(30)],
        grid=(1.0,),
    )
    return Head.of(fitted, recipe=Recipe({"backbone": "plane"}, {}), output="avg")


def test_classes_match_by_name_not_by_code(head):
    names = ["owl", "cat", "cat", "owl"]
    judgement = judge_head(head, rows(names), [1, 0, 0, 1], ("cat", "owl"))
    assert judgement.accuracy == 1.0
    assert [c.name for c in judgement.per_class] == ["cat", "dog", "owl"]
    assert [c.support for c in judgement.per_class] == [2, 0, 2]
    assert judgement.unknown_classes == ()
    assert judgement.log_loss < 0.1


def test_unknown_classes_count_as_errors_and_are_named(head):
    names = ["ant", "cat", "dog", "dog"]
    # "bee" is another class of the file, but without rows: nothing to report.
    judgement = judge_head(head, rows(names), [0, 2, 3, 3], ("ant", "bee", "cat", "dog"))
    assert judgement.unknown_classes == ("ant",)
    assert judgement.accuracy == 0.75
    assert judgement.balanced_accuracy == pytest.approx((0 + 1 + 1) / 3)
    assert [c.name for c in judgement.per_class] == ["cat", "dog", "owl", "ant"]
    assert judgement.per_class[3].recall == 0.0
    assert sum(judgement.confusion[3]) == 1
    floor = -np.log(np.finfo(np.float64).eps) / 4
    assert judgement.log_loss == pytest.approx(floor, abs=0.1)


def test_refusals(head):
    with pytest.raises(HeadError, match="labels from 0 to 1, got -1 to 0"):
        judge_head(head, rows(["cat", "dog"]), [0, -1], ("cat", "dog"))
    with pytest.raises(HeadError, match="got none"):
        judge_head(head, rows(["cat"])[:0], [], ("cat", "dog"))
