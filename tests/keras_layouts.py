"""Write one network's weights in the layouts that Keras, Caffe and TF-slim have had."""

from pathlib import Path

import h5py
import numpy as np
from caffe_files import blob, caffe_layer, caffe_layer_v1, wire


def flipped(kernel):
    return kernel[::-1, ::-1]


def write_numbered(model, path):
    """Keras 0.x Sequential on Theano: (out, in, height, width), flipped, tensors numbered."""
    with h5py.File(path, "w") as file:
        file.attrs["nb_layers"] = len(model.layers)
        for k, layer in enumerate(model.layers):
            group = file.create_group(f"layer_{k}")
            values = layer.get_weights()
            group.attrs["nb_params"] = len(values)
            for p, value in enumerate(values):
                if value.ndim == 4:
                    value = flipped(value).transpose(3, 2, 0, 1)  # noqa: PLW2901
                group[f"param_{p}"] = value
    return path


_KERAS_1 = {
    "kernel": "W",
    "bias": "b",
    "moving_mean": "running_mean",
    "moving_variance": "running_std",
}


def write_keras_1(model, path, *, ordering, theano):
    """Keras 1: no version, no backend; the names show who wrote, the shapes the order."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = []
            for variable in layer.weights:
                value = np.asarray(variable)
                letter = _KERAS_1.get(variable.name, variable.name)
                name = f"{layer.name}_{letter}" + ("" if theano else "_1:0")
                if value.ndim == 4:
                    value = flipped(value) if theano else value
                    value = value.transpose(3, 2, 0, 1) if ordering == "th" else value
                group[name] = value
                names.append(name.encode())
            group.attrs["weight_names"] = names
    return path


def write_keras_2(model, path, *, backend, whole=False):
    """Keras 2: today's axes always, flipped in space by Theano."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole else file
        root.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        root.attrs["keras_version"] = b"2.2.4"
        root.attrs["backend"] = backend.encode()
        for layer in model.layers:
            group = root.create_group(layer.name)
            names = []
            for variable in layer.weights:
                value = np.asarray(variable)
                name = f"{layer.name}/{variable.name}" + ("" if backend == "theano" else ":0")
                group[name] = (
                    flipped(value)
                    if backend == "theano" and variable.name == "kernel" and value.ndim == 4
                    else value
                )
                names.append(name.encode())
            group.attrs["weight_names"] = names
    return path


def write_with_keras(model, path, *, suffix):
    """Keras 3 itself: ``.weights.h5`` of weights alone, ``.keras`` and ``.h5`` of the model."""
    target = Path(path).with_suffix(suffix)
    if suffix == ".weights.h5":
        model.save_weights(target)
    else:
        model.save(target)
    return target


def write_vgg_for_caffe(model, path, *, version):
    """Caffe: (out, in, height, width), blue first as Keras's VGG; layers of version 1 or 2."""
    content = wire(1, "VGG")
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            name = f"conv{layer.name[5]}_{layer.name[-1]}"
            kernel = kernel.transpose(3, 2, 0, 1)
            if version == 1:
                parts = blob(kernel, old=True), blob(bias, old=True)
                content += caffe_layer_v1(name, 4, *parts)
            else:
                content += caffe_layer(name, "Convolution", blob(kernel), blob(bias))
    Path(path).write_bytes(content)
    return path


def write_vgg_for_slim(model, path, *, version):
    """TF-slim: a checkpoint of version 1 or 2 written by TensorFlow, red first."""
    import tensorflow as tf

    names, values = [], []
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            if layer.name == "block1_conv1":
                kernel = kernel[:, :, ::-1]
            place = f"vgg_16/conv{layer.name[5]}/conv{layer.name[5]}_{layer.name[-1]}"
            names += [f"{place}/weights", f"{place}/biases"]
            values += [tf.constant(kernel), tf.constant(bias)]
    if version == 1:
        tf.raw_ops.Save(filename=str(path), tensor_names=names, data=values)
    else:
        tf.raw_ops.SaveV2(
            prefix=str(path), tensor_names=names, shape_and_slices=[""] * len(names), tensors=values
        )
    return path
