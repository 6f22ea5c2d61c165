"""Which folder is the class, and which columns are paths and labels: as somebody says."""

import json
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from bottleneck.errors import BottleneckError, ManifestError, OptionError
from bottleneck.manifest import SPLITS
from bottleneck.sources import Choice, open_source

TREE = {
    "photos/2020/cat/1.png": ("2020", "cat"),
    "photos/2021/cat/2.png": ("2021", "cat"),
    "photos/2021/dog/deep/3.png": ("2021", "dog"),
}


def rows(given, targets=(), **said):
    m = open_source([str(one) for one in given], targets, Choice(**said)).manifest
    return {
        key: (m.classes[label] if label >= 0 else None, SPLITS[split])
        for key, label, split in zip(m.keys, m.labels, m.splits, strict=True)
    }


def labels(given, **said):
    return [label for label, _ in rows([given], **said).values()]


def as_folder(root):
    for path in TREE:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")
    return root / "photos"


def as_pattern(root):
    return f"{as_folder(root)}/**/*.png"


def as_tar(root):
    with tarfile.open(root / "a.tar", "w") as archive:
        archive.add(as_folder(root), arcname=".")
    return root / "a.tar"


def as_labelled_tar(root):
    for path in TREE:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).with_suffix(".cls").write_text("9")
    return as_tar(root)


def as_zip(root):
    with zipfile.ZipFile(root / "a.zip", "w") as archive:
        for path in TREE:
            archive.writestr(path.removeprefix("photos/"), b"x")
    return root / "a.zip"


def as_csv(root):
    lines = [f"{path.removeprefix('photos/')},9" for path in TREE]
    (root / "a.csv").write_text("\n".join(["path,label", *lines]))
    return root / "a.csv"


def as_absolute_csv(root):
    as_folder(root)
    (root / "a.csv").write_text("\n".join(["path", *(str(root / path) for path in TREE)]))
    return root / "a.csv"


def as_json_lines(root):
    lines = [json.dumps({"path": path.removeprefix("photos/"), "label": 9}) for path in TREE]
    (root / "a.jsonl").write_text("\n".join(lines))
    return root / "a.jsonl"


def as_parquet(root):
    paths = [path.removeprefix("photos/") for path in TREE]
    parquet.write_table(pa.table({"path": paths, "label": [9] * 3}), root / "a.parquet")
    return root / "a.parquet"


MAKERS = [as_folder, as_pattern, as_tar, as_labelled_tar, as_zip, as_csv, as_absolute_csv,
          as_json_lines, as_parquet]  # fmt: skip


@pytest.mark.parametrize("make", MAKERS)
def test_the_class_is_the_folder_that_is_said_in_every_source(tmp_path, make):
    given = make(tmp_path)
    assert labels(given, depth=1) == ["2020", "2021", "2021"]
    assert labels(given, label_from="folder") == ["2020", "2021", "2021"]
    assert labels(given, depth=2) == ["cat", "cat", "dog"]
    assert labels(given, depth=3) == [None, None, "deep"]
    assert labels(given, label_from="parent") == ["cat", "cat", "deep"]
    assert labels(given, label_from="none") == [None] * 3
    assert len(labels(given)) == 3
    with pytest.raises(ManifestError, match="in 4 folders or more for --depth 4, the deepest is"):
        labels(given, depth=4)


def test_the_folder_of_flat_images_is_their_parent(tmp_path):
    as_folder(tmp_path)
    folder = tmp_path / "photos/2020/cat"
    assert labels(folder) == [None]
    assert labels(folder, label_from="parent") == ["cat"]


def test_names_of_files_without_their_number(tmp_path):
    expected = {
        "american_pit_bull_12.jpg": "american_pit_bull",
        "Abyssinian_100.jpg": "Abyssinian",
        "cat.0.jpg": "cat",
        "dog (2).JPG": "dog",
        "dog.jpg": "dog",
        "7.jpg": None,
    }
    for name in expected:
        (tmp_path / name).write_bytes(b"x")
    found = rows([tmp_path], label_from="name")
    assert {key: label for key, (label, _) in found.items()} == expected


