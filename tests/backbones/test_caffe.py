"""Networks of Caffe: OpenCV computes the same from the same files, or a loop over the rule.

OpenCV reads Caffe's files up to version 4; nothing of the package uses it.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from caffe_files import Written, alexnet, blob, caffe_layer, caffe_layer_v1, googlenet, wire
from numpy.typing import NDArray

from bottleneck import backbones, runtimes
from bottleneck.backbones import DeclaredInput, OutputSpec
from bottleneck.backbones.architectures.caffe_layers import pooled_length
from bottleneck.errors import BackboneError, OptionError, WeightsError

NONE = DeclaredInput.parse("none")
MEAN = np.float32([104, 117, 123])


def computed(network, *layers: str, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """Return what blobs hold, in Caffe's order of axes."""
    shapes = [network.shape(layer) for layer in layers]
    pools = ["none" if hasattr(shape, "height") else "own" for shape in shapes]
    outputs = [OutputSpec(layer, pool) for layer, pool in zip(layers, pools, strict=True)]
    step = runtimes.get("tensorflow").compile(network, outputs, device="cpu")
    found = step(images)
    return [
        found[output.name].reshape(-1, *sides(shape)).transpose(axes(shape))
        for output, shape in zip(outputs, shapes, strict=True)
    ]


def sides(shape) -> tuple[int, ...]:
    is_map = hasattr(shape, "height")
    return (shape.height, shape.width, shape.channels) if is_map else (shape.channels,)


def axes(shape) -> tuple[int, ...]:
    return (0, 3, 1, 2) if hasattr(shape, "height") else (0, 1)


def by_opencv(files: tuple[str, str], inputs, *names: str) -> list[NDArray[np.float32]]:
    """Compute layers with OpenCV from (n, channels, height, width)."""
    cv2 = pytest.importorskip("cv2", reason="opencv-python-headless below 5 is the oracle")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("OpenCV 5 reads no Caffe: opencv-python-headless below 5 is the oracle")
    net = cv2.dnn.readNetFromCaffe(*files)
    net.enableFusion(False)  # what is fused away is not computed when it is asked for
    found = []
    for name in names:
        net.setInput(np.ascontiguousarray(inputs, np.float32))
        found.append(net.forward(name).copy())
    return found


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, shape, np.uint8)


def loaded(net: Written, folder: Path, **more):
    text, model = net.save(folder)
    return backbones.load(f"caffe:{text}", weights=model, **{"declared": NONE, **more})


def caffe_order(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return images.astype(np.float32).transpose(0, 3, 1, 2)


# -- whole networks


@pytest.mark.heavy
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("net", "features", "deep"),
    [(alexnet, "fc7", "pool5"), (googlenet, "pool5/7x7_s1", "inception_4c/output")],
    ids=["alexnet", "googlenet"],
)
def test_published_network(net, features: str, deep: str, tmp_path: Path) -> None:
    written = net()
    files = written.save(tmp_path)
    network = backbones.load(f"caffe:{files[0]}", weights=files[1])
    assert network.main == features
    assert network.spec.preprocess.offset == (-104.0, -117.0, -123.0)
    assert network.spec.resize == "squash"
    images = noise(2, *written.shape[1:], 3)
    step = runtimes.get("tensorflow").compile(
        network, [OutputSpec(None, None), OutputSpec(deep, "avg")], device="cpu"
    )
    own, pooled = step(images).values()
    inputs = caffe_order(images[..., ::-1]) - MEAN[:, None, None]
    # OpenCV names what a layer gives; the blob is what the last of them leaves in it.
    expected, map_ = by_opencv(files, inputs, "drop7" if features == "fc7" else features, deep)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(own, expected.reshape(own.shape), rtol=0, atol=2e-5 * scale)
    np.testing.assert_allclose(pooled, map_.mean((2, 3)), rtol=0, atol=2e-5 * np.abs(map_).max())


# -- each rule


