"""Damaged containers: a clear error when they are opened, or rows that fail with the place."""

import gzip
import io
import shutil
import struct
import subprocess
import tarfile
import zipfile
import zlib

import h5py
import makers
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from bottleneck.errors import ImageError, ManifestError, SourceError
from bottleneck.sources import open_source
from bottleneck.status import RowStatus


def refused(given, message, kind=SourceError):
    with pytest.raises(kind) as caught:
        open_source([str(given)])
    assert message in caught.value.message, caught.value.message
    return caught.value


def failed(source, row, reason, message):
    with pytest.raises(ImageError) as caught:
        source.read(row)
    assert caught.value.reason is reason
    assert message in caught.value.message, caught.value.message


@pytest.fixture
def made(tmp_path, samples):
    def make(kind):
        case = makers.LOCAL[kind](tmp_path, samples)
        return case, tmp_path

    return make


# tar


@pytest.mark.parametrize("keep", [100, 512 + 100, 512 * 3 + 7])
def test_a_tar_cut_anywhere_is_refused_with_the_offset(made, keep):
    case, _ = made("tar")
    (path,) = case.files
    path.write_bytes(path.read_bytes()[:keep])
    error = refused(path, f"{path} breaks off")
    assert f"ends at {keep}" in error.message
    assert "offset" in error.message


def test_a_tar_cut_between_two_members_is_refused_too(made):
    case, _ = made("tar")
    (path,) = case.files
    with tarfile.open(path) as archive:
        third = archive.getmembers()[2].offset
    path.write_bytes(path.read_bytes()[:third])
    refused(path, f"expected another header or the end mark at offset {third}")


def test_a_tar_cut_after_it_was_listed_fails_its_rows(made):
    case, _ = made("tar")
    source = open_source(case.given)
    (path,) = case.files
    path.write_bytes(path.read_bytes()[:2000])
    for row in range(len(source)):
        failed(source, row, RowStatus.UNREADABLE, "has changed since its images were listed")


def test_damage_in_a_header_is_refused_with_the_offset(made):
    case, _ = made("tar")
    (path,) = case.files
    with tarfile.open(path) as archive:
        second = archive.getmembers()[1].offset
    data = bytearray(path.read_bytes())
    data[second + 3] ^= 1
    path.write_bytes(data)
    refused(path, f"is damaged: expected a header at offset {second}")
    path.write_bytes(b"<html>" * 500)
    refused(path, "is no tar file")


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz"])
def test_a_packed_tar_is_refused_with_what_to_do(tmp_path, samples, ending):
    path = tmp_path / f"set.tar.{ending}"
    with tarfile.open(path, f"w:{ending}") as archive:
        makers.add_member(archive, "a/1.png", samples[0].data)
    error = refused(path, "is compressed by")
    assert "Unpack it" in error.hint


def test_names_and_links_are_what_tarfile_says(tmp_path, samples):
    """Long names in three formats, hard and symbolic links, folders, devices."""
    long = "a" * 90 + "/" + "ü" * 30 + "/1.png"
    for format in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = tmp_path / f"{format}.tar"
        with tarfile.open(path, "w", format=format, pax_headers={"comment": "x" * 600}) as archive:
            for kind, name in (
                (tarfile.DIRTYPE, "dir.png"),
                (tarfile.LNKTYPE, "hard.png"),
                (tarfile.SYMTYPE, "soft.png"),
                (tarfile.LNKTYPE, "nowhere.png"),
            ):
                if kind == tarfile.DIRTYPE:
                    makers.add_member(archive, long, samples[0].data)
                member = tarfile.TarInfo(name)
                member.type = kind
                if kind != tarfile.DIRTYPE:
                    member.linkname = "gone.png" if name.startswith("no") else long
                # ustar has no room for a target that long.
                if format != tarfile.USTAR_FORMAT or kind == tarfile.DIRTYPE:
                    archive.addfile(member)
        source = open_source([str(path)])
        keys = list(source.manifest.keys)
        assert source.read(keys.index(long)) == samples[0].data
        if format == tarfile.USTAR_FORMAT:
            assert keys == [long]
            continue
        assert sorted(keys) == sorted([long, "hard.png", "soft.png", "nowhere.png"])
        assert source.read(keys.index("hard.png")) == samples[0].data
        failed(source, keys.index("soft.png"), RowStatus.UNSUPPORTED, "symbolic link")
        failed(source, keys.index("nowhere.png"), RowStatus.UNSUPPORTED, "'gone.png'")


