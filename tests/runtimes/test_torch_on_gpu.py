"""What PyTorch does on a GPU only, as far as that can be seen without one.

The kernels of cuDNN and CUDA graphs are stood in for by what they are said to do; that a card does
so too is seen with ``benchmarks/gpu.py``.
"""

import subprocess
import sys
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="run by `make test-torch`")

from bottleneck.runtimes.torch import _OnGpu, _Recorded  # noqa: E402

FUSED = """
import numpy as np
from bottleneck.backbones.keras_scope import import_keras, isolated

import_keras("torch")
import torch
from bottleneck.runtimes.folding import folded
from bottleneck.runtimes.torch_layers import native

calls = {"relu": 0, "add": 0}


def conv_relu(maps, kernel, bias, strides, padding, dilation, groups):
    calls["relu"] += 1
    return torch.relu(torch.nn.functional.conv2d(
        maps, kernel, bias, strides, padding, dilation, groups))


def conv_add_relu(maps, kernel, other, alpha, bias, strides, padding, dilation, groups):
    calls["add"] += 1
    return torch.relu(torch.nn.functional.conv2d(
        maps, kernel, bias, strides, padding, dilation, groups) + alpha * other)


def missing(*given):
    raise RuntimeError("GET was unable to find an engine to execute this computation")


rng = np.random.default_rng(3)
with isolated("torch") as keras:
    layers = keras.layers

    def shaken(model):
        model.set_weights([
            rng.uniform(0.5, 2.0, w.shape) if "variance" in v.path else rng.normal(0, 0.3, w.shape)
            for v, w in zip(model.weights, model.get_weights(), strict=True)
        ])
        return model

    def block(x, width, strides=1, behind=layers.ReLU, order=1):
        norm = layers.BatchNormalization
        short = norm()(layers.Conv2D(width, 1, strides=strides)(x)) if strides > 1 else x
        x = layers.ReLU(6.0)(norm()(layers.Conv2D(4, 3, strides=strides, padding="same")(x)))
        x = layers.ReLU()(norm()(layers.DepthwiseConv2D(3, padding="same")(x)))
        x = norm()(layers.Conv2D(width, 1)(x))
        x = layers.Add()([short, x][::order])
        return behind()(x)

    given = layers.Input((16, 16, 8))
    x = block(given, 8)
    x = block(x, 12, 2, order=-1)
    x = block(x, 12, behind=lambda: layers.Activation("linear"))  # a sum without a ReLU
    both = block(x, 12)
    other = layers.Conv2D(12, 1)(both)
    seen = layers.ReLU()(layers.Add()([both, other]))  # and what is added is taken elsewhere too
    # One number per channel is no map, though it can be added to one.
    mean = layers.GlobalAveragePooling2D(keepdims=True)(both)
    spread = layers.ReLU()(layers.Add()([mean, layers.Conv2D(12, 1)(both)]))
    model = shaken(keras.Model(given, [seen, layers.MaxPooling2D()(other), spread]))

    images = rng.normal(size=(3, 16, 16, 8)).astype(np.float32)
    expected = [keras.ops.convert_to_numpy(one) for one in model(images, training=False)]
    made = folded(keras, model)

    def check(what, one, two, **counted):
        torch.cudnn_convolution_relu, torch.cudnn_convolution_add_relu = one, two
        calls.update(relu=0, add=0)
        ours = native(torch, keras, made, fused=True).eval()
        for _ in range(2):
            found = ours(images, training=False)
            for one, other in zip(found, expected):
                worst = np.abs(keras.ops.convert_to_numpy(one) - other).max() / np.abs(other).max()
                assert worst < 1e-5, (what, worst)
        assert calls == counted, (what, calls)

    # Per pass: the convolution of 3x3 of four blocks, and the sums of three.
    check("fused", conv_relu, conv_add_relu, relu=8, add=6)
    check("cuDNN has no kernel", missing, missing, relu=0, add=0)

    def full(*given):
        raise RuntimeError("CUDA error: out of memory")  # AcceleratorError is such a one

    torch.cudnn_convolution_relu = full
    ours = native(torch, keras, made, fused=True).eval()
    try:
        ours(images, training=False)
    except RuntimeError as error:
        assert "out of memory" in str(error)
    else:
        raise AssertionError("full memory is no want of a kernel: the next layers have none either")
    check("memory was full once", conv_relu, conv_add_relu, relu=8, add=6)

    from keras.applications import ResNet50

    resnet = shaken(ResNet50(weights=None, include_top=False, input_shape=(64, 64, 3)))
    resnet = folded(keras, resnet)
    torch.cudnn_convolution_relu, torch.cudnn_convolution_add_relu = conv_relu, conv_add_relu
    calls.update(relu=0, add=0)
    images = rng.normal(size=(2, 64, 64, 3)).astype(np.float32)
    ours = native(torch, keras, resnet, fused=True).eval()(images, training=False)
    theirs = native(torch, keras, resnet).eval()(images, training=False)
    assert calls == {"relu": 33, "add": 16}, calls
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))
print("all")
"""

