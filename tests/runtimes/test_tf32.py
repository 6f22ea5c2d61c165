"""PyTorch's TF32 switches, old and new, by stand-ins: no GPU is needed to tell them apart."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from bottleneck.runtimes.tensorflow import _tf32_products
from bottleneck.runtimes.tf32 import tf32_products


class Switch:
    """As PyTorch's since 2.9: one that is not set reads what the one above it says."""

    def __init__(self, above=None, **parts):
        self.above, self.own = above, "none"
        vars(self).update(parts)

    @property
    def fp32_precision(self):
        inherits = self.own == "none" and self.above is not None
        return self.above.fp32_precision if inherits else self.own

    @fp32_precision.setter
    def fp32_precision(self, value):
        self.own = value

    @property
    def allow_tf32(self):
        """Raises, once somebody has used the new switches."""
        raise RuntimeError("mix of the legacy and new APIs")


def backends(matmul, cudnn):
    return SimpleNamespace(
        backends=SimpleNamespace(cuda=SimpleNamespace(matmul=matmul), cudnn=cudnn)
    )


def new_switches():
    everything = Switch()
    cudnn = everything.cudnn = Switch(everything)
    cudnn.conv, cudnn.rnn = Switch(cudnn), Switch(cudnn)
    everything.cuda = SimpleNamespace(matmul=Switch(cudnn))
    kinds = (everything.cuda.matmul, cudnn.conv, cudnn.rnn)
    return SimpleNamespace(backends=everything), (everything, cudnn, *kinds), kinds


SETTINGS = [
    (everything, cuda, matmul, conv)
    for everything in ("none", "tf32", "ieee")
    for cuda in ("none", "tf32", "ieee")
    for matmul in ("none", "tf32", "ieee")
    for conv in ("none", "tf32")
]


@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("setting", SETTINGS, ids="-".join)
def test_new_switches_are_set_and_put_back(wanted, setting):
    """Also that one is not set, and follows the one above it."""
    torch, switches, kinds = new_switches()
    for switch, value in zip(switches, setting, strict=False):
        switch.own = value
    before = [switch.own for switch in switches]
    with pytest.raises(ZeroDivisionError), tf32_products(torch, wanted):
        assert {kind.fp32_precision for kind in kinds} == {"tf32" if wanted else "ieee"}
        assert torch.backends.own == setting[0]  # which those of the CPU follow
        raise ZeroDivisionError
    assert [switch.own for switch in switches] == before


FOLLOWS = """
import torch
from bottleneck.runtimes.tf32 import tf32_products
backends = torch.backends
cuda = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)
cpu = (backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn)
switches = (*cuda, *cpu, backends.cudnn, backends)

def read():
    return [switch.fp32_precision for switch in switches]

def moved():
    "What each reads while the one for everything says something else, and as it was again."
    was, found = backends.fp32_precision, []
    for value in ("ieee", "tf32", was):
        backends.fp32_precision = value
        found.append(read())
    return found

SETTING
before = moved()
for wanted in (True, False):
    at_first = read()
    with tf32_products(torch, wanted):
        assert {kind.fp32_precision for kind in cuda} == {"tf32" if wanted else "ieee"}, read()
        assert read()[3:6] == at_first[3:6], "the CPU's have changed"
    assert read() == at_first, (read(), at_first)
    assert moved() == before, (moved(), before)
"""


@pytest.mark.parametrize(
    "setting",
    [
        "",
        "backends.fp32_precision = 'tf32'",
        "backends.fp32_precision = 'ieee'",
        "backends.cudnn.fp32_precision = 'ieee'",
        "backends.cudnn.fp32_precision = backends.fp32_precision = 'tf32'",
        "backends.cuda.matmul.fp32_precision = 'tf32'",
        "backends.cudnn.conv.fp32_precision = backends.fp32_precision = 'ieee'",
        "backends.cuda.matmul.allow_tf32 = True",
        "torch.set_float32_matmul_precision('medium')",
    ],
)
def test_switches_of_the_pytorch_that_is_installed_follow_the_one_above_as_before(setting):
    pytest.importorskip("torch", reason="run by `make test-torch`")
    code = FOLLOWS.replace("SETTING", setting)
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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
from bottleneck.runtimes import placed
matmul = torch.backends.cuda.matmul
matmul.fp32_precision = "tf32"
with placed("torch", "cpu").exact():
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


def of_torch():
    torch, (_, cudnn, *_), kinds = new_switches()
    return torch, tf32_products, lambda: [cudnn.own, *(kind.fp32_precision for kind in kinds)]


def of_tensorflow():
    switch = SimpleNamespace(value=True)
    experimental = SimpleNamespace(
        tensor_float_32_execution_enabled=lambda: switch.value,
        enable_tensor_float_32_execution=lambda wanted: setattr(switch, "value", wanted),
    )
    tf = SimpleNamespace(config=SimpleNamespace(experimental=experimental))
    return tf, _tf32_products, lambda: [switch.value]


@pytest.mark.parametrize("framework", [of_torch, of_tensorflow])
def test_switches_are_put_back_when_the_second_of_two_threads_has_ended(framework):
    library, products, read = framework()
    before = read()
    first, second = products(library, False), products(library, False)
    first.__enter__()
    within = read()
    assert within != before
    second.__enter__()
    first.__exit__(None, None, None)
    assert read() == within
    second.__exit__(None, None, None)
    assert read() == before


@pytest.mark.parametrize("framework", [of_torch, of_tensorflow])
def test_each_thread_computes_as_it_wants(framework):
    library, products, read = framework()
    begun, seen = threading.Event(), []

    def rounded():
        begun.set()
        with products(library, True):
            seen.append(read())

    with products(library, True):
        in_tf32 = read()
    with ThreadPoolExecutor(1) as executor:
        with products(library, False):
            within = read()
            other = executor.submit(rounded)
            assert begun.wait(30)
            with pytest.raises(TimeoutError):
                other.result(timeout=0.1)
            assert read() == within
        other.result(timeout=30)
    assert seen == [in_tf32] != [within]
