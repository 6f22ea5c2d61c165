"""What the machine is out of is no fault of a file: neither its status nor another picture."""

import errno
import io
import os
import pickle
import subprocess
import sys
import zipfile
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import fake_recipe, write_png
from PIL import Image, ImageFile, JpegImagePlugin, TiffImagePlugin

from bottleneck import exhaustion
from bottleneck.errors import DeviceMemoryError, ExhaustedError, ImageError, SourceError
from bottleneck.exhaustion import raise_if_exhausted
from bottleneck.images import Geometry, decode
from bottleneck.images.failures import explain
from bottleneck.manifest import Manifest
from bottleneck.sources import open_source
from bottleneck.sources.folder import read_file
from bottleneck.sources.remote import _explain
from bottleneck.status import RowStatus
from bottleneck.store.contents import damage_explained
from bottleneck.store.creation import create
from bottleneck.store.format import is_feature_file
from bottleneck.weights.arrays import read_npz

SQUARE = Geometry(16)


@pytest.fixture
def no_memory(monkeypatch):
    """Leave less than an ordinary file takes."""
    monkeypatch.setattr(exhaustion, "_can_have", lambda count: False)


def file(kind="PNG", **options):
    rng = np.random.default_rng(1)
    found = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(found, kind, **options)
    return found.getvalue()


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE), "a.jpg"), errno.EMFILE),
        (OSError(errno.ENFILE, os.strerror(errno.ENFILE)), errno.ENFILE),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), errno.ENOSPC),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), errno.EDQUOT),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), errno.ENOMEM),
        (
            ImportError("liblcms2.so.2: cannot open shared object file: Too many open files"),
            errno.EMFILE,
        ),
        (
            ImportError("x.so: cannot open shared object file: Too many open files in system"),
            errno.ENFILE,
        ),
        (RuntimeError("Cannot connect to host x:80 [Too many open files]"), errno.EMFILE),
        (RuntimeError("Cannot connect to host x:80 [Too many open files in system]"), errno.ENFILE),
        (RuntimeError("[Errno 28] No space left on device: '/tmp/x'"), errno.ENOSPC),
        (RuntimeError("[Errno 23] Too many open files in system: '/tmp/x'"), errno.ENFILE),
        (OSError("Failed to open local file 'x'. Detail: [errno 24] Too many open files"), 24),
        (OSError(f"('Connection aborted.', {OSError(24, 'Too many open files')!r})"), 24),
        (OSError("(Caused by New('<x>: Failed: [Errno 24] Too many open files'))"), 24),
        (
            RuntimeError(
                "unable to open file: name = '/x.h5', errno = 23, "
                "error message = 'Too many open files in system', flags = 0"
            ),
            errno.ENFILE,
        ),
        (RuntimeError("write failed (errno = 28)"), errno.ENOSPC),
        (RuntimeError("No space left on device"), errno.ENOSPC),
    ],
)
@pytest.mark.usefixtures("no_memory")
def test_what_a_system_is_out_of(error, number):
    with pytest.raises(ExhaustedError) as caught:
        raise_if_exhausted(error)
    said = f"the machine, not a file, is at its limit: {os.strerror(number)}"
    assert caught.value.message == said
    assert "What is done is kept." in caught.value.hint
    assert caught.value.__cause__ is error
    again = pickle.loads(pickle.dumps(caught.value))  # from a worker process
    assert (again.message, again.hint) == (caught.value.message, caught.value.hint)
    with pytest.raises(ExhaustedError) as second:
        raise_if_exhausted(caught.value)
    assert second.value is caught.value


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, os.strerror(errno.EIO)),
        OSError(errno.EACCES, os.strerror(errno.EACCES)),
        OSError("image file is truncated"),
        ValueError("no memory of it"),
        MemoryError(),  # there is enough of it: a header says nonsense
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        zlib.error("Error -4 while decompressing data: insufficient memory"),
        OSError(errno.ELOOP, os.strerror(errno.ELOOP), "x/No space left on device"),
        OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), "x: Too many open files"),
        OSError(errno.ENAMETOOLONG, f"x [{os.strerror(errno.EMFILE)}]"),
        RuntimeError("cannot open s3://b/Too many open files.jpg"),
        RuntimeError("cannot open 'b/[Errno 24] Too many open files'"),
        RuntimeError("[Errno 2] No such file or directory: '[Errno 24] Too many open files'"),
        RuntimeError("unable to open file: name = 'errno = 24.jpg', errno = 2"),
        ValueError("invalid literal for int() with base 10: b'No space left on device'"),
        ValueError("No space left on device"),
        SyntaxError("not identified: Too many open files"),
        LookupError("unknown encoding: Too many open files"),
        NotImplementedError("pixel format: Too many open files"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "Too many open files"),
        SourceError("x.parquet: Too many open files"),
    ],
)
def test_what_is_a_files_own_fault(error):
    raise_if_exhausted(error)


