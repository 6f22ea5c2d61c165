"""Heads against scikit-learn at any size, alternating in one process; prints ratios.

    python -m benchmarks.heads fit|sweep|screen|svm|ridge 10000x256x10
    python -m benchmarks.heads fit|sweep|screen|svm|ridge features.h5
    python -m benchmarks.heads memory features.h5
    python -m benchmarks.heads load photos.head

ROWSxFEATURESxCLASSES are made up (see made_features.py); a feature file is one with splits
``train`` and ``test``, such as of fashion_mnist.py. Every line says the clock's time, and after
it the CPU time of all threads, which other work on the machine disturbs less. ``--threads`` goes
for both sides. What the peer is measured on some folds or strengths of is scaled by their
number, and said so. ``memory`` writes a file of ten times the rows beside the features, and
trains from both in processes of their own.
"""

import argparse
import re
import resource
import statistics
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.made_features import made_features
from bottleneck.heads import LinearSVC, LogisticRegression, RidgeClassifier, folds, select
from bottleneck.heads.rows import FileRows
from bottleneck.store import FeatureStore

GRID = tuple(float(f"{c:.6g}") for c in np.logspace(-4, 1, 10))
ALPHAS = np.logspace(-1, 5, 20)

_EQUAL = 1e-6
"""Share of the objective that the peer may be above ours and still count as equal."""
_TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_LARGEST_HESSIAN = 8000
"""Weights up to which newton-cholesky is tried: its Hessian has so many rows and columns."""
_PATIENCE = 90.0
"""Seconds after which a solver of the peer is not tried at a smaller tolerance."""


class Timed:
    """Clock and CPU time of alternating rounds, by name."""

    def __init__(self):
        self.clock, self.cpu, self.results = {}, {}, {}

    def run(self, name, function):
        clock, cpu = time.perf_counter(), time.process_time()
        result = self.results[name] = function()
        self.clock.setdefault(name, []).append(time.perf_counter() - clock)
        self.cpu.setdefault(name, []).append(time.process_time() - cpu)
        return result

    def seconds(self, name):
        """Say the medians."""
        clock, cpu = (statistics.median(times[name]) for times in (self.clock, self.cpu))
        return f"{clock:.3g} s (CPU {cpu:.3g})"

    def ratio(self, peer, ours, *, times=1.0):
        """Say how many times ours goes into the peer's, scaled."""
        clock, cpu = (
            times * statistics.median(of[peer]) / statistics.median(of[ours])
            for of in (self.clock, self.cpu)
        )
        return f"{clock:.2f} (CPU {cpu:.2f})"


def load(data):
    """Return features, codes, keys and class names of training rows, and of test rows."""
    made = re.fullmatch(r"(\d+)x(\d+)x(\d+)", data)
    if made is None:
        store = FeatureStore.open(data)
        train, test = store.load("train"), store.load("test")
        return (train.X, train.y), (test.X, test.y), train.keys, store.classes
    n, d, k = (int(part) for part in made.groups())
    X, y = made_features(n + min(n, 10000), d, k)
    keys = [f"{i:06d}" for i in range(n)]
    return (X[:n], y[:n]), (X[n:], y[n:]), keys, [f"class {i}" for i in range(k)]


def standardised(train, test):
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train)
    return scaler.transform(train), scaler.transform(test)


def objective(model, Z, y, c):
    z = model.decision_function(Z)
    top = z.max(axis=1)
    losses = np.log(np.exp(z - top[:, None]).sum(axis=1)) + top - z[np.arange(len(y)), y]
    return (c * losses.sum() + (np.asarray(model.coef_, float) ** 2).sum() / 2) / (c * len(y))


