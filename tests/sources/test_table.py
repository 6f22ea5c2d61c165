import numpy as np
import pytest

from bottleneck.errors import ManifestError, SourceError
from bottleneck.sources import Choice, open_source


def table(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "images.csv"
    path.write_text(text, encoding=encoding)
    return [str(path)]


def test_columns_in_any_order_and_others_ignored(tmp_path):
    given = table(
        tmp_path,
        "note,Label,path,split,group\n"
        "x,dog,./b/2.jpg,train,g1\n"
        '"a, b",cat,"with, comma.jpg",test,g2\n'
        "x,,a/1.jpg,,\n",
        encoding="utf-8-sig",
    )
    manifest = open_source(given).manifest
    assert list(manifest.keys) == ["b/2.jpg", "with, comma.jpg", "a/1.jpg"]
    assert manifest.classes == ("cat", "dog")
    assert manifest.labels.tolist() == [1, 0, -1]
    assert manifest.splits.tolist() == [1, 3, 0]
    assert [manifest.group_names[g] if g >= 0 else None for g in manifest.groups] == [
        "g1",
        "g2",
        None,
    ]


def test_paths_are_relative_to_the_table(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(b"here")
    monkeypatch.chdir("/")
    assert open_source(table(tmp_path, "path\na.jpg\n")).read(0) == b"here"


def test_absolute_paths_are_taken_as_they_are(tmp_path):
    elsewhere = tmp_path / "elsewhere" / "a.jpg"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(b"there")
    assert open_source(table(tmp_path, f"path\n{elsewhere}\n")).read(0) == b"there"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.jpg,x\n", "expected a column named 'path', got file, label"),
        ("", "got an empty file"),
        ("path,label\n", "found only the header"),
        ("path,label\na.jpg\n", "line 2: expected a path and 2 cells"),
        ("path,label\n,dog\n", "line 2: expected a path"),
        ("path\na.jpg\n./a.jpg\n", "'a.jpg' a second time in row 1"),
        ("path,path\na,b\n", "'path' appears twice"),
        ("path,split\na.jpg,holdout\n", "got 'holdout'"),
        ('path\n"a.jpg\n', "not valid CSV"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(tmp_path, text, message):
    with pytest.raises(ManifestError, match="images.csv") as caught:
        open_source(table(tmp_path, text))
    assert message in caught.value.message


def test_text_that_is_not_utf8_is_refused(tmp_path):
    with pytest.raises(SourceError, match="not UTF-8"):
        open_source(table(tmp_path, "path\ncaf\xe9.jpg\n", encoding="latin-1"))


def test_a_line_longer_than_the_header_is_refused(tmp_path):
    for text in ("path,label\na.jpg,Smith, John\n", "path,label\na,b.jpg,dog\n"):
        with pytest.raises(ManifestError, match=r"line 2: expected 2 cells .* got 3"):
            open_source(table(tmp_path, text))
    assert len(open_source(table(tmp_path, "path,label\na.jpg,cat,,\n"))) == 1


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_blanks_and_cells_without_a_label(tmp_path, separator):
    lines = ["path,label", "a.jpg , cat", " b.jpg,-1", "c.jpg,nan", "d.jpg,3.0", "e.jpg,3"]
    text = "\n".join(line.replace(",", separator) for line in lines) + "\n"
    manifest = open_source(table(tmp_path, text)).manifest
    assert list(manifest.keys) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    assert manifest.classes == ("3", "cat")
    assert manifest.labels.tolist() == [1, -1, -1, 0, 0]


def test_tables_by_other_endings(tmp_path):
    for ending in ("tsv", "txt"):
        path = tmp_path / f"images.{ending}"
        path.write_text("path\tlabel\na.jpg\tcat\n")
        assert open_source([str(path)]).manifest.classes == ("cat",)


@pytest.mark.parametrize("name", ["target", "label", "class"])
def test_fractions_are_no_classes(tmp_path, name):
    """Numbers to predict would be a class each; as for numbers of other tables, that is said."""
    numbers = [0.0, 0.37, 1.5, 2.0]
    path = table(tmp_path, f"path,{name}\n" + "".join(f"{x}.png,{x}\n" for x in numbers))
    with pytest.raises(ManifestError, match="numbers with fractions, as 0.37") as caught:
        open_source(path)
    assert f"--target {name}" in caught.value.hint
    kept = open_source(path, targets=[name]).manifest
    assert not kept.classes
    np.testing.assert_array_equal(kept.targets.columns([name])[:, 0], numbers)
    classes = open_source(path, choice=Choice(label_column=name)).manifest.classes
    assert classes == ("0", "0.37", "1.5", "2")


@pytest.mark.parametrize("cells", ["1,2,3", "1.0,2.0,3", "1.5,2,v3", "nan,1,2", "inf,1,0"])
def test_what_else_looks_like_numbers_stays_classes(tmp_path, cells):
    text = "".join(f"{i}.png,{cell}\n" for i, cell in enumerate(cells.split(",")))
    assert open_source(table(tmp_path, "path,label\n" + text)).manifest.classes


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_a_list_without_a_header_is_told_so(tmp_path, ending):
    path = tmp_path / f"list.{ending}"
    path.write_text("a/0.png\na/1.png\n", encoding="utf-8")
    with pytest.raises(ManifestError) as caught:
        open_source([str(path)])
    assert "without a header" in caught.value.hint


def test_columns_that_are_not_used_are_named(tmp_path):
    """As in Parquet: a misspelt one would be missed later, or never."""
    (tmp_path / "t.csv").write_text("path,lable,,fold\n1.png,cat,,3\n")
    source = open_source([str(tmp_path / "t.csv")])
    assert "columns not used: lable, fold" in source.listing.lines()
    (tmp_path / "t.jsonl").write_text('{"path": "1.png", "lable": "cat"}\n')
    assert "columns not used: lable" in open_source([str(tmp_path / "t.jsonl")]).listing.lines()
    (tmp_path / "t.csv").write_text("path,label,split,group,age\n1.png,cat,train,g,3\n")
    assert open_source([str(tmp_path / "t.csv")], ["age"]).listing.lines() == []


def test_a_member_twice_in_json_is_refused(tmp_path):
    """As a column twice is: the first would be lost."""
    (tmp_path / "t.jsonl").write_text('{"path": "1.png", "path": "2.png"}\n')
    with pytest.raises(SourceError, match=r"line 1.*'path' appears twice"):
        open_source([str(tmp_path / "t.jsonl")])
