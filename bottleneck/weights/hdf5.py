"""Keras's HDF5 layouts, from 0.x to 3: told apart by what is inside.

What a file links to is part of it only where it lies in the same file: links to other files,
external and virtual storage are refused, and no claim of size is believed that the file's own
length does not bear out.
"""

import json
import math
import mmap
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import WeightsError
from bottleneck.exhaustion import raise_if_exhausted
from bottleneck.weights import keras_rules
from bottleneck.weights.layout import MAX_LAYERS, TAKEN, Layer, Weights, damaged

MAGIC: Final = b"\x89HDF\r\n\x1a\n"

_MOST_COMPRESSED: Final = 64
"""Times the length of the file that its tensors may take in memory; weights hardly compress."""

_HEAP: Final = b"GCOL\x01\0\0\0"
"""How a heap of strings begins."""

_MOST_TEXT: Final = 512 << 20
"""Memory for an attribute; the longest, a network as JSON, takes some megabytes. Other threads may
take from it too, so it is not less."""

_ONE_LIMITS: Final = Lock()

_SMALL: Final = 1 << 20
_DEEPEST: Final = 32


class _Budget:
    """How many bytes the tensors of a file may still take."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.left = _SMALL + _MOST_COMPRESSED * path.stat().st_size

    def read(self, dataset: Any) -> NDArray[Any]:
        claimed = int(dataset.size or 0) * dataset.dtype.itemsize
        self.left -= claimed
        if self.left < 0:
            raise damaged(self.path, f"{dataset.name} of shape {dataset.shape}: more than it holds")
        if dataset.external or dataset.is_virtual:
            raise damaged(self.path, f"{dataset.name}, whose values lie in another file")
        if dataset.dtype.kind not in "fiub":
            raise damaged(self.path, f"{dataset.name} of type {dataset.dtype}, not numbers")
        return np.asarray(dataset[()])


def read_hdf5(path: Path, content: BinaryIO | None = None) -> Weights:
    """Read the weights in an HDF5 file of Keras, or in an opened member of an archive.

    Raises
    ------
    WeightsError
        When the file is damaged, or none of Keras's layouts.
    """
    import h5py

    try:
        check_heaps(path, content)
        with h5py.File(content or path, "r") as file:
            return _read(file, path)
    except WeightsError:
        raise
    except MemoryError as error:
        raise_if_exhausted(error)
        raise damaged(path, "a damaged HDF5 file (text longer than any)") from error
    except (OSError, KeyError, RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise_if_exhausted(error)
        raise damaged(path, f"a damaged HDF5 file ({error})") from error


def is_keras(path: Path) -> bool:
    """Tell a file of Keras from other HDF5 files; False for a damaged one."""
    import h5py

    try:
        check_heaps(path)
        with h5py.File(path, "r") as file:
            return bool(
                {"nb_layers", "layer_names", "layer_names0"} & set(file.attrs)
                or {"model_weights", "layers", "_layer_checkpoint_dependencies"} & set(file)
                or ("graph" in file and "nb_params" in _child(file, "graph", path).attrs)
                or ("format" not in file.attrs and any(_keras_3(file, path, _Budget(path))))
            )
    except (OSError, KeyError, RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise_if_exhausted(error)
        return False


def is_flipped(path: Path) -> bool:
    """Tell a file of Keras 2 on Theano, whose kernels are stored flipped in space."""
    import h5py

    try:
        check_heaps(path)
        with h5py.File(path, "r") as file:
            root = _child(file, "model_weights", path) if "model_weights" in file else file
            version, backend = _writer(root, file)
    except (OSError, KeyError, RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise damaged(path, f"a damaged HDF5 file ({error})") from error
    return backend == "theano" and str(version).startswith("2")


def check_heaps(path: Path, content: BinaryIO | None = None) -> None:
    """Refuse a file whose heaps of strings do not end: the library would read them for ever.

    A global heap is a row of objects, each with its length in front (HDF5 File Format
    Specification 3.0, III.E). One of no length leads to itself (seen with HDF5 1.14 and 2).

    Raises
    ------
    WeightsError
    """
    if content is not None:
        data: bytes | mmap.mmap = content.read()
        content.seek(0)
    elif not path.stat().st_size:
        return
    else:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    at = data.find(_HEAP)
    while at >= 0:
        size = int.from_bytes(data[at + 8 : at + 16], "little")
        if not _ends(data, at + 16, min(at + size, len(data))):
            raise damaged(path, f"a damaged HDF5 file (a heap at byte {at} without an end)")
        at = data.find(_HEAP, at + len(_HEAP))


def _ends(data: "bytes | mmap.mmap", at: int, end: int) -> bool:
    while at + 16 <= end:
        index = int.from_bytes(data[at : at + 2], "little")
        size = int.from_bytes(data[at + 8 : at + 16], "little")
        # What is free says its length with this head, the others without it, rounded up.
        step = size if index == 0 else 16 + -(-size // 8) * 8
        if step < 16:
            return False
        at += step
    return True


def _read(file: Any, path: Path) -> Weights:
    budget = _Budget(path)
    root = _child(file, "model_weights", path) if "model_weights" in file else file
    if "nb_layers" in root.attrs:
        return _read_numbered(root, path, budget)
    if "graph" in root and "nb_params" in _child(root, "graph", path).attrs:
        graph = _child(root, "graph", path)
        values = list(_parameters(graph, path, budget))
        tensors = {f"param_{i}": value for i, value in enumerate(values)}
        return Weights(
            path,
            "keras-0-graph",
            "Keras 0.x, a Graph",
            None,
            (Layer("graph", tensors),),
            remarks=("A Graph of Keras 0.x numbers its tensors and does not name their layers.",),
            listed=("graph",),
        )
    if "layer_names" in root.attrs or "layer_names0" in root.attrs:
        return _read_named(root, file, path, budget)
    layers = tuple(_keras_3(file, path, budget))
    if not layers:
        raise WeightsError(
            f"{path}: expected weights, got an HDF5 file that Keras did not write",
            hint=TAKEN,
        )
    return Weights(
        path,
        "keras-3",
        "Keras 3",
        None,
        layers,
        listed=tuple(layer.name for layer in layers),
    )


def _child(group: Any, name: str, path: Path) -> Any:
    """Return a member that lies in the same file."""
    import h5py

    for part in name.split("/"):
        if part and not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise damaged(path, f"{group.name}/{part}, which is missing or a link elsewhere")
        group = group[part] if part else group
    return group


def _attribute(group: Any, name: str) -> Any:
    """Read an attribute; None where there is none.

    Only numbers and strings are read: other types have no place in such files, and the library
    crashes on damaged ones.

    Raises
    ------
    ValueError
        For another type.
    """
    import h5py

    if name not in group.attrs:
        return None
    kind = group.attrs.get_id(name).get_type().get_class()
    if kind not in (h5py.h5t.STRING, h5py.h5t.INTEGER, h5py.h5t.FLOAT):
        raise ValueError(f"{name} of {group.name}, neither text nor numbers")
    with _bounded_memory():
        return group.attrs[name]


@contextmanager
def _bounded_memory() -> Iterator[None]:
    """Let the process take no more than :data:`_MOST_TEXT` on top of what it has.

    The library takes the memory that a string claims, up to 4 GB, before it looks whether the file
    holds it. Nothing it offers tells the claim first.
    """
    with _ONE_LIMITS:
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        try:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
        except (OSError, IndexError, ValueError):  # another system than Linux
            yield
            return
        limit = pages * resource.getpagesize() + _MOST_TEXT
        if soft != resource.RLIM_INFINITY:
            limit = min(limit, soft)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _parameters(group: Any, path: Path, budget: _Budget) -> Iterator[NDArray[Any]]:
    count = int(_attribute(group, "nb_params"))
    if not 0 <= count <= MAX_LAYERS:
        raise damaged(path, f"{count} tensors in {group.name}")
    for index in range(count):
        yield budget.read(_child(group, f"param_{index}", path))


def _read_numbered(root: Any, path: Path, budget: _Budget) -> Weights:
    count = int(_attribute(root, "nb_layers"))
    if not 0 <= count <= MAX_LAYERS:
        raise damaged(path, f"{count} layers")
    layers, listed = [], []
    for index in range(count):
        name = f"layer_{index}"
        listed.append(name)
        values = list(_parameters(_child(root, name, path), path, budget))
        if values:
            roles = keras_rules.unnamed_roles(len(values))
            layers.append(Layer(name, dict(zip(roles, values, strict=True))))
    return _converted(
        Weights(
            path,
            "keras-0",
            "Keras 0.x",
            None,
            tuple(layers),
            chained=True,
            listed=tuple(listed),
        ),
        flipped=True,
        ordering=None,
    )


def names(group: Any, attribute: str) -> list[str]:
    """Read a list of names; long lists are split into ``name0``, ``name1``, ..."""
    if attribute in group.attrs:
        found = list(_attribute(group, attribute))
    else:
        found, part = [], 0
        while f"{attribute}{part}" in group.attrs:
            found += list(_attribute(group, f"{attribute}{part}"))
            part += 1
    return [name.decode() if isinstance(name, bytes) else str(name) for name in found]


def _writer(root: Any, file: Any) -> tuple[str | None, str | None]:
    """Return the version of Keras that wrote a file, and what it computed with."""
    version, backend = (
        _text(_attribute(root if key in root.attrs else file, key))
        for key in ("keras_version", "backend")
    )
    return version, backend


def _read_named(root: Any, file: Any, path: Path, budget: _Budget) -> Weights:
    version, backend = _writer(root, file)
    config = _config(_text(_attribute(file, "model_config")))
    kinds = {name: kind for name, kind, _ in config}
    listed = names(root, "layer_names")
    if len(listed) > MAX_LAYERS:
        raise damaged(path, f"{len(listed)} layers")
    layers, written_by_tensorflow = [], False
    for name in listed:
        group = _child(root, name, path)
        weights = names(group, "weight_names")
        written_by_tensorflow |= any(":" in weight for weight in weights)
        tensors = {weight: budget.read(_child(group, weight, path)) for weight in weights}
        layers += _split(name, tensors, kinds)
    chained = bool(config) and _class(file) == "Sequential"
    major = int(version.partition(".")[0]) if version and version[:1].isdecimal() else 1
    found = Weights(
        path,
        f"keras-{min(major, 2)}" if major < 3 else "keras-3-legacy",
        f"Keras {version or '1 (it says no version)'}" + (f" on {backend}" if backend else ""),
        version,
        tuple(layers),
        chained=chained,
        listed=tuple(listed),
    )
    orderings = {ordering for _, kind, ordering in config if ordering and kind != "Flatten"}
    if major >= 2:
        if backend == "theano":
            turned = tuple(
                replace(layer, tensors=keras_rules.flip_convolution(layer.tensors, layer.kind))
                for layer in layers
            )
            said = "Kernels were stored flipped, by Theano; they were turned back."
            found = replace(found, layers=turned, remarks=(said,))
        # Since 2.2 Flatten itself puts channels last, where it says that they were first.
        turns = any(kind == "Flatten" and order == "th" for _, kind, order in config)
        return _flattened(found) if orderings == {"th"} and not turns else found
    theano = backend == "theano" if backend else not written_by_tensorflow
    ordering: keras_rules.Ordering | None = None
    if orderings == {"th"}:
        ordering = "th"
    elif orderings == {"tf"}:
        ordering = "tf"
    return _converted(found, flipped=theano, ordering=ordering)


def _split(name: str, weights: dict[str, NDArray[Any]], kinds: dict[str, str]) -> list[Layer]:
    """Make layers of one entry: several where the entry is a network of its own."""
    owners: dict[str, dict[str, NDArray[Any]]] = {}
    for weight, value in weights.items():
        owners.setdefault(weight.rpartition("/")[0], {})[weight] = value
    parts = [
        (owner.rpartition("/")[2] if len(owners) > 1 else name, tensors)
        for owner, tensors in owners.items()
    ]
    layers = []
    for part, tensors in parts:
        merged = keras_rules.merge_gates(
            {weight.partition(":")[0]: tensors[weight] for weight in tensors}
        )
        roles = [
            role if role in keras_rules.MERGED else keras_rules.role_of(role, part)
            for role in merged
        ]
        if len(set(roles)) < len(roles):  # of a layer made of layers
            roles = list(merged)
        layers.append(
            Layer(part, dict(zip(roles, merged.values(), strict=True)), kinds.get(part, ""))
        )
    return layers


def _converted(found: Weights, *, flipped: bool, ordering: keras_rules.Ordering | None) -> Weights:
    """Bring the kernels of Keras 0.x and 1.x into today's layout."""
    if ordering is None:
        try:
            ordering = keras_rules.ordering_of(
                [
                    value.shape
                    for layer in found.layers
                    for role, value in layer.tensors.items()
                    if role == "kernel" and value.ndim == 4 and not _is_1d(layer)
                ]
            )
        except ValueError as error:
            raise damaged(found.path, f"{error}") from error
    open_order = ordering is None
    ordering = ordering or ("th" if flipped else "tf")
    layers = []
    for layer in found.layers:
        tensors = dict(layer.tensors)
        if "kernel" in tensors and tensors["kernel"].ndim == 4:
            if _is_1d(layer):
                value = keras_rules.kernel_1d(tensors["kernel"])
                tensors["kernel"] = value[::-1] if flipped else value
            else:
                tensors["kernel"] = keras_rules.kernel(
                    tensors["kernel"],
                    ordering=ordering,
                    flipped=flipped,
                    transposed="deconv" in f"{layer.kind}{layer.name}".lower(),
                )
        layers.append(Layer(layer.name, tensors, layer.kind))
    has_kernels = any(value.ndim == 4 for layer in layers for value in layer.tensors.values())
    remarks = list(found.remarks)
    if has_kernels:
        remarks.append(
            f"Kernels were stored in {ordering} order"
            + (", which no shape tells for certain." if open_order else ".")
        )
        if flipped:
            remarks.append("Kernels were stored flipped, by Theano; they were turned back.")
    writer = (
        found.writer
        if not found.writer.startswith("Keras 1 (")
        else (f"{found.writer}, on {'Theano' if flipped else 'TensorFlow'}")
    )
    found = replace(found, layers=tuple(layers), remarks=tuple(remarks), writer=writer)
    return _flattened(found) if has_kernels and ordering == "th" else found


