"""Blocks of real networks, and what a name means."""

import pytest

from bottleneck import backbones
from bottleneck.adapt.layers import Body
from bottleneck.errors import OptionError

SIZES = {"vgg16": 32, "inception_v3": 75, "resnet50": 32, "efficientnet_lite0": 32}


@pytest.fixture(scope="module")
def bodies():
    return {
        name: Body.of(
            backbones.load(
                name, weights=None if "lite" in name else "none", size=size, backend="tensorflow"
            ).model
        )
        for name, size in SIZES.items()
    }


def names(body, *asked, start=None):
    return [body.names[i] for i in body.chosen(asked, start)]


def test_a_block_is_what_its_names_and_the_network_say(bodies):
    vgg = bodies["vgg16"]
    assert [len(block) for block in vgg.blocks] == [2, 2, 3, 3, 3]
    assert names(vgg, "block5") == ["block5_conv1", "block5_conv2", "block5_conv3"]
    assert names(vgg, "last:1") == names(vgg, "block5")
    assert names(vgg, "block4_conv2") == ["block4_conv2"]
    assert names(vgg, start="block5") == names(vgg, "block5")
    assert names(vgg, start="block4_conv3")[0] == "block4_conv3"
    # Of Inception's eleven mixed blocks each ends in a concatenation; the names say nothing.
    inception = bodies["inception_v3"]
    closed_by = names(inception, "mixed10")
    assert closed_by == names(inception, "last:1")
    assert len([name for name in closed_by if name.startswith("conv2d")]) == 9
    assert set(names(inception, start="mixed7")) > set(names(inception, "mixed8"))
    resnet = bodies["resnet50"]
    assert {name.rsplit("_", 2)[0] for name in names(resnet, "last:1")} == {"conv5_block3"}
    lite = bodies["efficientnet_lite0"]
    assert names(lite, "last:1") == ["top_conv", "top_bn"]
    assert "block6a_dwconv" not in names(lite, "block6b")


def test_a_cut_is_where_one_tensor_passes(bodies):
    import keras

    for name, body in bodies.items():
        chosen = body.chosen(["last:2"], None)
        cut = body.cut_before(chosen)
        # Keras agrees that the rest can be computed from that tensor alone.
        rest = keras.Model(body.tensors[cut], body.tensors[-1])
        inside = {layer.name for layer in rest.layers}
        assert {body.names[i] for i in chosen} <= inside, name
        assert not any(body.names[i] in inside for i in range(1, cut)), name
    resnet = bodies["resnet50"]
    assert resnet.names[resnet.cut_before(resnet.chosen(["last:1"], None))] == "conv5_block2_out"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("block6", "name of a layer or the beginning of a block's, got 'block6'"),
        ("last:0", "expected last:1 to last:5 blocks"),
        ("last:9", "expected last:1 to last:5 blocks"),
        ("input_layer", "layer with weights, got 'input_layer'"),
    ],
)
def test_other_names_are_refused_with_the_nearest(bodies, asked, message):
    body = bodies["vgg16"]
    asked = body.names[0] if asked == "input_layer" else asked
    with pytest.raises(OptionError, match=message.replace("input_layer", body.names[0])):
        body.chosen([asked], None)
