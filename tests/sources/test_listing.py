"""What is no image is counted, whatever holds it."""

import io
import tarfile
import zipfile

import pytest

from bottleneck.sources import open_source
from bottleneck.sources.base import Listing, join

FILES = (
    *("p/cat/1.png", "p/cat/2.svg", "p/cat/3.SVG", "p/dog/1.png", "p/dog/scan.dcm"),
    *("p/dog/noending", "p/photo.jpg?w=500&height=20", "p/.DS_Store", "p/dog/._1.png"),
)


def in_folder(root):
    for name in FILES:
        (root / "made" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "made" / name).write_bytes(b"x")
    return str(root / "made")


def in_zip(root):
    with zipfile.ZipFile(root / "made.zip", "w") as file:
        for name in FILES:
            file.writestr(name, b"x")
    return str(root / "made.zip")


def in_tar(root):
    with tarfile.open(root / "made.tar", "w") as file:
        for name in FILES:
            info = tarfile.TarInfo(name)
            info.size = 1
            file.addfile(info, io.BytesIO(b"x"))
    return str(root / "made.tar")


def in_memory(root):
    import fsspec

    fs = fsspec.filesystem("memory")
    for name in FILES:
        fs.pipe_file(f"/listing/{name}", b"x")
    return "memory://listing"


@pytest.mark.parametrize("make", [in_folder, in_zip, in_tar, in_memory])
def test_what_is_left_out_is_counted_by_ending(make, tmp_path):
    source = open_source([make(tmp_path)])
    assert [key.removeprefix("p/") for key in source.manifest.keys] == ["cat/1.png", "dog/1.png"]
    assert source.manifest.classes == ("cat", "dog")
    assert source.listing == Listing(
        {".svg": 2, ".dcm": 1, "": 1, "longer endings": 1}, {"hidden": 2}
    )
    assert source.listing.lines() == [
        "left out by ending: .svg 2, .dcm 1, longer endings 1, no ending 1",
        "left out: hidden 2",
    ]


def test_several_sources_add_up(tmp_path):
    both = open_source([in_zip(tmp_path), in_folder(tmp_path)])
    assert both.listing.endings[".svg"] == 4
    assert both.listing.reasons == {"hidden": 4}


def test_many_endings_stay_one_line():
    listing = join(Listing({f".e{i}": i}, notes=("seen",)) for i in range(1, 21))
    first, note = listing.lines()
    assert first.startswith("left out by ending: .e20 20, .e19 19,")
    assert first.endswith(", others 78")  # 1 + ... + 12
    assert note == "seen"


def test_what_lies_beside_containers_is_counted(tmp_path):
    (tmp_path / "set").mkdir()
    for name in ("train-0.zip", "test-0.zip"):
        with zipfile.ZipFile(tmp_path / "set" / name, "w") as file:
            file.writestr("cat/1.png", b"x")
            file.writestr("cat/1.svg", b"x")
    for name in ("README.md", "table.csv", ".DS_Store", "noending"):
        (tmp_path / "set" / name).write_bytes(b"x")
    endings = {".svg": 2, ".md": 1, ".csv": 1, "": 1}
    source = open_source([str(tmp_path / "set")])
    assert source.listing == Listing(endings, {"hidden": 1})
    assert open_source([f"{tmp_path}/set/*"]).listing == Listing(endings)  # as a shell matches


def test_what_lies_beside_containers_behind_a_url_is_counted():
    import fsspec

    fs = fsspec.filesystem("memory")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("cat/1.png", b"x")
    for name in ("a.zip", "deep/b.zip", "README.md"):
        fs.pipe_file(f"/beside/{name}", packed.getvalue())
    source = open_source(["memory://beside"])
    assert len(source) == 2
    assert source.listing == Listing({".md": 1})
