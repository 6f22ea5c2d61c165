"""Which images look alike to a backbone: the nearest to a new one, and the graph of all."""

import time
import zipfile
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import OptionError, SourceError, StoreError
from bottleneck.extraction import embed, rebuild_embedder
from bottleneck.heads.rows import rows_of
from bottleneck.heads.solver.device_search import nearest_on, search_on
from bottleneck.heads.solver.neighbor_search import nearest_rows
from bottleneck.location import readable
from bottleneck.manifest import SPLITS
from bottleneck.progress import SILENT, Progress
from bottleneck.sources import single_files
from bottleneck.store import FeatureStore
from bottleneck.writing import prepare_output, written_whole

_BLOCK_ROWS = 8192


@dataclass(frozen=True)
class Neighbor:
    """One image of the store.

    Parameters
    ----------
    key : str
        Its key.
    label, split : str or None
        Where it has any.
    similarity : float
        Cosine of the features, 1 for the same direction.
    """

    key: str
    label: str | None
    split: str | None
    similarity: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**asdict(self), "key": readable(self.key)}


def neighbors(
    features: str | Path,
    image: str | Path,
    *,
    count: int = 10,
    feature: str | None = None,
    weights: str | None = None,
    device: str | None = None,
    progress: Progress = SILENT,
) -> list[Neighbor]:
    """Embed an image by a store's own recipe and find the most similar ones in it.

    The search is exact and reads the file once, block by block.

    Parameters
    ----------
    features : str or Path
        A feature file of ours.
    image : str or Path
        An image file.
    count : int
        How many.
    feature : str, optional
        Which output; may be left out where there is only one.
    weights : str, optional
        Where the backbone's weights are now, if not where extraction found them.
    device : str, optional
        What computes the image's features: ``cpu``, ``gpu`` or ``gpu:N``.
    progress : Progress
        Is told of a GPU that is not used.

    Raises
    ------
    SourceError
        When the image cannot be read.
    StoreError
        When no row is finished.
    RecipeMismatchError
        When this installation would compute other features.
    """
    if count < 1:
        raise OptionError(f"expected one or more neighbours, got {count}")
    store = FeatureStore.open(features)
    name = store.output_name(feature)
    if not store.done.any():
        raise StoreError(f"expected finished rows in {features}, found none")
    source = single_files([str(image)])
    devices = () if device is None else (device,)
    embedder = rebuild_embedder(
        store.recipe, owner=store.location, weights=weights, devices=devices
    )
    for note in embedder.notes:
        progress.note(note)
    with closing(embedder):
        (batch,) = embed(embedder, source, [np.zeros(1, np.int64)], workers=1)
    if batch.failures:
        failure = batch.failures[0]
        raise SourceError(f"cannot use {image}: {failure.status.label}, {failure.message}")
    return search(store, name, batch.features[name][0], count)


def search(
    store: FeatureStore, output: str, query: NDArray[np.floating], count: int
) -> list[Neighbor]:
    """Find the rows most similar to a feature, the nearest first; of equal ones the first.

    Parameters
    ----------
    query : ndarray of float32, shape (dim,)
        A feature of the store's recipe.
    """
    wanted = query.astype(np.float64)
    wanted /= np.linalg.norm(wanted) or 1.0
    best: list[tuple[float, int]] = []
    for rows, X in store.iter_batches(_BLOCK_ROWS, output):
        block = X.astype(np.float64)
        length = np.linalg.norm(block, axis=1)
        cosine = (block @ wanted) / np.where(length > 0, length, 1)
        near = np.argsort(-cosine, kind="stable")[:count]
        best += zip(cosine[near].tolist(), rows[near].tolist(), strict=True)
        best = sorted(best, key=lambda one: (-one[0], one[1]))[:count]
    manifest = store.manifest
    return [
        Neighbor(
            key=manifest.keys[row],
            label=manifest.classes[code] if (code := int(manifest.labels[row])) >= 0 else None,
            split=SPLITS[int(manifest.splits[row])] or None,
            similarity=cosine,
        )
        for cosine, row in best
    ]


