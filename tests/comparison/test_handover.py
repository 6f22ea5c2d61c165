"""Features in the formats of other programs: read back by the program where it is installed."""

import csv
import json

import numpy as np
import pytest
from blobs import CLASSES, write_pictures
from PIL import Image

import bottleneck
from bottleneck.errors import OptionError
from bottleneck.store import FeatureStore

N = 60


@pytest.fixture
def given(blobs, tmp_path):
    keys = [f"{CLASSES[i % 6]}/{i}.png" for i in range(N)]
    labels = [None if i == 2 else CLASSES[i % 6] for i in range(N)]
    path = blobs("x.h5", n=N, keys=keys, labels=labels, failed=[7])
    store = FeatureStore.open(path)
    rows = np.flatnonzero(store.done)
    return {
        "path": path,
        "images": write_pictures(tmp_path / "pictures", keys),
        "keys": [keys[i] for i in rows],
        "labels": [labels[i] for i in rows],
        "codes": store.labels[rows],
        "X": np.asarray(store.features()[rows]),
    }


def exact(X, k):
    """The k nearest rows by sorting every cosine."""
    unit = X.astype(float) / np.linalg.norm(X.astype(float), axis=1, keepdims=True)
    distances = 1 - unit @ unit.T
    np.fill_diagonal(distances, np.inf)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


def test_the_graph_is_exact_and_scipy_reads_it(given, tmp_path):
    from scipy.sparse import load_npz

    result = bottleneck.graph(given["path"], tmp_path / "graph.npz", k=5)
    assert (result.rows, result.k, result.metric) == (N - 1, 5, "cosine")
    graph = load_npz(tmp_path / "graph.npz")
    order, distances = exact(given["X"], 5)
    assert graph.shape == (N - 1, N - 1)
    assert np.array_equal(graph.indices.reshape(-1, 5), order)
    assert graph.data.reshape(-1, 5) == pytest.approx(distances, abs=1e-6)
    with np.load(tmp_path / "graph.npz") as members:
        assert members["rows"].tolist() == [i for i in range(N) if i != 7]
    assert [one.name for one in tmp_path.glob(".graph*")] == []
    bottleneck.graph(given["path"], tmp_path / "far.npz", k=3, metric="euclidean")
    wide = given["X"].astype(float)
    far = np.linalg.norm(wide[:, None] - wide[None], axis=2)
    np.fill_diagonal(far, np.inf)
    found = load_npz(tmp_path / "far.npz").indices.reshape(-1, 3)
    assert np.array_equal(found, np.argsort(far, axis=1, kind="stable")[:, :3])
    for wrong in ({"output": "x.h5"}, {"output": "x.npz", "k": N}):
        with pytest.raises(OptionError, match="expected"):
            bottleneck.graph(given["path"], **wrong)


def export(given, tmp_path, to, name):
    result = bottleneck.export(given["path"], tmp_path / name, to=to, images=given["images"])
    assert result.rows == N - 1
    return tmp_path / name


def test_fiftyone_gets_files_labels_and_embeddings(given, tmp_path):
    folder = export(given, tmp_path, "fiftyone", "fo")
    places = json.loads((folder / "data.json").read_text())
    labels = json.loads((folder / "labels.json").read_text())
    assert [*places.values()] == [str(given["images"] / key) for key in given["keys"]]
    assert labels["classes"] == sorted(CLASSES)
    told = [one and one["label"] for one in labels["labels"].values()]
    assert told == given["labels"]
    assert np.array_equal(np.load(folder / "embeddings.npy"), given["X"])
    with pytest.raises(OptionError, match="expected a new folder"):
        export(given, tmp_path, "fiftyone", "fo")
    with pytest.raises(OptionError, match="it is not known where the images are"):
        bottleneck.export(given["path"], tmp_path / "other", to="fiftyone")


def test_fiftyone_reads_it(given, tmp_path):
    """By its importer of such data sets: a data set itself needs its MongoDB."""
    data = pytest.importorskip("fiftyone.utils.data", reason="fiftyone is not installed")
    folder = export(given, tmp_path, "fiftyone", "fo")
    importer = data.FiftyOneImageClassificationDatasetImporter(
        data_path=str(folder / "data.json"), labels_path=str(folder / "labels.json")
    )
    with importer:
        found = {path: label and label.label for path, _, label in importer}
        assert importer.get_dataset_info()["classes"] == sorted(CLASSES)
    assert found == {
        str(given["images"] / key): label
        for key, label in zip(given["keys"], given["labels"], strict=True)
    }


