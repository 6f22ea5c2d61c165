"""The far end: plan, publish, resume and open sets of 10^8 rows and more, in an object store.

    python benchmarks/scale.py [--rows 100000000] [--shards 4] [--stage plan ...]

The store is moto's, in a process of its own on loopback; images are not read and features are not
computed (there are not so many here): keys are made up, rows are written as the engine writes them.
Each stage runs in a process of its own, whose largest memory is printed, with the requests and
bytes of the object store; behind it the same for 10^9 rows of 1024 float16, which is arithmetic. A
worker is run on a hundredth, a tenth and all of the rows: what it takes does not depend on them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from bottleneck.extraction.ranges import FillSettings, RangeFiller
from bottleneck.extraction.result import peak_rss_mb
from bottleneck.heads import folds
from bottleneck.manifest import Manifest
from bottleneck.packed import PackedStrings
from bottleneck.recipe import Recipe
from bottleneck.sets import ROWS, SetInfo, place_of, published, read_info
from bottleneck.sets.leases import Leases
from bottleneck.sets.planning import write_set
from bottleneck.sets.publishing import publish
from bottleneck.sources.streaming import Block, Segment
from bottleneck.store import FeatureStore, Writer, create, writer_lock

RECIPE = Recipe(
    {"backbone": "fake", "size": 16},
    {"precision": "float32", "dtype": "float16", "runtime": "numpy"},
)
CLASSES = 1000
WIDTH = 9
REQUESTS: Counter[str] = Counter()


def count_requests() -> None:
    """Count what the object store is asked for, and the bytes that are sent and got."""
    from aiobotocore.client import AioBaseClient

    asked = AioBaseClient._make_api_call

    async def counted(self: Any, operation: str, parameters: dict[str, Any]) -> Any:
        REQUESTS[operation] += 1
        body = parameters.get("Body")
        REQUESTS["bytes sent"] += len(body) if isinstance(body, bytes | bytearray) else 0
        answer = await asked(self, operation, parameters)
        if operation == "GetObject":
            REQUESTS["bytes got"] += answer["ContentLength"]
        return answer

    AioBaseClient._make_api_call = counted


def made_up(rows: int, block: int) -> Iterator[Block]:
    """Yield a list of images as one listed from tar files might be, without Python's strings."""
    classes = tuple(f"class{number:04d}" for number in range(CLASSES))
    for start in range(0, rows, block):
        count = min(block, rows - start)
        numbers = np.arange(start, start + count)
        key = b"shard-000000/" + b"0" * WIDTH + b".jpg"
        table = np.tile(np.frombuffer(key, np.uint8), (count, 1))
        for digit in range(WIDTH):
            table[:, 13 + WIDTH - 1 - digit] = 48 + numbers // 10**digit % 10
        for digit in range(6):
            table[:, 11 - digit] = 48 + numbers // 10_000 // 10**digit % 10
        manifest = Manifest(
            keys=PackedStrings(table.ravel(), np.arange(count + 1, dtype=np.uint64) * len(key)),
            labels=(numbers % CLASSES).astype(np.int32),
            classes=classes,
            splits=np.ones(count, np.uint8),
            groups=np.full(count, -1, np.int32),
        )
        yield manifest, Segment(count, base="s3://images")


def plan(url: str, rows: int, dim: int, per_shard: int) -> dict[str, Any]:
    """Plan a set."""
    info = write_set(
        place_of(url),
        made_up(rows, per_shard),
        recipe=RECIPE,
        outputs={"avg": dim},
        rows_per_shard=per_shard,
    )
    return {"rows": info.rows, "shards": info.n_ranges}


def fill_by_hand(path: Path, info: SetInfo, manifest: Manifest) -> None:
    """Write all rows of a shard in batches, as the engine does."""
    rng = np.random.default_rng(0)
    dim = info.outputs["avg"]
    with writer_lock(path):
        create(path, manifest=manifest, recipe=RECIPE, dims=info.outputs, dtype="float16")
        with Writer(path, FeatureStore.open(path).layout) as writer:
            for start in range(0, len(manifest), 4096):
                rows = np.arange(start, min(start + 4096, len(manifest)))
                features = rng.standard_normal((len(rows), dim)).astype(np.float16)
                writer.write(rows, {"avg": features}, _digests(rows))


def _digests(rows: Any) -> Any:
    return np.frombuffer(rows.astype("<u8").tobytes() * 2, np.uint8).reshape(-1, 16)


def work(url: str, shards: int) -> dict[str, Any]:
    """Do what a worker does for some ranges: lease, list, fill, verify, publish."""
    with tempfile.TemporaryDirectory() as name:
        filler = RangeFiller(url, FillSettings(no_network, Path(name)))
        place, info = filler.place, filler.info
        leases = Leases(place, info)
        seconds = []
        for number in range(min(shards, info.n_ranges)):
            started = time.monotonic()
            lease = leases.take(number)
            assert lease is not None
            with leases.kept(number, lease):
                assert number not in published(place, info)
                path = Path(name) / f"{number}.h5"
                fill_by_hand(path, info, part_of(filler, number))
                size = path.stat().st_size
                assert publish(place, info, number, path)
                path.unlink()
            seconds.append(time.monotonic() - started)
    return {"shards": shards, "bytes of a shard": size, "seconds a shard": round(max(seconds), 2)}


def part_of(filler: RangeFiller, number: int) -> Manifest:
    """Read the part of a range as a worker does."""
    return filler._source(number).manifest


def no_network(info: SetInfo) -> Any:
    """Stand for a network: rows are written by hand here."""
    raise AssertionError(info)


