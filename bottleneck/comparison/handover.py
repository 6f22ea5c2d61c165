"""Features for programs that look at data sets, in the formats that those read.

Each writes a folder (Lightly and Atlas a file). Row i of everything in it is finished row i of the
feature file. Where the images are is taken from the log of the extraction, or given.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bottleneck.comparison.alignment import Features
from bottleneck.comparison.neighbors import write_graph
from bottleneck.comparison.page import SIDE, Pictures, open_pictures
from bottleneck.comparison.projection import SAMPLE_ROWS, principal_axes
from bottleneck.comparison.take import logged_sources
from bottleneck.errors import OptionError, StoreError, not_importable
from bottleneck.heads.rows import rows_of
from bottleneck.location import readable
from bottleneck.manifest import SPLITS, UNLABELLED
from bottleneck.npy import load_arrays
from bottleneck.sources import AS_FOUND
from bottleneck.store import FeatureStore
from bottleneck.store.export import ExportResult
from bottleneck.writing import csv_line, prepare_output, written_whole

Program = Literal["fiftyone", "atlas", "cleanlab", "lightly", "tensorboard"]

NEIGHBOURS = 15
_BLOCK_ROWS = 4096
_SPRITE_SIDE = 8192
"""The largest picture that the projector of TensorBoard shows."""


@dataclass(frozen=True, eq=False)
class _Given:
    store: FeatureStore
    feature: str
    rows: NDArray[np.int64]
    keys: list[str]
    labels: list[str | None]
    splits: list[str]
    pictures: Pictures

    def blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the first row of each block, and its features."""
        features = self.store.features(self.feature)
        for start in range(0, len(self.rows), _BLOCK_ROWS):
            block = self.rows[start : start + _BLOCK_ROWS]
            yield start, np.asarray(features[block], np.float32)

    def files(self) -> list[str]:
        """Return the path or URL of every image.

        Raises
        ------
        OptionError
            Where an image is in no file of its own, or is not known to be in one.
        """
        found = self.pictures.locations(range(len(self.rows)))
        missing = [key for key, place in zip(self.keys, found, strict=True) if place is None]
        if missing:
            raise OptionError(
                f"expected images in files of their own, got none for {len(missing)} rows, first "
                f"{missing[0]!r}{': ' + self.pictures.note if self.pictures.note else ''}",
                hint="Say where they are: --images SOURCE.",
            )
        return [str(place) for place in found]


def hand_over(
    features: str | Path,
    output: str | Path,
    to: Program,
    *,
    feature: str | None = None,
    images: Sequence[str] = (),
) -> ExportResult:
    """Write the finished rows of one output for a program.

    Parameters
    ----------
    features : str or Path
        A feature file.
    output : str or Path
        A new folder; for ``lightly`` a file that ends in ``.csv``, for ``atlas`` in ``.parquet``.
    to : {"fiftyone", "atlas", "cleanlab", "lightly", "tensorboard"}
    feature : str, optional
        Which output of the file.
    images : sequence of str
        Where the images are; by default where they were extracted from.

    Raises
    ------
    OptionError
        For an output of another ending, or one that exists.
    StoreError
        When no row is finished.
    """
    given = _given(features, feature, images)
    path = Path(output)
    if ending := _FILES.get(to):
        if path.suffix.lower() != ending:
            raise OptionError(f"expected an output that ends in {ending} for {to}, got {output}")
        path = prepare_output(path, kind="other", inputs=[features])
        with written_whole(path) as temporary:
            _WRITERS[to](given, temporary)
    else:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise OptionError(
                f"expected a new folder for {to}, found {output}", hint="Give another name."
            )
        path.mkdir(parents=True, exist_ok=True)
        _WRITERS[to](given, path)
    written = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return ExportResult(
        output=str(path),
        rows=len(given.rows),
        bytes_before=given.store.bytes,
        bytes_after=sum(one.stat().st_size for one in written),
    )