def caffes_pool(x, how: str, kernel: int, stride: int, pad: int):
    """Pool as pooling_layer.cpp does, window by window."""
    n, c, h, w = x.shape
    count = []
    for side in (h, w):
        out = int(np.ceil((side + 2 * pad - kernel) / stride)) + 1
        if pad and (out - 1) * stride >= side + pad:
            out -= 1
        count.append(out)
    found = np.empty((n, c, *count), np.float64)
    for i in range(count[0]):
        for j in range(count[1]):
            top, left = i * stride - pad, j * stride - pad
            bottom, right = min(top + kernel, h + pad), min(left + kernel, w + pad)
            size = (bottom - top) * (right - left)
            window = x[:, :, max(top, 0) : min(bottom, h), max(left, 0) : min(right, w)]
            window = window.astype(np.float64)
            found[:, :, i, j] = window.max((2, 3)) if how == "MAX" else window.sum((2, 3)) / size
    return found


@pytest.mark.parametrize("how", ["MAX", "AVE"])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad"),
    [
        (12, 3, 2, 0),  # rounded up: the last window hangs over by one
        (13, 3, 2, 0),
        (14, 3, 3, 0),  # hangs over by one of three
        (12, 3, 2, 1),  # the last window would begin in the padding
        (11, 3, 1, 1),
        (9, 5, 3, 2),
        (10, 4, 3, 1),
        (11, 2, 2, 0),
        (12, 5, 2, 2),
    ],
)
def test_ceil_pooling(how, size, kernel, stride, pad, tmp_path: Path) -> None:
    net = Written("pool", (3, size, size + 1))
    padded = f"pad: {pad}" if pad else ""
    net.pool("pool", "data", f"pool: {how} kernel_size: {kernel} stride: {stride} {padded}")
    images = noise(2, size, size + 1, 3)
    (found,) = computed(loaded(net, tmp_path), "pool", images=images)
    expected = caffes_pool(caffe_order(images) - 0.0, how, kernel, stride, pad)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert pooled_length(size, kernel, stride, pad) == expected.shape[2]


def test_negative_maxima_at_the_border(tmp_path: Path) -> None:
    """Zeros as padding would win over them."""
    net = Written("pool", (3, 6, 6))
    net.add("Power", "below", "data", "power_param { shift: -300 }")
    net.pool("pool", "below", "pool: MAX kernel_size: 3 stride: 2 pad: 1")
    images = noise(1, 6, 6, 3)
    (found,) = computed(loaded(net, tmp_path), "pool", images=images)
    np.testing.assert_array_equal(found, caffes_pool(caffe_order(images) - 300, "MAX", 3, 2, 1))


def test_global_pooling(tmp_path: Path) -> None:
    net = Written("pool", (3, 5, 7))
    net.pool("max", "data", "pool: MAX global_pooling: true")
    net.pool("mean", "data", "pool: AVE global_pooling: true")
    images = noise(2, 5, 7, 3)
    most, mean = computed(loaded(net, tmp_path), "max", "mean", images=images)
    np.testing.assert_array_equal(most[:, :, 0, 0], images.max((1, 2)))
    np.testing.assert_allclose(mean[:, :, 0, 0], images.mean((1, 2)), rtol=1e-6)


