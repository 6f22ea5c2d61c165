"""Fill the ranges of a set: each a feature file on the local disk, then published once."""

import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from bottleneck.cores import available_cores
from bottleneck.decode.stream import WorkerKind
from bottleneck.decode.workers import TIMEOUT_SECONDS, Watch
from bottleneck.errors import BottleneckError, RecipeMismatchError, StoreError, StoreLockedError
from bottleneck.extraction.apart import survives
from bottleneck.extraction.embedder import Embedder
from bottleneck.extraction.engine import fill_store
from bottleneck.extraction.plan import WHOLE, MaxFailed, Part
from bottleneck.extraction.reuse import MUST_AGREE
from bottleneck.progress import SILENT, Progress
from bottleneck.recipe import mismatch_message
from bottleneck.sets import Place, SetInfo, Shards, published, read_info
from bottleneck.sets.parts import read_part
from bottleneck.sets.place import blocks
from bottleneck.sets.publishing import publish
from bottleneck.sources.streaming import PartSource
from bottleneck.status import RowStatus
from bottleneck.store import FailedRow, FeatureStore, Writer, failures_path, writer_lock
from bottleneck.store.runs import runs_path
from bottleneck.store.verify import verify

_ANY: Final = MaxFailed(share=1.0)
"""How many may fail is asked of a whole run."""

LoadEmbedder = Callable[[SetInfo], tuple[Embedder, int]]
"""From what a set is to what computes it, and images per pass; travels by pickle."""


@dataclass(frozen=True)
class RangeFilled:
    """What came of a range.

    Parameters
    ----------
    number : int
        The range.
    ok, failed : int
        Rows of its shard by how they ended.
    computed : int
        Rows that were finished now, not found on the local disk.
    seconds : float
        How long it took.
    published : bool
        Whether the newest shard is the one made here.
    duplicate : bool
        Whether somebody else came first. Neither is true where there was nothing to correct.
    """

    number: int
    ok: int
    failed: int
    computed: int
    seconds: float
    published: bool
    duplicate: bool = False


def own_scratch() -> Path:
    """Return the folder for shards that this user fills, where the system keeps temporary files.

    It has the same name for every process of a user on a machine, so that one takes up what another
    one left; and since others may write beside it, it has to be the user's own.

    Raises
    ------
    StoreError
        When it cannot be made, or somebody else made it.
    """
    folder = Path(tempfile.gettempdir()) / f"bottleneck-sets-{os.getuid()}"
    hint = "Name a folder on a local disk, which is yours: --scratch FOLDER"
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        facts = folder.lstat()
    except OSError as error:
        raise StoreError(f"cannot make the folder {folder}: {error.strerror}", hint=hint) from error
    others = stat.S_IMODE(facts.st_mode) & (stat.S_IWGRP | stat.S_IWOTH)
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or others:
        raise StoreError(
            f"expected a folder that only its owner, this user, may write to, got {folder} "
            f"({stat.filemode(facts.st_mode)}, user {facts.st_uid})",
            hint=hint,
        )
    return folder


class RangeBusyError(StoreLockedError):
    """Another process of this machine fills the range."""


@dataclass(frozen=True)
class FillSettings:
    """How a worker fills ranges; travels by pickle.

    Parameters
    ----------
    load : callable
        Loads what computes.
    scratch : Path, optional
        Folder on a local disk for the files that are being filled: what a killed worker finished
        is there when its range is done again on this machine.
    workers, worker_kind, timeout, preallocate
        See :func:`bottleneck.extract`.
    """

    load: LoadEmbedder
    scratch: Path | None = None
    workers: int | None = None
    worker_kind: WorkerKind = "auto"
    timeout: float = TIMEOUT_SECONDS
    preallocate: bool = True