def test_splits_are_kept_and_no_class(tmp_path):
    for path in ("train/site1/cat/1.png", "test/site2/dog/2.png"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(b"x")
    expected = {"test/site2/dog/2.png": ("dog", "test"), "train/site1/cat/1.png": ("cat", "train")}
    assert rows([tmp_path], depth=3) == rows([tmp_path], label_from="parent") == expected
    folders = [tmp_path / "test", tmp_path / "train"]
    assert rows(folders, depth=3) == expected
    assert {label for label, _ in rows([tmp_path]).values()} == {"site1", "site2"}
    with pytest.raises(ManifestError, match="--depth 1 are splits: test, train") as caught:
        rows([tmp_path], depth=1)
    assert caught.value.hint == "The folders below them are --depth 2."


def test_what_looks_like_splits_in_part_is_decided_by_the_depth(tmp_path):
    for path in ("train/a/1.png", "test/b/2.png", "plane/c/3.png"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(b"x")
    with pytest.raises(ManifestError, match="look like splits") as caught:
        rows([tmp_path])
    assert "--depth 2, or --depth 1" in caught.value.hint
    assert sorted(rows([tmp_path], depth=1).values()) == [
        ("plane", ""),
        ("test", ""),
        ("train", ""),
    ]
    assert sorted(rows([tmp_path], depth=2).values()) == [("a", "train"), ("b", "test"), ("c", "")]


# columns


COLUMNS = {"where": ["a.png", "b.png"], "diagnosis": ["x", "y"], "label": [1, 2]}


def write_columns(root, ending, columns=COLUMNS):
    path = root / f"t.{ending}"
    table = [
        dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)
    ]
    if ending == "parquet":
        parquet.write_table(pa.Table.from_pylist(table), path)
    elif ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n\n" for row in table))
    else:
        mark = "\t" if ending == "tsv" else ";"
        lines = [columns, *(row.values() for row in table)]
        path.write_text("\n".join(mark.join(map(str, line)) for line in lines))
    return path


@pytest.mark.parametrize("ending", ["csv", "tsv", "txt", "jsonl", "parquet"])
def test_columns_that_are_said_in_every_table(tmp_path, ending):
    path = write_columns(tmp_path, ending)
    found = rows([path], path_column="where", label_column="diagnosis")
    assert found == {"a.png": ("x", ""), "b.png": ("y", "")}
    assert labels(path, path_column=" WHERE ") == ["1", "2"]
    assert labels(path, path_column="where", label_from="none") == [None, None]
    with pytest.raises(OptionError, match="no column 'cls' for --label-column") as caught:
        rows([path], path_column="where", label_column="cls")
    assert caught.value.hint == "It has: where, diagnosis, label"
    with pytest.raises(OptionError, match="no column 'file' for --path-column"):
        rows([path], path_column="file")
    with pytest.raises(OptionError, match="in different columns, got 'where' for both"):
        rows([path], path_column="where", label_column="where")
    with pytest.raises(BottleneckError, match="column"):
        rows([path])


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("names", "note"),
    [
        (("path", "label"), None),
        (("Path", " Label "), None),
        (("file_name", "label"), "the images are named by the column 'file_name'"),
        (("filename", "class"), "the class is the column 'class'"),
        (("Image", "Category"), "the class is the column 'Category'"),
    ],
)
def test_columns_are_found_by_the_names_that_programs_use(tmp_path, ending, names, note):
    columns = dict(zip(names, (["a.png", "b.png"], ["x", ""]), strict=True))
    path = write_columns(tmp_path, ending, columns)
    assert rows([path]) == {"a.png": ("x", ""), "b.png": (None, "")}
    notes = "; ".join(open_source([str(path)]).listing.notes)
    assert (note or "") in notes
    assert note or not notes


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_columns_that_may_be_meant_too_are_told(tmp_path, ending):
    columns = {"path": ["a.png"], "category": ["x"], "class": ["y"]}
    source = open_source([str(write_columns(tmp_path, ending, columns))])
    assert source.manifest.classes == ("y",)
    assert "the class is the column 'class' (not category: --label-column names another)" in (
        source.listing.notes
    )


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_target_is_no_class_but_by_the_name_label(tmp_path, ending):
    path = write_columns(tmp_path, ending, {"path": ["a.png", "b.png"], "target": [1.5, 2.5]})
    source = open_source([str(path)], ["target"])
    assert source.manifest.classes == ()
    assert source.manifest.targets.names == ("target",)


