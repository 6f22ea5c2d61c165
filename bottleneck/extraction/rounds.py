"""Feature files of one source that are filled some rows at a time, their networks kept loaded."""

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bottleneck.cores import available_cores
from bottleneck.declare import listed
from bottleneck.decode.workers import Watch
from bottleneck.errors import OptionError
from bottleneck.extraction.embedder import Embedder
from bottleneck.extraction.engine import fill_stores
from bottleneck.extraction.plan import MaxFailed, Part, require_same_manifest
from bottleneck.extraction.result import ExtractResult, log_run
from bottleneck.extraction.run import batch_size_of, embedder_of
from bottleneck.options import ExtractOptions
from bottleneck.progress import Progress
from bottleneck.sources import Source
from bottleneck.store import FeatureStore, writer_lock
from bottleneck.writing import prepare_output


class Rounds:
    """Feature files that grow together.

    Each is what :func:`bottleneck.extract` makes of its options, and can be finished by it.

    Parameters
    ----------
    source : Source
        The images of all of them.
    options : sequence of ExtractOptions
        One backbone and one file each.
    progress : Progress
        Who is told.
    """

    def __init__(
        self, source: Source, options: Sequence[ExtractOptions], progress: Progress
    ) -> None:
        self.source, self.options, self._progress = source, tuple(options), progress
        self._stack = ExitStack()
        inputs = self.options[0].paths("images")
        self.paths = [
            prepare_output(str(one.output), kind="features", inputs=inputs) for one in self.options
        ]
        if len(set(self.paths)) < len(self.paths):
            raise OptionError(f"expected a file for each backbone, got {self.paths[0]} twice")
        self._loaded: list[tuple[Embedder, int]] = []

    def __enter__(self) -> Self:
        """Lock the files and load the networks."""
        with ExitStack() as stack:
            for path in sorted(self.paths):
                stack.enter_context(writer_lock(path))
            begun = [FeatureStore.open(path) for path in self.paths if path.exists()]
            for store in begun:
                store.require_own()
                require_same_manifest(store, self.source.manifest)  # before networks are loaded
            for one in self.options:
                (name,) = listed(one.backbone)
                self._progress.stage(f"loading {name}")
                embedder = embedder_of(one, name, begun, self.source)
                stack.callback(embedder.close)
                self._loaded.append((embedder, batch_size_of(one, embedder, self._progress)))
            for note in self._loaded[0][0].notes:
                self._progress.note(note)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the networks and give the files free."""
        self._stack.close()

    def fill(self, chosen: Sequence[int], rows: NDArray[np.int64]) -> list[ExtractResult]:
        """Compute some rows of some of the files; those that are done stay as they are.

        Parameters
        ----------
        chosen : sequence of int
            Positions of the files.
        rows : ndarray of int64, shape (n,)
            Ascending.
        """
        first = self.options[0]
        watch = Watch(first.timeout, self.source.manifest.keys.__getitem__, self._progress.note)
        results = fill_stores(
            self.source,
            [self.paths[i] for i in chosen],
            lambda begun: [self._loaded[i] for i in chosen],
            workers=first.workers or available_cores(),
            worker_kind=first.worker_kind,
            watch=watch,
            part=Part(ranges=_runs(rows)),
            max_failed=MaxFailed.parse(str(first.max_failed)),
            progress=self._progress,
        )
        for i, result in zip(chosen, results, strict=True):
            log_run(self.options[i], result, self._loaded[i][1])
        return results


def _runs(rows: NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    """Return the runs of neighbours among ascending rows: first, and one behind the last."""
    cuts = np.flatnonzero(np.diff(rows) > 1) + 1
    return tuple((int(run[0]), int(run[-1]) + 1) for run in np.split(rows, cuts) if len(run))
