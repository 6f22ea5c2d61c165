"""The whole comparison on small files: its numbers against independent ways to get them."""

import json
from dataclasses import replace

import numpy as np
import pytest

import bottleneck
from bottleneck import compare, heads
from bottleneck.comparison import study
from bottleneck.comparison.alignment import align
from bottleneck.comparison.findings import duplicate_sets, find_twins
from bottleneck.comparison.out_of_fold import make_protocol, predict_outer
from bottleneck.errors import HeadError, OptionError, RuntimeUnavailableError
from bottleneck.heads.selection.model_selection import select
from bottleneck.progress import Silent
from bottleneck.store import FeatureStore
from bottleneck.store.runs import append_run, read_runs


@pytest.fixture
def three(blobs):
    return [
        blobs("good.h5", noise=1.0, seed=1),
        blobs("fair.h5", noise=2.0, seed=2),
        blobs("poor.h5", noise=4.0, seed=3),
    ]


def entries(document):
    names = [one["name"] for one in document["features"]]
    return {(names[e["features"]], e["head"]): e for e in document["leaderboard"]}


def test_the_leaderboard(three):
    document = compare(three, heads=("logreg", "ridge", "knn"), map="pca").to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["data"]["estimate"] == "test split"
    assert (document["data"]["train"], document["data"]["judged"]) == (180, 60)
    board = document["leaderboard"]
    assert len(board) == 9
    assert [e["rank"] for e in board] == list(range(1, 10))
    accuracies = [e["accuracy"] for e in board]
    assert accuracies == sorted(accuracies, reverse=True)
    found = entries(document)
    for head in ("logreg", "ridge", "knn"):
        assert found["good", head]["accuracy"] > found["poor", head]["accuracy"] + 0.2
        versus = found["poor", head]["versus_best"]
        assert versus["distinguishable"]
        assert versus["p_adjusted"] < 0.05
        assert versus["difference"]["low"] > 0
    assert board[0]["versus_best"] is None
    for e in board:
        low, high = e["intervals"]["accuracy"]
        assert low <= e["accuracy"] <= high
        confusion = np.array(e["confusion"])
        assert confusion.sum() == 60
        assert np.trace(confusion) / 60 == pytest.approx(e["accuracy"])
        assert e["mistakes"]["total"] == 60 - np.trace(confusion)
        confidences = [row["confidence"] for row in e["mistakes"]["rows"]]
        assert confidences == sorted(confidences, reverse=True)
        for row in e["mistakes"]["rows"]:
            shown = document["images"][row["image"]]
            assert row["image"].split("/")[0] == shown["label"]
            assert shown["split"] == "test"
            assert row["predicted"] in document["data"]["classes"]
            assert shown["label"] != row["predicted"]


