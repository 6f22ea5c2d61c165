import tracemalloc

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from benchmarks.made_features import made_features
from bottleneck.errors import HeadError, OptionError
from bottleneck.heads import folds, head_kind, select
from bottleneck.heads.rows import ArrayRows, FileRows
from bottleneck.heads.solver.held_out import held_out_accuracy
from bottleneck.heads.solver.row_pass import passes

GRID = (1e-3, 1e-2, 1e-1)

PEERS = {
    "logreg": lambda c: LogisticRegression(C=c, tol=1e-7, max_iter=9999),
    "svm": lambda c: LinearSVC(C=c, dual=False, tol=1e-7, max_iter=9999),
    "ridge": lambda c: RidgeClassifier(alpha=1 / (2 * c)),
}


def run(digits, **options):
    options = {"classes": digits.classes, "keys": digits.keys, "grid": GRID} | options
    return select(digits.X, digits.y, **options)


@pytest.mark.parametrize("kind", PEERS)
def test_equals_an_explicit_loop(digits, kind):
    fitted = run(digits, head=kind, n_folds=4, seed=5)
    fold = folds(digits.keys, digits.y, n_folds=4, seed=5)
    means = []
    for c, entry in zip(GRID, fitted.cv, strict=True):
        accuracies = []
        for i in range(4):
            pipeline = make_pipeline(StandardScaler(), PEERS[kind](c))
            pipeline.fit(digits.X[fold != i], digits.y[fold != i])
            accuracies.append(pipeline.score(digits.X[fold == i], digits.y[fold == i]))
        assert entry["params"]["C"] == c
        assert entry["mean"] == pytest.approx(np.mean(accuracies), abs=1e-12)
        assert entry["std"] == pytest.approx(np.std(accuracies), abs=1e-12)
        means.append(np.mean(accuracies))
    best = GRID[int(np.argmax(means))]
    assert fitted.best["C"] == best
    whole = make_pipeline(StandardScaler(), PEERS[kind](best)).fit(digits.X, digits.y)
    np.testing.assert_allclose(
        fitted.estimator.decision_function(digits.X),
        whole.decision_function(digits.X),
        rtol=0.05,
        atol=0.05,
    )
    assert fitted.report["rows"] == 300
    assert fitted.dim == 64


def test_two_threads_give_the_same(digits):
    alone, together = run(digits, jobs=1), run(digits, jobs=2)
    assert together.cv == alone.cv
    np.testing.assert_array_equal(
        together.estimator.decision_function(digits.X), alone.estimator.decision_function(digits.X)
    )


@pytest.mark.parametrize("kind", ["logreg", "svm"])
def test_strengths_along_a_path_end_where_each_alone_does(digits, kind, monkeypatch):
    """With an estimate of the curvature and without."""
    values = np.logspace(-4, 1, 6)
    everyone = np.ones((1, len(digits.y)), bool)
    for suits in (False, True):
        monkeypatch.setattr(
            "bottleneck.heads.solver.lockstep.curvature_suits", lambda *about, said=suits: said
        )
        sweep, about = head_kind(kind).sweep, {"gap": 1e-7}
        with passes(ArrayRows(digits.X)) as opened:
            path = sweep(opened, digits.y, 10, everyone, values=values, **about)
            alone = [
                sweep(opened, digits.y, 10, everyone, values=[value], **about).solutions[0][0]
                for value in values
            ]
        for one, other in zip(path.solutions[0], alone, strict=True):
            assert one.objective == pytest.approx(other.objective, rel=1e-5)
            assert one.gradient_norm <= 1e-4 or not one.converged
        # What the path is for; a count, not a time.
        assert sum(one.passes for one in path.solutions[0]) < sum(one.passes for one in alone)


