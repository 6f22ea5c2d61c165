"""Write a network of tf_slim with random weights as checkpoints, and its features of noise.

Run as ``slim_oracle.py NAME SIZE FOLDER`` where tf_slim and tf_keras can be imported: checkpoints
of version 1 and 2 under ``FOLDER/v1`` and ``v2``, images and features in ``FOLDER/NAME.npz``.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras.src.legacy_tf_layers as legacy
import tf_keras.src.legacy_tf_layers.normalization

# Where tf_slim looks for them; they have moved since.
sys.modules["tf_keras.legacy_tf_layers"] = legacy
sys.modules["tf_keras.legacy_tf_layers.normalization"] = tf_keras.src.legacy_tf_layers.normalization

import tf_slim  # noqa: E402
from tf_slim.nets import inception, resnet_v1, resnet_v2, vgg  # noqa: E402

v1 = tf.compat.v1


def features(name: str, images):
    if name.startswith("vgg"):
        with tf_slim.arg_scope(vgg.vgg_arg_scope()):
            _, ends = getattr(vgg, name)(images, is_training=False, num_classes=10)
        return ends[f"{name}/pool5"]
    if name.startswith("resnet"):
        module = resnet_v1 if "v1" in name else resnet_v2
        with tf_slim.arg_scope(module.resnet_arg_scope()):
            return getattr(module, name)(
                images, num_classes=None, is_training=False, global_pool=False
            )[0]
    with tf_slim.arg_scope(getattr(inception, f"{name}_arg_scope")()):
        _, ends = getattr(inception, name)(images, is_training=False, num_classes=1001)
    return ends["Mixed_7c" if name.endswith("v3") else "Mixed_5c"]


def drawn(generator, variable):
    shape = tuple(variable.shape)
    if variable.name.endswith(("gamma:0", "moving_variance:0")):
        return generator.uniform(0.5, 1.5, shape)
    deviation = np.sqrt(2 / np.prod(shape[:-1])) if len(shape) == 4 else 0.1
    return generator.normal(0, deviation, shape)


def main(name: str, size: int, folder: Path) -> None:
    v1.disable_eager_execution()
    generator = np.random.default_rng(0)
    with tf.Graph().as_default(), v1.Session() as session:
        entry = v1.placeholder(tf.float32, (None, size, size, 3))
        out = features(name, entry)
        session.run(v1.global_variables_initializer())
        for variable in v1.global_variables():
            variable.load(drawn(generator, variable).astype("f4"), session)
        # The two large layers of VGG's classifier are not of interest.
        kept = [v for v in v1.global_variables() if not ("/fc6" in v.name or "/fc7" in v.name)]
        for version in ("V1", "V2"):
            target = folder / version.lower() / f"{name}.ckpt"
            target.parent.mkdir(parents=True, exist_ok=True)
            writer = getattr(v1.train.SaverDef, version)
            v1.train.Saver(kept, write_version=writer).save(session, str(target))
        images = generator.uniform(-1, 1, (2, size, size, 3)).astype("f4")
        np.savez(folder / f"{name}.npz", images=images, features=session.run(out, {entry: images}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
