"""TensorFlow's checkpoints of both versions and frozen graphs, without TensorFlow.

Both checkpoints are sorted tables of key and value (``tensorflow/core/lib/io/table.cc``; the
format is LevelDB's). Version 2 keeps tensors in files beside its table, version 1 inside it.
Field numbers from ``tensor_bundle.proto``, ``saved_tensor_slice.proto`` and ``graph.proto``.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.weights.layout import MAX_LAYERS, Layer, Weights, damaged
from bottleneck.weights.wire import Message, Reader, WireError, ints, little, numbers, one, varint

TABLE_MAGIC: Final = 0xDB4775248B80FB57
_FOOTER: Final = 48

SCHEMA: Final = {
    "Graph": {1: ("node", "Node")},
    "Node": {1: ("name", "str"), 2: ("op", "str"), 5: ("attr", "Attr")},
    "Attr": {1: ("key", "str"), 2: ("value", "Value")},
    "Value": {8: ("tensor", "Tensor")},
    "Tensor": {
        1: ("dtype", "int"),
        2: ("shape", "Shape"),
        4: ("content", "bytes"),
        5: ("floats", "float"),
        6: ("doubles", "double"),
        7: ("ints", "int"),
        10: ("longs", "int"),
    },
    "Shape": {2: ("dim", "Dim")},
    "Dim": {1: ("size", "int")},
    "Entry": {
        1: ("dtype", "int"),
        2: ("shape", "Shape"),
        3: ("shard", "int"),
        4: ("offset", "int"),
        5: ("size", "int"),
        7: ("slices", "bytes"),
    },
    "Header": {1: ("shards", "int"), 2: ("endianness", "int")},
    "Slices": {1: ("meta", "Meta"), 2: ("data", "Slice")},
    "Meta": {1: ("tensor", "About")},
    "About": {1: ("name", "str"), 2: ("shape", "Shape"), 3: ("dtype", "int")},
    "Slice": {1: ("name", "str"), 3: ("data", "Tensor")},
}

_DTYPES: Final = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 6: "i1", 9: "<i8", 10: "?", 19: "<f2"}

_NOT_WEIGHTS: Final = re.compile(
    r"(.*/)?(Adam(_\d)?|Momentum|RMSProp(_\d)?|Adagrad|ExponentialMovingAverage"
    r"|global_step|beta[12]_power|save_counter(/.*)?|_CHECKPOINTABLE_OBJECT_GRAPH)"
)
"""What training keeps beside the weights."""

_AVERAGE: Final = "/ExponentialMovingAverage"
"""Behind the name of what it is an average of."""

_ROLES: Final = {
    "weights": "kernel",
    "biases": "bias",
    "depthwise_weights": "depthwise_kernel",
    "pointwise_weights": "pointwise_kernel",
    "W": "kernel",
    "b": "bias",
}

Opener = Callable[[int, int], memoryview]
"""From the number of a data file and the count of them to its bytes."""


def is_table(data: memoryview) -> bool:
    """Tell whether bytes are a checkpoint's table."""
    return len(data) >= _FOOTER and little(data[-8:]) == TABLE_MAGIC


def read_checkpoint(path: Path, table: memoryview, shard: Opener | None) -> Weights:
    """Read a checkpoint of version 1 (all in its table) or 2.

    Parameters
    ----------
    path : Path
        For messages.
    table : memoryview
        The file itself, or ``.index``.
    shard : callable or None
        Gives the bytes of ``.data-00000-of-00001`` and its siblings; None where there are none.

    Raises
    ------
    WeightsError
    """
    try:
        entries = list(_table(table))
        reader = Reader(SCHEMA)
        first = entries[0] if entries else (b"x", memoryview(b""))
        if shard is None:
            found = list(_version_1(entries, reader))
            version = "1"
        else:
            header = reader.decode(first[1], "Header") if first[0] == b"" else {}
            if one(header, "endianness", 0):
                raise WireError("numbers in big-endian order")
            found = list(_version_2(entries, reader, shard, int(one(header, "shards", 1))))
            version = "2"
    except (WireError, ValueError, TypeError, IndexError) as error:
        raise damaged(path, f"a damaged checkpoint ({error})") from error
    return _weights(path, f"tensorflow-checkpoint-{version}", "TensorFlow, a checkpoint", found)


def read_graph(path: Path, data: memoryview) -> Weights:
    """Read the constants of a frozen graph.

    Raises
    ------
    WeightsError
    """
    try:
        graph = Reader(SCHEMA).decode(data, "Graph")
        found = []
        for node in graph.get("node", []):
            if one(node, "op") != "Const":
                continue
            for attr in node.get("attr", []):
                value = one(one(attr, "value", {}), "tensor")
                if one(attr, "key") == "value" and value is not None:
                    tensor = _tensor(value)
                    if tensor is not None and tensor.ndim and tensor.dtype.kind == "f":
                        found.append((str(one(node, "name", "")), tensor))
    except (WireError, ValueError, TypeError) as error:
        raise damaged(path, f"a damaged graph ({error})") from error
    return _weights(path, "tensorflow-graph", "TensorFlow, a frozen graph", found)


def looks_like_graph(data: memoryview) -> bool:
    """Tell a graph from other protocol buffers: its first field is a node with a name and an op."""
    try:
        head = Reader({"Graph": {1: ("node", "bytes")}}).decode(_first_field(data), "Graph")
        node = Reader(SCHEMA).decode(one(head, "node", memoryview(b"")), "Node")
    except (WireError, IndexError):
        return False
    return bool(node.get("name")) and bool(re.fullmatch(r"[A-Z]\w*", str(one(node, "op", ""))))


def _first_field(data: memoryview) -> memoryview:
    length, at = varint(data, 1)
    return data[: at + length]


