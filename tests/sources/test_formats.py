"""What our readers find beside what the libraries of the formats find."""

import io
import itertools
import tarfile
import tracemalloc

import makers
import numpy as np
import pytest

from bottleneck.errors import ManifestError, SourceError
from bottleneck.location import expand_braces
from bottleneck.sources import open_source
from bottleneck.sources.formats.tar_members import read_members
from bottleneck.sources.formats.tfrecord import masked_crc32c, read_features
from bottleneck.sources.kinds import CONTAINERS, kind_of
from bottleneck.sources.random_access import LocalBlob, Window


def test_tfrecords_of_tensorflow_itself(tmp_path, samples):
    """TensorFlow's own writer and serialiser; floats, lists and negative numbers among it."""
    tf = pytest.importorskip("tensorflow")

    def feature(value):
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if isinstance(value, float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=[value, 2.0]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value))

    path = tmp_path / "data-train.tfrecord-00000-of-00001"
    codes = [3, 70_000, 2**40, -1, 0, 3, 3, 3, 3]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for i, (sample, code) in enumerate(zip(samples, codes, strict=True)):
            values = {
                "image/encoded": sample.data,
                "image/class/label": [code],
                "image/classes": [code, 5],
                "image/filename": b"%d.png" % i,
                "image/object/bbox/xmin": 0.5,
                "image/nothing": [],
                "wide": list(range(300)),
            }
            features = tf.train.Features(feature={k: feature(v) for k, v in values.items()})
            record = tf.train.Example(features=features).SerializeToString()
            writer.write(record)
            found = read_features(Reader(record), 0, len(record))
            assert {k: f.kind for k, f in found.items()} == {
                "image/encoded": "bytes",
                "image/class/label": "int",
                "image/classes": "int",
                "image/filename": "bytes",
                "image/object/bbox/xmin": "float",
                "image/nothing": "empty",
                "wide": "int",
            }
            assert found["image/class/label"].first_two(Reader(record)) == [code]
            assert found["image/classes"].first_two(Reader(record)) == [code, 5]
    source = open_source([str(path)])
    assert [source.read(row) for row in range(len(source))] == [s.data for s in samples]
    manifest = source.manifest
    assert list(manifest.keys) == [f"{i}.png" for i in range(len(samples))]
    names = [manifest.classes[i] if i >= 0 else None for i in manifest.labels]
    assert names == [str(c) if c >= 0 else None for c in codes]
    assert set(manifest.splits.tolist()) == {1}


class Reader:
    def __init__(self, data):
        self.data = data

    def read(self, offset, length):
        return self.data[offset : offset + length]


def test_masked_checksums_are_those_of_the_standard():
    # RFC 3720, appendix B.4, rotated and shifted as TFRecord has it.
    for data, crc in ((bytes(32), 0x8A9136AA), (b"123456789", 0xE3069283)):
        rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
        assert masked_crc32c(data) == (rotated + 0xA282EAD8) % 2**32


def test_masked_checksums_are_tensorflows(tmp_path, rng):
    tf = pytest.importorskip("tensorflow")
    record = rng.bytes(3000)
    with tf.io.TFRecordWriter(str(tmp_path / "x")) as writer:
        writer.write(record)
    written = (tmp_path / "x").read_bytes()
    assert masked_crc32c(record) == int.from_bytes(written[-4:], "little")


def test_tar_members_are_those_of_tarfile(tmp_path, rng):
    for format in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = tmp_path / f"{format}.tar"
        with tarfile.open(path, "w", format=format) as archive:
            for i in range(60):
                size = int(rng.choice([0, 1, 511, 512, 513, 70_000]))
                name = f"{'d' * int(rng.integers(1, 90))}/{'ü' * (i % 20)}{i}.png"
                makers.add_member(archive, name, rng.bytes(size))
        with tarfile.open(path) as archive:
            expected = [(m.name, m.offset_data, m.size) for m in archive.getmembers()]
        blob = LocalBlob(str(path))
        found = [(m.name, m.offset, m.size) for m in read_members(blob, Window(blob))]
        assert found == expected


def test_sizes_beyond_eight_gibibytes_are_read(tmp_path):
    """In base 256 (GNU) and in pax records; the file itself is a hole."""
    for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        member = tarfile.TarInfo("large.png")
        member.size = 9 << 30
        path = tmp_path / f"{format}.tar"
        with path.open("wb") as stream:
            head = member.tobuf(format)
            stream.write(head)
            small = tarfile.TarInfo("small.png")
            small.size = 3
            stream.seek(member.size, 1)
            stream.write(small.tobuf(format) + b"abc" + bytes(509) + bytes(1024))
        source = open_source([str(path)])
        assert list(source.manifest.keys) == ["large.png", "small.png"]
        assert source.read(1) == b"abc"


def test_a_tar_is_indexed_in_bounded_memory(tmp_path):
    """Less than 150 bytes a row beside the keys: NumPy's arrays and Python's objects together."""
    rows = 5_000
    path = tmp_path / "many.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for i in range(rows):
            makers.add_member(archive, f"class_{i % 7}/{i}.jpg", b"x")
            archive.members = []
    open_source([str(path)])  # imports and tables are not counted
    tracemalloc.start()
    try:
        source = open_source([str(path)])
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    keys = source.manifest.keys.blob.nbytes
    assert len(source) == rows
    assert (kept - keys) / rows < 150


# what is given


