"""Sounds for pipelines/music.toml: the samples of Sonic Pi, a folder for each family of them.

They come with Debian's package sonic-pi-samples (22 MB, free licences; see its copyright file).
Where it is installed they are taken from there; else the package is downloaded and unpacked, not
installed, which needs Debian or Ubuntu, but no root.

    python data/make_music.py [FOLDER]        # data/music by default
"""

import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

PACKAGE = "sonic-pi-samples"
INSTALLED = Path("/usr/share/sonic-pi/samples")
LEAST = 10
"""Families with fewer samples are left out."""


def make(folder: Path, samples: Path) -> dict[str, int]:
    """Copy samples into a folder per family, ``tabla_dhec.flac`` to ``tabla``; count them."""
    families = defaultdict(list)
    for file in sorted(samples.glob("*.flac")):
        families[file.name.partition("_")[0]].append(file)
    counts = {}
    for family, files in families.items():
        if len(files) < LEAST or family in ("mehackit", "misc"):  # named after who made them
            continue
        place = folder / family
        place.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copyfile(file, place / file.name)
        counts[family] = len(files)
    return counts


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "music")
    with tempfile.TemporaryDirectory() as unpacked:
        samples = INSTALLED
        if not samples.is_dir():
            try:
                subprocess.run(["apt-get", "download", "-q", PACKAGE], cwd=unpacked, check=True)
                (package,) = Path(unpacked).glob("*.deb")
                subprocess.run(["dpkg-deb", "-x", str(package), unpacked], check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                sys.exit(f"expected {PACKAGE} to be installed or to be had with apt: {error}")
            samples = Path(unpacked, *INSTALLED.parts[1:])
        counts = make(folder, samples)
    print(f"{folder}: {sum(counts.values())} sounds, {counts}")


if __name__ == "__main__":
    main()
