"""Counts, names and ends that headers claim, held against what is in the file."""

import io
import struct
import tarfile
import zipfile
import zlib

import makers
import pytest

from bottleneck.errors import ImageError, SourceError
from bottleneck.sources import open_source
from bottleneck.status import RowStatus


def write_zip(path, members, *, total=None, comment=b""):
    """Write a stored zip without 64-bit fields: ``members`` are (raw name, extra, data)."""
    out, central = bytearray(), bytearray()
    for raw, extra, data in members:
        sizes = (zlib.crc32(data), len(data), len(data), len(raw))
        at = len(out)
        out += struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 0, *sizes, 0) + raw + data
        central += struct.pack(
            "<4s6H3I5H2I", *(b"PK\1\2", 20, 20, 0, 0, 0, 0, *sizes, len(extra), 0, 0, 0, 0, at)
        )
        central += raw + extra
    count = len(members) if total is None else total
    end = (0, 0, count, count, len(central), len(out), len(comment))
    path.write_bytes(out + central + struct.pack("<4s4H2IH", b"PK\5\6", *end) + comment)


def test_a_zip_of_more_members_than_its_count_can_say_is_read_to_its_end(tmp_path):
    texts = [(b"%d.txt" % i, b"", b"") for i in range(1 << 16)]
    images = [(b"%d.png" % i, b"", b"%d" % i) for i in range(5)]
    write_zip(tmp_path / "mac.zip", images[:2] + texts + images[2:], total=5)
    source = open_source([str(tmp_path / "mac.zip")])
    assert [source.read(row) for row in range(len(source))] == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("total", [1, 3])
def test_a_zip_with_another_number_of_entries_than_it_says_is_refused(tmp_path, total):
    write_zip(tmp_path / "a.zip", [(b"1.png", b"", b"1"), (b"2.png", b"", b"2")], total=total)
    with pytest.raises(SourceError, match=f"expected {total} entries in its list, found 2"):
        open_source([str(tmp_path / "a.zip")])


def test_an_end_mark_inside_a_comment_is_not_the_end(tmp_path):
    comment = b"PK\5\6" + bytes(30)
    write_zip(tmp_path / "a.zip", [(b"1.png", b"", b"one")], comment=comment)
    assert open_source([str(tmp_path / "a.zip")]).read(0) == b"one"


def test_names_of_zips_are_read_as_they_were_meant(tmp_path):
    """UTF-8 without its flag, Info-ZIP's field of UTF-8 and one that is out of date, cp437."""
    old = "Größe.png".encode("cp437")

    def field(raw):
        text = "名前.png".encode()
        body = struct.pack("<BI", 1, zlib.crc32(raw)) + text
        return struct.pack("<HH", 0x7075, len(body)) + body

    write_zip(
        tmp_path / "a.zip",
        [
            ("a/Größe.png".encode(), b"", b"utf8"),
            (b"b/??.png", field(b"b/??.png"), b"field"),
            (b"c/" + old, field(b"another name"), b"stale"),
        ],
    )
    source = open_source([str(tmp_path / "a.zip")])
    found = {key: source.read(row) for row, key in enumerate(source.manifest.keys)}
    assert found == {"a/Größe.png": b"utf8", "名前.png": b"field", "c/Größe.png": b"stale"}


def tar_of(*names):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in names:
            makers.add_member(archive, name, name.encode())
    return buffer.getvalue()


def test_tars_behind_one_another_are_read_as_one(tmp_path):
    path = tmp_path / "ab.tar"
    path.write_bytes(tar_of("cat/1.png", "cat/2.png") + tar_of("dog/3.png"))
    source = open_source([str(path)])
    with tarfile.open(path, ignore_zeros=True) as archive:
        assert list(source.manifest.keys) == archive.getnames()
    assert [source.read(row) for row in range(3)] == [b"cat/1.png", b"cat/2.png", b"dog/3.png"]


def test_what_is_no_tar_behind_a_tar_is_refused_with_its_offset(tmp_path):
    first = tar_of("cat/1.png")
    (tmp_path / "a.tar").write_bytes(first + b"x" * 700)
    with pytest.raises(SourceError, match=f"expected a header at offset {len(first)}"):
        open_source([str(tmp_path / "a.tar")])


def test_a_small_packed_tar_is_called_packed(tmp_path):
    with tarfile.open(tmp_path / "t.tar.gz", "w:gz") as archive:
        makers.add_member(archive, "a.png", b"a")
    with pytest.raises(SourceError, match="is compressed by gzip"):
        open_source([str(tmp_path / "t.tar.gz")])


class Pipe(io.RawIOBase):
    """A stream that cannot go back, so that sizes stand behind the members."""

    def __init__(self):
        self.data = bytearray()

    def writable(self):
        return True

    def write(self, data):
        self.data += data
        return len(data)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_zip_written_to_a_pipe_is_read(tmp_path, method):
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", method) as archive:
        for i in range(3):
            archive.writestr(f"{i}.png", b"%d" % i * 1000)
    (tmp_path / "a.zip").write_bytes(pipe.data)
    source = open_source([str(tmp_path / "a.zip")])
    assert [source.read(row) for row in range(3)] == [b"%d" % i * 1000 for i in range(3)]


@pytest.mark.parametrize("method", [9, 14, 93, 99])
def test_a_member_packed_in_another_way_fails_its_row_by_name(tmp_path, method):
    """Deflate64, LZMA, Zstandard and AES, as their numbers are in the list."""
    write_zip(tmp_path / "a.zip", [(b"1.png", b"", b"one"), (b"2.png", b"", b"two")])
    data = bytearray((tmp_path / "a.zip").read_bytes())
    at = data.index(b"PK\1\2")
    data[at + 10 : at + 12] = method.to_bytes(2, "little")
    (tmp_path / "a.zip").write_bytes(data)
    source = open_source([str(tmp_path / "a.zip")])
    with pytest.raises(ImageError, match=f"at offset 0: packed by method {method}, not") as caught:
        source.read(0)
    assert caught.value.reason is RowStatus.UNSUPPORTED
    assert source.read(1) == b"two"


def test_names_of_tars_that_are_no_utf8_keep_their_bytes(tmp_path):
    gnu = tarfile.GNU_FORMAT  # pax is always UTF-8
    with tarfile.open(tmp_path / "a.tar", "w", format=gnu, encoding="latin-1") as archive:
        makers.add_member(archive, "Größe/1.png", b"one")
        makers.add_member(archive, f"{'ö' * 120}/2.png", b"two")  # GNU's long name
    source = open_source([str(tmp_path / "a.tar")])
    names = [
        key.encode("utf-8", "surrogateescape").decode("latin-1") for key in source.manifest.keys
    ]
    assert sorted(names) == ["Größe/1.png", f"{'ö' * 120}/2.png"]
    assert sorted(source.read(row) for row in range(2)) == [b"one", b"two"]
