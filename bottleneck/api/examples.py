"""The sample images and the pipelines, wherever the package is installed."""

import shutil
from pathlib import Path

import bottleneck
from bottleneck.errors import BottleneckError

_PARTS = ("pipelines", "data/sample")


def copy_examples(folder: Path) -> Path:
    """Copy the sample and the pipelines into a folder; return the first pipeline to run."""
    for part in _PARTS:
        shutil.copytree(_examples() / part, folder / part, dirs_exist_ok=True)
    return folder / "pipelines/quickstart.toml"


def _examples() -> Path:
    """Find them: in the wheel they lie in the package, in a checkout beside it."""
    package = Path(bottleneck.__file__).parent
    for place in (package / "examples", package.parent):
        if all((place / part).is_dir() for part in _PARTS):
            return place
    raise BottleneckError(
        f"expected the sample and the pipelines in {package / 'examples'}, found none",
        hint="Reinstall the package: its files are not complete.",
    )
