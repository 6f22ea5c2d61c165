"""NumPy's files, read by several threads."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bottleneck.npy import load_array, load_arrays, read_header

PACKAGE = Path(__file__).parents[1] / "bottleneck"

# What runs whenever Python collects garbage lets other threads go on in the midst of a header.
READ = """
import gc, io, sys, threading
import numpy as np
from bottleneck.npy import load_array, load_arrays, read_header

def now_and_then(phase, info):
    for _ in range(50):
        pass

gc.callbacks.append(now_and_then)
gc.set_threshold(20)
sys.setswitchinterval(1e-6)
one, several = io.BytesIO(), io.BytesIO()
np.save(one, np.arange(12).reshape(3, 4))
np.savez(several, a=np.arange(5), b=np.zeros((2, 3)))
one, several = one.getvalue(), several.getvalue()
failed = []

def read():
    try:
        for _ in range(500):
            assert load_array(io.BytesIO(one)).sum() == 66
            assert load_arrays(io.BytesIO(several))["a"].sum() == 10
            assert read_header(one)[1] == (3, 4)
    except BaseException as error:
        failed.append(error)

threads = [threading.Thread(target=read) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit(repr(failed) if failed else 0)
"""


def test_several_threads_read_at_the_same_time():
    subprocess.run([sys.executable, "-c", READ], check=True, cwd=PACKAGE.parent)


def test_nobody_reads_a_header_elsewhere():
    others = {
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        if path.name != "npy.py" or path.parent != PACKAGE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and (
            node.attr in {"literal_eval", "read_array", "read_magic"}
            or node.attr.startswith("read_array_header")
            or (node.attr == "load" and getattr(node.value, "id", "") in {"np", "numpy"})
        )
    }
    assert not others


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">i8", "<U3", "|b1", "|u1"])
def test_values_are_those_that_were_saved(tmp_path, dtype, order):
    values = np.asarray(np.arange(6).reshape(2, 3).astype(dtype), order=order)
    np.save(tmp_path / "a.npy", values)
    np.savez_compressed(tmp_path / "a.npz", x=values, y=values[0])

    for mapped in (False, True):
        found = load_array(tmp_path / "a.npy", mapped=mapped)
        assert isinstance(found, np.memmap) is mapped
        np.testing.assert_array_equal(found, values, strict=True)
    arrays = load_arrays(tmp_path / "a.npz")
    assert [*arrays] == ["x", "y"]
    np.testing.assert_array_equal(arrays["x"], values, strict=True)
    np.testing.assert_array_equal(arrays["y"], values[0], strict=True)
    data = (tmp_path / "a.npy").read_bytes()
    offset, shape, fortran, found_dtype = read_header(data)
    assert (shape, fortran, found_dtype) == (values.shape, order == "F", values.dtype)
    assert data[offset:] == values.tobytes(order)


def test_pickled_objects_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], object))
    np.savez(tmp_path / "a.npz", x=np.array([{}], object))
    with pytest.raises(ValueError, match="allow_pickle"):
        load_array(tmp_path / "a.npy")
    with pytest.raises(ValueError, match="allow_pickle"):
        load_arrays(tmp_path / "a.npz")