def test_members_of_the_same_name_are_refused(tmp_path, samples):
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as archive:
        makers.add_member(archive, "a/1.png", samples[0].data)
        makers.add_member(archive, "./a/1.png", samples[1].data)
    error = refused(path, "'a/1.png' a second time", ManifestError)
    assert str(path) in error.message


def test_a_broken_sidecar_is_named_with_its_offset(tmp_path, samples):
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as archive:
        makers.add_member(archive, "1.png", samples[0].data)
        makers.add_member(archive, "1.json", b'{"label": ')
    refused(path, "'1.json' at offset")


@pytest.mark.skipif(not shutil.which("tar"), reason="needs the tar program")
def test_sparse_members_fail_their_row(tmp_path, samples):
    holes = tmp_path / "holes.png"
    with holes.open("wb") as stream:
        stream.seek(1 << 20)
        stream.write(b"end")
    (tmp_path / "ok.png").write_bytes(samples[0].data)
    for format in ("gnu", "posix"):
        subprocess.run(
            ["tar", f"--format={format}", "-cSf", f"{format}.tar", "holes.png", "ok.png"],
            cwd=tmp_path,
            check=True,
        )
        source = open_source([str(tmp_path / f"{format}.tar")])
        assert list(source.manifest.keys) == ["holes.png", "ok.png"]
        failed(source, 0, RowStatus.UNSUPPORTED, "sparse file")
        assert source.read(1) == samples[0].data


# WebDataset


