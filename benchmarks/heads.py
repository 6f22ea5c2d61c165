"""Heads against scikit-learn on Fashion-MNIST features (see fashion_mnist.py); prints ratios.

    python -m benchmarks.fashion_mnist /usr/share/datasets/fashion-mnist features.h5
    python -m benchmarks.heads fit|sweep|ridge|memory features.h5
    python -m benchmarks.heads load photos.head

Everything is compared within one run. ``sweep`` measures the peer on some of its folds and
scales by their number (said in the output). ``memory`` writes a file of ten times
the rows beside the features, and trains from both in processes of their own.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from bottleneck.heads import LogisticRegression, RidgeClassifier, select
from bottleneck.heads.rows import FileRows
from bottleneck.store import FeatureStore

C = 0.01
GRID = tuple(float(f"{c:.6g}") for c in np.logspace(-4, 1, 10))


def timed(function):
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


def load(path):
    store = FeatureStore.open(path)
    return store, store.load("train"), store.load("test")


def objective(model, Z, y, c):
    z = model.decision_function(Z)
    top = z.max(axis=1)
    losses = np.log(np.exp(z - top[:, None]).sum(axis=1)) + top - z[np.arange(len(y)), y]
    return (c * losses.sum() + (np.asarray(model.coef_, float) ** 2).sum() / 2) / (c * len(y))


def fit(path, rounds):
    import sklearn.linear_model as peers
    from sklearn.preprocessing import StandardScaler

    _, train, test = load(path)
    scaler = StandardScaler().fit(train.X)
    Z, T = scaler.transform(train.X), scaler.transform(test.X)
    makers = {
        "ours": lambda: LogisticRegression(C=C),
        "ours, stopping at tol only": lambda: LogisticRegression(C=C, gap=1.0),
        "peer": lambda: peers.LogisticRegression(C=C, max_iter=5000),
        "peer, tol=1e-5": lambda: peers.LogisticRegression(C=C, tol=1e-5, max_iter=5000),
    }
    times = {name: [] for name in makers}
    models = {}
    for _ in range(rounds):
        for name, make in makers.items():
            took, models[name] = timed(lambda make=make: make().fit(Z, train.y))
            times[name].append(took)
    medians = {name: statistics.median(values) for name, values in times.items()}
    values = {name: objective(model, Z, train.y, C) for name, model in models.items()}
    least = min(values.values())
    for name, model in models.items():
        print(
            f"fit {name}: {medians[name]:.1f} s, {np.max(model.n_iter_)} steps, objective "
            f"{values[name]:.8f} ({values[name] / least - 1:+.1e}), test "
            f"{model.score(T, test.y):.4f}"
        )
    for ours in list(makers)[:2]:
        for peer in list(makers)[2:]:
            print(f"fit: {peer} / {ours} = {medians[peer] / medians[ours]:.2f}")


def sweep(path, rounds, measured):
    """Time `LogisticRegressionCV` on some of its folds, and all of ours with the final fit."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.preprocessing import StandardScaler

    from bottleneck.heads import folds
    from bottleneck.heads.kinds import logreg

    # A selection sweeps twice: folds and strengths, then the chosen strength on all rows.
    swept, sweep_once = [], logreg.sweep

    def timed_sweep(*arguments, **options):
        took, found = timed(lambda: sweep_once(*arguments, **options))
        swept.append(took)
        return found

    logreg.sweep = timed_sweep
    store, train, _ = load(path)
    fold = folds(train.keys, train.y, n_folds=5)
    Z = StandardScaler().fit_transform(train.X)
    splits = [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(measured)]
    ratios = []
    for _ in range(rounds):
        theirs = LogisticRegressionCV(
            Cs=GRID, cv=splits, n_jobs=2, refit=False, max_iter=5000, use_legacy_attributes=True
        )
        peer, theirs = timed(lambda model=theirs: model.fit(Z, train.y))
        ours, found = timed(
            lambda: select(
                train.X, train.y, classes=store.classes, keys=train.keys, grid=GRID, n_folds=5
            )
        )
        whole = peer * 5 / measured
        ratios.append(whole / (ours - swept[-1]))
        print(
            f"sweep peer: {measured} of 5 folds, 10 strengths, no final fit: {peer:.1f} s, scaled "
            f"to 5 folds {whole:.1f} s; ours: 5 folds, 10 strengths, standardisation included, no "
            f"final fit: {ours - swept[-1]:.1f} s; peer / ours = {ratios[-1]:.1f}; with our final "
            f"fit: {ours:.1f} s, {whole / ours:.1f}",
            flush=True,
        )
    scores = next(iter(theirs.scores_.values()))
    for i, entry in enumerate(found.cv):
        print(
            f"  C={entry['params']['C']:g}: ours {entry['mean']:.5f} +- {entry['std'] / 5**0.5:.5f}"
            f", peer on its {measured} folds {scores[:, i].mean():.5f}"
        )
    print(f"  chosen: {found.best}; notes: {found.notes}")
    print(f"sweep: peer / ours = {statistics.median(ratios):.1f}")


