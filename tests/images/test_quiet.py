"""Decoding leaves the process as it was, alone or in many threads."""

import logging
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import PIL
import pytest
from PIL import ImageFile

from bottleneck.errors import ImageError
from bottleneck.images import Geometry, decode, decoder_name
from bottleneck.images.failures import quiet_pillow


def pillow_warning():
    """Warn as if from within one of Pillow's modules."""
    exec("import warnings; warnings.warn('corrupt', stacklevel=1)", {"__name__": "PIL.Some"})


def test_decoder_names_the_installed_version():
    assert decoder_name() == f"pillow {PIL.__version__}"


@pytest.mark.parametrize("action", ["error", "always"])
def test_pillow_is_silent_and_nobody_else(action):
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter(action)
        before = list(warnings.filters)
        with quiet_pillow:
            pillow_warning()
            if action == "error":
                with pytest.raises(UserWarning, match="ours"):
                    warnings.warn("ours", stacklevel=1)
            else:
                warnings.warn("ours", stacklevel=1)
        assert list(warnings.filters) == before
        if action == "error":
            with pytest.raises(UserWarning, match="corrupt"):
                pillow_warning()
        else:
            pillow_warning()
    assert [str(w.message) for w in shown] == ([] if action == "error" else ["ours", "corrupt"])


def test_warnings_already_shown_are_not_shown_again(encode, noise):
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        for _ in range(3):
            decode(encode(noise), Geometry(8))
            warnings.warn("once per place", stacklevel=1)
    assert len(shown) == 1


def test_filters_changed_meanwhile_are_kept():
    with warnings.catch_warnings():
        with quiet_pillow:
            warnings.filterwarnings("ignore", message="mine")
            with quiet_pillow:
                pass
        assert sum("mine" in str(entry) for entry in warnings.filters) == 1
        assert not any("PIL" in str(entry[3]) for entry in warnings.filters)


def test_corrupt_metadata_do_not_reach_stderr(encode, noise, capfd):
    junk = b"Exif\0\0MM\0*\0\0\0\x08\0\x05" + b"\x01\x12\0\x03\0\0\xff\xff\0\0\xff\xff" * 3
    decode(encode(noise, "JPEG", exif=junk), Geometry(8))
    assert capfd.readouterr().err == ""
    assert logging.getLogger("PIL").handlers


def test_threads_get_the_same_pixels_and_leave_no_trace(encode, noise, scene, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    jpeg = encode(scene(400, 300), "JPEG")
    files = [encode(noise), jpeg, jpeg[:-30], b"junk", encode(noise, "GIF"), b""] * 20
    before = list(warnings.filters)

    def attempt(data):
        try:
            return decode(data, Geometry(32))
        except ImageError as error:
            return error.reason

    expected = [attempt(data) for data in files]
    start = threading.Barrier(8)
    with ThreadPoolExecutor(8, initializer=start.wait) as pool:
        results = list(pool.map(attempt, files))
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, wanted)
    assert list(warnings.filters) == before
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_importing_costs_little():
    code = (
        "import sys, bottleneck.images; "
        "print(sorted({'tensorflow', 'keras', 'sklearn', 'scipy', 'h5py', 'PIL.ImageCms'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_filter_is_gone_when_another_thread_puts_its_filters_back():
    """It puts back the list that it found, in which the filter was."""
    before = list(warnings.filters)
    theirs = warnings.catch_warnings()
    with quiet_pillow:
        theirs.__enter__()
    theirs.__exit__(None, None, None)
    assert list(warnings.filters) == before
