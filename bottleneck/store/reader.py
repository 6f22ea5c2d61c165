"""Read features: their recipe, their manifest, their finished rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import OptionError, StoreError
from bottleneck.frames import PandasFrame, PolarsFrame, pandas_frame, polars_frame
from bottleneck.location import is_set
from bottleneck.manifest import SPLITS, UNLABELLED, Manifest, split_code
from bottleneck.packed import PackedStrings, PickedStrings
from bottleneck.recipe import Recipe
from bottleneck.status import RowStatus
from bottleneck.store.contents import Array2D, Contents, read_contents
from bottleneck.store.datasets import choose_items
from bottleneck.store.foreign import is_foreign, open_foreign
from bottleneck.store.format import Layout
from bottleneck.store.tables import columns_of_store, html_of_store
from bottleneck.targets import missing_rows

if TYPE_CHECKING:
    from bottleneck.store.torch_dataset import TorchFeatures

_COUNTED_ROWS = 1 << 20


def count_status(status: NDArray[np.uint8], path: str) -> dict[RowStatus, int]:
    """Count rows by status, commonest first.

    Parameters
    ----------
    status : ndarray of uint8, shape (n,)
        Codes.
    path : str
        Their file, for the error.

    Raises
    ------
    StoreError
        For a code this version does not know.
    """
    counted = np.zeros(256, np.int64)
    for start in range(0, len(status), _COUNTED_ROWS):  # bincount makes eight bytes of each
        counted += np.bincount(status[start : start + _COUNTED_ROWS], minlength=256)
    found = sorted(np.flatnonzero(counted).tolist(), key=lambda code: -counted[code])
    unknown = [code for code in found if code > max(RowStatus)]
    if unknown:
        raise StoreError(
            f"{path}: {counted[unknown].sum()} rows have a status this version does not know: "
            f"{', '.join(map(str, unknown))}",
            hint="`bottleneck verify --fix` sets them to be computed again; "
            "or update the package: pip install --upgrade bottleneck-features",
        )
    return {RowStatus(code): int(counted[code]) for code in found}


@dataclass(frozen=True, eq=False, kw_only=True)
class RowChoice:
    """Finished, labelled rows of a store, without their features.

    Parameters
    ----------
    y : ndarray of int32, shape (n,); or of uint8 or float64, shape (n, targets)
        Index into the store's classes, or the targets that were asked for.
    rows : ndarray of int64, shape (n,)
        Row numbers, ascending.
    keys : sequence of str
        Keys, as in the manifest, each read when it is asked for.
    groups : ndarray of int32, shape (n,)
        Group codes, -1 for none.
    failed, unlabelled, pending : int
        Rows of the split that are left out, and why.
    """

    y: NDArray[Any]
    rows: NDArray[np.int64]
    keys: Sequence[str]
    groups: NDArray[np.int32]
    failed: int
    unlabelled: int
    pending: int

    def take(self, mask: NDArray[np.bool_]) -> Self:
        """Keep the rows where ``mask`` (bool, shape (n,)) holds; the counts stay."""
        kept = np.flatnonzero(mask)
        return replace(
            self,
            y=self.y[kept],
            rows=self.rows[kept],
            keys=PickedStrings(self.keys, kept),
            groups=self.groups[kept],
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class LoadedRows(RowChoice):
    """Finished, labelled rows of a store in memory.

    Parameters
    ----------
    X : ndarray of float32 or float16, shape (n, dim)
        Features.
    """

    X: NDArray[np.floating[Any]]

    def take(self, mask: NDArray[np.bool_]) -> Self:
        """Keep the rows where ``mask`` (bool, shape (n,)) holds; the counts stay."""
        kept = super().take(mask)
        return replace(kept, X=self.X[np.flatnonzero(mask)], keys=[*kept.keys])


_T = TypeVar("_T")

_SETS = "bottleneck.sets.view"
"""What opens a set: it stands above this package, so it is named, and loaded when a set is met."""

_BLOCK_ROWS = 1 << 20
"""Rows looked at together, where a number for each of 100 million would be too much."""


class FeatureStore:
    """Features opened for reading; a writer may be at work on the file meanwhile.

    The status of the rows is a snapshot from the time of opening: rows finished later are
    not seen, and every row it calls done is complete. Rows that are computed again meanwhile
    (``extract --refresh``, ``verify --fix``) change under it. Use :meth:`open`.

    Attributes
    ----------
    path : Path
        The file; for its name, where that is behind a URL.
    location : str
        The file or the set, as it was given: a path or a URL.
    recipe : Recipe
        How the features were made.
    identity_sha256, manifest_sha256, targets_sha256 : str
        Fingerprints as stored; that of the targets is empty where there are none.
    creator : str
        Program and version that made the file.
    """

    def __init__(
        self, contents: Contents, reopen: Mapping[str, Any], location: str | None = None
    ) -> None:
        self._contents = contents
        self._read: dict[str, Any] = {}
        self._reopen = dict(reopen)
        self.location = location or str(contents.path)
        self.path = contents.path
        self.recipe: Recipe = contents.recipe
        self.identity_sha256 = contents.identity_sha256
        self.manifest_sha256 = contents.manifest_sha256
        self.targets_sha256 = contents.targets_sha256
        self.creator = contents.creator

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        features: str | None = None,
        keys: str | None = None,
        labels: str | None = None,
        splits: str | None = None,
        identity: Mapping[str, Any] | None = None,
    ) -> Self:
        """Open a feature file, ours or another program's.

        Our own files need only a path, and files of other programs too where things have their
        usual names (``features``, ``feats``, ``embeddings``; ``path``, ``key``; ``label``, ``y``;
        ``split``; ``group``: :data:`bottleneck.store.foreign_files.ROLES`). Other names are
        given:

        - HDF5 and ``.npz``: ``features`` names a two-dimensional dataset, ``keys``, ``labels``
          and ``splits`` one-dimensional ones;
        - ``.npy`` with a CSV table: ``keys`` is the table's path, by default the ``.csv`` of the
          same name beside it, with a column ``path`` or ``key``;
        - ``.parquet``: a column of lists, or numbered columns (``f0``, ``f1``, ...). What
          :func:`bottleneck.export` wrote keeps its recipe. Needs the extra ``parquet``;
        - ``.csv``: numbered columns, beside those that the table of an ``.npy`` has;
        - a set (``photos.set``, here or behind a URL): rows of ranges that nobody published yet
          are pending. Behind a URL blocks are fetched when they are read, and kept on the disk;
        - a folder as clip-retrieval writes it (``img_emb/*.npy``, ``metadata/*.parquet``);
          ``labels`` may name a column. Needs the extra ``parquet``.

        Further columns of numbers are targets. HDF5 and NPY stay on disk, others are read whole.

        Parameters
        ----------
        path : str or Path
            The file or folder.
        features, keys, labels, splits : str, optional
            Where things are; without keys, rows are named by their number.
        identity : mapping, optional
            What is known of how the features were made. Heads trained on them accept only
            features of an equal identity.

        Raises
        ------
        StoreError
            When there is no such file, it is no feature file, it is of a newer format
            version, or it is damaged.
        """
        location, path = str(path), Path(path)
        where = {
            "features": features,
            "keys": keys,
            "labels": labels,
            "splits": splits,
            "identity": identity,
        }
        given = {name: value for name, value in where.items() if value is not None}
        if is_set(location):
            opened: Contents = import_module(_SETS).open_set(location)
            return cls(opened, given, location)
        if features is not None or is_foreign(path):
            return cls(open_foreign(path, **where), given)  # type: ignore[arg-type]
        if given:
            raise OptionError(
                f"expected the name of the features beside {', '.join(given)} for {path}",
                hint="Our own files need only a path; for others say features='...'.",
            )
        return cls(read_contents(path), given)

    def __len__(self) -> int:
        return len(next(iter(self._contents.features.values())))

    def __repr__(self) -> str:
        dims = "+".join(str(dim) for dim in self.outputs.values())
        counts = self.counts()
        failed = sum(count for status, count in counts.items() if status.failed)
        pending = counts.get(RowStatus.PENDING, 0)
        notes = [f"{failed} failed"] if failed else []
        notes.append(f"{pending} pending" if pending else "complete")
        return (
            f"<FeatureStore {self.path.name} {len(self)}x{dims} {self.dtype.name} "
            f"{self.recipe.backbone}, {', '.join(notes)}>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # By path: a worker maps the same pages instead of receiving a copy.
        return (_open_again, (self.location, self._reopen))

    @property
    def status(self) -> NDArray[np.uint8]:
        """:class:`~bottleneck.status.RowStatus` code of every row, as it was when it was opened."""
        return self._once("status", self._contents.read_status)

    @property
    def manifest(self) -> Manifest:
        """The manifest stored in the file."""
        return self._once("manifest", self._contents.read_manifest)

    def _once(self, name: str, read: Callable[[], _T]) -> _T:
        """Read something at the first time only.

        ``cached_property`` has one lock for all stores, and a set asks its shards from threads.
        """
        if name not in self._read:
            self._read[name] = read()
        found: _T = self._read[name]
        return found

    @property
    def live(self) -> bool:
        """Whether the rows lie as the writer left them, so that they can be written: there is a
        :attr:`layout`. Not in a compressed copy, or another program's file.
        """
        return self._contents.layout is not None

    @property
    def layout(self) -> Layout:
        """Where the rows lie, for writing.

        Raises
        ------
        StoreError
            For a compressed copy or another program's file, which cannot be continued.
        """
        if self._contents.layout is None:
            raise StoreError(
                f"{self.location} can be read but not written: {self._contents.why_read_only}",
                hint="Extract into a new file.",
            )
        return self._contents.layout

    def require_own(self) -> None:
        """Refuse another program's features, which have no checksums and no status.

        Raises
        ------
        StoreError
        """
        if self._contents.foreign:
            raise StoreError(
                f"expected a feature file of ours, got another program's features: {self.location}",
                hint="Such features can be used to train, evaluate and compare.",
            )

    @property
    def outputs(self) -> dict[str, int]:
        """Length of the features of each output."""
        return {name: array.shape[1] for name, array in self._contents.features.items()}

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the features on disk."""
        return next(iter(self._contents.features.values())).dtype

    @property
    def bytes(self) -> int:
        """Length of the file; of a set, of the features of all its rows."""
        if self.path.is_file():
            return self.path.stat().st_size
        return len(self) * sum(self.outputs.values()) * self.dtype.itemsize

    @property
    def keys(self) -> PackedStrings:
        """Key of every row."""
        return self.manifest.keys

    @property
    def classes(self) -> tuple[str, ...]:
        """Sorted class names."""
        return self.manifest.classes

    @property
    def labels(self) -> NDArray[np.int32]:
        """Class index of every row, -1 for unlabelled."""
        return self.manifest.labels

    @property
    def splits(self) -> NDArray[np.uint8]:
        """Split code of every row, an index into :data:`~bottleneck.manifest.SPLITS`."""
        return self.manifest.splits

    @property
    def done(self) -> NDArray[np.bool_]:
        """Which rows have features, by the snapshot."""
        return np.equal(self.status, RowStatus.DONE)

    @property
    def complete(self) -> bool:
        """Whether no row is pending."""
        return bool(np.all(self.status))

    @property
    def digests(self) -> NDArray[np.uint8]:
        """Hash of every row's image: shape (n, 16)."""
        return self._once("digests", self._contents.read_digests)

    def counts(self) -> dict[RowStatus, int]:
        """Count the rows by status, commonest first.

        Raises
        ------
        StoreError
            For a status this version does not know.
        """
        return count_status(self.status, self.location)

    def features(self, output: str | None = None) -> Array2D:
        """Give access to the features of one output, without reading them.

        Parameters
        ----------
        output : str, optional
            Name of the output; may be left out where there is only one.

        Returns
        -------
        array of float32 or float16, shape (n, dim), read-only
            A memory map where the file allows it, else something that is read like one. Only
            rows that are :attr:`done` mean anything.
        """
        return self._contents.features[self.output_name(output)]

    def checksums(self, output: str | None = None) -> NDArray[np.uint32]:
        """Return the CRC-32 of every row of one output: uint32, shape (n,)."""
        name = self.output_name(output)
        return self._once(f"crc32/{name}", lambda: self._contents.read_checksums(name))

    def output_name(self, output: str | None = None) -> str:
        """Check an output's name, or find the only one.

        Raises
        ------
        OptionError
            When there is none of that name, or several and none was named.
        """
        names = [*self.outputs]
        if output is None and len(names) == 1:
            return names[0]
        if output is None or output not in names:
            asked = f"no output named {output!r}" if output else "several outputs"
            raise OptionError(
                f"{self.location} has {asked}", hint=f"Choose one of: {', '.join(names)}"
            )
        return output

    def select(self, split: str | None = None) -> NDArray[np.bool_]:
        """Tell which rows belong to a split, whatever their status.

        Parameters
        ----------
        split : {"train", "val", "test", "all"}, optional
            None and ``all`` stand for every row.
        """
        if split is None or split == "all":
            return np.ones(len(self), bool)
        code = split_code(split)
        if not code:
            raise OptionError(f"expected a split of {', '.join(SPLITS[1:])} or all, got {split!r}")
        return np.equal(self.splits, code)

    def choose(self, split: str | None = None, targets: Sequence[str] = ()) -> RowChoice:
        """Find the finished rows of a split with a label, or with a value of all ``targets``."""
        wanted = self.select(split)
        y = self.manifest.targets.columns(targets) if targets else self.labels
        labelled = ~missing_rows(y) if targets else self.labels != UNLABELLED
        rows = np.flatnonzero(wanted & self.done & labelled)
        return RowChoice(
            y=y[rows],
            rows=rows,
            keys=PickedStrings(self.keys, rows),
            groups=self.manifest.groups[rows],
            failed=int(np.count_nonzero(wanted & (self.status > RowStatus.DONE))),
            unlabelled=int(np.count_nonzero(wanted & self.done & ~labelled)),
            pending=int(np.count_nonzero(wanted & (self.status == RowStatus.PENDING))),
        )

    def load(self, split: str | None = None, output: str | None = None) -> LoadedRows:
        """Read the finished, labelled rows of a split into memory.

        Parameters
        ----------
        split : {"train", "val", "test", "all"}, optional
            None and ``all`` stand for every row.
        output : str, optional
            Which output; may be left out where there is only one.
        """
        chosen = vars(self.choose(split))
        X = np.asarray(self.features(output)[chosen["rows"]])
        return LoadedRows(X=X, **{**chosen, "keys": [*chosen["keys"]]})

    def iter_batches(
        self, size: int, output: str | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]:
        """Go through the finished rows in order, ``size`` at a time.

        Yields
        ------
        rows : ndarray of int64, shape (m,)
            Row numbers, m <= size.
        X : ndarray of float32 or float16, shape (m, dim)
            Their features.
        """
        features = self.features(output)
        held = np.empty(0, np.int64)
        for start in range(0, len(self), _BLOCK_ROWS):
            status = self.status[start : start + _BLOCK_ROWS]
            rows = start + np.flatnonzero(status == RowStatus.DONE)
            held = np.concatenate([held, rows])
            while len(held) >= size:
                yield held[:size], np.asarray(features[held[:size]])
                held = held[size:]
        if len(held):
            yield held, np.asarray(features[held])

    def _repr_html_(self) -> str:
        return html_of_store(self)

    def to_pandas(self, split: str | None = None, output: str | None = None) -> PandasFrame:
        """Return the finished rows as a pandas table, in memory; the keys are its index.

        Parameters
        ----------
        split : {"train", "val", "test", "all"}, optional
            None and ``all`` stand for every row.
        output : str, optional
            One output; all by default.

        Returns
        -------
        pandas.DataFrame
            ``label``, ``split``, ``group``, targets, and a column for each feature (``avg_0``),
            in the type of the file. What a row has not is missing.
        """
        columns, keys = columns_of_store(self, split, output)
        return pandas_frame(columns, keys)

    def to_polars(self, split: str | None = None, output: str | None = None) -> PolarsFrame:
        """Return the finished rows as a Polars table, in memory; see :meth:`to_pandas`.

        The keys are the column ``key``.
        """
        columns, keys = columns_of_store(self, split, output)
        return polars_frame({"key": keys, **columns})

    def to_torch(
        self,
        split: str | None = None,
        output: str | None = None,
        *,
        targets: Sequence[str] = (),
        labels: bool = True,
        keys: bool = False,
    ) -> "TorchFeatures":
        """Return the finished, labelled rows as a map-style data set of PyTorch.

        Rows are read from the file when they are asked for, by any number of workers.

        Parameters
        ----------
        split : {"train", "val", "test", "all"}, optional
            None and ``all`` stand for every row.
        output : str, optional
            Which output; may be left out where there is only one.
        targets : sequence of str
            Numbers or labels instead of the class.
        labels : bool
            Without, every finished row, and features alone.
        keys : bool
            Items end with the row's key.

        Returns
        -------
        torch.utils.data.Dataset
            Of ``(features, label)``; a label is an index into its ``classes``.
        """
        items = choose_items(self, split, output, targets, labels)
        try:
            from bottleneck.store.torch_dataset import TorchFeatures
        except ImportError as error:
            raise _missing("PyTorch", "'bottleneck-features[torch]'", error) from error
        return TorchFeatures(items, tuple(targets) or self.classes, keys)

    def to_tf(
        self,
        split: str | None = None,
        output: str | None = None,
        *,
        batch_size: int | None = None,
        targets: Sequence[str] = (),
        labels: bool = True,
        keys: bool = False,
    ) -> Any:
        """Stream the finished, labelled rows as a data set of TensorFlow, in their order.

        Parameters
        ----------
        split, output, targets, labels, keys
            As of :meth:`to_torch`. (To ``fit`` of Keras a third part is a weight: no keys there.)
        batch_size : int, optional
            Rows of an element; single rows by default.

        Returns
        -------
        tf.data.Dataset
            Of ``(features, label)``, its length known.
        """
        items = choose_items(self, split, output, targets, labels)
        if batch_size is not None and batch_size < 1:
            raise OptionError(f"expected batch_size to be at least 1, got {batch_size}")
        try:
            from bottleneck.store.tf_dataset import tf_features
        except ImportError as error:
            raise _missing("TensorFlow", "tensorflow", error) from error
        return tf_features(items, batch_size, keys)


def _missing(what: str, package: str, error: ImportError) -> OptionError:
    return OptionError(
        f"expected {what} for such a data set, got {error}", hint=f"`pip install {package}`"
    )


def _open_again(path: str, given: dict[str, Any]) -> FeatureStore:
    return FeatureStore.open(path, **given)
