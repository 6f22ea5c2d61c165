"""Several sources behind one another, as one."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ManifestError
from bottleneck.fingerprint import fingerprint
from bottleneck.manifest import concatenate
from bottleneck.sources.base import Source
from bottleneck.sources.listing import join


class SeveralSources:
    """The rows of several sources in order; keys begin with the name of their source.

    Parameters
    ----------
    sources : sequence of Source
        Two or more.

    Raises
    ------
    ManifestError
        When two sources have the same name, so that keys could not tell them apart.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.name = f"{len(sources)} sources"
        self.sources = tuple(sources)
        prefixes = [f"{PurePath(source.name).name}/" for source in sources]
        if len(set(prefixes)) < len(prefixes):
            raise ManifestError(
                f"expected sources of different names, got {', '.join(s.name for s in sources)}",
                hint="Keys begin with the last part of a source's path; rename one, "
                "or list all images in one CSV.",
            )
        self.manifest = concatenate([source.manifest for source in sources], prefixes)
        self.listing = join(source.listing for source in sources)
        self._ends = list(accumulate(len(source.manifest) for source in sources))

    def __len__(self) -> int:
        return len(self.manifest)

    def __repr__(self) -> str:
        return f"<SeveralSources {', '.join(s.name for s in self.sources)}: {len(self)} images>"

    def read(self, row: int) -> bytes | NDArray[np.uint8] | NDArray[np.uint16]:
        """Return what the row's own source returns for it."""
        which = bisect_right(self._ends, row)
        return self.sources[which].read(row - (self._ends[which - 1] if which else 0))

    def stamp(self) -> str:
        """Return the fingerprint of all sources' stamps."""
        return fingerprint([source.stamp() for source in self.sources])
