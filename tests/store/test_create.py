import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from fakes import fake_recipe

import bottleneck
from bottleneck.errors import StoreError
from bottleneck.manifest import Manifest
from bottleneck.store import FeatureStore, create, system, writer_lock
from bottleneck.store.format import LiveDataset, live_datasets


def test_file_holds_what_the_format_says(make):
    path = make(10, {"avg": 5, "max": 7})
    with h5py.File(path) as file:
        shapes = {name: (d.shape, d.dtype.str) for name, d in file["features"].items()}
        assert shapes == {"avg": ((10, 5), "<f4"), "max": ((10, 7), "<f4")}
        assert {n: (d.shape, d.dtype.str) for n, d in file["crc32"].items()} == {
            "avg": ((10,), "<u4"),
            "max": ((10,), "<u4"),
        }
        assert (file["status"].shape, file["status"].dtype) == ((10,), np.uint8)
        assert (file["digest"].shape, file["digest"].dtype) == ((10, 16), np.uint8)
        assert not file["status"][()].any()
        keys = file["manifest/key_bytes"][()].tobytes().decode()
        offsets = file["manifest/key_offsets"][()]
        assert keys[offsets[3] : offsets[4]] == "img3.png"
        attributes = {k: v.decode() if isinstance(v, bytes) else v for k, v in file.attrs.items()}
    assert attributes["format"] == "bottleneck-features"
    assert attributes["format_version"] == 1
    assert attributes["creator"] == f"bottleneck {bottleneck.__version__}"
    assert json.loads(attributes["recipe"])["identity"]["backbone"] == "fake"
    assert attributes["identity_sha256"] == fake_recipe().identity_sha256


def test_superblock_is_version_0(make):
    """Versions 2 and 3 carry a consistency flag that would block reopening after a kill."""
    content = make().read_bytes()
    assert content[:8] == b"\x89HDF\r\n\x1a\n"
    assert content[8] == 0


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("n", "dim"), [(1, 1), (10, 1001), (3000, 1280), (5000, 513), (70000, 3)])
def test_rows_lie_in_one_run_at_page_boundaries(make, n, dim, dtype):
    store = FeatureStore.open(make(n, {"avg": dim}, dtype))
    extent = store.layout.features["avg"]
    assert extent.row_bytes == dim * np.dtype(dtype).itemsize
    if n * extent.row_bytes >= 4096:
        assert extent.offset % 4096 == 0
    with h5py.File(store.path) as file:
        dataset = file["features/avg"]
        n_chunks = dataset.id.get_num_chunks()
        assert n_chunks == -(-n // dataset.chunks[0])
        if n_chunks > 1:
            chunk_bytes = dataset.chunks[0] * extent.row_bytes
            assert chunk_bytes % 4096 == 0
            for i in range(n_chunks):
                assert dataset.id.get_chunk_info(i).byte_offset == extent.offset + i * chunk_bytes


def test_chunks_are_about_a_mebibyte():
    (*_, features) = live_datasets(10**6, {"avg": 1280}, "f4")
    assert features.chunk_rows * features.row_bytes == 204 * 5120
    assert LiveDataset("x", 10, (1280,), np.dtype("f4")).chunk_rows == 10


def test_space_is_reserved(make):
    path = make(1000, {"avg": 512})
    facts = path.stat()
    assert facts.st_blocks * 512 >= 1000 * 512 * 4


def test_an_existing_file_is_never_replaced_unasked(make, tmp_path):
    path = make(10)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="exists already"):
        make(20)
    assert path.read_bytes() == before
    create(
        path, manifest=Manifest.build(["a"]), recipe=fake_recipe(), dims={"avg": 2}, replace=True
    )
    assert len(FeatureStore.open(path)) == 1
    assert os.listdir(tmp_path) == ["x.h5"]


def test_without_hard_links_the_name_is_still_claimed(make, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "not here")

    monkeypatch.setattr(os, "link", refuse)
    path = make(10)
    assert len(FeatureStore.open(path)) == 10
    with pytest.raises(StoreError, match="exists already"):
        make(10)


def test_a_full_disk_is_told_before_anything_is_there(make, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(system.os, "posix_fallocate", full)
    with pytest.raises(StoreError, match="No space left") as caught:
        make(10)
    assert "Nothing was written" in caught.value.hint
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("limit", [10_000, 200_000, 400_000])
def test_a_limit_on_file_size_is_a_clear_error(tmp_path, limit):
    """The system says no to HDF5 itself, at different moments of the creation."""
    script = f"""
import resource, sys
from fakes import fake_recipe
from bottleneck.errors import StoreError
from bottleneck.manifest import Manifest
from bottleneck.store import create
from pathlib import Path
manifest = Manifest.build([f"image{{i}}.png" for i in range(20000)])
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    path = Path({str(tmp_path / "x.h5")!r})
    create(path, manifest=manifest, recipe=fake_recipe(), dims={{"a": 8}})
except StoreError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert "File too large" in done.stdout
    assert "Nothing was written" in done.stdout
    assert os.listdir(tmp_path) == []


def test_leftovers_of_a_killed_creator_are_removed_by_the_next_writer(make, tmp_path):
    (tmp_path / ".x.h5.12345.tmp").write_bytes(b"half")
    others = ("..x.h5.1.tmp", ".x.h5.copy.tmp", ".xxh5.1.tmp", ".x.h5.h5.1.tmp")
    for name in others:
        (tmp_path / name).write_bytes(b"somebody else's")
    path = make(10)
    with writer_lock(path):
        assert sorted(os.listdir(tmp_path)) == sorted(["x.h5", "x.h5.lock", *others])


def test_keys_of_any_length_and_bytes(tmp_path):
    keys = ["ü" * 5000, "日本/1.png", "bad\udcff", "a"]
    groups = [None, "g", "g", "h"]
    manifest = Manifest.build(keys, ["x", None, "ß", "x"], groups=groups)
    path = tmp_path / "k.h5"
    create(path, manifest=manifest, recipe=fake_recipe(), dims={"avg": 1})
    again = FeatureStore.open(path).manifest
    assert list(again.keys) == keys
    assert again.classes == ("x", "ß")
    assert again.groups.tolist() == [-1, 0, 0, 1]
    assert again.sha256 == manifest.sha256 == FeatureStore.open(path).manifest_sha256
