"""What lies in a folder without images, and in files whose names do not tell."""

from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import written
from pyarrow import parquet

from bottleneck.cli.show import printable
from bottleneck.errors import BottleneckError, SourceError
from bottleneck.sources import Choice, Kind, PixelSource, Survey, kinds, open_source

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n"


def clone(root, *names):
    """Write Parquet shards as a clone from the Hugging Face hub has them."""
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        rows = pa.array([{"bytes": b"\x89PNG%d" % i, "path": "0.png"}], kind)
        parquet.write_table(pa.table({"image": rows, "label": [i]}), root / name)
    for name in ("README.md", ".gitattributes", ".git/objects/x.parquet"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return str(root)


def test_a_clone_from_the_hub_is_its_shards_with_splits(tmp_path):
    folder = clone(
        tmp_path / "hub", "data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"
    )
    survey = Survey.of(open_source([folder]))
    assert survey.splits == {"train": 1, "test": 1}
    assert survey.classes == {"0": 1, "1": 1}
    assert [row["key"] for row in survey.first] == [
        "test-00000-of-00001/0.png", "train-00000-of-00001/0.png"
    ]  # fmt: skip


def test_folders_of_splits_hold_shards_too(tmp_path):
    folder = clone(tmp_path / "hub", "default/test/0000.parquet", "default/train/0000.parquet")
    assert Survey.of(open_source([folder])).splits == {"train": 1, "test": 1}


def test_several_things_in_a_folder_are_told_apart(tmp_path):
    shard = "train-00000-of-00001.parquet"
    two = clone(tmp_path / "two", f"coarse/{shard}", f"fine/{shard}")
    with pytest.raises(SourceError, match="holds several data sets: coarse, fine") as caught:
        open_source([two])
    assert caught.value.hint == f"Give one of them: {two}/coarse"
    assert len(open_source([f"{two}/coarse"])) == 1
    mixed = clone(tmp_path / "mixed", f"data/{shard}")
    (tmp_path / "mixed/preview.png").write_bytes(b"x")
    with pytest.raises(
        SourceError, match="holds 1 images, as preview.png, and 1 Parquet"
    ) as caught:
        open_source([mixed])
    assert caught.value.hint == f"Say which: '{mixed}/data/*.parquet' or '{mixed}/*.png'"
    assert len(open_source([f"{mixed}/data/*.parquet"])) == 1
    kinds_of_two = clone(tmp_path / "kinds", f"data/{shard}")
    (tmp_path / "kinds/a.tar").write_bytes(b"")
    with pytest.raises(SourceError, match="one kind, got 1 tar, 1 Parquet"):
        open_source([kinds_of_two])


def test_a_table_beside_images_is_no_shard(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "labels.parquet").write_bytes(b"x")
    survey = Survey.of(open_source([str(tmp_path)]))
    assert survey.images == 1
    assert "there is a .parquet beside the images" in survey.warnings[0]


def test_pointers_are_not_the_files(tmp_path):
    folder = clone(tmp_path, "data/train-00000-of-00001.parquet")
    (tmp_path / "data/train-00000-of-00001.parquet").write_bytes(POINTER)
    with pytest.raises(SourceError, match="is a pointer of Git LFS") as caught:
        open_source([folder])
    assert caught.value.hint == "Fetch the files: git lfs pull"


def test_a_folder_of_a_table_says_to_give_it(tmp_path):
    (tmp_path / "labels.csv").write_text("path\na.png\n")
    with pytest.raises(
        BottleneckError, match=r"found none \(left out by ending: .csv 1\)"
    ) as caught:
        open_source([str(tmp_path)])
    assert caught.value.hint.startswith(f"Give the file itself: {tmp_path}/labels.csv. ")


def test_tables_that_a_pattern_matches_are_sources(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(f"path,label\n1.png,{name}\n")
    manifest = open_source([f"{tmp_path}/*.csv"]).manifest
    assert list(manifest.keys) == ["a.csv/1.png", "b.csv/1.png"]
    assert manifest.classes == ("a", "b")


@pytest.mark.parametrize(
    ("name", "data", "says", "todo"),
    [
        ("x.7z", b"7z", "ends in .7z", "Unpack it"),
        ("x.MAT", b"MATLAB", "ends in .mat", "numpy.savez"),
        ("x.xlsx", b"PK\3\4", "ends in .xlsx, a zip inside", "Save the table as CSV."),
        ("x.mp4", b"x", "ends in .mp4", "ffmpeg -i x.mp4 "),
        ("x.json", b"[]", "ends in .json", ".jsonl"),
        ("x.dcm", b"", "ends in .dcm", "Convert it"),
        ("x.bin", b"PAR1", "ends in .bin, Parquet inside", "call it x.bin.parquet"),
        ("x", b"hello", "a file without an ending", "by their ending"),
        ("x.py", b"import os", "ends in .py", "by their ending"),
    ],
)
def test_what_is_no_source_is_refused_by_name(tmp_path, name, data, says, todo):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=f"expected images, got .*{name}: .*{says}") as caught:
        open_source([str(tmp_path / name)])
    assert todo in caught.value.hint


def test_an_image_by_any_name_is_one(tmp_path):
    for name, data in (("x", b"\xff\xd8\xff"), ("x.1", b"\x89PNG"), ("x.jpeg_large", b"RIFF")):
        (tmp_path / name).write_bytes(data)
        assert open_source([str(tmp_path / name)]).read(0) == data


def test_paths_of_windows_are_explained(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError) as caught:
        open_source(["a\\1.png"])
    assert caught.value.hint == "Write / between folders: a/1.png"


def test_accents_written_in_two_ways_are_told(tmp_path):
    for i, name in enumerate(("caf\u00e9", "cafe\u0301")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{i}.png").write_bytes(b"x")
    warnings = Survey.of(open_source([str(tmp_path)])).warnings
    assert r"'cafe\u0301' and 'caf\xe9' differ only in how accents are written" in warnings[-1]


def test_empty_rows_of_spreadsheets_are_none(tmp_path):
    (tmp_path / "t.csv").write_text("path,label\na.png,x\n,\n,,,\n\n")
    assert len(open_source([str(tmp_path / "t.csv")])) == 1


# kinds of other packages


def grey(request):
    values = [int(Path(path).read_text()) for path in request.locations]
    return PixelSource([np.full((2, 2), value, np.uint8) for value in values])


GREY = Kind("grey", r".*\.grey", grey)


@pytest.fixture
def registered(monkeypatch):
    def register(value):
        points = [EntryPoint("grey", value, "bottleneck.sources")]
        monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
        kinds.kinds.cache_clear()

    yield register
    monkeypatch.undo()
    kinds.kinds.cache_clear()


def test_a_package_adds_a_kind(tmp_path, registered):
    for value in (7, 9):
        (tmp_path / f"{value}.grey").write_text(str(value))
    with pytest.raises(BottleneckError):
        open_source([str(tmp_path)])
    registered(f"{__name__}:GREY")
    source = open_source([str(tmp_path)])
    assert [int(source.read(row)[0, 0]) for row in range(2)] == [7, 9]
    with pytest.raises(BottleneckError, match="lie in no folders"):
        open_source([f"{tmp_path}/*.grey"], choice=Choice(depth=1))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_package:KIND", "cannot be loaded: No module named 'no_such_package'"),
        (f"{__name__}:POINTER", "to be a bottleneck.sources.Kind"),
    ],
)
def test_a_kind_that_is_none_is_refused_by_name(tmp_path, registered, value, message):
    registered(value)
    (tmp_path / "x.grey").write_text("1")
    with pytest.raises(SourceError, match=message):
        open_source([str(tmp_path / "x.grey")])


def test_bytes_of_names_that_are_not_text_are_readable(tmp_path):
    odd = b"sch\xf6n".decode("utf-8", "surrogateescape")
    for name in (odd, "katze"):
        (tmp_path / "d" / name).mkdir(parents=True)
        for i in range(2):
            (tmp_path / "d" / name / f"{i}.png").write_bytes(written.png(i))
    (tmp_path / "d" / (odd + "." + odd)).write_bytes(b"x")
    survey = Survey.of(open_source([str(tmp_path / "d")]))
    told = "\n".join(survey.lines())
    assert r"katze 2, sch\xf6n 2" in told
    assert r".sch\xf6n 1" in told
    document = survey.to_json()
    assert document["classes"] == {"katze": 2, r"sch\xf6n": 2}
    assert {row["label"] for row in document["first"]} == {"katze", r"sch\xf6n"}
    # Whatever else is printed goes the same way, half a pair of UTF-16 too.
    assert printable(f"{odd}\x1b") == r"sch\xf6n\x1b"
    assert printable("a\ud800") == r"a\ud800"