def test_a_system_without_words_for_a_number_has_no_saying(monkeypatch):
    assert errno.EDQUOT in exhaustion._sayings()
    strerror = os.strerror
    monkeypatch.setattr(
        os, "strerror", lambda n: f"Unknown error {n}" if n == errno.EDQUOT else strerror(n)
    )
    assert set(exhaustion._sayings()) == {errno.EMFILE, errno.ENFILE, errno.ENOSPC}


def test_a_name_does_not_end_the_run(tmp_path):
    """Nor that of a folder: it is what the system says of the file that counts."""
    loop = tmp_path / "No space left on device.jpg"
    loop.symlink_to(loop)
    plain = tmp_path / "Too many open files"
    plain.write_bytes(b"x")
    long = tmp_path / f"{'x' * 300}: Too many open files"
    for path in (loop, plain / "a.jpg", long):
        with pytest.raises(ImageError) as caught:
            read_file(path)
        assert caught.value.reason is RowStatus.UNREADABLE


def test_a_header_does_not_end_the_run():
    cards = [
        "SIMPLE  = T",
        "BITPIX  = 8",
        "NAXIS   = 1",
        "NAXIS1  = No space left on device",
        "END",
    ]
    data = "".join(card.ljust(80) for card in cards).encode().ljust(2880) + bytes(2880)
    with pytest.raises(ImageError):
        decode(data, SQUARE)


def test_a_decoders_memory_is_told_in_all_its_words():
    found = explain(OSError("insufficient memory (case 4)"), "JPEG", ended_early=False)
    assert found.reason is RowStatus.TOO_LARGE


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError("broken data stream: out of memory"),
        zlib.error("Error -4 while decompressing data: insufficient memory"),
    ],
)
@pytest.mark.usefixtures("no_memory")
def test_memory_that_no_file_would_have_enough_of(error):
    with pytest.raises(ExhaustedError, match="the machine, not a file"):
        raise_if_exhausted(error)


def test_ordinary_memory_can_be_had_here():
    assert exhaustion._can_have(exhaustion._ORDINARY)
    assert not exhaustion._can_have(1 << 62)


def raises(error):
    def fail(*arguments, **options):
        raise error

    return fail


FULL = MemoryError()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP", "TGA", "PPM"])
@pytest.mark.parametrize("at", ["load", "open"])
@pytest.mark.usefixtures("no_memory")
def test_no_picture_is_blamed_for_a_full_memory(monkeypatch, kind, at):
    data = file(kind)
    if at == "load":
        monkeypatch.setattr(ImageFile.ImageFile, "load", raises(FULL))
        for factory, _ in Image.OPEN.values():
            if isinstance(factory, type) and "load" in vars(factory):
                monkeypatch.setattr(factory, "load", raises(FULL))
    else:
        Image.init()
        found = {
            name: (raises(FULL) if name == kind else factory, accept)
            for name, (factory, accept) in Image.OPEN.items()
        }
        monkeypatch.setattr(Image, "OPEN", found)
    with pytest.raises(ExhaustedError):
        decode(data, SQUARE)