def _flattened(found: Weights) -> Weights:
    """Put the rows of the first dense kernel in today's order, in a file of channels-first maps.

    Such a net flattens channels before places, ours places before channels. How high and wide the
    map was, no file says; it is told where it was a square.
    """
    channels = 0
    for index, layer in enumerate(found.layers):
        kernel = layer.tensors.get("kernel")
        if kernel is not None and kernel.ndim == 4:
            channels = kernel.shape[-1]
            continue
        if kernel is None or kernel.ndim != 2 or not channels:
            continue
        places, left = divmod(kernel.shape[0], channels)
        side = math.isqrt(places)
        if left or places <= 1 or "recurrent_kernel" in layer.tensors:
            return found  # no flattened map
        if side * side != places:
            said = f"Rows of {layer.name} are in the order of channels-first maps, as stored."
            return replace(found, remarks=(*found.remarks, said))
        turned = keras_rules.dense_after_flatten(kernel, (channels, side, side))
        changed = replace(layer, tensors={**layer.tensors, "kernel": turned})
        said = f"Rows of {layer.name} were put in the order of channels-last maps."
        return replace(
            found,
            layers=(*found.layers[:index], changed, *found.layers[index + 1 :]),
            remarks=(*found.remarks, said),
        )
    return found


def _is_1d(layer: Layer) -> bool:
    return f"{layer.kind} {layer.name}".lower().count("convolution1d") > 0


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return None if value is None else str(value)