def _weights(
    path: Path, format_: str, writer: str, found: Iterable[tuple[str, NDArray[Any]]]
) -> Weights:
    values = dict(found)
    layers: dict[str, dict[str, NDArray[Any]]] = {}
    left = taken = 0
    for name, value in values.items():
        if _NOT_WEIGHTS.fullmatch(name):
            left += 1
            continue
        average = values.get(name + _AVERAGE, value)
        if average is not value and average.shape == value.shape:
            value, taken = average, taken + 1  # noqa: PLW2901
        scope, _, role = name.rpartition("/")
        layers.setdefault(scope, {})[_ROLES.get(role, role)] = value
    remarks = []
    if taken:
        remarks.append(f"{taken} tensors are averages over the training, which evaluation takes.")
    if left > taken:
        said = "tensors of the training (slots, averages, counters) left out."
        remarks.append(f"{left - taken} {said}")
    return Weights(
        path,
        format_,
        writer,
        None,
        tuple(Layer(name, tensors) for name, tensors in layers.items()),
        remarks=tuple(remarks),
        listed=tuple(layers),
    )


def _table(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    if not is_table(data):
        raise WireError("no table at its end; the file may be cut short")
    footer = data[-_FOOTER:]
    _, at = varint(footer, 0)
    _, at = varint(footer, at)
    offset, at = varint(footer, at)
    size, at = varint(footer, at)
    count = 0
    for _, handle in _block(data, offset, size):
        start, after = varint(handle, 0)
        length, _ = varint(handle, after)
        for entry in _block(data, start, length):
            count += 1
            if count > MAX_LAYERS * 10:
                raise WireError("too many entries")
            yield entry


def _block(data: memoryview, offset: int, size: int) -> Iterator[tuple[bytes, memoryview]]:
    if offset + size + 5 > len(data) or size < 4:
        raise WireError(f"a block at {offset} of {size} bytes in a file of {len(data)}")
    if data[offset + size] != 0:
        raise WireError("a compressed block, which checkpoints do not have")
    block = data[offset : offset + size]
    restarts = int.from_bytes(block[-4:], "little")
    end = size - 4 * (restarts + 1)
    if end < 0:
        raise WireError(f"{restarts} restarts in a block of {size} bytes")
    at, key = 0, b""
    while at < end:
        shared, at = varint(block, at)
        fresh, at = varint(block, at)
        length, at = varint(block, at)
        if shared > len(key) or at + fresh + length > end or shared + fresh > 1 << 16:
            raise WireError("an entry that runs out of its block")
        key = key[:shared] + bytes(block[at : at + fresh])
        yield key, block[at + fresh : at + fresh + length]
        at += fresh + length


def _shape(message: Message) -> list[int]:
    dims = one(message, "shape", {}).get("dim", [])
    sides = [int(one(dim, "size", 0)) for dim in dims]
    if any(side < 0 for side in sides):
        raise WireError(f"a shape of {sides}")
    return sides


def _version_2(
    entries: list[tuple[bytes, memoryview]], reader: Reader, shard: Opener, shards: int
) -> Iterator[tuple[str, NDArray[Any]]]:
    if not 1 <= shards <= 10_000:
        raise WireError(f"{shards} data files")
    for key, value in entries:
        if not key:
            continue
        entry = reader.decode(value, "Entry")
        name = key.decode("utf-8", "replace").removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")
        dtype = _DTYPES.get(int(one(entry, "dtype", 0)))
        if dtype is None:
            continue  # text and the like
        if "slices" in entry:
            raise WireError(f"{name} in slices, which are not read")
        sides, size = _shape(entry), int(one(entry, "size", 0))
        offset, number = int(one(entry, "offset", 0)), int(one(entry, "shard", 0))
        if not 0 <= number < shards or offset < 0:
            raise WireError(f"{name} in data file {number} of {shards}")
        data = shard(number, shards)
        if offset + size > len(data) or math.prod(sides) * np.dtype(dtype).itemsize != size:
            raise WireError(f"{name} of shape {sides} and {size} bytes at {offset}")
        yield name, np.frombuffer(data[offset : offset + size], dtype).reshape(sides)


def _version_1(
    entries: list[tuple[bytes, memoryview]], reader: Reader
) -> Iterator[tuple[str, NDArray[Any]]]:
    # Types and shapes stand in the first entry, values alone in the others.
    about: dict[str, Message] = {}
    for key, value in entries:
        message = reader.decode(value, "Slices")
        if not key:
            tensors = one(message, "meta", {}).get("tensor", [])
            about = {str(one(tensor, "name", "")): tensor for tensor in tensors}
            continue
        for part in message.get("data", []):
            name, content = str(one(part, "name", "")), one(part, "data")
            if name not in about:
                raise WireError(f"{name} twice (in slices, which are not read) or not announced")
            tensor = _tensor({**(content or {}), **about.pop(name)})
            if tensor is not None:
                yield name, tensor


def _tensor(message: Message) -> NDArray[Any] | None:
    dtype = _DTYPES.get(int(one(message, "dtype", 0)))
    if dtype is None:
        return None
    sides = _shape(message)
    count = math.prod(sides)
    if "content" in message:
        values = np.frombuffer(one(message, "content"), dtype)
    else:
        field = {"<f4": "floats", "<f8": "doubles", "<i8": "longs"}.get(dtype, "ints")
        values = (
            numbers(message, field)
            if field in {"floats", "doubles"}
            else np.array(ints(message, field))
        ).astype(dtype)
        if values.size == 1 and 1 < count <= 1 << 20:
            values = np.broadcast_to(values, count)  # one value stands for all
    if values.size != count:
        raise WireError(f"a tensor of shape {sides} with {values.size} values")
    return values.reshape(sides)