def test_test_rows_are_judged_by_the_head_that_train_would_make(three):
    """The outer estimate with a test split is scikit-learn on the training rows."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    aligned = align(three[1:2])
    protocol = make_protocol(aligned)
    found = predict_outer(aligned, aligned.features[0], "ridge", protocol)
    X = aligned.features[0].take(np.arange(240)).read(0, 240, {}).astype(float)
    model = make_pipeline(StandardScaler(), RidgeClassifier(found.final.best["alpha"]))
    model.fit(X[protocol.train], aligned.y[protocol.train])
    assert np.array_equal(found.predicted, model.predict(X[protocol.judged]))


def test_neighbours_are_scikit_learns(three):
    from sklearn.neighbors import KNeighborsClassifier

    aligned = align(three[1:2])
    protocol = make_protocol(aligned)
    found = predict_outer(aligned, aligned.features[0], "knn", protocol)
    X = aligned.features[0].take(np.arange(240)).read(0, 240, {}).astype(float)
    model = KNeighborsClassifier(int(found.final.best["k"]), metric="cosine", algorithm="brute")
    model.fit(X[protocol.train], aligned.y[protocol.train])
    assert np.allclose(found.probabilities, model.predict_proba(X[protocol.judged]))


def test_without_a_test_split_every_row_is_judged_by_heads_that_never_saw_it(blobs):
    """Labels that mean nothing are predicted no better than by chance."""
    classes = ("a", "b", "c")
    labels = [classes[i] for i in np.random.default_rng(0).integers(0, 3, 300)]
    keys = [f"{i}.png" for i in range(300)]
    path = blobs("x.h5", n=300, classes=classes, labels=labels, keys=keys, split=False, noise=1)
    document = compare([path], heads=("logreg", "knn"), map="pca").to_json()
    assert document["data"]["estimate"] == "nested cross-validation"
    assert document["data"]["judged"] == document["data"]["train"] == 300
    for e in document["leaderboard"]:
        assert 0.2 < e["accuracy"] < 0.47
        assert len(e["chosen_by_fold"]) == 5


def test_groups_never_straddle_the_outer_folds(blobs):
    """Four near copies of each image: apart, the nearest neighbour would know the label."""
    n = 240
    classes = ("a", "b")
    of_group = np.random.default_rng(3).integers(0, 2, n // 4)
    labels = [classes[of_group[i // 4]] for i in range(n)]
    groups = [f"g{i // 4}" for i in range(n)]
    path = blobs(
        "x.h5",
        n=n,
        classes=classes,
        labels=labels,
        keys=[str(i) for i in range(n)],
        split=False,
        groups=groups,
    )
    aligned = align([path])
    protocol = make_protocol(aligned)
    for group in np.unique(aligned.groups):
        assert len(np.unique(protocol.outer[aligned.groups == group])) == 1
    document = compare([path], heads=("ridge", "knn"), map="pca").to_json()
    assert document["data"]["groups"] == 60
    # The judgement of `evaluate`, groups and all, is that of the leaderboard.
    line = document["leaderboard"][0]
    low, high = line["intervals"]["accuracy"]
    share, n = line["accuracy"], 240
    alone = 2 * 1.96 * (share * (1 - share) / n) ** 0.5
    assert high - low > 1.2 * alone


def test_order_of_files_and_rows_changes_nothing(blobs):
    a, b = blobs("a.h5", seed=1, noise=2), blobs("b.h5", seed=2, noise=2)
    first = entries(compare([a, b], heads=("ridge",), map="pca").to_json())
    order = np.random.default_rng(1).permutation(240)
    shuffled = blobs("c.h5", seed=1, noise=2, order=order, backbone="a")
    second = entries(compare([b, shuffled], heads=("ridge",), map="pca").to_json())
    for name in ("a", "b"):
        one, other = first[name, "ridge"], second[name, "ridge"]
        assert one["best"] == other["best"]
        assert one["confusion"] == other["confusion"]


def test_flipped_labels_come_first(blobs):
    truth = ["ant", "bee", "cat", "dog", "elk", "fox"]
    rng = np.random.default_rng(7)
    flipped = rng.choice(240, 12, replace=False)
    labels = [truth[i % 6] for i in range(240)]
    for i in flipped:
        labels[i] = truth[(i + rng.integers(1, 6)) % 6]
    path = blobs("x.h5", labels=labels, keys=[f"{i}.png" for i in range(240)], noise=1.5)
    document = compare([path], heads=("logreg",), map="pca").to_json()
    wrong = {f"{i}.png" for i in flipped}
    first = [row["image"] for row in document["label_errors"]["rows"][:24]]
    assert len(set(first) & wrong) >= 10
    likely = {row["image"] for row in document["label_errors"]["rows"] if row["likely"]}
    assert len(likely & wrong) >= 6
    assert len(likely) <= 24


def test_screening_compares_the_same_heads(blobs):
    path = blobs("x.h5", keys=[f"{i}.png" for i in range(240)], noise=1.5)
    whole, screened = (
        compare([path], heads=("logreg",), map="pca", screen=flag).to_json()
        for flag in (False, True)
    )
    assert screened["command"] == whole["command"].replace(
        "--heads logreg", "--heads logreg --screen"
    )
    for one, other in zip(screened["leaderboard"], whole["leaderboard"], strict=True):
        assert (one["best"], one["accuracy"]) == (other["best"], other["accuracy"])


def test_duplicates_across_training_and_test_are_leaks(blobs):
    digests = np.random.default_rng(5).integers(0, 256, (240, 16), np.uint8)
    # Row 0 is a test row, row 6 a training row of the same class: first equal bytes ...
    digests[30] = digests[0]
    path = blobs("x.h5", digests=digests, noise=1)
    aligned = align([path])
    assert [int(aligned.splits[i]) for i in (0, 30)] == [3, 1]
    found = duplicate_sets(aligned, find_twins(aligned, 0.9999))
    assert (found["exact"], found["near"], found["leaks"], found["leaked_rows"]) == (1, 0, 1, 1)
    assert found["sets"][0]["images"] == [0, 30]
    assert found["sets"][0]["exact"]
    # ... then nearly equal features of different files, with labels that contradict.
    features = aligned.features[0]
    X = features.take(np.arange(240)).read(0, 240, {}).copy()
    X[37] = X[24] * 1.001

    class Planted:
        name, dim = "planted", 12

        def take(self, chosen):
            from bottleneck.heads.rows import ArrayRows

            return ArrayRows(X[chosen])

    unknown = replace(aligned, digests=np.zeros_like(digests), features=(Planted(),))
    found = duplicate_sets(unknown, find_twins(unknown, 0.9999))
    (line,) = found["sets"]
    assert line["images"] == [24, 37]
    assert line["leak"]
    assert line["conflict"]
    assert not line["exact"]


def test_an_image_and_its_copy_are_in_one_fold(blobs):
    """Copies under labels that mean nothing: apart, the nearest neighbour would know them."""
    n = 240
    classes = ("a", "b")
    rng = np.random.default_rng(3)
    labels = [classes[i] for i in rng.integers(0, 2, n // 2)] * 2
    digests = rng.integers(0, 256, (n, 16), np.uint8)
    digests[:60] = digests[120:180]  # half of them as equal files, half by their features
    path = blobs("x.h5", n=n, classes=classes, labels=labels, split=False, digests=digests, seed=1)
    half = rng.normal(size=(n // 2, 12))
    copied = np.vstack([half, half + 0.002 * rng.normal(size=half.shape)])
    offset = FeatureStore.open(path).layout.features["avg"].offset
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(copied.astype(np.float32).tobytes())
    aligned = align([path])
    twins = find_twins(aligned, None)
    assert twins.near.sets.max() + 1 == n // 2
    protocol = make_protocol(aligned, groups=twins.groups(aligned, 5))
    assert (protocol.outer[: n // 2] == protocol.outer[n // 2 :]).all()
    document = compare([path], heads=("knn",), map="pca").to_json()
    assert document["leaderboard"][0]["accuracy"] < 0.65
    assert document["data"]["groups"] == 0
    found = document["duplicates"]
    assert not found["test_split"]
    assert (found["leaks"], found["leaked_rows"], found["leaked"]) == (0, 0, [])
    assert (found["exact"], found["near"]) == (60, 60)


def test_what_is_not_listed_is_counted(blobs, monkeypatch):
    digests = np.random.default_rng(5).integers(0, 256, (240, 16), np.uint8)
    for row in (6, 12, 18, 30):
        digests[row + np.arange(6)] = digests[:6]  # six sets of a test row and four others
    digests[36:100] = digests[36]
    aligned = align([blobs("x.h5", digests=digests, noise=1)])
    monkeypatch.setattr("bottleneck.comparison.findings.MOST_SETS", 4)
    monkeypatch.setattr("bottleneck.comparison.findings.MOST_LEAKED", 5)
    monkeypatch.setattr(
        "bottleneck.comparison.duplicates.MOST_PRODUCTS", 239**2 * aligned.features[0].dim
    )
    found = duplicate_sets(aligned, find_twins(aligned, None))
    assert not found["searched_near"]
    assert found["most_rows"] == 239
    assert (found["exact"], found["leaks"], len(found["sets"])) == (7, 7, 4)
    assert found["sets_left_out"] == 3
    test = aligned.splits == 3
    behind = [
        (digests[~test & (aligned.splits == 1)] == digests[i]).all(axis=1).sum() for i in range(240)
    ]
    assert found["leaked_rows"] == sum(test[i] and behind[i] > 0 for i in range(240))
    assert found["leaked_left_out"] == found["leaked_rows"] - 5
    assert all(one["as_near"] == behind[one["image"]] for one in found["leaked"])
    monkeypatch.setattr("bottleneck.comparison.findings.MOST_SETS", 100)
    listed = duplicate_sets(aligned, find_twins(aligned, None))["sets"]
    (large,) = [one for one in listed if one["size"] == 64]
    assert len(large["images"]) == 24
    assert {int(aligned.splits[i]) for i in large["images"]} == {1, 3}


def test_cost_comes_from_the_longest_run(blobs):
    path = blobs("a.h5", n=60, backbone="efficientnet_lite0", dtype="float16")
    append_run(path, {"images": 5, "images_per_second": 1.0, "device": "cpu"})
    append_run(path, {"images": 50, "images_per_second": 20.0, "device": "gpu", "batch_size": 8})
    with path.with_name("a.h5.runs.jsonl").open("a") as stream:
        stream.write("cut off {\n[1]\n")
    assert len(read_runs(path)) == 2
    (line,) = compare([path], heads=("ridge",), map="pca").to_json()["features"]
    cost = line["cost"]
    assert (cost["images_per_second"], cost["device"], cost["batch_size"]) == (20.0, "gpu", 8)
    assert (cost["parameters"], cost["length"], cost["bytes_per_image"]) == (3413024, 12, 24)
    assert cost["machine"].endswith("cores")


def test_curves_climb_and_end_where_cross_validation_is(three):
    document = compare(three[1:2], heads=("ridge", "knn"), map="pca").to_json()
    (curve,) = document["curves"]  # of the first head
    assert [p["share"] for p in curve["curve"]] == [0.1, 0.2, 0.4, 0.7, 1.0]
    assert [p["shots"] for p in curve["shots"]] == [1, 2, 4, 8, 16]
    ridge = entries(document)["fair", "ridge"]
    chosen = next(entry for entry in ridge["cv"] if entry["params"] == ridge["best"])
    assert curve["curve"][-1]["mean"] == pytest.approx(chosen["mean"], abs=1e-9)
    assert curve["curve"][-1]["mean"] > curve["curve"][0]["mean"]
    (curve,) = compare(three[1:2], heads=("knn",), map="pca").to_json()["curves"]
    assert curve["curve"][-1]["mean"] > curve["curve"][0]["mean"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": ("forest",)}, "expected a head of logreg, .*, stack, got 'forest'"),
        ({"heads": ()}, "one or more different heads, got none"),
        ({"heads": ("knn", "knn")}, "different heads"),
        ({"cv": 1}, "2 or more folds"),
        ({"resamples": 3}, "100 draws"),
        ({"near": 0.0}, "cosine above 0"),
    ],
)
def test_wrong_options(options, message, tmp_path):
    with pytest.raises(OptionError, match=message):
        compare([tmp_path / "none.h5"], **options)


def test_only_test_rows_are_refused(blobs):
    path = blobs("x.h5", n=6)  # the first six are test rows
    with pytest.raises(HeadError, match="rows of the split 'train'"):
        compare([path])


@pytest.mark.parametrize("split", [True, False], ids=["test split", "nested"])
def test_two_classes(blobs, split, tmp_path):
    path = blobs("x.h5", classes=("no", "yes"), n=80, noise=6, dims={"avg": 3}, split=split)
    comparison = compare([path], heads=("logreg", "svm", "ridge", "knn"), map="pca")
    for e in comparison.to_json()["leaderboard"]:
        assert np.array(e["confusion"]).shape == (2, 2)
        assert e["top_5_accuracy"] is None
        assert (e["log_loss"] is None) == (e["head"] in ("svm", "ridge"))
    assert comparison.write_html(tmp_path / "x.html")["bytes"] < 500_000


def test_a_class_that_only_the_test_has_is_always_a_mistake(blobs):
    classes = ("ant", "bee", "cat")
    # Of every three blocks of rows the first is for the test: there the cats are.
    labels = [classes[i % 3] if i % 3 < 2 or (i // 3) % 4 == 0 else "ant" for i in range(120)]
    path = blobs("x.h5", n=120, classes=classes, labels=labels, keys=[str(i) for i in range(120)])
    document = compare([path], heads=("logreg", "ridge", "knn"), map="pca").to_json()
    for e in document["leaderboard"]:
        cat = next(c for c in e["per_class"] if c["class"] == "cat")
        assert cat["recall"] == 0
        assert e["confusion"][2][2] == 0
        assert cat["support"] == 10


def test_hardly_any_images(blobs, tmp_path):
    path = blobs("x.h5", n=18, dims={"avg": 4}, split=False, classes=("a", "b", "c"))
    comparison = compare([path], heads=("logreg", "knn"), cv=3, map="pca")
    assert comparison.to_json()["data"]["judged"] == 18
    comparison.write_html(tmp_path / "x.html")


def test_a_head_that_cannot_learn_from_one_row_a_class_is_compared_without_a_curve(three):
    """Which of scikit-learn's can, nobody says; the comparison has ended there."""
    notes = []

    class Notes(Silent):
        def note(self, text):
            notes.append(text)

    lda = "sklearn.discriminant_analysis.LinearDiscriminantAnalysis"
    document = compare(three[:1], heads=(lda,), map="pca", progress=Notes()).to_json()
    assert document["curves"] == []
    assert document["leaderboard"][0]["accuracy"] > 0.5
    assert any(note.startswith(f"no learning curve of {lda} on good: ") for note in notes)


