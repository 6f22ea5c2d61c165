"""Weights from files and archives into a network, and the fingerprint of the weights a network has.

The layer that Keras's EfficientNet B0-B7 has only when it is built for ImageNet.

Keras's published weights carry ImageNet's standard deviations where the normalisation layer
expects variances. ``EfficientNetB0(weights="imagenet")`` makes up for it with one more
``Rescaling`` by ``1 / sqrt(std)``; ``EfficientNetB0(weights=None)`` has no such layer. The
layer has no weights, so a weights file loads into either network without complaint, and into
the wrong one it gives wrong features.
"""

import math
import struct
import warnings
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from bottleneck.backbones import pairing
from bottleneck.backbones.catalogue import all_backbones
from bottleneck.backbones.channels_last import channels_last, is_channels_first
from bottleneck.backbones.network import BackboneSpec
from bottleneck.backbones.pairing import as_our_names, slim_row
from bottleneck.errors import WeightsError, first_line
from bottleneck.fingerprint import fingerprint_parts
from bottleneck.images import ImageSize
from bottleneck.process_wide import warnings_ignored
from bottleneck.weights import TAKEN, read, release_of
from bottleneck.weights.hdf5 import MAGIC, check_heaps

RESCALED_FAMILY: Final = "efficientnet"
"""Only this family of ``keras.applications`` is concerned."""

STDDEV: Final = (0.229, 0.224, 0.225)
"""Standard deviations of ImageNet's channels on 0..1; found in the variance slot."""

RESCALING_LAYER: Final = "rescaling_1"
"""The name Keras gives the layer in a fresh process."""

_BEFORE = "stem_conv_pad"


def rescaling_is_needed(variance: ArrayLike, rescalings: int | None) -> bool:
    """Decide whether weights belong to a network with the extra layer.

    Parameters
    ----------
    variance : array_like of 3 floats
        The variance stored for the normalisation layer.
    rescalings : int or None
        How many ``Rescaling`` layers the saved network had, where the file tells; the file is
        then believed. None where it does not: then standard deviations in place of variances
        mean ImageNet weights, which need it. (So a network that was built with
        ``weights=None``, filled with ImageNet weights, trained on and saved by Keras 2 is
        taken for one with the layer; nothing in such a file could tell.)
    """
    if rescalings is not None:
        return rescalings > 1
    return bool(np.allclose(np.ravel(variance), STDDEV, rtol=0, atol=1e-3))


def with_rescaling(keras: Any, model: Any) -> Any:
    """Copy a network that lacks the layer into one that has it, weights included."""

    def called(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if layer.name == _BEFORE:
            scale = [1.0 / math.sqrt(stddev) for stddev in STDDEV]
            x = keras.layers.Rescaling(scale, name=RESCALING_LAYER)(args[0])
            return layer(x, *args[1:], **kwargs)
        return layer(*args, **kwargs)

    # The layers are new as well: a layer in two networks has its `output` in the first.
    copy = keras.models.clone_model(model, call_function=called)
    copy.set_weights(model.get_weights())
    copy.get_layer("normalization").finalize_state()
    return copy


_HEAD_TENSORS: Final = 2 * pairing.HEAD_LAYERS


def fingerprint(model: Any, derived: Collection[str] = ()) -> str:
    """Return the SHA-256 of a network's weights: types, shapes and bytes, in layer order.

    Names do not enter, so the same tensors from a package, a download or any kind of file
    have the same fingerprint. EfficientNet's extra rescaling, which changes the features and
    is not a weight, does enter. ``derived`` names variables that the network computes from others
    when it is built, to the last digits of the framework: they stay out.
    """
    parts = []
    for layer in model.layers:
        values = [np.ascontiguousarray(weight) for weight in layer.get_weights()]
        if derived:
            names = [variable.name for variable in layer.weights]
            pairs = zip(names, values, strict=True)
            values = [value for name, value in pairs if name not in derived]
        if layer.name == RESCALING_LAYER:
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


def read_partly(model: Any, path: Path, spec: BackboneSpec) -> pairing.Partly:
    """Fill what a file has of a network, by name and shape; the rest stays as it was drawn.

    Raises
    ------
    WeightsError
        When the file is damaged, or has nothing of this network.
    """
    try:
        return pairing.fill_partly(model, as_our_names(read(path), spec).layers)
    except pairing.UnpairedError as error:
        raise wrong_file(path, spec, str(error)) from error


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

    check_heaps(path)
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
            if release.backbone in {one.name for one in all_backbones()}
            else "It is a network of its own, which the catalogue does not have: its features "
            "would be wrong in this one.",
        )
    try:
        layers = as_our_names(found, spec).layers
        pairing.fill(pairing.pair(model, layers, chained=found.chained))
    except pairing.UnpairedError as error:
        theirs = slim_row(found)
        hint = None if theirs in (None, spec.name) else f"It is TF-slim's: use -b {theirs}."
        raise wrong_file(path, spec, str(error), hint=hint) from error
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
    with TemporaryDirectory() as folder, warnings_ignored():
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