def fit(data, options):
    """One fit beside each solver of the peer at its loosest tolerance of equal objective."""
    from sklearn.linear_model import LogisticRegression as Peer

    (X, y), (T, t), _, classes = load(data)
    Z, T = standardised(X, T)
    c = options.C

    def ours():
        return LogisticRegression(C=c, threads=options.threads).fit(Z, y)

    timed = Timed()
    enough = objective(timed.run("ours", ours), Z, y, c) * (1 + _EQUAL)
    makers = {"ours": ours}
    solvers = ["lbfgs", "newton-cg", "newton-cholesky"]
    if len(classes) * Z.shape[1] > _LARGEST_HESSIAN:
        print(f"fit: newton-cholesky not tried, {len(classes) * Z.shape[1]} weights")
        solvers.remove("newton-cholesky")
    for solver in options.solvers or solvers:
        for tol in _TOLERANCES:
            name = f"{solver}, tol={tol:g}"

            def theirs(solver=solver, tol=tol):
                return Peer(C=c, solver=solver, tol=tol, max_iter=5000).fit(Z, y)

            value = objective(timed.run(name, theirs), Z, y, c)
            above = value / enough * (1 + _EQUAL) - 1
            print(f"fit: {name}: {timed.seconds(name)}, objective {above:+.1e} of ours")
            if value <= enough:
                makers[name] = theirs
                break
            if timed.clock[name][0] > _PATIENCE:
                break
    for _ in range(options.rounds - 1):
        for name, make in makers.items():
            timed.run(name, make)
    for name in makers:
        model = timed.results[name]
        print(
            f"fit C={c:g}, {name}: {timed.seconds(name)}, {np.max(model.n_iter_)} steps, "
            f"test {model.score(T, t):.4f}"
        )
    equal = [name for name in makers if name != "ours"]
    if not equal:
        print("fit: no solver of the peer came to an equal objective")
        return
    best = min(equal, key=lambda name: statistics.median(timed.clock[name]))
    print(f"fit C={c:g}: {best} / ours = {timed.ratio(best, 'ours')}")


@contextmanager
def sweeps_timed(timed):
    """Time the sweeps of a selection apart: the first is that of folds and strengths."""
    from bottleneck.heads.kinds import logreg

    sweep_once, count = logreg.sweep, [0]

    def sweep(*arguments, **given):
        count[0] += 1
        name = "folds and strengths" if count[0] % 2 else "final fit"
        return timed.run(name, lambda: sweep_once(*arguments, **given))

    logreg.sweep = sweep
    try:
        yield
    finally:
        logreg.sweep = sweep_once


def sweep(data, options, *, tol=1e-4, screen=False):
    """Folds and strengths beside `LogisticRegressionCV`, which is measured on some folds."""
    from sklearn.linear_model import LogisticRegressionCV

    (X, y), (T, _), keys, classes = load(data)
    Z, _ = standardised(X, T)
    grid = GRID if options.strengths is None else thinned(options.strengths)
    fold = folds(keys, y, n_folds=5)
    measured = options.folds
    splits = [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(measured)]
    timed = Timed()

    def ours():
        return select(
            X,
            y,
            classes=classes,
            keys=keys,
            grid=grid,
            jobs=options.threads or -1,
            screen=screen,
        )

    def theirs():
        return LogisticRegressionCV(
            Cs=grid,
            cv=splits,
            n_jobs=options.threads or 2,
            refit=False,
            max_iter=5000,
            tol=tol,
            solver=(options.solvers or ["lbfgs"])[0],
            use_legacy_attributes=True,
        ).fit(Z, y)

    with sweeps_timed(timed):
        for _ in range(options.rounds):
            found = timed.run("ours", ours)
            peer = timed.run("peer", theirs)
    what = "screened" if screen else "sweep"
    scaled = 5 / measured
    scores = next(iter(peer.scores_.values())).mean(axis=0)
    print(
        f"{what}: 5 folds, {len(grid)} strengths: ours with the final fit {timed.seconds('ours')}"
        f", of that the final fit {timed.seconds('final fit')}; peer (tol={tol:g}, "
        f"no final fit) on {measured} of 5 folds {timed.seconds('peer')}"
    )
    for i, entry in enumerate(found.cv):
        print(
            f"  C={entry['params']['C']:g}: ours {entry['mean']:.5f}, "
            f"peer on its folds {scores[i]:.5f}"
        )
    print(f"  chosen: {found.best}, peer C={grid[int(scores.argmax())]:g}; notes: {found.notes}")
    alone = timed.ratio("peer", "folds and strengths", times=scaled)
    print(f"{what}: peer scaled to 5 folds / ours without the final fit = {alone}")
    print(f"{what}: ... / ours with it = {timed.ratio('peer', 'ours', times=scaled)}")


def thinned(count):
    """Return some strengths of the grid, the ends among them."""
    return tuple(GRID[i] for i in np.unique(np.linspace(0, len(GRID) - 1, count).astype(int)))


def screen(data, options):
    sweep(data, options, tol=1e-3, screen=True)