def test_parquet_with_images_has_other_columns_of_labels(tmp_path):
    table = pa.table({"image": [b"\x89PNG1", b"\x89PNG2"], "label": [0, 1], "breed": ["x", "y"]})
    parquet.write_table(table, tmp_path / "t.parquet")
    assert labels(tmp_path / "t.parquet") == ["0", "1"]
    assert labels(tmp_path / "t.parquet", label_column="breed") == ["x", "y"]
    assert labels(tmp_path / "t.parquet", label_from="none") == [None, None]
    with pytest.raises(OptionError, match="lie in no folders for --depth 1"):
        labels(tmp_path / "t.parquet", depth=1)


def test_what_is_no_table_has_no_columns_and_arrays_have_no_folders(tmp_path):
    folder = as_folder(tmp_path)
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 4, 4), np.uint8), labels=[0, 1])
    for given in (folder, as_tar(tmp_path), tmp_path / "a.npz", folder / "2020/cat/1.png"):
        with pytest.raises(OptionError, match="expected a table for --label-column, got "):
            rows([given], label_column="x")
    with pytest.raises(OptionError, match=r"a\.npz holds its images itself: .* --label-from name"):
        rows([tmp_path / "a.npz"], label_from="name")
    assert labels(tmp_path / "a.npz", label_from="none") == [None, None]


def test_only_one_place_of_labels():
    with pytest.raises(OptionError, match="got --label-column x and --depth 1"):
        Choice(label_column="x", depth=1)
    with pytest.raises(OptionError, match="--depth 2 and --label-from parent"):
        Choice(label_from="parent", depth=2)
    with pytest.raises(OptionError, match="name of a column for --path-column"):
        Choice(path_column="")


# odd tables


def test_backslashes_of_windows_are_read_as_folders(tmp_path):
    as_folder(tmp_path)
    for ending in ("csv", "jsonl", "parquet"):
        columns = {"path": ["photos\\2020\\cat\\1.png", "photos/2021\\cat/2.png"]}
        source = open_source([str(write_columns(tmp_path, ending, columns))])
        assert list(source.manifest.keys) == ["photos/2020/cat/1.png", "photos/2021/cat/2.png"]
        assert source.listing.notes == ("backslashes in paths are read as /",)
        assert source.read(0) == source.read(1) == b"x"
        drive = {"path": ["C:\\data\\1.png", "C:\\data\\2.png"]}
        with pytest.raises(ManifestError, match="which is on another machine"):
            open_source([str(write_columns(tmp_path, ending, drive))])


def test_a_file_with_a_backslash_in_its_name_is_read(tmp_path):
    (tmp_path / "a\\b.png").write_bytes(b"y")
    path = write_columns(tmp_path, "csv", {"path": ["a\\b.png"]})
    assert open_source([str(path)]).read(0) == b"y"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"path": "a"\n', r"line 1: expected an object in JSON, got '\{\"path\""),
        ('\n["a"]\n', r"line 2: expected an object in JSON, got '\[\"a\"\]'"),
        ('{"path": "a"}\n{"label": 1}\n', "line 2: expected a path"),
        ('{"path": ["a"]}\n', "line 1: expected a path, got list"),
        ('{"path": "a", "label": [1, 2]}\n', r"line 1, column 'label': expected one label"),
        ('{"path": "a", "label": 0.5}\n', r"line 1, column 'label': expected a label, got the"),
        ('{"label": 1}\n', "expected a column named 'path', got label"),
        ("", "got an empty file"),
    ],
)
def test_json_lines_that_are_none_are_refused_by_line(tmp_path, text, message):
    (tmp_path / "t.jsonl").write_text(text)
    with pytest.raises(BottleneckError, match=message):
        open_source([str(tmp_path / "t.jsonl")])


def test_json_lines_say_what_they_have_to_say(tmp_path):
    lines = [
        {"path": "a", "label": 3.0, "split": "train", "group": 1, "tags": ["x", "y"], "n": 1.5},
        {"path": "b", "label": -1, "split": None, "group": None, "tags": [], "n": None},
        {"path": "c", "tags": None},
    ]
    (tmp_path / "t.jsonl").write_text("\ufeff" + "\n".join(map(json.dumps, lines)))
    m = open_source([str(tmp_path / "t.jsonl")], ["tags", "n"]).manifest
    assert [m.classes[i] if i >= 0 else None for i in m.labels] == ["3", None, None]
    assert [SPLITS[i] for i in m.splits] == ["train", "", ""]
    assert list(m.group_names) == ["1"]
    assert m.targets.names == ("n", "tags/x", "tags/y")
    assert m.targets.columns(["tags/x"]).ravel()[:2].tolist() == [1, 0]