def resume(url: str) -> dict[str, Any]:
    """Find out what is left: a listing."""
    started = time.monotonic()
    place, info = read_info(url)
    there = published(place, info)
    left = [number for number in range(info.n_ranges) if number not in there]
    return {"left": len(left), "seconds": round(time.monotonic() - started, 3)}


def dealt(url: str) -> dict[str, Any]:
    """Deal all rows into folds by their keys, as training does: keys are read part by part."""
    store = FeatureStore.open(url)
    fold = folds(store.keys, store.labels, store.manifest.groups, 5)
    return {"rows": len(store), "rows of a fold": np.bincount(fold).tolist()}


def opened(url: str) -> dict[str, Any]:
    """Open a set as a store, twice: at the first time packages are loaded."""
    seconds, own = [], []
    for _ in range(2):
        started, cpu = time.monotonic(), time.process_time()
        store = FeatureStore.open(url)
        assert len(store) == 10**9
        seconds.append(round(time.monotonic() - started, 3))
        own.append(round(time.process_time() - cpu, 3))
    return {"seconds": seconds, "of them cpu of this process": own}


def complete_listing(url: str) -> dict[str, Any]:
    """Make a set of 10^9 rows whose shards are names only, in order to list and open it."""
    place = place_of(url)
    per_shard, rows = ROWS, 10**9
    count = -(-rows // per_shard)
    info = SetInfo(
        id="0" * 32,
        recipe=RECIPE,
        rows=rows,
        rows_per_shard=per_shard,
        outputs={"avg": 1024},
        classes=(),
        parts=tuple(f"{number:064x}" for number in range(count)),
    )
    with ThreadPoolExecutor(8) as executor:
        made = executor.map(lambda number: place.create(info.shard(number), b""), range(count))
        assert all(made)
    place.create("set.json", info.to_json().encode())
    return {"shards": count}


def stage(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run a stage in this process."""
    count_requests()
    started, cpu = time.monotonic(), time.process_time()
    url = "s3://scale/photos.set"
    if name == "plan":
        found = plan(url, arguments.rows, arguments.dim, arguments.per_shard)
    elif name == "worker":
        found = work(url, arguments.shards)
    elif name == "resume":
        found = resume(url)
    elif name == "folds of 1/10":
        found = dealt("s3://scale/10.set")
    elif name in SMALLER:
        smaller = f"s3://scale/{SMALLER[name]}.set"
        if name.startswith("plan"):
            rows = arguments.rows // SMALLER[name]
            found = plan(smaller, rows, arguments.dim, arguments.per_shard)
        else:
            found = work(smaller, arguments.shards)
    elif name == "names":
        found = complete_listing("s3://scale/names.set")
    elif name == "open":
        found = opened("s3://scale/names.set")
    else:
        with tempfile.TemporaryDirectory() as folder:
            complete_listing(f"{folder}/names.set")
            found = opened(f"{folder}/names.set")
    return {
        **found,
        "requests": dict(REQUESTS),
        "wall": round(time.monotonic() - started, 1),
        "cpu": round(time.process_time() - cpu, 1),
        "peak MB": peak_rss_mb(),
    }


SMALLER = {f"{what} of 1/{of}": of for of in (100, 10) for what in ("plan", "worker")}
"""Stages with fewer rows, by how many times."""

STAGES = ("plan", "worker", *SMALLER, "folds of 1/10", "resume", "names", "open", "open a folder")


def model() -> dict[str, Any]:
    """Say what 10^9 rows of 1024 float16 take, by arithmetic (S3 sends parts of 50 MiB here)."""
    shards = -(-(10**9) // ROWS)
    shard = ROWS * (1024 * 2 + 4 + 1 + 16)
    parts = -(-shard // (50 << 20))
    return {
        "shards": shards,
        "bytes of features": 10**9 * 1024 * 2,
        "bytes of a shard without its keys": shard,
        "requests of all uploads": shards * (parts + 2),
        "pages of a listing": -(-shards // 1000),
    }


def main() -> None:
    """Start the store and run every stage in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10**8)
    parser.add_argument("--per-shard", type=int, default=ROWS)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--stage", action="append", choices=STAGES)
    parser.add_argument("--only", choices=STAGES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(stage(arguments.only, arguments)))
        return
    server = [sys.executable, "-c", SERVER]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as store:
        try:
            assert store.stdout is not None
            settings = {
                "AWS_ENDPOINT_URL": store.stdout.readline().strip(),
                "AWS_ACCESS_KEY_ID": "x",
                "AWS_SECRET_ACCESS_KEY": "x",
                "AWS_DEFAULT_REGION": "us-east-1",
            }
            os.environ.update(settings)
            import s3fs

            s3fs.S3FileSystem().mkdir("scale")
            document: dict[str, Any] = {}
            for name in arguments.stage or STAGES:
                more = [f"--{key}={getattr(arguments, key.replace('-', '_'))}" for key in
                        ("rows", "per-shard", "dim", "shards")]  # fmt: skip
                command = [sys.executable, __file__, "--only", name, *more]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                document[name] = json.loads(done.stdout)
                print(f"{name}: {done.stdout.strip()}", file=sys.stderr, flush=True)
            document["model of 10^9 rows"] = model()
            print(json.dumps(document, indent=1))
        finally:
            store.terminate()


SERVER = """
import logging, time
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("http://%s:%s" % server.get_host_and_port(), flush=True)
time.sleep(10**6)
"""

if __name__ == "__main__":
    main()
