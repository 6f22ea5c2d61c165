import io
import os
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from bottleneck.errors import WeightsError
from bottleneck.weights import torch_pickle


class _Reference:
    def __init__(self, storage: type, key: str, length: int) -> None:
        self.id = ("storage", storage, key, "cpu", length, None)


class _Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.id if isinstance(value, _Reference) else None


class _Rebuilt:
    def __init__(self, *arguments) -> None:
        self.arguments = arguments

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write legacy files as torch does, without torch: two stand-in modules give the names."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2():
        raise AssertionError("never called")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    for name in ("FloatStorage", "LongStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch", "__qualname__": name}))
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    def writer(tensors, *, described=None, magic=torch_pickle.MAGIC, announced=None, name="x.pth"):
        stream = io.BytesIO()

        def put(value) -> None:
            _Pickler(stream, protocol=2).dump(value)

        entries, storages = OrderedDict(), []
        for key, array in tensors.items():
            kind = torch.FloatStorage if array.dtype == np.float32 else torch.LongStorage
            base = array if array.base is None else array.base
            flat = base.ravel(order="K")
            reference = _Reference(kind, f"k{len(storages)}", announced or flat.size)
            storages.append((f"k{len(storages)}", flat))
            strides = tuple(step // array.itemsize for step in array.strides)
            entries[key] = _Rebuilt(reference, 0, array.shape, strides, False, OrderedDict())
        put(magic)
        put(torch_pickle.PROTOCOL)
        put({"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}})
        put(entries if described is None else described)
        put([key for key, _ in storages])
        for _, flat in storages:
            stream.write(flat.size.to_bytes(8, "little"))
            stream.write(flat.tobytes())
        path = tmp_path / name
        path.write_bytes(stream.getvalue())
        return path

    return writer


def test_reads_values_strides_and_integers(write) -> None:
    plain = np.arange(12, dtype=np.float32).reshape(3, 4)
    transposed = np.arange(6, dtype=np.float32).reshape(2, 3).copy().T
    count = np.array(7, dtype=np.int64)
    found = torch_pickle.load(write({"a": plain, "b": transposed, "c": count}))
    assert list(found) == ["a", "b", "c"]
    np.testing.assert_array_equal(found["a"], plain)
    np.testing.assert_array_equal(found["b"], transposed)
    assert found["c"].dtype == np.int64
    assert found["c"] == 7


class _Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def test_code_is_refused_by_name_and_not_run(write, tmp_path: Path) -> None:
    target = tmp_path / "was_run"
    path = write({}, described={"a": _Malicious(target)})
    with pytest.raises(WeightsError, match=r"x\.pth.*asks for (posix|nt|os)\.system"):
        torch_pickle.load(path)
    assert not target.exists()


@pytest.mark.parametrize("name", ["eval", "getattr", "__import__"])
def test_builtins_are_refused(write, name: str) -> None:
    import builtins

    path = write({}, described={"a": getattr(builtins, name)})
    with pytest.raises(WeightsError, match=rf"builtins?(__)?\.{name}, which is refused"):
        torch_pickle.load(path)


def test_malicious_first_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "first.pth"
    path.write_bytes(pickle.dumps(_Malicious(tmp_path / "was_run")))
    with pytest.raises(WeightsError, match="refused"):
        torch_pickle.load(path)
    assert not (tmp_path / "was_run").exists()


def test_damage_is_named(write, tmp_path: Path) -> None:
    good = write({"a": np.ones(100, np.float32)})
    data = good.read_bytes()
    cut = tmp_path / "cut.pth"
    for length in (0, 10, 60, len(data) // 2, len(data) - 1):
        cut.write_bytes(data[:length])
        with pytest.raises(WeightsError, match=r"cut\.pth"):
            torch_pickle.load(cut)
    with pytest.raises(WeightsError, match="announced"):
        torch_pickle.load(write({"a": np.ones(4, np.float32)}, announced=5))
    with pytest.raises(WeightsError, match="magic"):
        torch_pickle.load(write({}, magic=1))
    with pytest.raises(WeightsError, match=r"nowhere\.pth: cannot be read"):
        torch_pickle.load(tmp_path / "nowhere.pth")
    zipped = tmp_path / "zipped.pth"
    zipped.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(WeightsError, match="legacy file format"):
        torch_pickle.load(zipped)


def test_entries_that_are_no_tensors_are_refused(write) -> None:
    with pytest.raises(WeightsError, match="'a' that is not a tensor"):
        torch_pickle.load(write({}, described={"a": 1}))
