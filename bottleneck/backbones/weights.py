"""Weights from HDF5 files, and the fingerprint of the weights a network has."""

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.backbones import rescaling
from bottleneck.backbones.spec import BackboneSpec
from bottleneck.errors import WeightsError
from bottleneck.fingerprint import fingerprint_parts

_HEAD_LAYERS: Final = 3
"""A file may hold this many layers more than the network: the head it was saved with."""

_HEAD_TENSORS: Final = 2 * _HEAD_LAYERS


def fingerprint(model: Any) -> str:
    """Return the SHA-256 of a network's weights: types, shapes and bytes, in layer order.

    Names do not enter, so the same tensors from a package, a download or any kind of file
    have the same fingerprint. EfficientNet's extra rescaling, which changes the features and
    is not a weight, does enter.
    """
    parts = []
    for layer in model.layers:
        values = [np.ascontiguousarray(weight) for weight in layer.get_weights()]
        if layer.name == rescaling.LAYER:
            values.append(np.asarray(layer.scale, np.float32))
        for value in values:
            if value.dtype.kind == "i":
                # A counter of EfficientNet's, which some frameworks keep in 32 bits.
                value = value.astype(np.int64)  # noqa: PLW2901
            parts.append(f"{value.dtype.str}{list(value.shape)}".encode())
            parts.append(value.tobytes())
    return fingerprint_parts(parts)


def wrong_file(
    path: Path, spec: BackboneSpec, received: str, hint: str | None = None
) -> WeightsError:
    """Make the error for a file that does not fit."""
    return WeightsError(
        f"{path}: expected weights of the headless {spec.name}. Received: {received}",
        hint=hint
        or "It takes .weights.h5 (model.save_weights), Keras's _notop.h5 and .keras (model.save).",
    )


def read_h5(model: Any, path: Path, spec: BackboneSpec) -> int | None:
    """Fill a network from ``.weights.h5`` or from the older ``.h5`` layout.

    Parameters
    ----------
    model : keras.Model
        The headless network; changed in place.
    path : Path
        The content decides the layout, not the name.
    spec : BackboneSpec
        What the network is, for messages.

    Returns
    -------
    int or None
        How many ``Rescaling`` layers the saved network had; None where the file does not tell.

    Raises
    ------
    WeightsError
        When the file is damaged or holds another network's weights.
    """
    with _opened(path, spec) as file:
        group = file.get("model_weights", file)
        if "layer_names" in group.attrs or "layer_names0" in group.attrs:
            return _read_legacy(model, group, path, spec)
        layers = file.get("layers", file.get("_layer_checkpoint_dependencies"))
        if layers is None:
            raise wrong_file(path, spec, "an HDF5 file that Keras did not write.")
        _check_inventory(model, layers, path, spec)
        # Keras 3 writes a group for every layer, weights or not; its first versions did not.
        told = any(name.startswith("input_layer") for name in layers)
        rescalings = sum(name.startswith("rescaling") for name in layers) if told else None
    _read_with_keras(model, path, spec)
    return rescalings


@contextmanager
def _opened(path: Path, spec: BackboneSpec) -> Iterator[Any]:
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise wrong_file(path, spec, f"no readable HDF5 file ({error}).") from error
    with file:
        try:
            yield file
        except WeightsError:
            raise
        except (OSError, KeyError, RuntimeError, AttributeError, TypeError) as error:
            raise wrong_file(path, spec, f"a damaged HDF5 file ({error}).") from error


def _read_legacy(model: Any, group: Any, path: Path, spec: BackboneSpec) -> int | None:
    names = _names(group, "layer_names")
    saved: list[tuple[str, list[NDArray[Any]]]] = []
    for name in names:
        weights = _names(group[name], "weight_names")
        if weights:
            saved.append((name, [np.asarray(group[name][weight]) for weight in weights]))
    wanted = [layer for layer in model.layers if layer.weights]
    if not 0 <= len(saved) - len(wanted) <= _HEAD_LAYERS:
        raise wrong_file(path, spec, f"{len(saved)} layers with weights, not {len(wanted)}.")
    for layer, (name, values) in zip(wanted, saved, strict=False):
        # The older layout puts what is trained first, whatever the layer's own order.
        variables = layer.trainable_weights + layer.non_trainable_weights
        expected = [tuple(variable.shape) for variable in variables]
        received = [value.shape for value in values]
        if expected != received:
            raise wrong_file(
                path, spec, f"layer {name} of shapes {received}, not {expected} ({layer.name})."
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        if hasattr(layer, "finalize_state"):  # Normalization computes from its weights
            layer.finalize_state()
    version = group.attrs.get("keras_version", b"")
    version = version.decode() if isinstance(version, bytes) else str(version)
    # Keras's own files were made before the extra layer was: older versions cannot tell.
    if version.partition(".")[0].isdecimal() and int(version.partition(".")[0]) >= 3:
        return sum(name.startswith("rescaling") for name in names)
    return 2 if sum(name.startswith("rescaling") for name in names) > 1 else None


def _names(group: Any, attribute: str) -> list[str]:
    """Read a list of names; long lists are split into ``name0``, ``name1``, ..."""
    if attribute in group.attrs:
        found = list(group.attrs[attribute])
    else:
        found, part = [], 0
        while f"{attribute}{part}" in group.attrs:
            found += list(group.attrs[f"{attribute}{part}"])
            part += 1
    return [name.decode() if isinstance(name, bytes) else str(name) for name in found]


def _check_inventory(model: Any, layers: Any, path: Path, spec: BackboneSpec) -> None:
    """Refuse a file that lacks a tensor or has more than a head besides.

    Keras finds layers by their class and number, and would read the first layers of a deeper
    network of the same kind without a word.
    """
    import h5py

    held: Counter[tuple[int, ...]] = Counter()

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and "seed_generator" not in name:
            held[tuple(item.shape)] += 1

    layers.visititems(visit)
    wanted = Counter(tuple(weight.shape) for weight in model.weights)
    missing, extra = wanted - held, held - wanted
    if missing:
        raise wrong_file(
            path,
            spec,
            f"no tensor of shape {next(iter(missing))}; {missing.total()} of {wanted.total()}"
            " are missing.",
        )
    if extra.total() > _HEAD_TENSORS:
        raise wrong_file(path, spec, f"{extra.total()} tensors too many: a deeper network.")


def _read_with_keras(model: Any, path: Path, spec: BackboneSpec) -> None:
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", UserWarning)  # Keras only warns of layers it cannot fill
        link = Path(folder) / "named.weights.h5"  # Keras tells layouts apart by the suffix
        link.symlink_to(path.absolute())
        try:
            model.load_weights(link)
        except Exception as error:
            raise wrong_file(
                path,
                spec,
                f"weights that do not fit ({_first_line(error)}).",
                hint="Save the backbone alone, `base.save_weights(...)`, not a model around it.",
            ) from error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))
