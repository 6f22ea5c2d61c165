"""Do two commits give the same results? Features, heads, judgements and comparison on the sample.

    python benchmarks/same_results.py OLD [NEW]

Both are checked out beside each other and run ``pipelines/quickstart.toml`` and a comparison,
by the same interpreter. Features are compared bit for bit, everything else number by number;
differences are listed, and counted in the exit code. A page is made from the comparison's JSON.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np

# What may differ between two runs of one commit.
_FREE = (
    "seconds",
    "rate",
    "per_second",
    "rss",
    "milliseconds",
    "time",
    "file",
    "output",
    "version",
)


def run(commit, folder):
    subprocess.run(["git", "worktree", "add", "-q", "--detach", folder, commit], check=True)
    made = folder / "runs"
    env = os.environ | {"PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "bottleneck"]
    subprocess.run([*command, "run", "pipelines/quickstart.toml"], cwd=folder, env=env, check=True)
    features = str(made / "quickstart/features.h5")
    compared = [*command, "compare", features, "--heads", "logreg,svm,ridge,knn", "--json"]
    text = subprocess.run(compared, cwd=folder, env=env, check=True, stdout=subprocess.PIPE).stdout
    (made / "compared.json").write_bytes(text)
    return made


def numbers(value, name=""):
    """Give every number and word of a document with where it stands."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not any(free in key for free in _FREE):
                yield from numbers(inner, f"{name}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from numbers(inner, f"{name}[{index}]")
    else:
        yield name, value


def document(path):
    return dict(numbers(json.loads(path.read_text())))


def head(path):
    """Read the arrays of a head, whatever they are called inside."""
    with zipfile.ZipFile(path) as archive:
        return {
            name: np.load(BytesIO(archive.read(name)))
            for name in archive.namelist()
            if name.endswith(".npy")
        }


def features(path):
    with h5py.File(path) as file:
        found = {name: np.asarray(data) for name, data in file["features"].items()}
        return found | {
            name: np.asarray(file[name]) for name in ("status", "digest") if name in file
        }


READERS = {"features.h5": features, ".head": head, ".json": document}


def different(old, new, read):
    """Name what differs between two files."""
    before, after = read(old), read(new)
    for name in sorted({*before, *after}):
        if name not in before or name not in after:
            yield f"{name}: only in the {'old' if name in before else 'new'} one"
        elif isinstance(before[name], np.ndarray):
            if not np.array_equal(before[name], after[name]):
                yield f"{name}: largest difference {np.abs(before[name] - after[name]).max():.3g}"
        elif before[name] != after[name]:
            yield f"{name}: {before[name]!r} became {after[name]!r}"


def summed_up(found):
    """Say what differs at many places once: with the first of them, and how many there are."""
    alike = {}
    for line in found:
        name, _, what = line.partition(": ")
        kind = what if what.startswith("only in") else "became"
        alike.setdefault((re.sub(r"(?<=[.\[])\d+\b", "*", name), kind), []).append(line)
    for lines in alike.values():
        yield lines[0] + (f" (and {len(lines) - 1} like it)" if len(lines) > 1 else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old")
    parser.add_argument("new", nargs="?", default="HEAD")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            old, new = (run(getattr(given, name), Path(folder, name)) for name in ("old", "new"))
            count = 0
            for path in sorted(new.rglob("*")):
                ending = next((end for end in READERS if path.name.endswith(end)), None)
                if ending is None or ".step." in path.name:
                    continue
                name = path.relative_to(new)
                found = [*different(old / name, path, READERS[ending])]
                count += len(found)
                print(f"{name}: {'equal' if not found else f'{len(found)} differences'}")
                for line in summed_up(found):
                    print(f"    {line}")
        finally:
            for name in ("old", "new"):
                gone = ["git", "worktree", "remove", "--force", Path(folder, name)]
                subprocess.run(gone, check=True)
    sys.exit(min(count, 99))


if __name__ == "__main__":
    main()