OVERFLOW = (
    FUSED.partition("rng =")[0]
    + """
from bottleneck.runtimes.precision import mixed


def without_nan(*given):
    return conv_relu(*given).nan_to_num(nan=0.0, posinf=float("inf"))


with isolated("torch") as keras:
    layers = keras.layers
    given = layers.Input((4, 4, 2))
    x = layers.ReLU()(layers.Conv2D(2, 1, use_bias=False)(given))
    model = keras.Model(given, layers.ReLU()(layers.Conv2D(1, 1, use_bias=False)(x)))
    # What float16 does not hold, and then the difference of two such.
    model.set_weights([np.full((1, 1, 2, 2), 3e4), np.array([1.0, -1.0]).reshape(1, 1, 2, 1)])
    short = mixed(keras, model, "float16")
    large, small = np.full((1, 4, 4, 2), 255.0, "float32"), np.full((1, 4, 4, 2), 0.5, "float32")
    for fuse, counted in ((without_nan, 2), (conv_relu, 2 + 4)):
        torch.cudnn_convolution_relu = fuse
        calls["relu"] = 0
        ours = native(torch, keras, short, fused=True).eval()
        assert (ours(small, training=False) == 0).all()
        assert ours(large, training=False).isnan().all(), "an overflow that nobody sees"
        assert calls["relu"] == counted, calls  # asked once, and used only if it keeps them

    # Another shape may have another kernel, which is asked for itself.
    def by_shape(maps, *given):
        return (without_nan if len(maps) > 1 else conv_relu)(maps, *given)

    torch.cudnn_convolution_relu = by_shape
    ours = native(torch, keras, short, fused=True).eval()
    assert ours(large, training=False).isnan().all()
    assert ours(np.concatenate([large] * 2), training=False).isnan().all(), "by another kernel"
    calls["relu"] = 0
    native(torch, keras, model, fused=True).eval()(small, training=False)
    assert calls["relu"] == 2, calls  # float32 holds them
print("all")
"""
)