def ridge(path, rounds):
    _, train, test = load(path)
    X, y = train.X, train.y
    alphas = np.logspace(-1, 5, 20)
    times = {"path": [], "float32": [], "float64": [], "gram": []}
    for _ in range(rounds):
        took, model = timed(lambda: RidgeClassifier(alphas=alphas, standardize=True).fit(X, y))
        times["path"].append(took)
        times["gram"].append(timed(lambda: RidgeClassifier(standardize=True).fit(X, y))[0])
        times["float32"].append(timed(lambda: X.T @ X)[0])
        times["float64"].append(timed(lambda: (w := X.astype(np.float64)).T @ w)[0])
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"ridge: alpha {model.alpha_:g}, test {model.score(test.X, test.y):.4f}; {medians}")
    for kind in ("float64", "float32"):
        ratio = medians["path"] / medians[kind]
        print(f"ridge: path of 20 with leave-one-out / NumPy's {kind} X.T @ X = {ratio:.2f}")


def memory(path, limit_mb):
    _, train, _ = load(path)
    big = path.with_name("ten_times.f32")
    if not big.exists():
        rng = np.random.default_rng(0)
        with big.open("wb") as stream:
            for _ in range(10):
                for start in range(0, len(train.X), 6000):
                    block = train.X[start : start + 6000]
                    noise = rng.standard_normal(block.shape, np.float32)
                    (block + 0.01 * noise).astype("<f4").tofile(stream)
    np.save(path.with_name("labels.npy"), train.y)
    for times in (1, 10):
        command = [sys.executable, "-m", "benchmarks.heads", "child", str(path)]
        command += ["--times", str(times), "--limit-mb", str(limit_mb)]
        print(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())


def load_time(path, rounds):
    """Time loading a head, which `bottleneck train` wrote, in fresh processes."""
    code = (
        "import sys, time, sklearn.base, sklearn.utils.validation; t = time.perf_counter();"
        "from bottleneck.heads import Head; Head.load(sys.argv[1]); print(time.perf_counter() - t)"
    )
    command = [sys.executable, "-c", code, str(path)]
    took = [
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for _ in range(max(rounds, 5))
    ]
    print(f"load: {1e3 * statistics.median(took):.0f} ms, imports of ours included; all: {took}")


def child(path, times, limit_mb):
    resource.setrlimit(resource.RLIMIT_AS, (limit_mb << 20, limit_mb << 20))
    y = np.tile(np.load(path.with_name("labels.npy")), times)
    big = path.with_name("ten_times.f32")
    rows = FileRows(big, 0, (len(y), 1280), np.dtype("<f4"))
    keys = [str(i) for i in range(len(y))]
    took, found = timed(
        lambda: select(
            rows,
            y,
            classes=[str(i) for i in range(10)],
            keys=keys,
            grid=GRID[:2],
            n_folds=5,
        )
    )
    # Not ru_maxrss, which a process takes over from the one that started it.
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1024
    print(
        f"memory: {len(y)} rows ({big.stat().st_size / 2**20 * times / 10:.0f} MB of features), "
        f"address space limited to {limit_mb} MB: peak {peak:.0f} MB, {took:.0f} s, {found.best}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["fit", "sweep", "ridge", "memory", "load", "child"])
    parser.add_argument("features", type=Path)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folds", type=int, default=2, help="folds the peer is measured on")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--limit-mb", type=int, default=2500)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    match options.what:
        case "fit":
            fit(options.features, options.rounds)
        case "sweep":
            sweep(options.features, options.rounds, options.folds)
        case "ridge":
            ridge(options.features, options.rounds)
        case "memory":
            memory(options.features, options.limit_mb)
        case "load":
            load_time(options.features, options.rounds)
        case "child":
            child(options.features, options.times, options.limit_mb)


if __name__ == "__main__":
    main()