def test_containers_given_one_by_one_are_one_source(tmp_path, samples):
    case = makers.webdataset(tmp_path, samples)
    together, apart = open_source(case.given), open_source([str(f) for f in case.files])
    assert apart.manifest.sha256 == together.manifest.sha256
    assert open_source([str(tmp_path)]).manifest.sha256 == together.manifest.sha256
    assert open_source([str(tmp_path / "*.tar")]).manifest.sha256 == together.manifest.sha256


def test_kinds_may_be_mixed(tmp_path, samples):
    roots = {name: tmp_path / name for name in ("tar", "zipped", "npz", "folder", "huggingface")}
    cases = {}
    for name, root in roots.items():
        root.mkdir()
        cases[name] = makers.LOCAL[name](root, samples)
    single = tmp_path / "alone.png"
    single.write_bytes(samples[0].data)
    given = [text for case in cases.values() for text in case.given]
    source = open_source([*given, str(single)])
    expected = itertools.chain(
        *(zip(case.keys, case.contents, strict=True) for case in cases.values())
    )
    for row, (key, content) in enumerate(expected):
        assert source.manifest.keys[row].endswith(f"/{key}")
        np.testing.assert_array_equal(np.asarray(source.read(row)), np.asarray(content))
    last = len(source) - 1
    assert source.manifest.keys[last] == f"files/{single}"
    assert source.read(last) == samples[0].data
    assert len(source) == 5 * len(samples) + 1


def test_one_container_twice_is_refused(tmp_path, samples):
    case = makers.zipped(tmp_path, samples)
    with pytest.raises(ManifestError, match="given twice"):
        open_source(case.given * 2)


def test_shards_of_one_name_are_told_apart_by_their_folders(tmp_path, samples):
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        with tarfile.open(tmp_path / split / "s-0.tar", "w") as archive:
            makers.add_member(archive, "1.png", samples[0].data)
    manifest = open_source([str(tmp_path / "{val,train}" / "s-0.tar")]).manifest
    assert list(manifest.keys) == ["val/s-0/1.png", "train/s-0/1.png"]
    assert manifest.splits.tolist() == [2, 1]


def test_the_name_of_a_container_tells_the_split(tmp_path, samples):
    for name, code in (("validation-00000-of-00001", 2), ("my_test_set", 3), ("contest", 0)):
        (tmp_path / name).mkdir()
        case = makers.huggingface(tmp_path / name, samples)
        path = case.files[0].rename(tmp_path / f"{name}.parquet")
        assert set(open_source([str(path)]).manifest.splits.tolist()) == {code}


def test_patterns_that_match_nothing_or_a_mixture_say_so(tmp_path, samples):
    with pytest.raises(ManifestError, match="nothing matches"):
        open_source([str(tmp_path / "**" / "*.jpg")])
    makers.tar(tmp_path, samples)
    makers.zipped(tmp_path, samples)
    with pytest.raises(SourceError, match="got tar, zip"):
        open_source([str(tmp_path / "set.*")])


def test_missing_shards_and_urls_that_lost_a_slash_are_named(tmp_path):
    with pytest.raises(SourceError, match="no file .*s-1.tar"):
        open_source([str(tmp_path / "s-{1..2}.tar")])
    with pytest.raises(SourceError, match="two slashes"):
        open_source(["s3:/bucket/x.tar"])


def test_parts_belong_to_few_kinds(tmp_path, samples):
    case = makers.tar(tmp_path, samples)
    with pytest.raises(SourceError, match="nothing behind ::"):
        open_source([f"{case.given[0]}::images"])


def test_cropped_windows_read_what_the_file_holds(tmp_path, rng):
    data = rng.bytes(300_000)
    (tmp_path / "x").write_bytes(data)
    window = Window(LocalBlob(str(tmp_path / "x")))
    for offset, length in rng.integers(0, 150_000, (300, 2)).tolist():
        assert window.read(offset, length) == data[offset : offset + length]
    stream = io.BytesIO()
    position = 0
    while position < len(data):
        length = min(700, len(data) - position)
        stream.write(window.read(position, length))
        position += length
    assert stream.getvalue() == data


def test_every_kind_has_its_line_in_the_documentation():
    page = (makers.SAMPLE.parents[1] / "docs" / "sources.md").read_text()
    lines = [line for line in page.splitlines() if "`bottleneck extract " in line]
    given = [line.split("`bottleneck extract ")[1].split(" -o ")[0] for line in lines]
    words = [word.strip("'").partition("::")[0] for text in given for word in text.split()]
    named = {kind_of(expand_braces(word)[0]) for word in words}
    assert named >= {*CONTAINERS, "item", "CSV"} - {"IDX"}  # whose line is a folder


def test_a_folder_whose_splits_are_unclear_is_not_taken_for_something_else(tmp_path, samples):
    for name in ("train/a/1.png", "test/a/1.png", "extra/a/1.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_bytes(samples[0].data)
    (tmp_path / "x.tar").write_bytes(b"")
    with pytest.raises(ManifestError, match="look like splits"):
        open_source([str(tmp_path)])


def test_a_long_list_in_braces_is_no_name_that_is_too_long(tmp_path, samples):
    names = [f"{'n' * 20}{i}.png" for i in range(40)]
    for name in names:
        (tmp_path / name).write_bytes(samples[0].data)
    source = open_source([f"{tmp_path}/{{{','.join(names)}}}"])
    assert list(source.manifest.keys) == names
