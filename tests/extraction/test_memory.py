"""Memory does not grow with the number of images."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fakes import write_png

TESTS = Path(__file__).parents[1]

EXTRACT = """
import json, sys
from pathlib import Path
from fakes import MeanBackbone, fake_embedder
from bottleneck.extraction import fill_store, Silent
from bottleneck.extraction.plan import MaxFailed
from bottleneck.sources import open_source
from bottleneck.store import writer_lock
output = Path(sys.argv[2])
with writer_lock(output):
    result = fill_store(
        open_source([sys.argv[1]]), output, fake_embedder(MeanBackbone(), size=64),
        batch_size=16, workers=2, worker_kind=sys.argv[3],
        max_failed=MaxFailed.parse("0"), progress=Silent()
    )
print(result.peak_rss_mb)
"""

INDEX = """
import sys
from bottleneck.extraction.result import peak_rss_mb
from bottleneck.sources import open_source
manifest = open_source([sys.argv[1]]).manifest
print(len(manifest), len(manifest.classes), manifest.keys[999_999])
print(peak_rss_mb())
"""


def run(script, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout.split()


@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_ten_times_the_images_take_the_same_memory(tmp_path, rng, kind):
    pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
    image = write_png(tmp_path / "one.png", pixels).read_bytes()
    peaks = {}
    for n in (400, 4000):
        folder = tmp_path / str(n)
        folder.mkdir()
        for i in range(n):
            (folder / f"{i}.png").write_bytes(image + i.to_bytes(4))  # no two are identical
        peaks[n] = float(*run(EXTRACT, folder, tmp_path / f"{n}.h5", kind))
    assert peaks[4000] < 1.1 * peaks[400]


def test_a_million_entries_index_in_less_than_300_mb(tmp_path):
    table = tmp_path / "images.csv"
    with table.open("w") as stream:
        stream.write("path,label,split\n")
        for i in range(1_000_000):
            stream.write(f"folder_{i % 1000:03d}/image_{i}.jpg,class_{i % 100},train\n")
    n, classes, last, peak = run(INDEX, table)
    assert (n, classes, last) == ("1000000", "100", "folder_999/image_999999.jpg")
    assert float(peak) < 300