@dataclass(eq=False)
class RangeFiller:
    """Fills ranges of one set, one after the other, with one network.

    Parameters
    ----------
    location : str
        The set: a folder or a URL.
    settings : FillSettings
        How.
    progress : Progress
        Who is told.
    """

    location: str
    settings: FillSettings
    progress: Progress = SILENT
    place: Place = field(init=False)
    info: SetInfo = field(init=False)
    _loaded: tuple[Embedder, int] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.place, self.info = read_info(self.location)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what computes."""
        if self._loaded is not None:
            self._loaded[0].close()
            self._loaded = None

    @property
    def folder(self) -> Path:
        """Where files of this set are filled."""
        return (self.settings.scratch or own_scratch()) / self.info.id

    def fill(self, number: int, *, version: int = 0, suspected: bool = False) -> RangeFilled:
        """Compute the rows of a range and publish its shard.

        Parameters
        ----------
        number : int
            The range.
        version : int
            The newest version of its shard, whose failed rows are tried again: a correction is
            published where any succeeds. 0 where it has none.
        suspected : bool
            Workers have died at it: its rows are computed in processes of their own, by halves,
            until the image that ends them is known and has failed.

        Raises
        ------
        RangeBusyError
            When another process of this machine is at it.
        KeyboardInterrupt
            When the run was stopped: what was computed stays on the disk.
        """
        started = time.monotonic()
        if version:
            return self._correct(number, version, suspected, started)
        path = self._prepare(number, 1)
        with _locked(path):
            computed = self._compute(number, path, suspected)
            return self._published(number, path, 1, computed, started)

    def _correct(self, number: int, version: int, suspected: bool, started: float) -> RangeFilled:
        shard = self._shard(number)
        failed = np.flatnonzero(shard.status > RowStatus.DONE)
        if not len(failed):
            return self.found(number)
        path = self._prepare(number, version + 1)
        with _locked(path):
            if not path.exists():
                self._copy_with_pending(number, version, failed, path)
            # An image that ended a process once may do it again.
            suspected = suspected or RowStatus.DECODER_CRASHED in shard.status[failed]
            self._compute(number, path, suspected)
            corrected = len(failed) - _failed_in(path)
            if not corrected:
                self._clean(path)
                return self.found(number)
            return self._published(number, path, version + 1, corrected, started)

    def found(self, number: int) -> RangeFilled:
        """Say what the newest shard of a range holds, where nothing is to be done."""
        shard = self._shard(number)
        failed = int(np.count_nonzero(shard.status > RowStatus.DONE))
        return RangeFilled(number, len(shard) - failed, failed, 0, 0.0, False)

    def _shard(self, number: int) -> FeatureStore:
        shard = Shards(self.place, self.info).store(number)
        assert shard is not None
        return shard

    def _copy_with_pending(
        self, number: int, version: int, rows: NDArray[np.int64], path: Path
    ) -> None:
        """Copy a shard to the local disk, where some of its rows are pending again."""
        temporary = _copied(path)
        try:
            with temporary.open("wb") as stream:
                for block in blocks(self.place, self.info.shard(number, version)):
                    stream.write(block)
        except OSError as error:
            if isinstance(error, BottleneckError):
                raise
            raise StoreError(
                f"cannot write {temporary}: {error.strerror}",
                hint="Free some space, or name another folder: --scratch FOLDER",
            ) from error
        with Writer(temporary, FeatureStore.open(temporary).layout) as writer:
            writer.unflag(rows)
        temporary.rename(path)

    def make_ready(self) -> None:
        """Load what computes."""
        self._embedder()

    def fill_rows(self, number: int, path: Path, first: int, stop: int) -> None:
        """Compute rows of a range into its file, which somebody else has locked."""
        self._fill_rows(number, path, Part(ranges=((first, stop),)))

    def _prepare(self, number: int, version: int) -> Path:
        folder = self.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot make the folder {folder} for shards that are filled: {error.strerror}",
                hint="Name a folder on a local disk: --scratch FOLDER",
            ) from error
        return folder / f"{self.info.stem(number, version)}.h5"

    def _compute(self, number: int, path: Path, suspected: bool) -> int:
        """Compute what is pending in the file of a range; return how many rows that was."""
        rows = self.info.range(number)[1] - self.info.range(number)[0]
        before = int(np.count_nonzero(FeatureStore.open(path).status)) if path.exists() else 0
        if suspected:
            self.close()  # the memory of its device is for the processes that compute now
            self._fill_by_halves(number, path, rows)
        else:
            self._fill_rows(number, path, WHOLE)
        return rows - before

    def _source(self, number: int) -> PartSource:
        manifest, segments = read_part(self.place, self.info, number)
        return PartSource(f"range {number} of {self.place.name}", manifest, segments)

    def _embedder(self) -> tuple[Embedder, int]:
        if self._loaded is None:
            self._loaded = self.settings.load(self.info)
            require_computes(self._loaded[0], self.info)
            for note in self._loaded[0].notes:
                self.progress.note(note)
        return self._loaded

    def _fill_rows(self, number: int, path: Path, part: Part) -> None:
        source = self._source(number)
        embedder, batch_size = self._embedder()
        result = fill_store(
            source,
            path,
            embedder,
            batch_size=batch_size,
            workers=self.settings.workers or available_cores(),
            worker_kind=self.settings.worker_kind,
            watch=Watch(
                self.settings.timeout, source.manifest.keys.__getitem__, self.progress.note
            ),
            max_failed=_ANY,
            progress=self.progress,
            part=part,
            preallocate=self.settings.preallocate,
        )
        if result.interrupted:
            raise KeyboardInterrupt

    def _published(
        self, number: int, path: Path, version: int, computed: int, started: float
    ) -> RangeFilled:
        store = FeatureStore.open(path)
        ok = int(np.count_nonzero(store.done))
        failed = len(store) - ok
        self.progress.stage(f"publishing range {number}")
        try:
            ours = publish(self.place, self.info, number, path, version)
        except StoreError:
            bad = verify(path).bad_rows
            if bad:  # the local disk changed them: they are pending for who tries again
                with Writer(path, store.layout) as writer:
                    writer.unflag(np.array(bad, np.int64))
            raise
        self._clean(path)
        took = time.monotonic() - started
        return RangeFilled(number, ok, failed, computed, took, ours, not ours)

    def _clean(self, path: Path) -> None:
        for one in (failures_path(path), runs_path(path), _copied(path), path):
            one.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what killed workers left on this disk of ranges that others have published."""
        try:
            here = {path.name.partition(".")[0] for path in self.folder.iterdir()}
        except FileNotFoundError:
            return
        for number, newest in published(self.place, self.info).items():
            stems = {self.info.stem(number, version) for version in range(1, newest + 1)}
            for stem in stems & here:
                path = self.folder / f"{stem}.h5"
                with suppress(RangeBusyError), _locked(path):
                    self._clean(path)

    def _fill_by_halves(self, number: int, path: Path, rows: int) -> None:
        """Compute in child processes; halve what ends one until it is a single row."""
        waiting = [(0, rows)]
        while waiting:
            first, stop = waiting.pop()
            self.progress.stage(f"range {number} is suspected: rows {first} to {stop - 1} apart")
            rows_of = _Rows(self.location, self.settings, number, path, first, stop)
            if survives(rows_of):
                continue
            left = np.arange(first, stop)
            if path.exists():
                # What the child finished before is done.
                left = first + np.flatnonzero(FeatureStore.open(path).status[first:stop] == 0)
            if len(left) == 1:
                first = int(left[0])
                # Only where one without any image lives is the image what ends it.
                if not path.exists() or not survives(replace(rows_of, first=first, stop=first)):
                    raise BottleneckError(
                        f"a process that is to compute range {number} of {self.place.name} ends "
                        "before it has begun",
                        hint="Look at the memory of this machine, and at `bottleneck doctor`.",
                    )
                self._blame(path, first)
            elif len(left):
                first, stop = int(left[0]), int(left[-1]) + 1
                middle = (first + stop) // 2
                waiting += [(middle, stop), (first, middle)]

    def _blame(self, path: Path, row: int) -> None:
        store = FeatureStore.open(path)
        message = "the process that computed it ended, each time"
        with Writer(path, store.layout) as writer:
            writer.fail([FailedRow(row, store.keys[row], RowStatus.DECODER_CRASHED, message)])
        self.progress.note(f"{store.keys[row]} ends the process that computes it: it has failed")