def test_a_strength_that_the_last_weights_solve_costs_no_pass(digits):
    with passes(ArrayRows(digits.X)) as opened:
        everyone = np.ones((1, len(digits.y)), bool)
        (found,) = (
            head_kind("logreg")
            .sweep(opened, digits.y, 10, everyone, values=[0.1, 0.1 + 1e-9])
            .solutions
        )
    assert found[1].passes == 0
    np.testing.assert_array_equal(found[1].weights, found[0].weights)


def test_order_of_rows_does_not_change_the_scores(digits):
    shuffle = np.random.default_rng(0).permutation(300)
    there = select(
        digits.X[shuffle],
        digits.y[shuffle],
        classes=digits.classes,
        keys=[digits.keys[i] for i in shuffle],
        grid=GRID,
        head="ridge",
    )
    for ours, theirs in zip(run(digits, head="ridge").cv, there.cv, strict=True):
        assert theirs["mean"] == pytest.approx(ours["mean"], abs=1e-12)


@pytest.mark.parametrize("kind", PEERS)
def test_held_out_rows_are_never_fitted_on(digits, kind):
    """A head of a fold is the same whatever its held-out rows and their labels are."""
    # The products of ridge are centred on all rows: features of one row differ by their rounding.
    near = {"atol": 0.02 if kind == "ridge" else 0.005}
    fold = folds(digits.keys, digits.y, n_folds=3)
    outside = np.stack([fold != i for i in range(3)])
    spoilt, labels = digits.X.copy(), digits.y.copy()
    spoilt[fold == 1] = 16 - spoilt[fold == 1]
    labels[fold == 1] = 9 - labels[fold == 1]
    heads = []
    for X, y in ((digits.X, digits.y), (spoilt, labels)):
        with passes(ArrayRows(X)) as run:
            swept = head_kind(kind).sweep(run, y, 10, outside, values=GRID, parts=fold, gap=1e-9)
        heads.append(np.stack([swept.head(1, at)[0] for at in range(len(GRID))]))
    np.testing.assert_allclose(heads[0], heads[1], **near)
    with passes(ArrayRows(digits.X[fold != 1])) as run:
        alone = head_kind(kind).sweep(
            run, digits.y[fold != 1], 10, np.ones((1, outside[1].sum()), bool),
            values=GRID, gap=1e-9,
        )  # fmt: skip
    for at, head in enumerate(heads[0]):
        np.testing.assert_allclose(head, alone.head(0, at)[0], **near)


@pytest.mark.parametrize("kind", PEERS)
def test_nested_estimate_equals_an_explicit_loop(digits, kind):
    fitted = run(digits, head=kind, n_folds=3, nested=True)
    fold = folds(digits.keys, digits.y, n_folds=3)
    for i, judged in enumerate(fitted.report["nested"]["folds"]):
        means = []
        for c in GRID:
            scores = []
            for j in {0, 1, 2} - {i}:
                train = (fold != i) & (fold != j)
                model = make_pipeline(StandardScaler(), PEERS[kind](c))
                model.fit(digits.X[train], digits.y[train])
                scores.append(model.score(digits.X[fold == j], digits.y[fold == j]))
            means.append(np.mean(scores))
        best = GRID[int(np.argmax(means))]
        assert judged["C"] == best
        model = make_pipeline(StandardScaler(), PEERS[kind](best))
        model.fit(digits.X[fold != i], digits.y[fold != i])
        assert judged["accuracy"] == pytest.approx(
            model.score(digits.X[fold == i], digits.y[fold == i]), abs=1e-12
        )
    assert fitted.report["nested"]["mean"] == fitted.report["nested"]["mean"]
    with pytest.raises(OptionError, match="3 or more folds for a nested estimate"):
        run(digits, n_folds=2, nested=True)


def test_one_standard_error_takes_a_simpler_head(digits):
    plain, careful = (run(digits, grid=None, one_se=flag) for flag in (False, True))
    top = max(plain.cv, key=lambda entry: entry["mean"])
    within = [e for e in plain.cv if e["mean"] >= top["mean"] - top["std"] / 5**0.5]
    assert careful.best == within[0]["params"]
    assert careful.best["C"] <= plain.best["C"]


