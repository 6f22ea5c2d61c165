"""What the compiled pass of every runtime does around its one function."""

from collections import defaultdict

import numpy as np
import pytest

from bottleneck.errors import DeviceMemoryError
from bottleneck.exhaustion import out_of_memory, surely_out_of_memory
from bottleneck.extraction.forward import Forward, best_batch_size
from bottleneck.images import Geometry
from bottleneck.runtimes import Overlapping
from bottleneck.runtimes.step import CompiledStep


def step(compute, **options):
    settings = {"runtime": "fake", "version": "1", "device": "gpu:0", "dims": {"mean": 3}}
    return CompiledStep(compute, **{**settings, "given": Geometry(4), "pad": True, **options})


def pixels(count):
    return np.random.default_rng(count).integers(0, 256, (count, 4, 4, 3), np.uint8)


def test_one_shape():
    shapes = []

    def compute(batch):
        shapes.append(len(batch))
        return [batch.mean((1, 2))]

    function = step(compute)
    for count in (4, 4, 1, 3, 6, 2):
        batch = pixels(count)
        found = function(batch)["mean"]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, batch.mean((1, 2)), rtol=1e-6)
    assert shapes == [4, 4, 4, 4, 6, 6]
    assert function(pixels(0))["mean"].shape == (0, 3)


def test_shapes_that_were_tried_are_forgotten():
    """Trying a batch of 64 must not make every batch of the run one of 64."""
    shapes, forgotten = [], []

    def compute(batch):
        shapes.append(len(batch))
        return [batch.mean((1, 2))]

    function = step(compute, forget=lambda: forgotten.append(True))
    best_batch_size(function, Geometry(4))
    assert forgotten == [True]
    tried = max(shapes)
    function(pixels(3))
    assert shapes[-1] == 3 < tried


def test_one_shape_from_the_start():
    """The first batches may lack images that failed or are known; none of them is compiled for."""
    shapes = []

    def compute(batch):
        shapes.append(len(batch))
        return [batch.mean((1, 2))]

    forward = Forward(step(compute), np.dtype(np.float32), at_most=16)
    forward.expect(100)
    for count in (13, 14, 15, 16, 1):
        batch = pixels(count)
        found = forward(batch, defaultdict(float))[0]["mean"]
        np.testing.assert_allclose(found, batch.mean((1, 2)), rtol=1e-6)
    assert shapes == [16] * 5


def test_a_padded_rest_is_halved_by_what_was_computed():
    """One image padded to eight is not one image that does not fit."""
    shapes = []

    def compute(batch):
        shapes.append(len(batch))
        if len(batch) > 3:
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return [batch.mean((1, 2))]

    notes = []
    forward = Forward(step(compute), np.dtype(np.float32), at_most=8, note=notes.append)
    forward.expect(8)
    batch = pixels(1)
    found = forward(batch, defaultdict(float))[0]["mean"]
    np.testing.assert_allclose(found, batch.mean((1, 2)), rtol=1e-6)
    assert shapes == [8, 4, 2]
    assert notes == [
        "out of memory with 8 images: now 4 at a time",
        "out of memory with 4 images: now 2 at a time",
    ]