def svm(data, options):
    """One squared hinge beside liblinear's primal and dual solver, at equal objective."""
    from sklearn.svm import LinearSVC as Peer

    (X, y), (T, t), _, classes = load(data)
    Z, T = standardised(X, T)
    c = options.C
    signs = np.where(np.arange(len(classes))[:, None] == y, 1, -1)

    def value(model):
        short = np.maximum(1 - signs * model.decision_function(Z).T, 0)
        weights = np.column_stack([model.coef_, model.intercept_])
        return c * (short**2).sum() + (weights**2).sum() / 2

    timed = Timed()
    ours = timed.run("ours", lambda: LinearSVC(C=c, threads=options.threads).fit(Z, y))
    equal = []
    for dual in (False, True):
        for tol in (1e-1, 1e-2, 1e-3, 1e-4):
            name = f"dual={dual}, tol={tol:g}"

            def theirs(dual=dual, tol=tol):
                return Peer(C=c, dual=dual, tol=tol, max_iter=5000).fit(Z, y)

            above = value(timed.run(name, theirs)) / value(ours) - 1
            print(f"svm: {name}: {timed.seconds(name)}, objective {above:+.1e} of ours")
            if above <= _EQUAL:
                equal.append(name)
            if above <= _EQUAL or timed.clock[name][0] > _PATIENCE / 3:
                break
    print(f"svm C={c:g}, ours: {timed.seconds('ours')}, test {ours.score(T, t):.4f}")
    if equal:
        best = min(equal, key=lambda name: timed.clock[name][0])
        print(f"svm C={c:g}: {best} / ours = {timed.ratio(best, 'ours')}")


def ridge(data, options):
    """A path of 20 penalties with leave-one-out, beside `RidgeClassifierCV` and one product."""
    from sklearn.linear_model import RidgeClassifierCV

    (X, y), (T, t), _, _ = load(data)
    Z, S = standardised(X, T)
    given = {"standardize": True, "threads": options.threads}
    makers = {
        "path": lambda: RidgeClassifier(alphas=ALPHAS, **given).fit(X, y),
        "one": lambda: RidgeClassifier(**given).fit(X, y),
        "float32 product": lambda: X.T @ X,
        "float64 product": lambda: (wide := X.astype(np.float64)).T @ wide,
        "peer": lambda: RidgeClassifierCV(alphas=ALPHAS).fit(Z, y),
    }
    timed = Timed()
    for _ in range(options.rounds):
        for name, make in makers.items():
            timed.run(name, make)
    ours, peer = timed.results["path"], timed.results["peer"]
    print(f"ridge: alpha {ours.alpha_:g}, test {ours.score(T, t):.4f}; ", end="")
    print(f"peer: alpha {peer.alpha_:g}, test {peer.score(S, t):.4f}")
    for name in makers:
        print(f"ridge: {name}: {timed.seconds(name)}")
    for name in ("float64 product", "float32 product"):
        print(f"ridge: path of 20 with leave-one-out / {name} = {timed.ratio('path', name)}")
    print(f"ridge: peer / path = {timed.ratio('peer', 'path')}")


def memory(path, limit_mb):
    (X, y), *_ = load(str(path))
    big = path.with_name("ten_times.f32")
    if not big.exists():
        rng = np.random.default_rng(0)
        with big.open("wb") as stream:
            for _ in range(10):
                for start in range(0, len(X), 6000):
                    block = X[start : start + 6000]
                    noise = rng.standard_normal(block.shape, np.float32)
                    (block + 0.01 * noise).astype("<f4").tofile(stream)
    np.save(path.with_name("labels.npy"), y)
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
    started = time.perf_counter()
    found = select(rows, y, classes=[str(i) for i in range(10)], keys=keys, grid=GRID[:2])
    took = time.perf_counter() - started
    # Not ru_maxrss, which a process takes over from the one that started it.
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1024
    print(
        f"memory: {len(y)} rows ({big.stat().st_size / 2**20 * times / 10:.0f} MB of features), "
        f"address space limited to {limit_mb} MB: peak {peak:.0f} MB, {took:.0f} s, {found.best}"
    )


def main():
    against = {"fit": fit, "sweep": sweep, "screen": screen, "svm": svm, "ridge": ridge}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=[*against, "memory", "load", "child"])
    parser.add_argument("data", help="ROWSxFEATURESxCLASSES or a feature file; of load, a head")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, help="of both sides; by default all cores")
    parser.add_argument("--C", type=float, default=0.01)
    parser.add_argument("--solvers", nargs="+", help="of the peer")
    parser.add_argument("--folds", type=int, default=2, help="folds the peer is measured on")
    parser.add_argument("--strengths", type=int, help="of the grid's ten, for both")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--limit-mb", type=int, default=2500)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    match options.what:
        case "memory":
            memory(Path(options.data), options.limit_mb)
        case "load":
            load_time(Path(options.data), options.rounds)
        case "child":
            child(Path(options.data), options.times, options.limit_mb)
        case what:
            print(f"{what} {options.data}, threads: {options.threads or 'all'}", flush=True)
            with threadpool_limits(options.threads):
                against[what](options.data, options)


if __name__ == "__main__":
    main()
