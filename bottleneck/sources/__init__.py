"""Where images come from: folders, CSV tables, single files."""

from collections.abc import Sequence
from pathlib import Path

from bottleneck.errors import SourceError
from bottleneck.sources.base import Source
from bottleneck.sources.files import FileSource, is_image_name, single_files
from bottleneck.sources.folder import open_folder
from bottleneck.sources.memory import PixelSource
from bottleneck.sources.several import SeveralSources
from bottleneck.sources.table import open_csv

__all__ = ["FileSource", "PixelSource", "SeveralSources", "Source", "open_source", "single_files"]


def open_source(given: Sequence[str]) -> Source:
    """List the images of one or several sources.

    Parameters
    ----------
    given : sequence of str
        Folders, CSV tables and image files. The image files together make one source, behind
        the others, whose keys are the paths as given. With several sources, keys begin with
        the last part of their source's path (``files`` for the image files).

    Raises
    ------
    SourceError
        When something given does not exist or is of no known kind.
    ManifestError
        When it holds no image, or names one twice.
    """
    sources: list[Source] = []
    files: list[str] = []
    for text in given:
        try:
            exists, is_folder = Path(text).exists(), Path(text).is_dir()
        except OSError as error:
            raise SourceError(f"cannot look at {text}: {error.strerror}") from error
        if is_folder:
            sources.append(open_folder(text))
        elif text.lower().endswith(".csv"):
            sources.append(open_csv(text))
        elif exists or is_image_name(Path(text).name):
            files.append(text)
        else:
            raise SourceError(
                f"expected a folder, a CSV table or an image file, got {text}, "
                "which does not exist",
            )
    if files:
        for text in files:
            if not Path(text).exists():
                raise SourceError(f"there is no file {text}")
        sources.append(single_files(files))
    return sources[0] if len(sources) == 1 else SeveralSources(sources)