@pytest.mark.usefixtures("no_memory")
def test_a_picture_is_not_drawn_lying_for_want_of_memory(monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = file("JPEG", exif=exif)
    monkeypatch.setattr(Image.Image, "getexif", raises(FULL))
    with pytest.raises(ExhaustedError):
        decode(data, SQUARE)


@pytest.mark.usefixtures("no_memory")
def test_a_tiff_is_not_taken_for_another_layout_for_want_of_memory(monkeypatch):
    monkeypatch.setattr(TiffImagePlugin.ImageFileDirectory_v2, "load", raises(FULL))
    with pytest.raises(ExhaustedError):
        decode(file("TIFF"), SQUARE)


@pytest.mark.usefixtures("no_memory")
def test_a_whole_jpeg_without_end_is_not_called_cut_for_want_of_memory(monkeypatch):
    data = file("JPEG")[:-2]
    decode(data, SQUARE)
    loads = []
    load = JpegImagePlugin.JpegImageFile.load

    def third_fails(self):
        loads.append(self)
        if len(loads) == 3:
            raise FULL
        return load(self)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", third_fails)
    with pytest.raises(ExhaustedError):
        decode(data, SQUARE)


def limited(monkeypatch, number, name):
    """Have no file of a name opened any more."""
    opened = os.open

    def refuse(path, *arguments, **options):
        if str(path).endswith(name):
            raise OSError(number, os.strerror(number), str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
@pytest.mark.usefixtures("no_memory")
def test_a_file_that_cannot_be_opened_now_is_not_unreadable(monkeypatch, tmp_path, number):
    write_png(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "a.png")
    folder, packed = open_source([str(tmp_path)]), open_source([str(tmp_path / "all.zip")])
    limited(monkeypatch, number, ".png")
    with pytest.raises(ExhaustedError):
        folder.read(0)
    limited(monkeypatch, number, ".zip")
    with pytest.raises(ExhaustedError):
        packed.read(0)


def test_a_server_that_cannot_be_reached_now_has_no_damaged_objects():
    with pytest.raises(ExhaustedError):
        _explain(OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "https://x/a.jpg", 1)
    with pytest.raises(ExhaustedError):
        _explain(RuntimeError("Cannot connect to host x [Too many open files]"), "https://x/a", 1)
    found = _explain(OSError(errno.EIO, os.strerror(errno.EIO)), "https://x/a.jpg", 1)
    assert isinstance(found, ImageError)
    assert found.reason is RowStatus.UNREADABLE
    url = "s3://b/x: Too many open files"
    assert _explain(FileNotFoundError(url), url, 1).reason is RowStatus.MISSING
    assert _explain(PermissionError(url), url, 1).reason is RowStatus.UNREADABLE


@pytest.mark.parametrize("name", ["status", "status_code", "code"])
def test_a_server_that_is_at_its_limit_is_not_this_machine(name):
    error = RuntimeError("500, message: Too many open files")
    setattr(error, name, 500)
    assert _explain(error, "https://x/a.jpg", 1).reason is RowStatus.UNREADABLE


def test_a_gpu_that_others_have_filled_is_not_a_machine_without_one():
    """JAX says both by the same error; the CPU would compute, for hours, without a word."""
    from bottleneck.runtimes.jax import _gpus

    none = RuntimeError("Unknown backend: 'gpu' requested, but no platforms that are instances")
    assert _gpus(SimpleNamespace(devices=raises(none))) == []
    full = RuntimeError("Unable to initialize backend 'cuda': RESOURCE_EXHAUSTED: out of memory")
    with pytest.raises(DeviceMemoryError, match="JAX cannot begin to use the GPU") as caught:
        _gpus(SimpleNamespace(devices=raises(full)))
    assert "--device cpu" in caught.value.hint


def test_a_feature_file_that_cannot_be_opened_now_is_not_damaged(tmp_path):
    """It would say to rescue it; and a file of features be taken for one of images."""
    create(
        tmp_path / "x.h5",
        manifest=Manifest.build(["a", "b"]),
        recipe=fake_recipe(),
        dims={"mean": 3},
        dtype="float32",
    )
    assert is_feature_file(str(tmp_path / "x.h5"))
    code = (
        "import resource, sys\n"
        "from bottleneck.errors import ExhaustedError\n"
        "from bottleneck.store import FeatureStore\n"
        "FeatureStore.open(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 99))\n"
        "try:\n"
        "    FeatureStore.open(sys.argv[1])\n"
        "except ExhaustedError as error:\n"
        "    sys.exit(7)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.h5")], timeout=60, check=False
    )
    assert done.returncode == 7


@pytest.mark.usefixtures("no_memory")
def test_weights_and_files_are_not_damaged_for_want_of_memory(tmp_path, monkeypatch):
    np.savez(tmp_path / "w.npz", a=np.zeros(3))
    monkeypatch.setattr(np, "load", raises(FULL))
    with pytest.raises(ExhaustedError):
        read_npz(tmp_path / "w.npz")
    with pytest.raises(ExhaustedError), damage_explained(tmp_path / "x.h5"):
        raise FULL