def _class(file: Any) -> str:
    try:
        return str(json.loads(_text(_attribute(file, "model_config")) or "{}").get("class_name"))
    except (ValueError, AttributeError, RecursionError):
        return ""


_ORDERINGS: Final[dict[str, keras_rules.Ordering]] = {
    "tf": "tf",
    "th": "th",
    "channels_last": "tf",
    "channels_first": "th",
}
"""What Keras 1 and 2 call the order of axes."""


def _config(text: str | None) -> list[tuple[str, str, keras_rules.Ordering | None]]:
    """List (name, class, ordering) of the layers that a stored model names."""
    found: list[tuple[str, str, keras_rules.Ordering | None]] = []

    def walk(node: Any, depth: int) -> None:
        if depth > _DEEPEST or len(found) > MAX_LAYERS:
            return
        if isinstance(node, dict):
            inner = node.get("config")
            if isinstance(inner, dict) and isinstance(inner.get("name"), str):
                said = inner.get("dim_ordering", inner.get("data_format"))
                ordering = _ORDERINGS.get(said) if isinstance(said, str) else None
                found.append((inner["name"], str(node.get("class_name", "")), ordering))
            for value in node.values():
                walk(value, depth + 1)
        elif isinstance(node, list):
            for value in node:
                walk(value, depth + 1)

    try:
        walk(json.loads(text or "{}"), 0)
    except (ValueError, RecursionError):
        return []
    return found