def webdataset(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            makers.add_member(archive, name, data)
    source = open_source([str(path)])
    manifest = source.manifest
    labels = [manifest.classes[i] if i >= 0 else None for i in manifest.labels]
    return dict(zip(manifest.keys, labels, strict=True))


def test_short_texts_are_classes_and_long_ones_captions(tmp_path):
    short = [("1.jpg", b"x"), ("1.txt", b"dog\n"), ("2.jpg", b"y"), ("2.txt", b"cat")]
    assert webdataset(tmp_path / "a.tar", short) == {"1.jpg": "dog", "2.jpg": "cat"}
    long = [*short, ("3.jpg", b"z"), ("3.txt", b"a long story " * 20)]
    assert set(webdataset(tmp_path / "b.tar", long).values()) == {None}


def test_what_belongs_to_an_image_is_no_image_of_its_own(tmp_path):
    members = [("1.jpg", b"x"), ("1.mask.png", b"m"), ("1.cls", b"3"), ("v1.2.jpg", b"y")]
    assert webdataset(tmp_path / "a.tar", members) == {"1.jpg": "3", "v1.2.jpg": None}


def test_sidecars_that_lie_apart_are_found(tmp_path):
    members = [("1.jpg", b"x"), ("2.jpg", b"y"), ("1.cls", b"a"), ("2.cls", b"b")]
    assert webdataset(tmp_path / "a.tar", members) == {"1.jpg": "a", "2.jpg": "b"}


def test_json_labels_are_numbers_texts_or_the_value_itself(tmp_path):
    members = [("1.jpg", b"x"), ("1.json", b"7"), ("2.jpg", b"x"), ("2.json", b'{"class": "a"}'),
               ("3.jpg", b"x"), ("3.json", b'{"other": 1}')]  # fmt: skip
    assert webdataset(tmp_path / "a.tar", members) == {"1.jpg": "7", "2.jpg": "a", "3.jpg": None}


# zip


def test_a_wrong_checksum_fails_one_row_of_a_zip(made, samples):
    case, _ = made("zipped")
    (path,) = case.files
    with zipfile.ZipFile(path) as archive:
        entry = archive.infolist()[0]  # stored
    data = bytearray(path.read_bytes())
    data[entry.header_offset + 30 + len(entry.filename) + 50] ^= 1
    path.write_bytes(data)
    source = open_source(case.given)
    keys = list(source.manifest.keys)
    row = keys.index(entry.filename)
    failed(source, row, RowStatus.UNREADABLE, f"offset {entry.header_offset}: its checksum is")
    for other in {*range(len(keys))} - {row}:
        assert source.read(other) == samples[other].data


def test_damage_in_packed_bytes_fails_one_row_of_a_zip(tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.png", bytes(range(256)) * 20)
    data = bytearray(path.read_bytes())
    data[45:60] = b"\xff" * 15
    path.write_bytes(data)
    failed(open_source([str(path)]), 0, RowStatus.UNREADABLE, "the member at offset 0")


def test_a_member_that_unpacks_to_more_than_it_says_is_stopped(tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.png", bytes(50_000_000))
    data = path.read_bytes()
    at = data.index(b"PK\1\2")
    path.write_bytes(data[: at + 24] + struct.pack("<I", 10) + data[at + 28 :])
    failed(open_source([str(path)]), 0, RowStatus.UNREADABLE, "expected 10 bytes")


def test_an_encrypted_zip_is_refused(tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.png", b"secret")
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    assert "password" in refused(path, "'1.png' at offset 0 is encrypted").hint


def test_a_zip_cut_short_or_of_another_kind_is_refused(made):
    case, _ = made("zipped")
    (path,) = case.files
    data = path.read_bytes()
    path.write_bytes(data[:-30])
    refused(path, "no zip file, or it is cut short")
    path.write_bytes(data[: len(data) // 2] + data[-22:])
    refused(path, "is damaged")
    path.write_bytes(b"")
    refused(path, "no zip file")


def test_large_and_odd_zips_are_what_zipfile_says(tmp_path, samples):
    """64-bit fields, a program in front, names that are not UTF-8, empty folders."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        with archive.open("deep/1.png", "w", force_zip64=True) as stream:
            stream.write(samples[0].data)
        archive.mkdir("empty.png")
        archive.writestr("deep/ü.png", samples[1].data)
    (tmp_path / "set.zip").write_bytes(b"#!/bin/sh\n" * 10 + buffer.getvalue())
    source = open_source([str(tmp_path / "set.zip")])
    assert list(source.manifest.keys) == ["deep/1.png", "deep/ü.png"]
    assert [source.read(row) for row in (0, 1)] == [s.data for s in samples[:2]]


def test_a_zip_of_many_members_has_64_bit_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 5)  # instead of 65,535
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for i in range(12):
            archive.writestr(f"{i}.png", b"%d" % i)
    assert b"PK\6\6" in (tmp_path / "set.zip").read_bytes()
    source = open_source([str(tmp_path / "set.zip")])
    assert list(source.manifest.keys) == [f"{i}.png" for i in range(12)]
    assert source.read(11) == b"11"


# arrays


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((3, 4, 4, 3), np.float32),
            "expected pixels of type uint8 or uint16, got float32",
        ),
        (np.zeros((3, 4, 4), np.int64), "got int64"),
        (np.zeros((3, 3, 8, 8), np.uint8), "of shape (n, height, width)"),
        (np.zeros((3, 10), np.uint8), "got (3, 10)"),
        (np.zeros((2, 4, 4), np.uint8, order="F"), "Fortran order"),
        (np.array([None, "x"]), "object"),
    ],
)
def test_an_array_that_is_no_pixels_is_refused(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    assert str(tmp_path / "x.npy") in refused(tmp_path / "x.npy", message).message


def test_channels_that_come_first_are_explained(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros((5, 3, 8, 8), np.uint8))
    assert "moveaxis" in refused(tmp_path / "x.npz", "got (5, 3, 8, 8)").hint


def test_an_npy_cut_short_or_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((9, 8, 8), np.uint8))
    path.write_bytes(path.read_bytes()[:-10])
    refused(path, "is cut short: expected 576 bytes at offset 128")
    path.write_bytes(b"hello")
    refused(path, "is not a readable NPY file")


def test_sixteen_bit_big_endian_pixels_come_in_the_machines_order(tmp_path):
    pixels = np.arange(2 * 3 * 4, dtype=">u2").reshape(2, 3, 4) * 1000
    np.save(tmp_path / "x.npy", pixels)
    found = open_source([str(tmp_path / "x.npy")]).read(1)
    assert found.dtype == np.uint16
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, pixels[1])


def test_labels_must_be_one_per_image(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros((3, 4, 4), np.uint8), labels=np.arange(2))
    refused(tmp_path / "x.npz", "expected 3 labels", ManifestError)
    np.savez(tmp_path / "x.npz", images=np.zeros((3, 4, 4), np.uint8), labels=np.eye(3))
    refused(tmp_path / "x.npz", "got float64 of shape (3, 3)", ManifestError)


def test_which_arrays_are_images_can_be_said(tmp_path):
    first, second = np.zeros((2, 4, 4), np.uint8), np.ones((2, 4, 4), np.uint8)
    np.savez(tmp_path / "x.npz", first=first, second=second, kind=np.array(["a", "b"]))
    error = refused(tmp_path / "x.npz", "cannot tell which array")
    assert "::first" in error.hint
    source = open_source([f"{tmp_path / 'x.npz'}::second,kind"])
    assert list(source.manifest.keys) == ["second/0", "second/1"]
    assert source.manifest.classes == ("a", "b")
    assert source.read(1).max() == 1
    error = refused(f"{tmp_path / 'x.npz'}::third", "has no array 'third'")
    assert "first, second, kind" in error.hint


def test_hdf5_that_holds_no_images_is_refused(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["table"] = np.zeros((3, 2))
    refused(path, "got table float64[3, 2]")
    refused(f"{path}::other", "has no dataset 'other'")
    path.write_bytes(b"no HDF5")
    refused(path, "is not a readable HDF5 file")
    with h5py.File(path, "w") as file:
        file.create_group("features")
        file.attrs["recipe"] = "{}"
    refused(path, "is a feature file, expected images")


def test_a_damaged_chunk_fails_its_rows_of_hdf5(tmp_path):
    path = tmp_path / "x.h5"
    pixels = np.random.default_rng(0).integers(0, 9, (4, 16, 16), np.uint8)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("images", data=pixels, chunks=(1, 16, 16), compression=4)
        place = data.id.get_chunk_info(2)
    with path.open("r+b") as stream:
        stream.seek(place.byte_offset)
        stream.write(b"\xff" * place.size)
    source = open_source([str(path)])
    failed(source, 2, RowStatus.UNREADABLE, "::images, row 2")
    np.testing.assert_array_equal(source.read(3), pixels[3])


# IDX


def test_idx_with_a_wrong_magic_is_refused(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(b"\x89PNG" + bytes(100))
    refused(path, "got 89 50 4e 47")
    path.write_bytes(b"\0\0")
    refused(path, "is no IDX file")
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(
        gzip.compress(b"\0\0\x0d\x03" + bytes(12))
    )
    refused(tmp_path / "train-images-idx3-ubyte.gz", "got >f4")


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_cut_short_is_refused(tmp_path, ending):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 28, 28), np.uint8)
    path = makers.write_idx(tmp_path / f"train-images-idx3-ubyte{ending}", pixels)
    path.write_bytes(path.read_bytes()[:-2000])
    refused(path, "is cut short")


def test_damage_in_gzip_is_refused_with_the_offset(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 28, 28), np.uint8)
    path = makers.write_idx(tmp_path / "train-images-idx3-ubyte.gz", pixels)
    data = bytearray(path.read_bytes())
    data[60:90] = b"\xff" * 30
    path.write_bytes(data)
    refused(path, "is damaged at offset")


def test_gzip_is_read_at_random_across_checkpoints(tmp_path):
    """Larger than the windows and the checkpoints; and two gzip files behind one another."""
    rng = np.random.default_rng(0)
    data = np.repeat(rng.integers(0, 256, 1_500_000, np.uint8), 48)  # 72 MB
    path = tmp_path / "train-images-idx3-ubyte.gz"
    head = b"\0\0\x08\x03" + struct.pack(">3I", 72_000, 25, 40)
    path.write_bytes(
        gzip.compress(head + data[:30_000_000].tobytes(), 1)
        + gzip.compress(data[30_000_000:].tobytes(), 1)
    )
    source = open_source([str(path)])
    expected = data.reshape(-1, 25, 40)
    for row in (71_999, 0, 35_000, 34_990, 36_000, 5, 68_000, 70_000):
        np.testing.assert_array_equal(source.read(row), expected[row])


def test_the_same_number_of_labels_is_wanted_by_idx(tmp_path):
    makers.write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((4, 2, 2)))
    makers.write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(3))
    refused(tmp_path, "expected 4 labels", ManifestError)


# Parquet


def test_parquet_without_images_lists_its_columns(tmp_path):
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"a": [1], "text": ["x"]}), path)
    refused(path, "got a (int64), text (string)")
    refused(f"{path}::b", "has no column 'b'")
    refused(f"{path}::text", "'text' holds no encoded images")
    path.write_bytes(b"no parquet")
    refused(path, "is not a readable Parquet file")


def test_parquet_with_two_columns_of_images_wants_a_name(tmp_path, samples):
    path = tmp_path / "x.parquet"
    data = [s.data for s in samples]
    parquet.write_table(pa.table({"left": data, "right": data[::-1], "n": [*range(9)]}), path)
    refused(path, "cannot tell which column")
    source = open_source([f"{path}::right,n"])
    assert source.read(0) == data[-1]
    assert source.manifest.classes == tuple("012345678")
    assert list(source.manifest.keys) == list("012345678")


def test_parquet_rows_without_an_image_fail_alone(tmp_path, samples):
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    rows = [{"bytes": samples[0].data, "path": "a"}, {"bytes": None, "path": "b"}, None]
    table = pa.table({"image": pa.array(rows, kind), "label": pa.array([3, -1, None])})
    parquet.write_table(table, tmp_path / "x.parquet")
    source = open_source([str(tmp_path / "x.parquet")])
    assert source.manifest.labels.tolist() == [0, -1, -1]
    assert source.manifest.classes == ("3",)
    assert source.read(0) == samples[0].data
    failed(source, 1, RowStatus.MISSING, "no image")
    failed(source, 2, RowStatus.MISSING, "no image")


def test_damage_in_a_row_group_fails_its_rows(tmp_path, rng):
    path = tmp_path / "x.parquet"
    images = [rng.bytes(2000) for _ in range(6)]
    parquet.write_table(pa.table({"image": images}), path, row_group_size=2, use_dictionary=False)
    group = parquet.ParquetFile(path).metadata.row_group(1).column(0)
    with path.open("r+b") as stream:
        stream.seek(group.data_page_offset)
        stream.write(b"\xff" * 64)
    source = open_source([str(path)])
    failed(source, 2, RowStatus.UNREADABLE, f"{path}, row group 1")
    failed(source, 3, RowStatus.UNREADABLE, "row group 1")
    assert [source.read(row) for row in (0, 1, 4, 5)] == images[:2] + images[4:]


def test_row_groups_larger_than_the_bound_are_read_in_pieces(tmp_path, rng, monkeypatch):
    from bottleneck.sources.formats import parquet_file

    monkeypatch.setattr(parquet_file, "_WHOLE", 50_000)
    monkeypatch.setattr(parquet_file, "_PIECE", 20_000)
    monkeypatch.setattr(parquet_file, "_KEPT", 60_000)
    images = [rng.bytes(int(n)) for n in rng.integers(500, 3000, 400)]
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"image": images}), path, row_group_size=200)
    source = open_source([str(path)])
    for row in [*range(0, 400, 7), 399, 0, 210, 205, 10]:
        assert source.read(row) == images[row]
        assert sum(v.nbytes for v in source._reader._kept.values()) <= 60_000


def test_shards_of_other_columns_are_refused(tmp_path):
    parquet.write_table(pa.table({"image": [b"x"], "label": [1]}), tmp_path / "a.parquet")
    parquet.write_table(pa.table({"image": [b"x"]}), tmp_path / "b.parquet")
    refused(tmp_path / "*.parquet", "'label' is missing")


# TFRecord


def test_a_corrupt_record_fails_its_row_with_the_offset(made, samples):
    case, _ = made("tfrecord")
    path = case.files[0]
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack_from("<Q", data)
    second = 12 + length + 4
    data[second + 12 + data[second + 12 :].index(b"IDAT") + 10] ^= 1
    path.write_bytes(data)
    source = open_source(case.given)
    failed(source, 1, RowStatus.UNREADABLE, f"{path}, the record at offset {second}: its checksum")
    assert source.read(0) == samples[0].data
    assert source.read(2) == samples[2].data


def test_a_corrupt_length_is_refused_with_the_offset(made):
    case, _ = made("tfrecord")
    path = case.files[0]
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack_from("<Q", data)
    data[12 + length + 4] ^= 1
    path.write_bytes(data)
    refused(path, f"the length of the record at offset {16 + length}")


def test_a_tfrecord_cut_short_or_of_another_kind_is_refused(made):
    case, _ = made("tfrecord")
    path = case.files[0]
    data = path.read_bytes()
    path.write_bytes(data[:-5])
    refused(path, f"the file ends at {len(data) - 5}")
    path.write_bytes(data[:7])
    refused(path, "expected 12 bytes of a record at offset 0")
    path.write_bytes(gzip.compress(data))
    refused(path, "is compressed by gzip")
    path.write_bytes(b"hello world, no records")
    refused(path, "is no TFRecord file")


def test_records_without_an_image_list_their_features(tmp_path):
    records = [makers.encode_example({"label": 3, "text": b"x"})]
    path = makers.write_records(tmp_path / "x.tfrecord", records)
    refused(path, "got label (int), text (bytes)")
    source = open_source([f"{path}::text,label"])
    assert source.read(0) == b"x"
    assert source.manifest.classes == ("3",)


def test_a_record_that_is_no_example_fails_alone(tmp_path, samples):
    good = makers.encode_example({"image": samples[0].data, "label": 2**64 - 1})
    path = makers.write_records(tmp_path / "x.tfrecord", [good, b"\xff\xff\xff", good])
    source = open_source([str(path)])
    failed(source, 1, RowStatus.UNREADABLE, "it is no Example with an image")
    assert source.read(2) == samples[0].data
    assert source.manifest.labels.tolist() == [-1, -1, -1]


def test_two_classes_of_one_name_stay_two(tmp_path, samples):
    """ImageNet has a crane that flies and a crane that lifts."""
    records = [
        makers.encode_example(
            {"image/encoded": s.data, "image/class/text": b"crane", "image/class/label": n}
        )
        for s, n in zip(samples, (134, 517), strict=False)
    ]
    path = makers.write_records(tmp_path / "x.tfrecord", records)
    assert open_source([str(path)]).manifest.classes == ("crane (134)", "crane (517)")


# several


def test_empty_containers_are_refused(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        makers.add_member(archive, "readme.txt", b"x")
    zipfile.ZipFile(tmp_path / "x.zip", "w").close()
    (tmp_path / "x.tfrecord").write_bytes(b"")
    parquet.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "x.parquet")
    for name in ("x.tar", "x.zip", "x.tfrecord", "x.parquet"):
        refused(tmp_path / name, "found none", ManifestError)


def test_zlib_agrees_that_the_fixture_is_what_it_says(samples):
    """The images of the fixtures are whole: a damaged fixture would make tests above pass."""
    for sample in samples:
        assert sample.pixels.shape == (28, 28)
        assert zlib.crc32(sample.data[12:29]) == int.from_bytes(sample.data[29:33], "big")
