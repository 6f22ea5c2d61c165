"""Thousands of images with 3% bad or odd ones of fifteen kinds, through the command line.

Good rows are exact, bad ones are named with their reason, counts add up, nothing hangs, and the
exit code follows ``--max-failed``. The short run is part of every test run.
"""

import io
import json
import os
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from traps import CRASH, HANG, TrapSource

from bottleneck.images import Geometry, decode
from bottleneck.sources import open_source
from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore

pytestmark = pytest.mark.usefixtures("fake_backbone")


def encoded(pixels, kind, **options):
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(stream, kind, **options)
    return stream.getvalue()


def bomb():
    """A PNG whose header promises 50,000 x 50,000 pixels."""
    import zlib

    data = bytearray(encoded(np.zeros((4, 4), np.uint8), "PNG"))
    data[16:24] = (50_000).to_bytes(4) * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4)
    return bytes(data)


class Kinds:
    """Makes the file of each kind; the value says what its row must say, None for a good one."""

    def __init__(self, rng):
        self.rng = rng
        self.jpeg = encoded(rng.integers(0, 256, (40, 50, 3), np.uint8), "JPEG", quality=95)
        self.wide = encoded(np.tile(rng.integers(0, 256, (20, 500), np.uint8), 130), "JPEG")

    def pixels(self, *shape):
        return self.rng.integers(0, 256, shape, np.uint8)

    def truncated(self, path):
        path.write_bytes(self.jpeg[: int(self.rng.integers(200, len(self.jpeg) - 2))])
        return RowStatus.TRUNCATED

    def empty(self, path):
        path.write_bytes(b"")
        return RowStatus.EMPTY

    def html(self, path):
        path.write_bytes(b"<!DOCTYPE html><html><body>404 Not Found</body></html>")
        return RowStatus.NOT_AN_IMAGE

    def bomb(self, path):
        path.write_bytes(bomb())
        return RowStatus.TOO_LARGE

    def crash(self, path):
        path.write_bytes(CRASH)
        return RowStatus.DECODER_CRASHED

    def hang(self, path):
        path.write_bytes(HANG)
        return RowStatus.TIMED_OUT

    def forbidden(self, path):
        if os.geteuid():
            path.write_bytes(self.jpeg)
            path.chmod(0)
        else:  # nothing is forbidden to root; a link to itself cannot be opened by anybody
            path.symlink_to(path)
        return RowStatus.UNREADABLE

    def folder(self, path):
        path.mkdir()
        return RowStatus.UNREADABLE

    def broken_link(self, path):
        path.symlink_to("nowhere")
        return RowStatus.MISSING

    def disappears(self, path):
        path.write_bytes(self.jpeg)
        return RowStatus.MISSING

    def very_wide(self, path):
        path.write_bytes(self.wide)

    def one_pixel(self, path):
        path.write_bytes(encoded(self.pixels(1, 1, 3), "PNG"))

    def cmyk(self, path):
        path.write_bytes(encoded(Image.fromarray(self.pixels(30, 30, 4), "CMYK"), "JPEG"))

    def sixteen_bit(self, path):
        path.write_bytes(encoded(self.rng.integers(0, 65536, (30, 30), np.uint16), "PNG"))

    def animated(self, path):
        first, second = (Image.fromarray(self.pixels(20, 20)) for _ in range(2))
        path.write_bytes(encoded(first, "GIF", save_all=True, append_images=[second]))


KINDS = [name for name in vars(Kinds) if not name.startswith("_") and name != "pixels"]


def make_set(root, n):
    """``n`` images, 3% of them of the fifteen kinds, spread over the rows."""
    rng = np.random.default_rng(n)
    make, expected, by_kind = Kinds(rng), {}, {}
    root.mkdir()
    odd = rng.choice(n, max(len(KINDS), 3 * n // 100), replace=False).tolist()
    for i, row in enumerate(odd):
        kind = KINDS[i % len(KINDS)]
        reason = getattr(make, kind)(root / f"{row}.jpg")
        expected[f"{row}.jpg"] = RowStatus.DONE if reason is None else reason
        by_kind[f"{row}.jpg"] = kind
    for row in set(range(n)) - set(odd):
        height, width = rng.integers(5, 40, 2)
        (root / f"{row}.jpg").write_bytes(encoded(make.pixels(height, width, 3), "PNG"))
        expected[f"{row}.jpg"] = RowStatus.DONE
    return expected, by_kind


@pytest.mark.parametrize("n", [300, pytest.param(10_000, marks=pytest.mark.heavy)])
def test_many_images_with_bad_ones_of_fifteen_kinds(cli, tmp_path, monkeypatch, n):
    root, output = tmp_path / "set", tmp_path / "f.h5"
    expected, by_kind = make_set(root, n)
    assert len(KINDS) == 15

    def listed(*given):
        source = TrapSource(open_source(*given))
        for key, kind in by_kind.items():
            if kind == "disappears":
                (root / key).unlink(missing_ok=True)
        return source

    monkeypatch.setattr("bottleneck.backbones.registry.open_source", listed)
    bad = Counter(status.label for status in expected.values() if status.failed)
    arguments = ("extract", root, "-o", output, "--timeout", "2", "--json")
    result = cli(*arguments, "--max-failed", sum(bad.values()) - 1)

    assert result.code == 3
    assert f"{sum(bad.values())} of {n} images failed" in result.err
    document = result.json
    assert document["reasons"] == dict(bad)
    assert document["rows"] == n == document["ok"] + document["failed"]
    assert (document["failed"], document["pending"]) == (sum(bad.values()), 0)

    store = FeatureStore.open(output)
    found = {store.keys[row]: RowStatus(store.status[row]) for row in range(n)}
    assert found == expected
    texts = output.with_name("f.h5.failures.jsonl").read_text().splitlines()
    named = {record["key"]: record["status"] for record in map(json.loads, texts)}
    assert named == {key: s.label for key, s in expected.items() if s.failed}
    for row in np.flatnonzero(store.done).tolist():
        pixels = decode((root / store.keys[row]).read_bytes(), Geometry(16))
        mean = pixels.reshape(-1, 3).mean(axis=0)
        np.testing.assert_allclose(store.features()[row], mean, rtol=1e-6, err_msg=store.keys[row])

    for key, kind in by_kind.items():
        if kind == "disappears":
            (root / key).write_bytes(b"")  # it is back, for the listing alone
    again = cli(*arguments, "--max-failed", sum(bad.values()))
    assert again.code == 0
    assert (again.json["ok"], again.json["already_done"]) == (0, n)
