"""Heads over shards: the same, bit for bit, whoever holds them, and those of the merged rows."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from crews import ThreadCrew
from numpy.typing import NDArray

from bottleneck.cluster.holder import Holder
from bottleneck.cluster.passes import ShardWorkers
from bottleneck.errors import HeadError
from bottleneck.heads import select
from bottleneck.heads.rows import ArrayRows, Layout, Shard, ShardedRows, SubsetRows
from bottleneck.heads.solver.question import SumOfArrays, Tree, levels
from bottleneck.heads.solver.row_pass import passes

HEADS = ("logreg", "svm", "ridge", "lda", "nearest_mean")


@dataclass(frozen=True)
class InMemory:
    array: NDArray[np.float32]

    def open(self):
        return ArrayRows(self.array)


def made(n, d, k, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    X = rng.normal(size=(k, d))[y] + 1.5 * rng.normal(size=(n, d))
    return X.astype(np.float32), y


def cut(X, count):
    """Shards of one length but the last one: numbers of a set that lacks one."""
    step = -(-len(X) // count)
    numbers = [number for number in range(count + 1) if number != 4]
    return {
        number: X[at : at + step]
        for number, at in zip(numbers, range(0, len(X), step), strict=True)
    }


def fit(rows, X, y, head, **options):
    k = int(y.max()) + 1
    return select(
        rows,
        y,
        classes=[f"class {i}" for i in range(k)],
        keys=[f"{i}.png" for i in range(len(y))],
        head=head,
        n_folds=3,
        grid=(1e-3, 1e-2, 1e-1) if head in ("logreg", "svm", "ridge") else None,
        **options,
    )


def learnt(head):
    """All that a fit came to."""
    cv = [[entry["mean"], entry["std"]] for entry in head.cv]
    return head.estimator.coef_, head.estimator.intercept_, np.array(cv)


def objective(head, X, y):
    """The objective by its definition, in float64 throughout: written here anew."""
    coef, intercept = head.estimator.coef_, head.estimator.intercept_
    X = X.astype(np.float64)
    Z = X @ coef.T + intercept
    n, k = len(X), max(len(coef), 2)
    means = np.stack([X[y == i].mean(axis=0) for i in range(k)])
    if head.kind == "nearest_mean":  # the means are where squares are least
        return (((X - head.estimator.means_[y]) / X.std(axis=0)) ** 2).sum() / n
    if head.kind == "lda":  # each class's weights are where this is least
        within = (X - means[y]).T @ (X - means[y]) / n
        shrinkage, d = head.best["shrinkage"], X.shape[1]
        S = (1 - shrinkage) * within + shrinkage * np.trace(within) / d * np.eye(d)
        towards = means if len(coef) > 1 else means[1:] - means[:1]
        return np.einsum("kd,de,ke->", coef, S, coef) / 2 - (coef * towards).sum()
    w = coef * X.std(axis=0)
    b = intercept + coef @ X.mean(axis=0)
    t = np.where(np.eye(k)[y] > 0, 1, -1) if len(coef) > 1 else np.where(y, 1, -1)[:, None]
    if head.kind == "ridge":
        return (((Z - t) ** 2).sum() + head.best["alpha"] * (w**2).sum()) / n
    penalty = (w**2).sum() / (2 * head.best["C"] * n)
    if head.kind == "svm":
        penalty += (b**2).sum() / (2 * head.best["C"] * n)
        return (np.maximum(1 - t * Z, 0) ** 2).sum() / n + penalty
    if len(coef) == 1:
        return np.logaddexp(0, -t * Z).mean() + penalty
    own = Z[np.arange(n), y]
    top = Z.max(axis=1)
    return (np.log(np.exp(Z - top[:, None]).sum(axis=1)) + top - own).mean() + penalty


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(("n", "d", "k"), [(3400, 12, 3), (3000, 10, 2)])
def test_seven_shards_are_the_merged_rows_whoever_holds_them(head, n, d, k):
    X, y = made(n, d, k)
    shards = cut(X, 7)
    assert len(shards) == 7
    merged = fit(X, X, y, head)
    here = fit(ShardedRows({i: ArrayRows(part) for i, part in shards.items()}), X, y, head)
    assert here.best == merged.best
    np.testing.assert_allclose(objective(here, X, y), objective(merged, X, y), rtol=0, atol=1e-10)
    np.testing.assert_allclose(here.estimator.coef_, merged.estimator.coef_, rtol=1e-4, atol=1e-6)
    for threads in (1, 3):
        rows = ShardedRows({i: ArrayRows(part) for i, part in shards.items()})
        for mine, its in zip(
            learnt(fit(rows, X, y, head, jobs=threads)), learnt(here), strict=True
        ):
            np.testing.assert_array_equal(mine, its)
    crews = [
        ThreadCrew(1, lambda: Holder(1)),
        ThreadCrew(2, lambda: Holder(2)),
        ThreadCrew(3, lambda: Holder(1)),
        ThreadCrew(3, lambda: Holder(1), fails_at={1: 4}),
        ThreadCrew(2, lambda: Holder(1), fails_at={0: 2, 1: 5}, joins=[4, 9]),
    ]
    for crew in crews:
        workers = ShardWorkers(crew, {i: InMemory(part) for i, part in shards.items()})
        rows = ShardedRows({i: Unread(part) for i, part in shards.items()}, workers)
        for mine, its in zip(learnt(fit(rows, X, y, head)), learnt(here), strict=True):
            np.testing.assert_array_equal(mine, its)
        assert all(member.calls > 2 for member in crew.ever)
        crew.close()
    assert [len(crew.losses) for crew in crews] == [0, 0, 0, 1, 2]


class Unread(ArrayRows):
    """Rows that this process must not read: others hold them."""

    def read(self, start, stop, scratch):
        raise AssertionError("read by the process that asks")


def test_many_rows_whose_curvature_is_sampled(monkeypatch):
    X, y = made(7 * 3072, 16, 3)
    shards = {i: X[i * 3072 : (i + 1) * 3072] for i in range(7)}
    merged = fit(X, X, y, "logreg")
    crew = ThreadCrew(3, lambda: Holder(1), fails_at={2: 6})
    workers = ShardWorkers(crew, {i: InMemory(part) for i, part in shards.items()})
    found = fit(ShardedRows({i: Unread(p) for i, p in shards.items()}, workers), X, y, "logreg")
    here = fit(ShardedRows({i: ArrayRows(p) for i, p in shards.items()}), X, y, "logreg")
    for mine, its in zip(learnt(found), learnt(here), strict=True):
        np.testing.assert_array_equal(mine, its)
    np.testing.assert_allclose(objective(found, X, y), objective(merged, X, y), rtol=0, atol=1e-10)
    assert len(crew.losses) == 1
    crew.close()


def test_the_svm_that_newton_finishes(monkeypatch):
    from bottleneck.heads.kinds.svm import LinearSVC

    X, y = made(700, 30, 2)
    X += 4 * y[:, None].astype(np.float32)
    shards = {i: X[i * 100 : (i + 1) * 100] for i in range(7)}
    options = {"C": 1e3, "standardize": True, "tol": 1e-9, "gap": 1e-13}
    merged = LinearSVC(**options).fit(X, y)
    crew = ThreadCrew(2, lambda: Holder(1), fails_at={0: 120})
    workers = ShardWorkers(crew, {i: InMemory(part) for i, part in shards.items()})
    found = LinearSVC(**options).fit(
        ShardedRows({i: Unread(p) for i, p in shards.items()}, workers), y
    )
    here = LinearSVC(**options).fit(ShardedRows({i: ArrayRows(p) for i, p in shards.items()}), y)
    np.testing.assert_array_equal(found.coef_, here.coef_)
    assert found.objective_ == pytest.approx(merged.objective_, rel=0, abs=1e-10)
    assert len(crew.losses) == 1
    crew.close()


def test_all_workers_lost_and_none_to_come_is_said(monkeypatch):
    from bottleneck.cluster import passes as module

    monkeypatch.setattr(module, "_SECONDS", 0.01)
    monkeypatch.setattr(module, "_PATIENCE", 3)
    X, y = made(200, 4, 2)
    crew = ThreadCrew(1, lambda: Holder(1), fails_at={0: 1})
    workers = ShardWorkers(crew, {0: InMemory(X)})
    with pytest.raises(HeadError, match="no worker"):
        fit(ShardedRows({0: Unread(X)}, workers), X, y, "ridge")
    crew.close()


def test_features_are_sent_to_nobody_and_labels_once():
    X, y = made(2800, 8, 3)
    shards = {i: X[i * 400 : (i + 1) * 400] for i in range(7)}
    sent = []
    crew = ThreadCrew(2, lambda: Holder(1))
    for member in crew.there:
        call = member.call

        def watch(method, question, about, *given, call=call):
            sent.append([asked.data[1] is not None for asked in about if asked.data])
            return call(method, question, about, *given)

        member.call = watch
    workers = ShardWorkers(crew, {i: InMemory(part) for i, part in shards.items()})
    fit(ShardedRows({i: Unread(p) for i, p in shards.items()}, workers), X, y, "logreg")
    assert len(sent) > 60
    # The weighting of the folds, who is right, the weighting of all rows; and twice which rows the
    # curvature is estimated from.
    assert sum(any(new) for new in sent) == 2 * 5
    crew.close()


@dataclass(frozen=True)
class FirstFeature(SumOfArrays):
    block_rows: int | None = 7

    def new(self):
        return np.zeros(2)

    def visit(self, total, data, here, block, scratch):
        total += block[:, 0].sum(dtype=np.float64), len(block)


@pytest.mark.parametrize("numbers", [[0], [3], [0, 1, 2], [1, 2, 5, 6, 40], list(range(13))])
def test_a_tree_adds_the_same_way_in_every_order(numbers, rng):
    values = dict(
        zip(
            numbers,
            rng.normal(size=len(numbers)) * 10.0 ** rng.integers(-8, 8, len(numbers)),
            strict=True,
        )
    )

    def sum_in(order):
        tree = Tree(numbers, lambda mine, its: mine + its)
        for number in order:
            tree.put((0, number), values[number])
        return tree.root()

    def by_hand(level, number):
        if level == 0:
            return values.get(number)
        left, right = by_hand(level - 1, 2 * number), by_hand(level - 1, 2 * number + 1)
        return right if left is None else left if right is None else left + right

    orders = itertools.islice(itertools.permutations(numbers), 200)
    assert {sum_in(order) for order in orders} == {by_hand(8, 0)}
    assert sum_in(reversed(numbers)) == by_hand(8, 0)
    assert len(levels(numbers)[-1]) == 1


def test_subsets_of_sharded_rows_are_shards_of_subsets(rng):
    X = rng.normal(size=(50, 3)).astype(np.float32)
    rows = ShardedRows({2: ArrayRows(X[:20]), 3: ArrayRows(X[20:21]), 7: ArrayRows(X[21:])})
    at = np.array([0, 3, 4, 19, 22, 30, 49])
    some = SubsetRows(SubsetRows(rows, at), np.array([1, 3, 4, 6]))
    assert some.layout.shards == (Shard(2, 0, 2), Shard(7, 2, 4))
    np.testing.assert_array_equal(some.layout.taken[2], [3, 19])
    np.testing.assert_array_equal(some.layout.taken[7], [1, 28])
    np.testing.assert_array_equal(some.read(0, 4, {}), X[[3, 19, 22, 49]])
    np.testing.assert_array_equal(rows.read(18, 23, {}), X[18:23])
    with passes(rows) as run:
        total, count = run.ask(FirstFeature())
    assert count == 50
    assert total == pytest.approx(X[:, 0].astype(np.float64).sum())
    assert isinstance(rows.layout, Layout)


def test_shards_of_different_lengths_are_refused():
    with pytest.raises(HeadError, match="one length"):
        ShardedRows({0: ArrayRows(np.zeros((2, 3))), 1: ArrayRows(np.zeros((2, 4)))})


@pytest.mark.parametrize(("room", "left", "held"), [(9000, 1e9, 3), (1e9, 6000, 7), (1e9, 5000, 0)])
def test_what_a_worker_holds_is_bounded_by_its_machine_too(monkeypatch, room, left, held):
    """A shard of 30 rows x 24 float32 is 2,880 bytes: less than half of 6,000, not of 5,000."""
    monkeypatch.setattr("bottleneck.cluster.holder.available_memory", lambda: left)
    X, _ = made(210, 24, 3)
    opened = []

    @dataclass(frozen=True)
    class Source:
        number: int

        def open(self):
            opened.append(self.number)
            return ArrayRows(X[self.number * 30 : self.number * 30 + 30][:, ::-1][:, ::-1])

    holder = Holder(1, int(room))
    rows = [holder._opened(Source(number)) for number in range(7)]
    assert sum(one._array.base is None for one in rows) == held
    assert opened == list(range(7))
    for number, one in enumerate(rows):
        np.testing.assert_array_equal(one.read(0, 30, {}), X[number * 30 : number * 30 + 30])