@pytest.mark.parametrize("kind", PEERS)
def test_learning_curve_and_few_shots(digits, kind):
    fitted = run(digits, head=kind, grid=(0.01,), n_folds=3, curve=(1, 0.2), shots=(2, 1))
    assert [point["share"] for point in fitted.report["curve"]] == [0.2, 1]
    assert fitted.report["curve"][1]["mean"] == pytest.approx(fitted.cv[0]["mean"], abs=1e-12)
    assert fitted.report["curve"][1]["rows"] == pytest.approx(200)
    assert fitted.report["curve"][0]["mean"] < fitted.report["curve"][1]["mean"]
    assert [(point["shots"], point["rows"]) for point in fitted.report["shots"]] == [
        (1, 10),
        (2, 20),
    ]
    assert (
        0.3
        < fitted.report["shots"][0]["mean"]
        < fitted.report["shots"][1]["mean"]
        < fitted.report["curve"][1]["mean"]
    )
    shuffle = np.random.default_rng(0).permutation(300)
    there = select(
        digits.X[shuffle],
        digits.y[shuffle],
        classes=digits.classes,
        keys=[digits.keys[i] for i in shuffle],
        head=kind,
        grid=(0.01,),
        n_folds=3,
        shots=(1, 2),
    )
    for ours, theirs in zip(fitted.report["shots"], there.report["shots"], strict=True):
        assert ours["mean"] == pytest.approx(theirs["mean"], abs=0.01)
    with pytest.raises(OptionError, match="shares above 0"):
        run(digits, curve=(2.0,))
    with pytest.raises(OptionError, match="shots of 1 or more"):
        run(digits, shots=(0,))


def test_ties_take_the_smallest_c():
    X = np.array([[-2.0], [2.0]] * 10, np.float32)
    fitted = select(
        X, [0, 1] * 10, classes=("a", "b"), keys=[str(i) for i in range(20)], grid=(10, 0.1, 1)
    )
    assert [entry["mean"] for entry in fitted.cv] == [1.0, 1.0, 1.0]
    assert fitted.best == {"C": 0.1}
    assert any("smallest of the grid" in note for note in fitted.notes)


def test_float16_is_widened_and_float64_narrowed(digits):
    plain = run(digits, grid=(0.01,))
    for dtype in (np.float16, np.float64):  # small integers are exact in all of them
        other = select(
            digits.X.astype(dtype),
            digits.y,
            classes=digits.classes,
            keys=digits.keys,
            grid=(0.01,),
        )
        assert other.cv == plain.cv
        np.testing.assert_array_equal(other.estimator.coef_, plain.estimator.coef_)


def test_rows_of_a_file_are_as_rows_in_memory(digits, tmp_path):
    (tmp_path / "rows.bin").write_bytes(digits.X.tobytes())
    rows = FileRows(tmp_path / "rows.bin", 0, digits.X.shape, digits.X.dtype)
    there = select(rows, digits.y, classes=digits.classes, keys=digits.keys, grid=GRID)
    assert there.cv == run(digits).cv
    np.testing.assert_array_equal(there.estimator.coef_, run(digits).estimator.coef_)


def test_classes_without_rows_are_not_part_of_the_head(digits):
    rows = np.flatnonzero((digits.y == 2) | (digits.y == 7))
    fitted = select(
        digits.X[rows],
        digits.y[rows],
        classes=digits.classes,
        keys=[digits.keys[i] for i in rows],
        grid=(0.01,),
    )
    assert fitted.classes == ("two", "seven")
    assert fitted.estimator.classes_.tolist() == [0, 1]


def test_not_converged_is_noted_not_printed(digits, monkeypatch):
    monkeypatch.setattr("bottleneck.heads.solver.sweep.MAX_ITER", 2)
    fitted = run(digits, grid=(0.1, 1.0), n_folds=3)
    assert any(
        note.startswith("cross-validation, C=0.1, 3 of 3 fits: stopped at a gradient of")
        for note in fitted.notes
    )
    assert any(note.startswith("final fit") for note in fitted.notes)
    assert fitted.report["notes"] == list(fitted.notes)