def test_a_negative_seed_is_refused(three):
    with pytest.raises(OptionError, match="seed to be at least 0, got -1"):
        compare(three, seed=-1)


def test_heads_that_keras_fits_are_fitted_on_the_device_and_others_have_no_gpu(
    three, monkeypatch, tmp_path
):
    places, selections = [], []

    def placed(device, tell):
        places.append(device)
        if device == "gpu:7":
            raise RuntimeUnavailableError("expected the device gpu:7, but there are 0 GPUs")
        tell("there is a GPU, and it is not used")

    def selected(*given, head, device, **more):
        selections.append((head, device))
        stand_in = "nearest_mean" if head == "mlp" else head  # NumPy fits it
        return select(*given, head=stand_in, device=device, **more)

    monkeypatch.setattr(study, "keras_place", placed)
    monkeypatch.setattr(heads, "select", selected)
    output = tmp_path / "page.html"
    found = bottleneck.compare(
        three[:1], heads="ridge,mlp", device="gpu:1", map="pca", resamples=100, output=output
    )
    assert places == ["gpu:1"]
    # Labels are judged by a logistic regression, of NumPy, which takes no notice.
    assert {head for head, _ in selections} == {"ridge", "mlp", "logreg"}
    assert {device for _, device in selections} == {"gpu:1"}
    assert "--device gpu:1" in found.to_json()["command"]
    selections.clear()
    with pytest.raises(RuntimeUnavailableError, match="gpu:7"):
        compare(three, heads=("mlp",), device="gpu:7")
    with pytest.raises(OptionError, match="cpu for ridge, knn, which NumPy computes, got gpu\n"):
        compare(three, heads=("ridge", "knn"), device="gpu")
    with pytest.raises(OptionError, match="expected the device cpu, gpu or gpu:N, got 'gpu0'"):
        compare(three, heads=("ridge",), device="gpu0")
    assert places == ["gpu:1", "gpu:7"]
    assert not selections  # before anything is fitted