def test_what_a_framework_keeps_is_given_back_before_the_next_try():
    log = []

    def compute(batch):
        log.append(len(batch))
        if len(batch) > 4:
            raise RuntimeError("CUDA error: out of memory")
        return [batch.mean((1, 2))]

    forward = Forward(step(compute, release=lambda: log.append("release")), np.dtype(np.float32))
    forward(pixels(8), defaultdict(float))
    assert log == [8, "release", 4, 4]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried ..."), True),
        (type("AcceleratorError", (RuntimeError,), {})("CUDA error: out of memory"), True),
        (type("ResourceExhaustedError", (Exception,), {})("failed"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("No algorithm worked! Error messages: ..."), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
        (RuntimeError("CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("MIOpen Error: miopenStatusAllocFailed"), True),
        (RuntimeError("Available memory of 9 is smaller than requested bytes of 10"), True),
        (RuntimeError("BFCArena: Failed to allocate memory for requested buffer of size 9"), True),
        (RuntimeError("Could not allocate bytes object!"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("HIP out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: failed to allocate 2.00GiB"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), False),
        (ValueError("shapes do not match"), False),
    ],
)
def test_kinds_of_full_memory(error, expected):
    assert out_of_memory(error) is expected


def test_that_no_way_to_compute_is_found_is_no_sure_sign():
    assert surely_out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert not surely_out_of_memory(RuntimeError("GET was unable to find an engine to execute"))
    assert not surely_out_of_memory(RuntimeError("an illegal memory access was encountered"))


def test_the_framework_has_a_word_in_the_hint():
    """Should it be something else than memory, after all, that is how one finds out."""

    def compute(batch):
        raise RuntimeError("No algorithm worked! Error messages:\n  Profiling failure")

    with pytest.raises(DeviceMemoryError) as caught:
        step(compute)(pixels(1))
    assert caught.value.hint.endswith("fake says: No algorithm worked! Error messages:")


def test_any_shape():
    shapes = []
    function = step(lambda batch: [shapes.append(len(batch)) or batch.mean((1, 2))], pad=False)
    for count in (4, 1):
        function(pixels(count))
    assert shapes == [4, 1]


def test_memory_of_the_device():
    shapes = []

    def compute(batch):
        shapes.append(len(batch))
        if len(batch) > 4:
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return [batch.mean((1, 2))]

    function = step(compute, out_of_memory=lambda error: "RESOURCE_EXHAUSTED" in str(error))
    with pytest.raises(DeviceMemoryError, match="gpu:0 has not enough memory for 8 images of 4"):
        function(pixels(8))
    function(pixels(4))  # is not padded to 8
    assert shapes == [8, 4]


class Device:
    """Computes when results are asked for, as a GPU may; has room for ``room`` images."""

    def __init__(self, room=100, fails_when="computed"):
        self.room, self.fails_when = room, fails_when
        self.log = []

    def check(self, images, when):
        if when == self.fails_when and len(images) > self.room:
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")

    def transfer(self, batch):
        self.log.append(f"copy {len(batch)}")
        return batch

    def compute(self, images):
        self.log.append(f"begin {len(images)}")
        self.check(images, "begun")
        return images

    def fetch(self, images):
        self.log.append(f"fetch {len(images)}")
        self.check(images, "computed")
        return [images.mean((1, 2))]

    def step(self, **options):
        return step(
            self.compute,
            transfer=self.transfer,
            fetch=self.fetch,
            in_flight=2,
            out_of_memory=lambda error: "RESOURCE_EXHAUSTED" in str(error),
            **options,
        )


def test_two_batches_on_their_way():
    device = Device()
    function = device.step()
    assert isinstance(function, Overlapping)
    batches = [pixels(count) for count in (4, 3)]
    expected = [batch.mean((1, 2)) for batch in batches]
    pending = [function.submit(batch) for batch in batches]
    assert device.log == ["copy 4", "begin 4", "copy 4", "begin 4"]
    for batch in batches:
        batch[:] = 0  # the caller's memory is free at once
    for one, mean in zip(pending, expected, strict=True):
        np.testing.assert_allclose(one.result()["mean"], mean, rtol=1e-6)
    assert device.log[4:] == ["fetch 4", "fetch 4"]
    assert function.submit(pixels(0)).result()["mean"].shape == (0, 3)


def test_memory_on_the_way_is_used_again():
    made = []

    def buffer(shape, dtype):
        made.append(shape)
        return np.empty(shape, dtype)

    function = Device().step(buffer=buffer)
    waiting = []
    for seed in range(6):
        waiting.append(function.submit(pixels(3 + seed % 2)))
        if len(waiting) == 2:
            waiting.pop(0).result()
    assert made == [(3, 4, 4, 3), (4, 4, 4, 3), (4, 4, 4, 3)]


@pytest.mark.parametrize("fails_when", ["begun", "computed"])
def test_a_full_device_is_told_when_the_result_is_asked_for(fails_when):
    function = Device(room=4, fails_when=fails_when).step()
    batch = pixels(8)
    pending = function.submit(batch)
    with pytest.raises(DeviceMemoryError, match="gpu:0 has not enough memory for 8 images"):
        pending.result()
    np.testing.assert_array_equal(pending.batch, batch)  # so that it can be tried in parts
    np.testing.assert_allclose(
        function.submit(batch[:4]).result()["mean"], batch[:4].mean((1, 2)), rtol=1e-6
    )


def test_other_errors_pass():
    def compute(batch):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        step(compute)(pixels(1))


def test_says_what_it_is():
    assert repr(step(None)) == "<CompiledStep fake (4, 4, 3) mean 3, gpu:0>"
    with pytest.raises(ValueError, match="expected uint8 images"):
        step(None)(np.zeros((1, 5, 5, 3), np.uint8))
