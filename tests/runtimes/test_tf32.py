"""PyTorch's TF32 switches, old and new, by stand-ins: no GPU is needed to tell them apart."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from bottleneck.runtimes.tf32 import tf32_products


class Old:
    """Raises, as PyTorch does once somebody has used the new switches."""

    fp32_precision = "ieee"

    @property
    def allow_tf32(self):
        raise RuntimeError("mix of the legacy and new APIs")


def backends(matmul, cudnn):
    return SimpleNamespace(
        backends=SimpleNamespace(cuda=SimpleNamespace(matmul=matmul), cudnn=cudnn)
    )


@pytest.mark.parametrize("wanted", [False, True])
def test_new_switches_are_set_and_put_back(wanted):
    matmul, conv = Old(), SimpleNamespace(fp32_precision="tf32")
    matmul.fp32_precision = "none"
    rnn = SimpleNamespace(fp32_precision="tf32")
    torch = backends(matmul, SimpleNamespace(conv=conv, rnn=rnn, allow_tf32=True))
    kinds = (matmul, conv, rnn)
    with pytest.raises(ZeroDivisionError), tf32_products(torch, wanted):
        assert {kind.fp32_precision for kind in kinds} == {"tf32" if wanted else "ieee"}
        raise ZeroDivisionError
    assert [kind.fp32_precision for kind in kinds] == ["none", "tf32", "tf32"]


def test_all_kinds_of_operations_of_the_pytorch_that_is_installed():
    """Recurrent layers round to TF32 too, unless told."""
    torch = pytest.importorskip("torch", reason="run by `make test-torch`")
    backends = torch.backends

    def found():
        return [
            backends.cuda.matmul.fp32_precision,
            backends.cudnn.conv.fp32_precision,
            backends.cudnn.rnn.fp32_precision,
        ]

    before, asked = found(), backends.cudnn.allow_tf32
    with tf32_products(torch, False):
        assert found() == ["ieee"] * 3
    assert found() == before
    assert backends.cudnn.allow_tf32 is asked  # by old code, which finds the old switches in step


def test_heads_multiply_in_float32_after_a_new_switch_was_set():
    """Once somebody has, PyTorch lets nobody read the older ones."""
    pytest.importorskip("torch", reason="run by `make test-torch`")
    code = """
import torch
from bottleneck.heads.solver.keras_engine import _full_float32
matmul = torch.backends.cuda.matmul
matmul.fp32_precision = "tf32"
with _full_float32("torch"):
    assert matmul.fp32_precision == "ieee"
assert matmul.fp32_precision == "tf32"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("wanted", [False, True])
def test_old_switches_are_set_and_put_back(wanted):
    matmul, cudnn = SimpleNamespace(allow_tf32=False), SimpleNamespace(allow_tf32=True)
    with tf32_products(backends(matmul, cudnn), wanted):
        assert (matmul.allow_tf32, cudnn.allow_tf32) == (wanted, wanted)
    assert (matmul.allow_tf32, cudnn.allow_tf32) == (False, True)