@dataclass(frozen=True)
class Graph:
    """A graph of nearest neighbours that was written.

    Parameters
    ----------
    output : str
        The file.
    rows, k : int
        How many rows, and neighbours of each.
    feature : str
        Which output of the file.
    metric : str
        What is near.
    seconds : float
    """

    output: str
    rows: int
    k: int
    feature: str
    metric: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def write_graph(
    features: str | Path,
    output: str | Path,
    *,
    k: int = 15,
    metric: Literal["cosine", "euclidean"] = "cosine",
    feature: str | None = None,
    device: str = "cpu",
    progress: Progress = SILENT,
) -> Graph:
    """Find the k nearest other rows of every finished row, exactly, and write them as a graph.

    It is the search of the head of nearest neighbours: block by block, so that memory grows neither
    with the rows nor with the neighbours, which go to the disk as they are found.

    Parameters
    ----------
    features : str or Path
        A feature file.
    output : str or Path
        A file ``.npz`` that :func:`scipy.sparse.load_npz` reads: a CSR matrix of distances whose
        row i is finished row i of the file, nearest first; ``rows`` has their numbers in the file.
    k : int
        Neighbours of each row.
    metric : {"cosine", "euclidean"}
        What is near; cosine distance is one less the cosine.
    feature : str, optional
        Which output of the file.
    device : str
        ``cpu``, or ``gpu`` or ``gpu:N`` by PyTorch or JAX.
    progress : Progress
        Who is told how far it is.

    Raises
    ------
    OptionError
        For an output of another ending, and where there are not more than ``k`` rows.
    """
    started = time.perf_counter()
    if Path(output).suffix.lower() != ".npz":
        raise OptionError(f"expected an output that ends in .npz for the graph, got {output}")
    store = FeatureStore.open(features)
    name = store.output_name(feature)
    rows = np.flatnonzero(store.done)
    if not 0 < k < len(rows):
        raise OptionError(f"expected k from 1 to {max(len(rows) - 1, 0)} for {features}, got {k}")
    search = None if device == "cpu" else search_on(device)
    path = prepare_output(output, kind="other", inputs=[features])
    found = rows_of(store, name, rows)
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        near, number = _members(Path(folder), len(rows), k)
        apart = np.arange(len(rows), dtype=np.int32)
        blocks = (
            nearest_rows(found, found, k, metric=metric, apart=apart)
            if search is None
            else nearest_on(search, found, k, metric=metric)
        )
        for start, distances, numbers in blocks:
            block = slice(start * k, (start + len(distances)) * k)
            near[block], number[block] = distances.ravel(), numbers.ravel()
            progress.working(f"neighbours of {start + len(distances)} of {len(rows)} rows")
        near.flush()
        number.flush()
        n = len(rows)
        _save(Path(folder) / "indptr.npy", np.arange(n + 1, dtype=number.dtype) * k)
        _save(Path(folder) / "shape.npy", np.array([n, n]))
        _save(Path(folder) / "format.npy", np.array(b"csr"))
        _save(Path(folder) / "rows.npy", rows)
        with written_whole(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for member in sorted(Path(folder).iterdir()):
                archive.write(member, member.name)
    progress.end()
    seconds = round(time.perf_counter() - started, 3)
    return Graph(str(output), len(rows), k, name, metric, seconds)


def _members(folder: Path, n: int, k: int) -> tuple[np.memmap[Any, Any], np.memmap[Any, Any]]:
    number = np.int32 if n * k < np.iinfo(np.int32).max else np.int64
    open_member = partial(np.lib.format.open_memmap, mode="w+", shape=(n * k,))
    return (
        open_member(folder / "data.npy", dtype=np.float32),
        open_member(folder / "indices.npy", dtype=number),
    )


def _save(path: Path, array: NDArray[Any]) -> None:
    np.save(path, array, allow_pickle=False)
