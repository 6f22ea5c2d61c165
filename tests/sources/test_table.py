import pytest

from bottleneck.errors import ManifestError, SourceError
from bottleneck.sources import open_source


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