def test_atlas_gets_a_table_of_vectors_places_and_neighbours(given, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(export(given, tmp_path, "atlas", "a.parquet")).to_pydict()
    assert table["key"] == given["keys"]
    assert table["label"] == given["labels"]
    assert np.array_equal(np.array(table["vector"], np.float32), given["X"])
    assert table["image"] == [str(given["images"] / key) for key in given["keys"]]
    order, distances = exact(given["X"], 15)
    assert [one["ids"] for one in table["neighbors"]] == order.tolist()
    assert np.array([one["distances"] for one in table["neighbors"]]) == pytest.approx(
        distances, abs=1e-6
    )
    plane = np.stack([table["projection_x"], table["projection_y"]], axis=1)
    centred = given["X"] - given["X"].mean(axis=0)
    _, values, _ = np.linalg.svd(centred.astype(float))
    assert np.linalg.norm(plane, axis=0) == pytest.approx(values[:2], rel=1e-4)


def test_cleanlab_gets_labels_features_and_the_graph(given, tmp_path):
    from scipy.sparse import load_npz

    folder = export(given, tmp_path, "cleanlab", "c")
    assert np.array_equal(np.load(folder / "features.npy"), given["X"])
    assert np.array_equal(np.load(folder / "labels.npy"), given["codes"])
    assert np.array_equal(
        load_npz(folder / "knn_graph.npz").indices.reshape(-1, 15), exact(given["X"], 15)[0]
    )
    rows = list(csv.DictReader((folder / "images.csv").read_text().splitlines()))
    assert [row["path"] for row in rows] == given["keys"]


@pytest.mark.filterwarnings("ignore")
def test_cleanlab_finds_a_planted_label_in_it(given, tmp_path):
    datalab = pytest.importorskip("cleanlab.datalab.datalab", reason="cleanlab is not installed")
    from scipy.sparse import load_npz

    folder = export(given, tmp_path, "cleanlab", "c")
    labels = np.load(folder / "labels.npy")
    labels = np.where(labels < 0, 2, labels)
    lab = datalab.Datalab({"y": labels}, label_name="y")
    lab.find_issues(
        features=np.load(folder / "features.npy"), knn_graph=load_npz(folder / "knn_graph.npz")
    )
    assert len(lab.get_issues()) == N - 1


def test_lightly_gets_its_table(given, tmp_path):
    path = export(given, tmp_path, "lightly", "l.csv")
    names, *rows = csv.reader(path.read_text().splitlines())
    assert names == ["filenames", *(f"embedding_{i}" for i in range(12)), "labels"]
    assert [row[0] for row in rows] == given["keys"]
    assert np.array_equal(np.array([row[1:-1] for row in rows], np.float32), given["X"])
    assert [int(row[-1]) for row in rows] == given["codes"].tolist()
    with pytest.raises(OptionError, match=r"ends in \.csv for lightly"):
        export(given, tmp_path, "lightly", "l.txt")


def test_lightly_opens_it(given, tmp_path):
    lightly = pytest.importorskip("lightly.utils.io", reason="lightly is not installed (PyTorch)")
    path = export(given, tmp_path, "lightly", "l.csv")
    embeddings, labels, names = lightly.load_embeddings(str(path))
    assert names == given["keys"]
    assert np.asarray(embeddings, np.float32) == pytest.approx(given["X"])
    assert labels == given["codes"].tolist()


def test_tensorboard_gets_numbers_labels_and_thumbnails(given, tmp_path):
    folder = export(given, tmp_path, "tensorboard", "t")
    values = np.fromfile(folder / "tensors.bytes", "<f4").reshape(N - 1, 12)
    assert np.array_equal(values, given["X"])
    lines = (folder / "metadata.tsv").read_text().splitlines()
    assert lines[0] == "key\tlabel\tsplit"
    assert [line.split("\t")[0] for line in lines[1:]] == given["keys"]
    sprite = np.asarray(Image.open(folder / "sprite.png")).astype(float)
    assert sprite.shape == (8 * 64, 8 * 64, 3)  # 59 pictures in 8 x 8 places
    from bottleneck.images import Geometry, decode

    second = decode((given["images"] / given["keys"][9]).read_bytes(), Geometry(64, "pad"))
    assert np.array_equal(sprite[64:128, 64:128], second)  # place 9: row 1, column 1


def test_tensorboard_reads_its_configuration(given, tmp_path):
    config = pytest.importorskip(
        "tensorboard.plugins.projector.projector_config_pb2", reason="tensorboard is not installed"
    )
    from google.protobuf import text_format

    folder = export(given, tmp_path, "tensorboard", "t")
    text = (folder / "projector_config.pbtxt").read_text()
    (told,) = text_format.Parse(text, config.ProjectorConfig()).embeddings
    assert [*told.tensor_shape] == [N - 1, 12]
    assert [*told.sprite.single_image_dim] == [64, 64]


def test_heads_are_loaded_by_one_name(given, tmp_path):
    trained = bottleneck.train(given["path"], tmp_path / "h", head="ridge").head
    loaded = bottleneck.heads.load(tmp_path / "h")
    assert repr(loaded) == repr(trained)
    assert np.array_equal(loaded.predict(given["X"]), trained.predict(given["X"]))