_VAR_ROLES: Final = {
    1: ("kernel",),
    2: ("kernel", "bias"),
    3: ("0", "1", "2"),
    4: ("gamma", "beta", "moving_mean", "moving_variance"),
}


def _keras_3(file: Any, path: Path, budget: _Budget) -> Iterator[Layer]:
    """Yield what has ``vars`` inside, wherever it lies; each group once, however it is linked."""
    import h5py

    seen = set()
    pending = [(file, "", 0)]
    count = 0
    while pending:
        group, name, depth = pending.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen or depth > _DEEPEST:
            continue
        seen.add(address)
        count += 1
        if count > MAX_LAYERS:
            raise damaged(path, f"more than {MAX_LAYERS} groups")
        inner = []
        for key in group:
            link = group.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                continue
            member = group[key]
            if not isinstance(member, h5py.Group):
                continue
            if key == "vars":
                keys = sorted(member, key=lambda k: (len(k), k))
                values = [budget.read(_child(member, k, path)) for k in keys]
                if values and "seed_generator" not in name:
                    roles = _VAR_ROLES.get(len(values)) or tuple(keys)
                    yield Layer(name or "model", dict(zip(roles, values, strict=True)))
            elif key != "optimizer":
                inner.append((member, f"{name}/{key}".lstrip("/"), depth + 1))
        pending += reversed(inner)