def _given(features: str | Path, feature: str | None, images: Sequence[str]) -> _Given:
    store = FeatureStore.open(features)
    name, rows = store.output_name(feature), np.flatnonzero(store.done)
    if not len(rows):
        raise StoreError(f"expected finished rows in {features}, found none")
    own = Features(store.recipe.backbone, store, name, rows)
    sources, choice = (tuple(images), AS_FOUND) if images else logged_sources([own])
    keys = [store.keys[int(row)] for row in rows]
    return _Given(
        store=store,
        feature=name,
        rows=rows,
        keys=[readable(key) for key in keys],
        labels=[
            None if code == UNLABELLED else readable(store.classes[code])
            for code in store.labels[rows].tolist()
        ],
        splits=[SPLITS[code] for code in store.splits[rows]],
        pictures=open_pictures(sources, {key: i for i, key in enumerate(keys)}, choice),
    )


def _write_vectors(given: _Given, path: Path) -> None:
    shape = (len(given.rows), given.store.outputs[given.feature])
    kept = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    for start, block in given.blocks():
        kept[start : start + len(block)] = block
    kept.flush()


def _write_json(path: Path, value: Any) -> None:
    # A path that is no UTF-8 is escaped, as JSON escapes; Python reads it back.
    text = json.dumps(value, ensure_ascii=False, indent=1) + "\n"
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def _fiftyone(given: _Given, folder: Path) -> None:
    """FiftyOne's image classification data set, with the paths of images, and embeddings.

    ``data.json`` names the file of each sample and ``labels.json`` its label; ``embeddings.npy``
    has its row at the number that is its name.
    """
    width = len(str(len(given.rows)))
    names = [f"{i:0{width}d}" for i in range(len(given.rows))]
    classes = [*map(readable, given.store.classes)]
    _write_json(folder / "data.json", dict(zip(names, given.files(), strict=True)))
    samples = {
        name: None
        if label is None
        else {"label": label, "attributes": {"key": key, "split": split}}
        for name, label, key, split in zip(
            names, given.labels, given.keys, given.splits, strict=True
        )
    }
    _write_json(folder / "labels.json", {"classes": classes, "labels": samples})
    _write_vectors(given, folder / "embeddings.npy")


def _atlas(given: _Given, path: Path) -> None:
    """Embedding Atlas: a Parquet table with vectors, two coordinates, and nearest neighbours."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise not_importable("pyarrow to write Parquet", "parquet", error) from error
    n, dim = len(given.rows), given.store.outputs[given.feature]
    spread = given.rows[np.linspace(0, n - 1, min(n, SAMPLE_ROWS)).astype(np.int64)]
    plane = principal_axes(rows_of(given.store, given.feature, spread), 2).project(
        rows_of(given.store, given.feature, given.rows)
    )
    near, distances = _nearest(given, path.parent)
    places = given.pictures.locations(range(n))
    schema = pa.schema(
        [
            ("key", pa.string()),
            ("label", pa.string()),
            ("split", pa.string()),
            ("image", pa.string()),
            ("projection_x", pa.float32()),
            ("projection_y", pa.float32()),
            (
                "neighbors",
                pa.struct({"ids": pa.list_(pa.int64()), "distances": pa.list_(pa.float32())}),
            ),
            ("vector", pa.list_(pa.float32(), dim)),
        ]
    )
    with parquet.ParquetWriter(path, schema) as writer:
        for start, block in given.blocks():
            own = slice(start, start + len(block))
            columns = [
                pa.array(given.keys[own], pa.string()),
                pa.array(given.labels[own], pa.string()),
                pa.array([split or None for split in given.splits[own]], pa.string()),
                pa.array(places[own], pa.string()),
                pa.array(plane[own, 0].astype(np.float32)),
                pa.array(plane[own, 1].astype(np.float32)),
                pa.array(
                    [
                        {"ids": ids, "distances": far}
                        for ids, far in zip(
                            near[own].tolist(), distances[own].tolist(), strict=True
                        )
                    ],
                    schema.field("neighbors").type,
                ),
                pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), dim),
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def _nearest(given: _Given, beside: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the nearest rows of each and their distances, shape (n, k)."""
    n = len(given.rows)
    k = min(NEIGHBOURS, n - 1)
    if k < 1:
        return np.empty((n, 0), np.int64), np.empty((n, 0), np.float32)
    place = beside / ".neighbours.npz"
    try:
        write_graph(given.store.location, place, k=k, feature=given.feature)
        found = load_arrays(place)
        return found["indices"].reshape(n, k), found["data"].reshape(n, k)
    finally:
        place.unlink(missing_ok=True)


