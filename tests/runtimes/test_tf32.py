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
    rnn = SimpleNamespace(fp32_precision="tf32")
    torch = backends(matmul, SimpleNamespace(conv=conv, rnn=rnn, allow_tf32=True))
    kinds = (matmul, conv, rnn)
    with pytest.raises(ZeroDivisionError), _tf32(torch, wanted):
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
    with _tf32(torch, False):
        assert found() == ["ieee"] * 3
    assert found() == before
    assert backends.cudnn.allow_tf32 is asked  # by old code, which finds the old switches in step


@pytest.mark.parametrize("wanted", [False, True])
def test_old_switches_are_set_and_put_back(wanted):
    matmul, cudnn = SimpleNamespace(allow_tf32=False), SimpleNamespace(allow_tf32=True)
    with _tf32(backends(matmul, cudnn), wanted):
        assert (matmul.allow_tf32, cudnn.allow_tf32) == (wanted, wanted)
    assert (matmul.allow_tf32, cudnn.allow_tf32) == (False, True)
