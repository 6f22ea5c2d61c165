"""Other readers of HDF5 see the same values: h5py, HDF5's own h5dump, pyfive."""

import shutil
import subprocess

import h5py
import numpy as np
import pytest

from bottleneck.manifest import Manifest
from bottleneck.recipe import Recipe
from bottleneck.store import FeatureStore, Writer, create, writer_lock


@pytest.fixture(params=["float32", "float16"])
def store(request, tmp_path):
    """Two outputs over several chunks; every third row is pending."""
    n, path = 3000, tmp_path / "x.h5"
    rng = np.random.default_rng(5)
    rows = np.array([row for row in range(n) if row % 3])
    features = {
        "wide": rng.normal(size=(len(rows), 500)).astype(request.param),
        "narrow": rng.normal(size=(len(rows), 3)).astype(request.param),
    }
    create(
        path,
        manifest=Manifest.build([f"ü{i}.png" for i in range(n)], ["ab"[i % 2] for i in range(n)]),
        recipe=Recipe({"backbone": "x"}, {"precision": "float32", "dtype": request.param}),
        dims={"wide": 500, "narrow": 3},
        dtype=request.param,
    )
    with writer_lock(path), Writer(path, FeatureStore.open(path).layout) as writer:
        writer.write(rows, features, rng.integers(0, 256, (len(rows), 16), np.uint8))
    opened = FeatureStore.open(path)
    for name, block in features.items():
        np.testing.assert_array_equal(opened.features(name)[rows], block)
    return opened


def ours(store):
    """Every dataset that a reader may ask for, as this package reads it."""
    found = {f"features/{name}": np.asarray(store.features(name)) for name in store.outputs}
    found |= {f"crc32/{name}": np.asarray(store.checksums(name)) for name in store.outputs}
    manifest = store.manifest
    return found | {
        "status": store.status,
        "digest": np.asarray(store.digests),
        "manifest/key_bytes": manifest.keys.blob,
        "manifest/key_offsets": manifest.keys.offsets,
        "manifest/label": manifest.labels,
    }


def test_plain_h5py(store):
    with h5py.File(store.path) as file:
        for name, values in ours(store).items():
            np.testing.assert_array_equal(file[name][()], values)


def test_h5dump(store, tmp_path):
    if shutil.which("h5dump") is None:
        pytest.skip("no h5dump (Debian: hdf5-tools)")
    for name, values in ours(store).items():
        out = tmp_path / "out.bin"
        subprocess.run(
            ["h5dump", "-d", f"/{name}", "-b", "FILE", "-o", str(out), str(store.path)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        dumped = np.fromfile(out, values.dtype.newbyteorder("<")).reshape(values.shape)
        np.testing.assert_array_equal(dumped, values)


def test_pyfive(store):
    pyfive = pytest.importorskip("pyfive")
    with pyfive.File(str(store.path)) as file:
        assert file.attrs["format"] in ("bottleneck-features", b"bottleneck-features")
        for name, values in ours(store).items():
            np.testing.assert_array_equal(file[name][...], values)