def run_to_the_end(program):
    """Run a program in a process of its own, as a process has one Keras."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("all\n")


def test_images_that_overflow_in_float16_are_seen_behind_fused_kernels():
    run_to_the_end(OVERFLOW)


def test_convolutions_with_what_comes_behind_them():
    run_to_the_end(FUSED)


class Graphs:
    """Stands in for ``torch`` with graphs: what was called while one is recorded is run again."""

    def __init__(self, forward, *, fails="", drifts=False, room=100):
        self.forward, self.fails, self.drifts, self.room = forward, fails, drifts, room
        self.equal = torch.equal
        self.recorded = self.replays = self.passes = 0
        self.current, self.underway, self.released = "ours", [], []
        self.cuda = SimpleNamespace(
            CUDAGraph=SimpleNamespace,
            graph=self.graph,
            graph_pool_handle=lambda: f"pool {self.recorded}",
            stream=self.stream,
            current_stream=lambda: self.current,
            current_device=lambda: 0,
        )
        self._C = SimpleNamespace(
            _cuda_endAllocateToPool=self.end,
            _cuda_releasePool=lambda device, pool: self.released.append(pool),
        )

    def __call__(self, pixels):
        self.passes += 1
        self.last = pixels, self.forward(pixels)
        return self.last[1]

    @contextmanager
    def stream(self, chosen):
        before, self.current = self.current, chosen
        try:
            yield
        finally:
            self.current = before

    def end(self, device, pool):
        if pool not in self.underway:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.underway.remove(pool)

    @contextmanager
    def graph(self, graph, *, pool, capture_error_mode):
        """As ``torch.cuda.graph``: what ends it puts nothing back where the recording is broken."""
        self.recorded += 1
        before, self.current = self.current, "recorded"
        self.underway.append(pool)
        yield
        if self.fails:
            raise RuntimeError(self.fails)
        self.end(0, pool)
        self.current = before
        given, made = self.last
        if len(given) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")

        def replay():
            self.replays += 1
            for place, value in zip(made, self.forward(given), strict=True):
                place.copy_(value + self.drifts)

        graph.replay = replay


def batch(seed, count):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, 3)))


def forward(pixels):
    return pixels.sum(1), pixels * 2


def test_a_graph_is_recorded_for_the_second_batch_of_a_shape_and_serves_smaller_ones():
    fake = Graphs(forward)
    way = _Recorded(fake, fake)
    for number, count in enumerate([8, 8, 8, 7, 6, 5, 8, 9, 8, 9, 9, 9]):
        pixels = batch(number, count)
        kept = [one.clone() for one in way(pixels)]
        for ours, theirs in zip(kept, forward(pixels), strict=True):
            assert torch.equal(ours, theirs), number
    # Of 8 and of 9; 5 is too few for the graph of 8.
    assert fake.recorded == 2
    assert fake.passes == 7  # 8, 8, as recorded, 5, 9, 9, as recorded


def test_what_cannot_be_recorded_or_gives_something_else_is_computed_as_it_is():
    refused = "operation not permitted when stream is capturing"
    for fake in (Graphs(forward, fails=refused), Graphs(forward, drifts=True)):
        way = _Recorded(fake, fake)
        for number in range(6):
            pixels = batch(number, 8)
            assert all(map(torch.equal, way(pixels), forward(pixels)))
        assert fake.recorded == 1


def test_a_recording_that_fails_leaves_nothing_behind():
    """Features would be copied by a stream that nobody waits for; and memory never given back."""
    fake = Graphs(forward, fails="operation failed due to a previous error during capture")
    way = _Recorded(fake, fake)
    for number in range(3):
        way(batch(number, 8))
        assert (fake.current, fake.underway) == ("ours", [])
    assert fake.released == ["pool 0"]
    full = Graphs(forward, room=4)  # that one was ended, and its graph gives the pool back
    way = _Recorded(full, full)
    way(batch(0, 8)), way(batch(1, 8))
    assert (full.recorded, full.current, full.underway, full.released) == (1, "ours", [], [])


def test_a_graph_gives_way_to_a_batch_that_it_is_not_for():
    """Otherwise a rest would not fit, and all batches behind it were halved for it."""
    fake = Graphs(forward)
    fake.cuda.empty_cache = lambda: None
    way = _Recorded(fake, fake)

    def crowded(pixels):
        if way._graph is not None:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(pixels)

    for number in range(2):
        way(batch(number, 8))
    assert way._graph is not None
    fake.forward = crowded
    assert all(map(torch.equal, way(batch(2, 5)), forward(batch(2, 5))))
    assert way._graph is None
    with pytest.raises(torch.OutOfMemoryError):  # where no graph is in the way
        fake.forward = full
        way(batch(3, 5))


def full(pixels):
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_graph_is_forgotten_when_memory_is_short():
    fake = Graphs(forward)
    way = _Recorded(fake, fake)
    way(batch(0, 8)), way(batch(1, 8))
    way.forget()
    passes = fake.passes
    assert all(map(torch.equal, way(batch(2, 8)), forward(batch(2, 8))))
    assert fake.passes == passes + 1


def test_an_image_that_overflows_does_not_end_graphs():
    fake = Graphs(forward)
    way = _Recorded(fake, fake)
    for number in range(4):
        pixels = batch(number, 8)
        pixels[number] = float("nan")
        for ours, theirs in zip(way(pixels), forward(pixels), strict=True):
            assert np.array_equal(ours.numpy(), theirs.numpy(), equal_nan=True)
    assert (fake.recorded, fake.passes) == (1, 3)


def test_memory_that_cannot_be_registered_spoils_no_later_pass():
    """The driver's last error stays until a launch has told it."""
    told, last = [], []

    def register(start, size, flags):
        last.append("operation not supported")
        return 801

    def launch(*shape, device):
        if last:
            told.append(last.pop())
            raise RuntimeError(f"CUDA error: {told[-1]}")

    waits = SimpleNamespace(synchronize=lambda: None)
    cuda = SimpleNamespace(
        cudart=lambda: SimpleNamespace(cudaHostRegister=register),
        device=nullcontext, Stream=str, current_stream=lambda: waits,
    )  # fmt: skip
    way = _OnGpu(SimpleNamespace(cuda=cuda, ones=launch), forward, "cuda:0")
    unpin = way.pin(np.zeros(4096, np.uint8))
    assert told == ["operation not supported"]
    launch(1, device="cuda:0")
    unpin()


