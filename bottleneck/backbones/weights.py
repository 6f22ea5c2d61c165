"""Weights from files into a network, and the fingerprint of the weights a network has."""

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from bottleneck.backbones import pairing, rescaling
from bottleneck.backbones.renames import as_keras_names
from bottleneck.backbones.spec import BackboneSpec
from bottleneck.backbones.table import TABLE
from bottleneck.errors import WeightsError
from bottleneck.fingerprint import fingerprint_parts
from bottleneck.weights import TAKEN, read, release_of
from bottleneck.weights.hdf5 import MAGIC

_HEAD_TENSORS: Final = 2 * pairing.HEAD_LAYERS


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
        f"{path}: expected weights of the headless {spec.name}, got {received}",
        hint=hint or f"`bottleneck info {path}` says what it holds. It takes {TAKEN}",
    )


def read_into(model: Any, path: Path, spec: BackboneSpec) -> int | None:
    """Fill a network from a weights file of any layout but ``.keras``.

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
    if not _is_keras_3(path, spec):
        return _read_named(model, path, spec)
    with _opened(path, spec) as file:
        layers = file.get("layers", file.get("_layer_checkpoint_dependencies"))
        _check_inventory(model, layers, path, spec)
        # Keras 3 writes a group for every layer, weights or not; its first versions did not.
        told = any(name.startswith("input_layer") for name in layers)
        rescalings = sum(name.startswith("rescaling") for name in layers) if told else None
    _read_with_keras(model, path, spec)
    return rescalings


def _is_keras_3(path: Path, spec: BackboneSpec) -> bool:
    """Tell the layout of ``save_weights``, in which layers have no names of their own."""
    if not path.is_file():
        return False  # a checkpoint's prefix or folder
    with path.open("rb") as start:
        if start.read(len(MAGIC)) != MAGIC:
            return False
    with _opened(path, spec) as file:
        group = file.get("model_weights", file)
        if "layer_names" in group.attrs or "layer_names0" in group.attrs:
            return False
        return any(
            isinstance(file.get(name), type(file["/"]))
            for name in ("layers", "_layer_checkpoint_dependencies")
        )


@contextmanager
def _opened(path: Path, spec: BackboneSpec) -> Iterator[Any]:
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise wrong_file(path, spec, f"no readable HDF5 file ({error})") from error
    with file:
        try:
            yield file
        except WeightsError:
            raise
        except (OSError, KeyError, RuntimeError, AttributeError, TypeError) as error:
            raise wrong_file(path, spec, f"a damaged HDF5 file ({error})") from error


def _read_named(model: Any, path: Path, spec: BackboneSpec) -> int | None:
    """Fill a network from a file whose layers have names of their own; count ``Rescaling``."""
    found = read(path)
    release = release_of(path)
    if release is not None and release.backbone != spec.name:
        raise wrong_file(
            path,
            spec,
            f"{release.file} of {release.label}, weights of {release.backbone}",
            hint=f"Use -b {release.backbone}."
            if release.backbone in {one.name for one in TABLE}
            else "It is a network of its own, which the catalogue does not have: its features "
            "would be wrong in this one.",
        )
    try:
        pairing.fill(pairing.pair(model, as_keras_names(found, spec.family), chained=found.chained))
    except pairing.UnpairedError as error:
        raise wrong_file(path, spec, str(error)) from error
    # Keras's own files were made before the extra layer was: older versions cannot tell.
    rescalings = sum(name.startswith("rescaling") for name in found.listed)
    if found.format == "keras-3-legacy":
        return rescalings
    return 2 if rescalings > 1 else None


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
            " are missing",
        )
    if extra.total() > _HEAD_TENSORS:
        raise wrong_file(path, spec, f"{extra.total()} tensors too many: a deeper network")


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
                f"weights that do not fit ({_first_line(error)})",
                hint="Save the backbone alone, `base.save_weights(...)`, not a model around it.",
            ) from error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))