@dataclass(frozen=True)
class Archive:
    """An opened ``.keras`` file.

    Parameters
    ----------
    path : Path
    spec : BackboneSpec
        What it is expected to hold.
    model : keras.Model
        All of it.
    """

    path: Path
    spec: BackboneSpec
    model: Any

    @property
    def size(self) -> ImageSize | None:
        """Size of the input if the saved network fixes one, pixels."""
        for network, _ in _networks(self.model):
            shape = getattr(network, "input_shape", None)
            if isinstance(shape, tuple) and len(shape) == 4:
                height, width = shape[1:3]
                if None not in (height, width):
                    return int(height) if height == width else (int(height), int(width))
        return None

    def fill(self, model: Any) -> bool:
        """Copy the weights into a freshly built backbone.

        The backbone is found by its layers' kinds and shapes, in order; what follows it is a
        head and is dropped.

        Returns
        -------
        bool
            Whether the saved network has EfficientNet's extra rescaling.

        Raises
        ------
        WeightsError
            When the archive does not contain this backbone, or pixels pass other layers first.
        """
        wanted = [type(layer).__name__ for layer in model.layers]
        for network, before in _networks(self.model):
            kinds = [type(layer).__name__ for layer in network.layers]
            if kinds[: len(wanted)] == wanted:
                layers, rescaled = network.layers[: len(wanted)], False
            elif self.spec.family == RESCALED_FAMILY and (
                kinds[: len(wanted) + 1] == [*wanted[:3], "Rescaling", *wanted[3:]]
            ):
                layers, rescaled = [*network.layers[:3], *network.layers[4 : len(wanted) + 1]], True
            else:
                continue
            if before:
                raise wrong_file(
                    self.path,
                    self.spec,
                    f"a model in which {', '.join(before)} come before the backbone",
                    hint="Preprocessing is done here: save the backbone alone, `base.save(...)`.",
                )
            self._copy(layers, model.layers)
            return rescaled
        raise wrong_file(
            self.path, self.spec, f"{self.model.name}, in which no such network was found"
        )

    def _copy(self, sources: list[Any], targets: list[Any]) -> None:
        for source, target in zip(sources, targets, strict=True):
            values = source.get_weights()
            expected = [tuple(weight.shape) for weight in target.weights]
            received = [value.shape for value in values]
            if expected != received:
                raise wrong_file(
                    self.path, self.spec, f"{source.name} of shapes {received}, not {expected}"
                )
            if values:
                target.set_weights(values)
            if hasattr(target, "finalize_state"):  # Normalization computes from its weights
                target.finalize_state()


def is_archive(path: Path) -> bool:
    """Tell a ``.keras`` file by its content, whatever it is called."""
    try:
        with zipfile.ZipFile(path) as file:
            return {"config.json", "metadata.json"} <= set(file.namelist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, struct.error):
        return path.suffix == ".keras"


def open_archive(keras: Any, path: Path, spec: BackboneSpec) -> Archive:
    """Open a ``.keras`` file; code inside it (Lambda layers) is never run.

    Raises
    ------
    WeightsError
        When the file is damaged, unsafe, or needs classes that are not Keras's.
    """
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except WeightsError:
        raise
    except Exception as error:
        raise wrong_file(
            path, spec, f"an archive Keras cannot open ({first_line(error)})"
        ) from error
    if is_channels_first(model):
        model = channels_last(keras, model, str(path))
    return Archive(path, spec, model)


def _networks(model: Any) -> Iterator[tuple[Any, list[str]]]:
    """Walk a model and the models inside it, each with the kinds of layers in front of it."""
    yield model, []
    before: list[str] = []
    for layer in model.layers:
        kind = type(layer).__name__
        if hasattr(layer, "layers"):
            for inner, more in _networks(layer):
                yield inner, [*before, *more]
        if kind != "InputLayer":
            before.append(kind)