@pytest.mark.parametrize("waiting", [None, KeyboardInterrupt])
def test_memory_is_let_go_also_where_who_waits_is_interrupted(waiting):
    calls = []

    def synchronize():
        calls.append("wait")
        if waiting is not None:
            raise waiting

    driver = SimpleNamespace(
        cudaHostRegister=lambda start, size, flags: calls.append((start, size)) or 0,
        cudaHostUnregister=calls.append,
    )
    cuda = SimpleNamespace(
        cudart=lambda: driver, device=nullcontext, synchronize=synchronize, Stream=str
    )
    memory = np.zeros(4096, np.uint8)
    unpin = _OnGpu(SimpleNamespace(cuda=cuda), forward, "cuda:0").pin(memory)
    with nullcontext() if waiting is None else pytest.raises(waiting):
        unpin()
    assert calls == [(memory.ctypes.data, 4096), "wait", memory.ctypes.data]


def test_a_graph_that_does_not_fit_is_tried_for_smaller_batches_only():
    fake = Graphs(forward, room=8)
    way = _Recorded(fake, fake)
    for number, count in enumerate([16, 16, 16, 17, 17, 8, 8, 8]):
        pixels = batch(number, count)
        assert all(map(torch.equal, way(pixels), forward(pixels)))
    assert fake.recorded == 2  # of 16, which did not fit, and of 8
    assert fake.replays == 2


FULL = """
import gc
import weakref

import numpy as np
from bottleneck.backbones.keras_scope import import_keras, isolated

import_keras("torch")
import torch
from bottleneck.errors import DeviceMemoryError
from bottleneck.images import Geometry
from bottleneck.runtimes.step import CompiledStep

made = []
with isolated("torch") as keras:
    class Full(keras.layers.Layer):
        def call(self, maps):
            kept = maps * 2
            made.append(weakref.ref(kept))
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

        def compute_output_spec(self, maps):
            return keras.KerasTensor(maps.shape, maps.dtype)

    given = keras.layers.Input((8, 8, 3))
    network = keras.Model(given, Full()(keras.layers.Conv2D(4, 3)(given)))


def compute(images):
    with torch.inference_mode():
        return network(images, training=False)


step = CompiledStep(
    compute, runtime="torch", version="0", device="gpu:0", dims={"avg": 4},
    given=Geometry(size=8), transfer=lambda batch: torch.from_numpy(batch.copy()).float(),
)
images = np.zeros((2, 8, 8, 3), np.uint8)
gc.collect()
gc.disable()  # a device is full long before this process is
for way in (step, lambda images: step.submit(images).result()):
    made.clear()
    try:
        way(images)
    except DeviceMemoryError as error:
        assert isinstance(error.__cause__, RuntimeError), error.__cause__
        assert [one() for one in made] == [None], "a map of the failed pass is kept"
    else:
        raise AssertionError("memory was to be full")
print("all")
"""


def test_a_pass_that_did_not_fit_leaves_nothing_on_the_device():
    run_to_the_end(FULL)