def _cleanlab(given: _Given, folder: Path) -> None:
    """What cleanlab's Datalab takes: labels, features and the graph of nearest neighbours."""
    n = len(given.rows)
    _write_vectors(given, folder / "features.npy")
    codes = given.store.labels[given.rows].astype(np.int64)
    np.save(folder / "labels.npy", codes, allow_pickle=False)
    _write_json(folder / "classes.json", [*map(readable, given.store.classes)])
    if n > 1:
        k = min(NEIGHBOURS, n - 1)
        write_graph(given.store.location, folder / "knn_graph.npz", k=k, feature=given.feature)
    _write_csv(folder / "images.csv", given)


def _write_csv(path: Path, given: _Given) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        stream.write(csv_line(["path", "label", "split"]))
        for key, label, split in zip(given.keys, given.labels, given.splits, strict=True):
            stream.write(csv_line([key, label or "", split]))


def _lightly(given: _Given, path: Path) -> None:
    """Lightly's table of embeddings: the names of files, the numbers, the code of the label."""
    dim = given.store.outputs[given.feature]
    names = ["filenames", *(f"embedding_{i}" for i in range(dim)), "labels"]
    codes = given.store.labels[given.rows]
    with path.open("w", newline="", encoding="utf-8") as stream:
        stream.write(csv_line(names))
        for start, block in given.blocks():
            for i, row in enumerate(block, start):
                stream.write(csv_line([given.keys[i], *map(repr, row.tolist()), int(codes[i])]))


def _tensorboard(given: _Given, folder: Path) -> None:
    """The projector of TensorBoard: numbers, a table of labels, and thumbnails."""
    n, dim = len(given.rows), given.store.outputs[given.feature]
    with (folder / "tensors.bytes").open("wb") as stream:
        for _, block in given.blocks():
            stream.write(block.astype("<f4").tobytes())
    with (folder / "metadata.tsv").open("w", encoding="utf-8") as stream:
        stream.write("key\tlabel\tsplit\n")
        for row in zip(given.keys, given.labels, given.splits, strict=True):
            stream.write("\t".join(_cell(value) for value in row) + "\n")
    lines = [
        "embeddings {",
        f'  tensor_name: "{given.feature}"',
        '  tensor_path: "tensors.bytes"',
        f"  tensor_shape: {n}",
        f"  tensor_shape: {dim}",
        '  metadata_path: "metadata.tsv"',
    ]
    if side := _write_sprite(given, folder / "sprite.png"):
        lines += [
            "  sprite {",
            '    image_path: "sprite.png"',
            f"    single_image_dim: {side}",
            f"    single_image_dim: {side}",
            "  }",
        ]
    (folder / "projector_config.pbtxt").write_text("\n".join([*lines, "}", ""]), encoding="utf-8")


def _cell(value: str | None) -> str:
    return " ".join((value or "").split()) or " "


def _write_sprite(given: _Given, path: Path) -> int:
    """Put all thumbnails in one square picture, row by row; return the side of each, or 0."""
    from PIL import Image

    n = len(given.rows)
    across = int(np.ceil(np.sqrt(n)))
    side = min(SIDE, _SPRITE_SIDE // across)
    if given.pictures.source is None or side < 8:
        return 0
    sheet = np.zeros((across * side, across * side, 3), np.uint8)
    for i in range(n):
        pixels = given.pictures.read(i, side)
        if pixels is not None:
            y, x = divmod(i, across)
            sheet[y * side : (y + 1) * side, x * side : (x + 1) * side] = pixels
    Image.fromarray(sheet).save(path)
    return side


_FILES: Mapping[str, str] = {"atlas": ".parquet", "lightly": ".csv"}
_WRITERS: Mapping[str, Callable[[_Given, Path], None]] = {
    "fiftyone": _fiftyone,
    "atlas": _atlas,
    "cleanlab": _cleanlab,
    "lightly": _lightly,
    "tensorboard": _tensorboard,
}
