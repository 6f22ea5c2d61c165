"""Write one network's weights in the layouts that Keras has had."""

import h5py
import numpy as np


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
