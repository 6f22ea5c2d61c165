"""Files that people have, from the packages that carry them."""

import numpy as np
import pytest
from downloads import fetched

from bottleneck import backbones, runtimes
from bottleneck.backbones import OutputSpec
from bottleneck.weights import read

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]


def test_frozen_mobilenet_of_slim() -> None:
    """ImageNet's MobileNetV1: the fingerprint of the same tensors loaded by hand into Keras's."""
    path = fetched("nudityradar", "0.2.6", "nudityradar/files/retrained_graph.pb")
    loaded = backbones.load(backbones.get("mobilenet"), weights=path)
    assert loaded.weights.sha256 == (
        "e1e92b501a9f63ed2cbe6b19288f57d30bcaad87c9f58f328688ef0f0c07a409"
    )
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString(path.read_bytes())
    images = np.random.default_rng(0).uniform(-1, 1, (1, 224, 224, 3)).astype(np.float32)
    with tf.Graph().as_default() as made:
        tf.import_graph_def(graph, name="")
        scope = "MobilenetV1/MobilenetV1"
        entry = made.get_operation_by_name(f"{scope}/Conv2d_0/convolution").inputs[0]
        last = made.get_operation_by_name(f"{scope}/Conv2d_13_pointwise/Relu6").outputs[0]
        with tf.compat.v1.Session(graph=made) as session:
            expected = session.run(last, {entry: images})
    ours = loaded.model(images).numpy()
    # Noise drives the network far; float32 in another order of sums is 1.7e-5 apart there.
    np.testing.assert_allclose(ours.mean((1, 2)), expected.mean((1, 2)), rtol=0, atol=3e-5)


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