@pytest.mark.parametrize("kind", PEERS)
def test_default_grids_converge(digits, kind):
    notes = run(digits, head=kind, grid=None, n_folds=2).notes
    assert not [note for note in notes if "stopped" in note]


def test_thin_classes_are_noted(digits):
    keep = (digits.y < 2) | (np.arange(300) < 4)
    rows = np.flatnonzero(keep)
    fitted = select(
        digits.X[rows],
        digits.y[rows],
        classes=digits.classes,
        keys=[digits.keys[i] for i in rows],
        grid=(0.01,),
    )
    assert "classes with fewer rows than the 5 folds: 2 (two, three)" in fitted.notes


def test_without_cross_validation(digits):
    fitted = run(digits, grid=(0.01,), n_folds=0)
    assert fitted.cv == ()
    assert fitted.best == {"C": 0.01}
    with pytest.raises(OptionError, match="choose among 3 values"):
        run(digits, n_folds=0)


def test_refusals(digits):
    bad = digits.X.copy()
    bad[17, 3] = np.nan
    with pytest.raises(HeadError, match=r"row 17 \('seven/17.png'\)"):
        select(bad, digits.y, classes=digits.classes, keys=digits.keys)
    with pytest.raises(HeadError, match="training rows, got none"):
        select(digits.X[:0], [], classes=digits.classes, keys=[])
    with pytest.raises(HeadError, match="2 rows of 'a' only"):
        select(digits.X[:2], [0, 0], classes=("a",), keys=["x", "y"])
    with pytest.raises(HeadError, match="labels from 0 to 9, got -1"):
        select(digits.X, digits.y - 1, classes=digits.classes, keys=digits.keys)
    with pytest.raises(HeadError, match="for each of 300 rows"):
        select(digits.X, digits.y[:5], classes=digits.classes, keys=digits.keys)
    with pytest.raises(HeadError, match="expected features of shape"):
        select(digits.X[0], digits.y, classes=digits.classes, keys=digits.keys)
    with pytest.raises(OptionError, match="got 0"):
        run(digits, jobs=0)
    with pytest.raises(OptionError, match="positive finite"):
        run(digits, grid=(0.1, -1))


def test_strengths_that_keep_the_weights_before_are_named(digits):
    about = {"classes": digits.classes, "keys": digits.keys, "n_folds": 3}
    kept = select(digits.X, digits.y, grid=(0.01, 0.1, 0.1 + 1e-9), **about)
    (note,) = [note for note in kept.notes if "heads of the C before" in note]
    assert note.startswith("C=0.1: ")
    assert kept.cv[1]["mean"] == kept.cv[2]["mean"]
    apart = select(digits.X, digits.y, grid=(1e-4, 1e-2), **about)
    assert not [note for note in apart.notes if "heads of the C before" in note]


@pytest.mark.parametrize("kind", PEERS)
def test_a_sweep_holds_no_more_than_its_heads(kind, monkeypatch):
    """Many classes, so that a head is larger than the rows of a block, and the rows are few."""
    monkeypatch.setattr("bottleneck.heads.solver.held_out.HEADS_BYTES", 1)
    monkeypatch.setattr("bottleneck.heads.solver.lockstep.MEMORY", 10)
    rng = np.random.default_rng(0)
    columns, d, per_class = 600, 100, 4
    y = np.arange(columns * per_class) % columns
    X = (rng.normal(size=(columns, d))[y] + rng.normal(size=(len(y), d))).astype(np.float32)
    fold = np.arange(len(y)) // columns
    outside = np.stack([fold != i for i in range(per_class)])
    values = [1e-3, 1e-2, 1e-1]
    one = columns * (d + 1) * 8
    with passes(ArrayRows(X), threads=1) as run:
        tracemalloc.start()
        try:
            swept = head_kind(kind).sweep(run, y, columns, outside, values=values, parts=fold)
            held_out_accuracy(run, y, outside, fold, swept)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    # Twelve heads; of the one path that is walked at a time ten pairs of steps and changes, and
    # as many vectors more; sums of eight shards; scores of a block.
    assert peak / one < 12 + 40 + 16 + 2048 * columns * 4 / one