def _copied(path: Path) -> Path:
    """Return where a shard is copied to before its rows are tried again."""
    return path.with_suffix(".part")


def _failed_in(path: Path) -> int:
    return int(np.count_nonzero(FeatureStore.open(path).status > RowStatus.DONE))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Be the only one who fills a file, or say that somebody else does."""
    try:
        with writer_lock(path):
            yield
    except StoreLockedError as error:
        raise RangeBusyError(error.message, hint=error.hint) from error


def require_computes(embedder: Embedder, info: SetInfo) -> None:
    """Refuse what would compute something else than a set is of.

    Raises
    ------
    RecipeMismatchError
    """
    embedder.recipe.require_same_identity(
        info.recipe,
        ours="this installation",
        theirs="the set",
        hint="Weights from another place are given with --weights.",
    )
    # Nor may some machines decode files by other rules than others.
    agree = (*MUST_AGREE, "decoding")
    differences = [
        one for one in embedder.recipe.execution_differences(info.recipe) if one.field in agree
    ]
    if differences:
        raise RecipeMismatchError(
            mismatch_message("this installation", "the set", differences),
            hint="All shards of a set are of one precision: use machines that can compute it.",
        )


@dataclass(frozen=True)
class _Rows:
    """Rows of a range that a process of their own computes; none: it is only made ready."""

    location: str
    settings: FillSettings
    number: int
    path: Path
    first: int
    stop: int

    def __call__(self) -> None:
        with RangeFiller(self.location, self.settings) as filler:
            if self.first == self.stop:
                filler.make_ready()
            else:
                filler.fill_rows(self.number, self.path, self.first, self.stop)


def numbers_of(info: SetInfo, part: str | None, ranges: str | None) -> Sequence[int]:
    """Return the ranges of a set that one of several machines does.

    Parameters
    ----------
    info : SetInfo
        The set.
    part : str, optional
        ``2/8``: the second range, and every eighth after it.
    ranges : str, optional
        ``12-40``: ranges 12 to 39, counted from 0.

    Raises
    ------
    OptionError
        For anything else, or ranges that the set does not have.
    """
    found = Part.parse(part, ranges)
    if found.ranges:
        return np.flatnonzero(found.rows(info.n_ranges)).tolist()  # checks that they are there
    return range(found.number - 1, info.n_ranges, found.of)
