"""Known releases of weights: which file is which, by the MD5 of its bytes.

From the histories of fchollet/deep-learning-models and keras-applications, and from Keras 3.15.
Two releases may share a file's name; none shares its hash.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True)
class Release:
    """One published file.

    Parameters
    ----------
    label : str
        Who released it.
    file : str
        Its published name.
    backbone : str
        The network of ours that it belongs to.
    """

    label: str
    file: str
    backbone: str


def _pair(
    label: str, stem: str, backbone: str, hashes: tuple[str, str], order: str = "tf"
) -> dict[str, Release]:
    name = f"{stem}_weights_{order}_dim_ordering_{order}_kernels"
    return {
        hashes[0]: Release(label, f"{name}.h5", backbone),
        hashes[1]: Release(label, f"{name}_notop.h5", backbone),
    }


_MODELS: Final = "fchollet/deep-learning-models"

RELEASES: Final[dict[str, Release]] = {
    **_pair(
        f"{_MODELS} v0.1",
        "vgg16",
        "vgg16",
        ("64373286793e3c8b2b4e3219cbf3544b", "6d6bbae143d832006294945121d1f1fc"),
    ),
    **_pair(
        f"{_MODELS} v0.1",
        "vgg19",
        "vgg19",
        ("cbe5617147190e668d6c5d5026f83318", "253f8cb515780f3b799900260a226db6"),
    ),
    **_pair(
        f"{_MODELS} v0.2",
        "resnet50",
        "resnet50_v02",
        ("a7b3fe01876f51b976af0dea6bc144eb", "a268eb855778b3df3c7506639542a6af"),
    ),
    **_pair(
        f"{_MODELS} v0.2",
        "resnet50",
        "resnet50_v02",
        ("1c1f8f5b0c8ee28fe9d950625a230e1c", "f64f049c92468c9affcd44b0976cdafe"),
        "th",
    ),
    **_pair(
        "keras-applications",
        "resnet50",
        "resnet50",
        ("2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626"),
    ),
    **_pair(
        f"{_MODELS} v0.2",
        "inception_v3",
        "inception_v3_v02",
        ("fe114b3ff2ea4bf891e9353d1bbfb32f", "2f3609166de1d967d1a481094754f691"),
    ),
    **_pair(
        f"{_MODELS} v0.2",
        "inception_v3",
        "inception_v3_v02",
        ("b3baf3070cc4bf476d43a2ea61b0ca5f", "79aaa90ab4372b4593ba3df64e142f05"),
        "th",
    ),
    **_pair(
        f"{_MODELS} v0.5",
        "inception_v3",
        "inception_v3",
        ("9a0d58056eeedaa3f26cb7ebd46da564", "bcbd6486424b2319ff4ef7d526e38f63"),
    ),
    **_pair(
        f"{_MODELS} v0.4",
        "xception",
        "xception",
        ("0a58e3b7378bc2990ea3b43d5981f1f6", "b0042744bf5b25fce3cb969f33bebb97"),
    ),
    **_pair(
        f"{_MODELS} v0.7",
        "inception_resnet_v2",
        "inception_resnet_v2",
        ("e693bd0210a403b3192acc6073ad2e96", "d19885ff4a710c122648d3b5c3b684e4"),
    ),
    **{
        md5: Release(
            label,
            f"densenet{depth}_weights_tf_dim_ordering_tf_kernels_notop.h5",
            f"densenet{depth}",
        )
        for label, depth, md5 in (
            (f"{_MODELS} v0.8", 121, "4912a53fbd2a69346e7f2c0b5ec8c6d3"),
            (f"{_MODELS} v0.8", 169, "50662582284e4cf834ce40ab4dfa58c6"),
            (f"{_MODELS} v0.8", 201, "1c2de60ee40562448dbac34a0737e798"),
            ("keras-applications", 121, "30ee3e1110167f948a6b9946edeeb738"),
            ("keras-applications", 169, "b8c4d4c20dd625c148057b9ff1c1176b"),
            ("keras-applications", 201, "c13680b51ded0fb44dff2d8f86ac8bb1"),
        )
    },
}


def release_of(path: Path) -> Release | None:
    """Recognise a published file by its content, whatever it is called now."""
    if not path.is_file():
        return None
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return RELEASES.get(digest.hexdigest())
