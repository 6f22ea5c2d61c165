"""Read a feature file: its recipe, its manifest, its finished rows."""

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import OptionError, StoreError
from bottleneck.manifest import SPLITS, UNLABELLED, Manifest, split_code
from bottleneck.packed import PackedStrings
from bottleneck.recipe import Recipe
from bottleneck.status import RowStatus
from bottleneck.store.choice import RowChoice, Rows
from bottleneck.store.format import FORMAT, FORMAT_VERSION, MANIFEST
from bottleneck.store.layout import Layout, read_layout


class FeatureStore:
    """A feature file opened for reading; a writer may be at work on it meanwhile.

    The status of the rows is a snapshot from the time of opening: rows finished later are
    not seen, and every row it calls done is complete. Use :meth:`open`.

    Attributes
    ----------
    path : Path
        The file.
    recipe : Recipe
        How the features were made.
    identity_sha256, manifest_sha256 : str
        Fingerprints as stored.
    creator : str
        Program and version that made the file.
    status : ndarray of uint8, shape (n,)
        :class:`~bottleneck.status.RowStatus` codes.
    """

    def __init__(self, path: Path, layout: Layout, attributes: dict[str, Any]) -> None:
        self.path = path
        self.layout = layout
        self.recipe = Recipe.from_json(attributes["recipe"])
        self.identity_sha256: str = attributes["identity_sha256"]
        self.manifest_sha256: str = attributes["manifest_sha256"]
        self.creator: str = attributes["creator"]
        self.status: NDArray[np.uint8] = np.array(layout.status.map(path))

    @classmethod
    def open(cls, path: str | Path) -> "FeatureStore":
        """Open a feature file.

        Parameters
        ----------
        path : str or Path
            The file.

        Raises
        ------
        StoreError
            When there is no such file, it is no feature file, it is of a newer format
            version, or it is damaged.
        """
        path = Path(path)
        with _open_hdf5(path) as file:
            attributes = _read_attributes(file, path)
            try:
                return cls(path, read_layout(file), attributes)
            except (KeyError, RuntimeError, ValueError) as error:
                raise _damaged(path, error) from error

    def __len__(self) -> int:
        return self.layout.n_rows

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
        return (FeatureStore.open, (self.path,))

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest stored in the file."""
        with _open_hdf5(self.path) as file:
            try:
                group = file[MANIFEST]
                return Manifest(
                    keys=_read_strings(group, "key"),
                    labels=group["label"][()],
                    classes=tuple(_read_strings(group, "class")),
                    splits=group["split"][()],
                    groups=group["group"][()],
                    group_names=_read_strings(group, "group_name"),
                )
            except (KeyError, OSError, RuntimeError, ValueError) as error:
                raise _damaged(self.path, error) from error

    @property
    def outputs(self) -> dict[str, int]:
        """Length of the features of each output."""
        return {name: extent.row_shape[0] for name, extent in self.layout.features.items()}

    @property
    def dtype(self) -> np.dtype:
        """Type of the features on disk."""
        return next(iter(self.layout.features.values())).dtype

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
        return not np.any(self.status == RowStatus.PENDING)

    @cached_property
    def digests(self) -> NDArray[np.uint8]:
        """Hash of every row's image, mapped from the file: shape (n, 16)."""
        return self.layout.digest.map(self.path)  # type: ignore[return-value]

    def counts(self) -> dict[RowStatus, int]:
        """Count the rows by status, commonest first.

        Raises
        ------
        StoreError
            For a status this version does not know.
        """
        try:
            return {RowStatus(code): n for code, n in Counter(self.status.tolist()).most_common()}
        except ValueError as error:
            raise _damaged(self.path, error) from error

    def features(self, output: str | None = None) -> NDArray[np.floating[Any]]:
        """Map the features of one output from the file, without reading them.

        Parameters
        ----------
        output : str, optional
            Name of the output; may be left out where there is only one.

        Returns
        -------
        ndarray of float32 or float16, shape (n, dim), read-only
            Only rows that are :attr:`done` mean anything.
        """
        return self.layout.features[self.output_name(output)].map(self.path)  # type: ignore[return-value]

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
        if output not in names:
            asked = f"no output named {output!r}" if output else "several outputs"
            raise OptionError(f"{self.path} has {asked}", hint=f"Choose one of: {', '.join(names)}")
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

    def choose(self, split: str | None = None) -> RowChoice:
        """Find the finished, labelled rows of a split, without reading their features.

        Parameters
        ----------
        split : {"train", "val", "test", "all"}, optional
            None and ``all`` stand for every row.
        """
        wanted = self.select(split)
        labelled = self.labels != UNLABELLED
        rows = np.flatnonzero(wanted & self.done & labelled)
        keys = self.keys
        return RowChoice(
            y=self.labels[rows],
            rows=rows,
            keys=[keys[int(row)] for row in rows],
            groups=self.manifest.groups[rows],
            failed=int(np.count_nonzero(wanted & (self.status > RowStatus.DONE))),
            unlabelled=int(np.count_nonzero(wanted & self.done & ~labelled)),
            pending=int(np.count_nonzero(wanted & (self.status == RowStatus.PENDING))),
        )

    def load(self, split: str | None = None, output: str | None = None) -> Rows:
        """Read the finished, labelled rows of a split into memory.

        Parameters
        ----------
        split : {"train", "val", "test", "all"}, optional
            None and ``all`` stand for every row.
        output : str, optional
            Which output; may be left out where there is only one.
        """
        chosen = self.choose(split)
        return Rows(X=np.asarray(self.features(output)[chosen.rows]), **vars(chosen))

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
        mapped = self.features(output)
        done = np.flatnonzero(self.done)
        for start in range(0, len(done), size):
            rows = done[start : start + size]
            yield rows, np.asarray(mapped[rows])


def _open_hdf5(path: Path) -> h5py.File:
    try:
        # No chunk cache: while a writer is at work a cached chunk would be stale.
        return h5py.File(path, "r", rdcc_nbytes=0)
    except FileNotFoundError as error:
        raise StoreError(f"there is no file {path}") from error
    except OSError as error:
        if path.is_dir():
            raise StoreError(f"expected a feature file, got the folder {path}") from error
        if isinstance(error, PermissionError):
            raise StoreError(f"cannot read {path}: {error.strerror}") from error
        if isinstance(error, BlockingIOError):
            raise StoreError(f"{path} is open for writing in another program") from error
        raise StoreError(f"{path} is not a readable HDF5 file: {error}") from error


def _read_attributes(file: h5py.File, path: Path) -> dict[str, Any]:
    attributes = {
        name: value.decode("utf-8") if isinstance(value, bytes) else value
        for name, value in file.attrs.items()
    }
    if attributes.get("format") != FORMAT:
        raise StoreError(
            f"expected a feature file (attribute format = {FORMAT!r}), "
            f"got {attributes.get('format', 'no such attribute')!r} in {path}"
        )
    version = int(attributes["format_version"])
    if version != FORMAT_VERSION:
        raise StoreError(
            f"{path} has format version {version}, this program reads {FORMAT_VERSION}",
            hint="Update the package: pip install --upgrade bottleneck-features",
        )
    missing = {"creator", "recipe", "identity_sha256", "manifest_sha256"} - attributes.keys()
    if missing:
        raise _damaged(path, KeyError(", ".join(sorted(missing))))
    return attributes


def _read_strings(group: h5py.Group, name: str) -> PackedStrings:
    return PackedStrings(group[f"{name}_bytes"][()], group[f"{name}_offsets"][()])


def _damaged(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"{path} is damaged: {error}",
        hint="Restore it from a copy, or extract again into a new file.",
    )
