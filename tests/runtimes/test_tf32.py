"""PyTorch's TF32 switches, old and new, by stand-ins: no GPU is needed to tell them apart."""

from types import SimpleNamespace

import pytest

from bottleneck.runtimes.torch import _tf32


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
    torch = backends(matmul, SimpleNamespace(conv=conv, allow_tf32=True))
    expected = "tf32" if wanted else "ieee"
    with pytest.raises(ZeroDivisionError), _tf32(torch, wanted):
        assert (matmul.fp32_precision, conv.fp32_precision) == (expected, expected)
        raise ZeroDivisionError
    assert (matmul.fp32_precision, conv.fp32_precision) == ("none", "tf32")


@pytest.mark.parametrize("wanted", [False, True])
def test_old_switches_are_set_and_put_back(wanted):
    matmul, cudnn = SimpleNamespace(allow_tf32=False), SimpleNamespace(allow_tf32=True)
    with _tf32(backends(matmul, cudnn), wanted):
        assert (matmul.allow_tf32, cudnn.allow_tf32) == (wanted, wanted)
    assert (matmul.allow_tf32, cudnn.allow_tf32) == (False, True)
