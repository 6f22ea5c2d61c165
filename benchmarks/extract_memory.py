"""Peak memory of `bottleneck extract` by the number of images, and the time to list many paths.

    python benchmarks/extract_memory.py [--counts 2000,20000,200000] [--paths N] [--size PIXELS]

Each count runs in a process of its own, on small JPEGs that all differ, with the default backbone
at a small size. Memory is that of the main process and its workers together, sampled from /proc
(prosubsetal: what they share counts once).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from photographs import write_jpegs

PROGRAM = """
import sys, time
from bottleneck import extract
from bottleneck.extraction.result import peak_rss_mb
result = extract(sys.argv[1], sys.argv[2], size=int(sys.argv[3]))
print(result.ok, result.seconds, peak_rss_mb())
"""

INDEX = """
import sys, time
from bottleneck.extraction.result import peak_rss_mb
from bottleneck.sources import open_source
before = peak_rss_mb()
started = time.perf_counter()
source = open_source([sys.argv[1]])
keys = source.manifest.keys
print(len(keys), keys.blob.nbytes, time.perf_counter() - started, before, peak_rss_mb())
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", default="2000,20000,200000")
    parser.add_argument("--paths", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        write_jpegs(folder / "originals", 100, 64, 48)
        originals = sorted((folder / "originals").rglob("*.jpg"))
        first = None
        for count in map(int, options.counts.split(",")):
            root = folder / str(count)
            for i in range(count):
                place = root / f"class_{i % 10}" / f"{i}.jpg"
                if i < 10:
                    place.parent.mkdir(parents=True)
                distinct_copy(originals[i % 100], place, i)
            ok, seconds, peak, together = measured(root, folder / f"{count}.h5", options.size)
            first = first or (peak, together)
            print(
                f"{count} images in {seconds:.0f} s ({count / seconds:.0f}/s): peak of the main "
                f"process {peak:.0f} MB ({peak / first[0]:.3f} of the first), with workers "
                f"{together:.0f} MB ({together / first[1]:.3f})"
            )
            assert ok == count
        for kind in (folder_of, table_of):
            listing(kind(folder, options.paths), kind.__doc__)


def distinct_copy(original, place, number):
    """Copy a JPEG with another comment, so that no two images are identical."""
    data = original.read_bytes()
    comment = b"\xff\xfe\x00\x0a%08d" % number
    place.write_bytes(data[:2] + comment + data[2:])


def measured(root, output, size):
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(root), str(output), str(size)]
    peak = 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:

        def sample():
            nonlocal peak
            while process.poll() is None:
                peak = max(peak, together(process.pid))
                time.sleep(0.2)

        watcher = threading.Thread(target=sample)
        watcher.start()
        ok, seconds, own = process.stdout.read().split()
        watcher.join()
    return int(ok), float(seconds), float(own), peak


def together(pid):
    """Prosubsetal memory of a process and its children, MB."""
    total = 0.0
    for number in (pid, *children(pid)):
        try:
            text = Path(f"/proc/{number}/smaps_rollup").read_text()
            total += int(text.split("Pss:")[1].split()[0]) * 1.024e-3
        except (OSError, IndexError):
            pass  # it has just ended
    return total


def children(pid):
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []


def folder_of(folder, n):
    """a folder of folders"""
    root = folder / "many"
    original = folder / "empty"
    original.write_bytes(b"")
    for i in range(n):
        if i % 1000 == 0:
            part = root / f"folder_{i // 1000:04d}"
            part.mkdir(parents=True)
        if i % 30_000 == 0:  # file systems limit the links of one file
            original = part / f"image_{i}.jpg"
            original.write_bytes(b"")
        else:
            os.link(original, part / f"image_{i}.jpg")
    return root


def table_of(folder, n):
    """a CSV table"""
    table = folder / "many.csv"
    with table.open("w") as stream:
        stream.write("path,label,split\n")
        stream.writelines(
            f"folder_{i // 1000:04d}/image_{i}.jpg,class_{i % 100},train\n" for i in range(n)
        )
    return table


def listing(place, kind):
    command = [sys.executable, "-c", INDEX, str(place)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    n, key_bytes, seconds, before, after = map(float, done.stdout.split())
    extra = (after - before) * 1e6 / n - key_bytes / n
    print(
        f"{n:,.0f} paths in {kind}: listed in {seconds:.1f} s; at the peak {extra:.0f} bytes a "
        f"row beside {key_bytes / n:.0f} of key"
    )


if __name__ == "__main__":
    main()