@pytest.mark.parametrize("within", [False, True], ids=["across", "within"])
def test_local_response(within: bool, tmp_path: Path) -> None:
    net = Written("lrn", (3, 6, 5))
    net.conv("conv", "data", 3, 9, 1, relu=False)
    region = "norm_region: WITHIN_CHANNEL" if within else "k: 2"
    net.add("LRN", "norm", "conv", f"lrn_param {{ local_size: 3 alpha: 0.3 beta: 0.6 {region} }}")
    network = loaded(net, tmp_path)
    before, found = computed(network, "conv", "norm", images=noise(2, 6, 5, 3))
    squares = before.astype(np.float64) ** 2
    if within:
        padded = np.pad(squares, [(0, 0), (0, 0), (1, 1), (1, 1)])
        total = sum(padded[:, :, i : i + 6, j : j + 5] for i in range(3) for j in range(3))
        expected = before / (1 + 0.3 / 9 * total) ** 0.6
    else:
        padded = np.pad(squares, [(0, 0), (1, 1), (0, 0), (0, 0)])
        total = sum(padded[:, i : i + 9] for i in range(3))
        expected = before / (2 + 0.3 / 3 * total) ** 0.6
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "count", "groups", "more"),
    [
        (6, 8, 2, "stride: 2 pad: 1"),
        (6, 6, 6, "pad: 1"),  # each channel by itself
        (6, 12, 6, ""),
        (6, 4, 1, "dilation: 2 pad: 2"),
        (6, 4, 2, "pad_h: 2 pad_w: 0 stride_h: 1 stride_w: 2"),
    ],
    ids=["two groups", "depthwise", "depthwise twice", "dilation", "sides"],
)
def test_convolution(inputs: int, count: int, groups: int, more: str, tmp_path: Path) -> None:
    net = Written("conv", (3, 11, 9))
    net.conv("first", "data", 3, inputs, 1)
    net.conv("conv", "first", inputs, count, 3, more, groups=groups, relu=False)
    images = noise(2, 11, 9, 3)
    (found,) = computed(loaded(net, tmp_path), "conv", images=images)
    (expected,) = by_opencv(net.save(tmp_path), caffe_order(images), "conv")
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_groups_by_a_loop(tmp_path: Path) -> None:
    """Group i of the outputs sees group i of the inputs; kernels are not flipped."""
    net = Written("groups", (3, 5, 5))
    net.conv("first", "data", 3, 4, 1, relu=False)
    net.conv("conv", "first", 4, 6, 3, groups=2, relu=False)
    network = loaded(net, tmp_path)
    before, found = computed(network, "first", "conv", images=noise(1, 5, 5, 3))
    rng = np.random.default_rng(0)
    rng.normal(size=(4, 3, 1, 1)), rng.normal(size=4)
    weights = rng.normal(0, (2 / 18) ** 0.5, (6, 2, 3, 3))
    bias = rng.normal(0, 0.1, 6)
    for out in range(6):
        seen = before[0, 2 * (out // 3) : 2 * (out // 3) + 2].astype(np.float64)
        for i in range(3):
            for j in range(3):
                value = (seen[:, i : i + 3, j : j + 3] * weights[out]).sum() + bias[out]
                assert found[0, out, i, j] == pytest.approx(value, rel=1e-4, abs=1e-3)


def test_every_other_kind_of_layer(tmp_path: Path) -> None:
    net, rng = Written("all", (3, 6, 7)), np.random.default_rng(5)
    net.conv("conv", "data", 3, 8, 3, relu=False)
    factor = [np.float32([4.0])]
    net.add("BatchNorm", "bn", "conv", "batch_norm_param { eps: 0.01 }",
            [rng.normal(size=8) * 4, rng.uniform(1, 9, 8) * 4, *factor])  # fmt: skip
    net.add("Scale", "scale", "bn", "scale_param { bias_term: true }",
            [rng.normal(size=8), rng.normal(size=8)])  # fmt: skip
    net.add("PReLU", "prelu", "scale", "", [rng.uniform(0, 1, 8)])
    net.add("ReLU", "leaky", "scale", "relu_param { negative_slope: 0.1 }")
    net.add("Eltwise", "sum", ["prelu", "leaky"], "eltwise_param { coeff: 2 coeff: -0.5 }")
    net.add("Eltwise", "most", ["prelu", "leaky"], "eltwise_param { operation: MAX }")
    net.add("Eltwise", "product", ["prelu", "leaky"], "eltwise_param { operation: PROD }")
    net.add("Concat", "concat", ["sum", "most", "product"])
    net.add("Slice", "slice", "concat", "slice_param { slice_point: 5 slice_point: 6 }",
            tops=["s1", "s2", "s3"])  # fmt: skip
    net.add("Concat", "rows", ["s2", "s2"], "concat_param { axis: 2 }")
    net.add("Sigmoid", "sigmoid", "s3")
    net.add("TanH", "tanh", "s1")
    net.add("Softmax", "soft", "s3")
    net.add("Flatten", "flat", "s3")
    net.add("Reshape", "shaped", "s3", "reshape_param { shape { dim: 0 dim: 3 dim: -1 dim: 0 } }")
    net.dense("fc", "s1", 5 * 4 * 5, 7)
    net.add("Softmax", "prob", "fc")
    names = ["bn", "scale", "prelu", "leaky", "sum", "most", "product", "concat", "s1", "s3"]
    names += ["rows", "sigmoid", "tanh", "soft", "flat", "shaped", "fc", "prob"]
    images = noise(2, 6, 7, 3)
    found = computed(loaded(net, tmp_path), *names, images=images)
    # OpenCV names what a slice gives by the layer and a number.
    theirs = {"s1": "slice", "s3": "concat"}
    files = net.save(tmp_path)
    expected = by_opencv(files, caffe_order(images), *(theirs.get(name, name) for name in names))
    expected[names.index("s3")] = expected[names.index("concat")][:, 6:]
    for name, ours, other in zip(names, found, expected, strict=True):
        assert ours.shape == other.shape, name
        atol = 2e-5 * max(1.0, float(np.abs(other).max()))
        np.testing.assert_allclose(ours, other, rtol=0, atol=atol, err_msg=name)


def test_squeeze_and_excite(tmp_path: Path) -> None:
    """A second blob scales the channels of the first, image by image."""
    net = Written("se", (3, 4, 4))
    net.pool("squeeze", "data", "pool: AVE global_pooling: true")
    net.add("Flatten", "flat", "squeeze")
    net.add("Scale", "scaled", ["data", "flat"], "scale_param { axis: 0 }")
    images = noise(3, 4, 4, 3)
    (found,) = computed(loaded(net, tmp_path), "scaled", images=images)
    pixels = caffe_order(images)
    np.testing.assert_allclose(found, pixels * pixels.mean((2, 3), keepdims=True), rtol=1e-5)


# -- files


V1 = """
name: "old"
input: "data" input_dim: 1 input_dim: 3 input_dim: 6 input_dim: 6
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv"
  blobs_lr: 1 blobs_lr: 2 weight_decay: 1
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "gaussian" std: 0.01 } } }
layers { name: "relu" type: RELU bottom: "conv" top: "conv" }
layers { name: "fc" type: INNER_PRODUCT bottom: "conv" top: "fc"
  inner_product_param { num_output: 2 } }
"""


def test_layers_of_version_1(tmp_path: Path) -> None:
    new = Written("new", (3, 6, 6))
    new.conv("conv", "data", 3, 4, 3)
    new.dense("fc", "conv", 64, 2)
    network = loaded(new, tmp_path)
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(0, (2 / 27) ** 0.5, (4, 3, 3, 3)), rng.normal(0, 0.1, 4)
    dense, bias2 = rng.normal(0, 64**-0.5, (2, 64)), rng.normal(0, 0.1, 2)
    ends = [wire(2, "data") + wire(3, "conv"), wire(2, "conv") + wire(3, "conv")]
    conv = wire(10, wire(1, 4) + wire(4, 3))
    saved = [
        caffe_layer_v1("conv", 4, blob(kernel, old=True), blob(bias, old=True),
                       more=ends[0] + conv),
        caffe_layer_v1("relu", 18, more=ends[1]),
        caffe_layer_v1("fc", 14, blob(dense, old=True), blob(bias2, old=True),
                       more=wire(2, "conv") + wire(3, "fc") + wire(17, wire(1, 2))),
    ]  # fmt: skip
    dims = b"".join(wire(4, side) for side in (1, 3, 6, 6))
    (tmp_path / "old.caffemodel").write_bytes(
        wire(1, "old") + wire(3, "data") + dims + b"".join(saved)
    )
    (tmp_path / "old.prototxt").write_text(V1)
    alone = backbones.load(f"caffe:{tmp_path}/old.caffemodel", declared=NONE)
    both = backbones.load(
        f"caffe:{tmp_path}/old.prototxt", weights=tmp_path / "old.caffemodel", declared=NONE
    )
    images = noise(2, 6, 6, 3)
    (expected,) = computed(network, "fc", images=images)
    for other in (alone, both):
        assert other.weights.sha256 == network.weights.sha256
        assert other.facts["graph_sha256"] == network.facts["graph_sha256"]
        np.testing.assert_array_equal(computed(other, "fc", images=images)[0], expected)


TRAINED = """
name: "trained"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { crop_size: 8 mean_value: 1 mean_value: 2 mean_value: 3 } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { crop_size: 6 mean_value: 10 mean_value: 20 mean_value: 30 scale: 0.5 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "noise" type: "Dropout" bottom: "conv" top: "conv" include { phase: TRAIN } }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 2 } }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy"
  include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""


def test_what_trains_is_left_out_and_the_data_layer_says_the_input(tmp_path: Path) -> None:
    (tmp_path / "train_val.prototxt").write_text(TRAINED)
    network = backbones.load(f"caffe:{tmp_path}/train_val.prototxt", weights="none")
    assert network.size == 6
    assert network.main == "conv"
    assert set(network.layers) == {"conv", "fc"}
    preprocess = network.spec.preprocess
    assert (preprocess.channels, preprocess.scale) == ("bgr", (0.5, 0.5, 0.5))
    assert preprocess.offset == (-5, -10, -15)
    assert network.details["preprocess"] == "mean_value and scale of its data layer"
    by_hand = backbones.load(
        f"caffe:{tmp_path}/train_val.prototxt",
        weights="none",
        declared=DeclaredInput.parse("torch;resize=pad"),
    )
    assert by_hand.spec.preprocess.name == "torch"
    assert by_hand.spec.resize == "pad"
    assert by_hand.details["preprocess"] == "--preprocess"
    again = backbones.load(f"caffe:{tmp_path}/train_val.prototxt", weights="none")
    assert again.weights == network.weights  # drawn, the same every time


@pytest.mark.parametrize(
    ("name", "mean", "resize"),
    [
        ("VGG_ILSVRC_16_layers", (103.939, 116.779, 123.68), "crop"),
        ("ResNet-50", (103.939, 116.779, 123.68), "crop"),
        ("CaffeNet", (104, 117, 123), "squash"),
        ("ResNet_50_1by2_nsfw", (104, 117, 123), "squash"),
    ],
)
def test_means_of_the_zoo(name: str, mean, resize: str, tmp_path: Path) -> None:
    net = Written(name, (3, 224, 224))
    net.conv("conv", "data", 3, 2, 7, "stride: 8")
    text, model = net.save(tmp_path)
    spec = backbones.load(f"caffe:{text}", weights=model).spec
    assert spec.preprocess.channels == "bgr"
    assert spec.preprocess.offset == tuple(-one for one in mean)
    assert (spec.resize, spec.crop_ratio) == (resize, 0.875)


def test_grey_images(tmp_path: Path) -> None:
    net = Written("LeNet", (1, 8, 8))
    net.conv("conv", "data", 1, 3, 3, relu=False)
    text, model = net.save(tmp_path)
    network = backbones.load(
        f"caffe:{text}", weights=model, declared=DeclaredInput.parse("channels=grey;scale=1/256")
    )
    images = noise(2, 8, 8, 3)
    (found,) = computed(network, "conv", images=images)
    grey = (images @ np.float32([0.299, 0.587, 0.114]) / 256)[:, None]
    (expected,) = by_opencv((text, model), grey, "conv")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    plain = backbones.load(f"caffe:{text}", weights=model)
    assert plain.spec.preprocess.channels == "grey"
    assert plain.spec.preprocess.offset[0] == pytest.approx(
        -(104 * 0.114 + 117 * 0.587 + 123 * 0.299)
    )


def test_another_size(tmp_path: Path) -> None:
    net = Written("wide", (3, 16, 16))
    net.conv("conv", "data", 3, 4, 3, "stride: 2")
    text, model = net.save(tmp_path)
    network = backbones.load(f"caffe:{text}", weights=model, size=(20, 33))
    assert network.size == (20, 33)
    shape = network.shape(None)
    assert (shape.height, shape.width) == (9, 16)


# -- what is refused


def refused(text: str, folder: Path, **more) -> str:
    path = folder / "x.prototxt"
    path.write_text(
        'name: "x" input: "data" input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 9\n' + text
    )
    with pytest.raises((BackboneError, WeightsError, OptionError)) as caught:
        backbones.load(f"caffe:{path}", **{"weights": "none", "declared": NONE, **more})
    assert str(path) in caught.value.message
    return f"{caught.value.message} {caught.value.hint}"


def one(kind: str, settings: str = "", bottom: str = "data", top: str = "y") -> str:
    return f'layer {{ name: "it" type: "{kind}" bottom: "{bottom}" top: "{top}" {settings} }}\n'


def convolution(settings: str) -> str:
    return one("Convolution", f"convolution_param {{ {settings} }}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (one("Deconvolution"), "'Deconvolution' ('it')"),
        (one("ReLU", bottom="z", top="y") + one("ReLU", bottom="y", top="z"), "no layer before it"),
        (one("ReLU", bottom="y"), "takes 'y', which no layer before it gives"),
        (one("Pooling", "pooling_param { kernel: 3 }"), "'kernel', which is not known"),
        (one("Pooling", "pooling_param { kernel_size: 3 pool: MOST }"), "MOST"),
        (one("Pooling", "pooling_param { kernel_size: 3 pool: STOCHASTIC }"), "draws at random"),
        (one("Pooling", "pooling_param { kernel_size: 1 stride: 6 }"), "hold no pixel"),
        (one("Pooling", "pooling_param { kernel_size: 30 }"), "too small"),
        (one("BatchNorm", "batch_norm_param { use_global_stats: false }"), "the other images"),
        (convolution("num_output: 4 kernel_size: 3 group: 2"), "groups"),
        (convolution("num_output: 1000000000 kernel_size: 900 pad: 500"), "than any network has"),
        (convolution("num_output: 4 kernel_size: 3 pad: 99999999"), "pad"),
        (one("InnerProduct", "inner_product_param { num_output: 99999999 }"), "any network has"),
        (one("LRN", "lrn_param { local_size: 4 }"), "not odd"),
        (one("Power", "power_param { power: 2 }"), "not 1"),
        (one("Reshape", "reshape_param { shape { dim: -1 dim: 3 } }"), "each image"),
        (one("Concat", "concat_param { axis: 0 }"), "each image"),
        ("layers { layer { name: 'x' type: 'conv' } }", "version 0"),
        ("net: 'train.prototxt' base_lr: 0.1", "0 layers"),
        ("layer { name: 'x' ", "the end"),
        ("layer " * 3, "where a colon or a message was expected"),
        ("a {" * 40, "deeper than"),
        ('layer { name: "two" type: "Input" top: "b" }\n' + one("ReLU"), "2 inputs"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_named(text: str, said: str, tmp_path: Path) -> None:
    assert said in refused(text, tmp_path)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    net = Written("net", (3, 9, 9))
    net.conv("conv", "data", 3, 4, 3)
    net.dense("fc", "conv", 4 * 49, 2)
    text, model = net.save(tmp_path)
    with pytest.raises(
        WeightsError, match="'fc' .InnerProduct., kernel 256x2, .* got kernel 196x2"
    ):
        backbones.load(f"caffe:{text}", weights=model, size=10)
    Path(model).write_bytes(
        wire(1, "x") + caffe_layer("other", "Convolution", blob(np.ones((1, 1, 1, 1))))
    )
    with pytest.raises(WeightsError, match="'conv' .Convolution., .* got none"):
        backbones.load(f"caffe:{text}", weights=model)
    with pytest.raises(WeightsError, match="expected its weights, got none"):
        backbones.load(f"caffe:{text}")
    with pytest.raises(BackboneError, match="is not there"):
        backbones.load("caffe:nowhere.prototxt", weights=model)


def test_recipe_finds_both_files_again(tmp_path: Path, monkeypatch) -> None:
    from bottleneck.extraction.run import build_embedder, rebuild_embedder

    (tmp_path / "nets").mkdir()
    (tmp_path / "models").mkdir()
    net = Written("net", (3, 16, 16))
    net.conv("a/b", "data", 3, 4, 3)
    net.pool("pool", "a/b", "pool: AVE global_pooling: true")
    _, model = net.save(tmp_path / "nets")
    moved = Path(model).rename(tmp_path / "models" / "net.caffemodel")
    monkeypatch.chdir(tmp_path)
    made = build_embedder(
        backbone="caffe:nets/deploy.prototxt", weights="models/net.caffemodel", layers=["a/b"]
    )
    assert made.recipe.identity["backbone"] == "caffe:deploy.prototxt"
    assert json.loads(json.dumps(made.recipe.identity)) == made.recipe.identity
    assert list(made.recipe.identity["outputs"]) == ["a.b.avg"]
    images = noise(2, 16, 16, 3)
    expected = made.network(images)["a.b.avg"]
    monkeypatch.chdir("/")
    again = rebuild_embedder(made.recipe, owner="a head")
    np.testing.assert_array_equal(again.network(images)["a.b.avg"], expected)
    (tmp_path / "nets" / "deploy.prototxt").rename(tmp_path / "models" / "deploy.prototxt")
    again = rebuild_embedder(made.recipe, owner="a head", weights=str(moved))
    np.testing.assert_array_equal(again.network(images)["a.b.avg"], expected)


def test_partial_weights(tmp_path: Path) -> None:
    net = Written("net", (3, 9, 9))
    net.conv("conv", "data", 3, 4, 3)
    net.conv("deep", "conv", 4, 5, 3)
    text, model = net.save(tmp_path)
    whole = backbones.load(f"caffe:{text}", weights=model, declared=NONE)
    Path(model).write_bytes(wire(1, "net") + net.layers[0] + caffe_layer("x", "ReLU", blob(MEAN)))
    with pytest.raises(WeightsError, match="'deep'"):
        backbones.load(f"caffe:{text}", weights=model, declared=NONE)
    partly = backbones.load(f"caffe:{text}", weights=f"partial:{model}", declared=NONE)
    assert partly.details["partial"] == {"filled": ["conv"], "random": ["deep"], "left_over": ["x"]}
    assert partly.facts["random"] == ["deep"]
    images = noise(2, 9, 9, 3)
    for layer, equal in (("conv", True), ("deep", False)):
        (ours,), (theirs,) = (computed(one, layer, images=images) for one in (partly, whole))
        assert np.array_equal(ours, theirs) == equal
        assert ours.std() > 0


def mean_image(path, image, *, old):
    """Write a mean image, (channels, height, width), as Caffe's ``compute_image_mean`` does."""
    path.write_bytes(blob(image[None] if old else image, old=old))
    return path


@pytest.mark.parametrize("old", [True, False])
def test_the_mean_image_of_caffe_is_a_preprocessing(tmp_path, old):
    image = np.random.default_rng(5).uniform(60, 160, (3, 9, 7)).astype(np.float32)
    path = mean_image(tmp_path / "mean.binaryproto", image, old=old)
    found = DeclaredInput.parse(f"mean={path};channels=bgr;crop=1.0").preprocess
    assert found.channels == "bgr"
    assert found.scale == (1.0, 1.0, 1.0)
    np.testing.assert_allclose(found.offset, [-one.mean() for one in image], rtol=1e-6)
    grey = mean_image(tmp_path / "grey.binaryproto", image[:1], old=old)
    found = DeclaredInput.parse(f"mean={grey};channels=grey").preprocess
    assert found.offset[0] == pytest.approx(-image[0].mean())


def test_a_mean_image_that_cannot_be_taken_is_refused(tmp_path):
    image = np.full((3, 2, 2), 100, np.float32)
    path = mean_image(tmp_path / "mean.binaryproto", image, old=True)
    for said, received in (
        (f"mean={path}", "channels=rgb beside a mean image of blue"),
        (f"mean={path};channels=bgr;scale=1/255", "another scale than 1"),
        (f"mean={tmp_path}/none.binaryproto;channels=bgr", "No such file"),
    ):
        with pytest.raises((OptionError, WeightsError), match=received):
            DeclaredInput.parse(said)
    whole = path.read_bytes()
    for cut in range(1, len(whole), 7):
        path.write_bytes(whole[:cut])
        with pytest.raises(WeightsError):
            DeclaredInput.parse(f"mean={path};channels=bgr")
    with pytest.raises(WeightsError, match="1 or 3 channels"):
        DeclaredInput.parse(
            f"mean={mean_image(path, np.zeros((2, 3, 3), np.float32), old=True)};channels=bgr"
        )