def test_heads_scored_in_several_passes_score_as_in_one(digits, monkeypatch):
    fold = folds(digits.keys, digits.y, n_folds=3)
    outside = np.stack([fold != i for i in range(3)])
    scores = []
    with passes(ArrayRows(digits.X)) as run:
        swept = head_kind("ridge").sweep(run, digits.y, 10, outside, values=GRID, parts=fold)
        for held in (1 << 30, 1, 8 * 10 * (digits.X.shape[1] + 1) * (len(GRID) + 1)):
            monkeypatch.setattr("bottleneck.heads.solver.held_out.HEADS_BYTES", held)
            scores.append(held_out_accuracy(run, digits.y, outside, fold, swept))
    for other in scores[1:]:
        np.testing.assert_array_equal(other, scores[0])


def test_shots_that_a_head_cannot_be_fitted_on_are_refused_before_any_work(digits, monkeypatch):
    monkeypatch.setattr("bottleneck.heads.rows.ArrayRows.read", None)  # rows are not touched
    with pytest.raises(OptionError, match="expected 2 or more rows per class as shots .* lda"):
        run(digits, head="lda", grid=None, shots=(1, 4))


def test_heads_that_are_scored_end_where_the_minimum_is_proven_to_be_near(monkeypatch):
    """Where the penalty is strong that is before the gradient is within the tolerance."""
    X, y = made_features(4000, 30, 8)
    outside = np.arange(4000)[None] % 4 != np.arange(2)[:, None]
    values = np.logspace(-4, 0, 5)

    def swept(**about):
        with passes(ArrayRows(X[:4000]), threads=1) as run:
            return head_kind("logreg").sweep(run, y[:4000], 8, outside, values=values, **about)

    found, exact = swept(), swept(gap=1e-9)
    for path, minima in zip(found.solutions, exact.solutions, strict=True):
        for one, minimum in zip(path, minima, strict=True):
            assert one.converged
            assert minimum.gradient_norm <= 1e-4
            assert one.gradient_norm <= 1e-4 or one.duality_gap <= 3.1e-3 * one.objective
            assert one.objective <= minimum.objective * (1 + 3e-3)
            np.testing.assert_allclose(
                one.weights, minimum.weights, atol=0.1 * np.abs(minimum.weights).max()
            )
    assert max(one.gradient_norm for path in found.solutions for one in path) > 1e-4
    monkeypatch.setattr("bottleneck.heads.solver.sweep.SCORING_PROVEN", 0.0)
    closer = swept()
    assert max(one.gradient_norm for path in closer.solutions for one in path) <= 1e-4
    spent, more = (
        sum(one.passes for path in each.solutions for one in path) for each in (found, closer)
    )
    assert spent < 0.85 * more


def test_with_many_rows_the_tolerance_decides_alone():
    """A head that meets it for a weaker penalty too is that one's, without a pass."""
    X, y = made_features(16000, 30, 3)
    y = np.where(np.arange(len(y)) % 5 == 0, (y + 1) % 3, y)[:16000]
    outside = np.arange(16000)[None] % 4 != 0
    with passes(ArrayRows(X[:16000])) as run:
        found = head_kind("logreg").sweep(run, y, 3, outside, values=np.logspace(-2, 6, 9))
    (path,) = found.solutions
    assert all(one.converged and one.gradient_norm <= 1e-4 for one in path)
    assert path[0].passes > 0
    assert [one.passes for one in path[-3:]] == [0, 0, 0]
