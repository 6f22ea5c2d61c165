"""An ONNX file as data: its input, tensors and weights, read without any package for ONNX."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.backbones.network import Map, Shape, Tokens, Vector
from bottleneck.errors import (
    BackboneError,
    BottleneckError,
    RuntimeUnavailableError,
    WeightsError,
    not_importable,
)
from bottleneck.fingerprint import fingerprint, fingerprint_parts
from bottleneck.images import ImageSize, image_shape
from bottleneck.weights.wire import Message, Reader, WireError, ints, one

_SCHEMA: Final[dict[str, dict[int, tuple[str, str]]]] = {
    "Model": {7: ("graph", "Graph"), 8: ("opset", "Opset"), 25: ("functions", "bytes")},
    "Opset": {1: ("domain", "str"), 2: ("version", "int")},
    "Graph": {
        1: ("node", "Node"),
        5: ("initializer", "Tensor"),
        11: ("input", "Value"),
        12: ("output", "Value"),
        15: ("sparse", "bytes"),
    },
    "Node": {
        1: ("input", "str"),
        2: ("output", "str"),
        4: ("op", "str"),
        5: ("attribute", "Attribute"),
        7: ("domain", "str"),
    },
    "Attribute": {
        1: ("name", "str"),
        2: ("f", "float"),
        3: ("i", "int"),
        4: ("s", "bytes"),
        5: ("t", "Tensor"),
        6: ("g", "bytes"),
        7: ("floats", "float"),
        8: ("ints", "int"),
        9: ("strings", "bytes"),
        20: ("type", "int"),
    },
    "Tensor": {
        1: ("dims", "int"),
        2: ("dtype", "int"),
        4: ("float", "float"),
        5: ("int32", "int"),
        7: ("int64", "int"),
        8: ("name", "str"),
        9: ("raw", "bytes"),
        10: ("double", "double"),
        11: ("uint64", "int"),
        13: ("external", "Entry"),
        14: ("location", "int"),
    },
    "Entry": {1: ("key", "str"), 2: ("value", "str")},
    "Value": {1: ("name", "str"), 2: ("type", "Type")},
    "Type": {1: ("tensor", "TensorType")},
    "TensorType": {1: ("dtype", "int"), 2: ("shape", "Dims")},
    "Dims": {1: ("dim", "Dim")},
    "Dim": {1: ("value", "int"), 2: ("parameter", "str")},
}
"""The fields of onnx.proto that are needed, by their numbers there."""

_DTYPES: Final = {
    **{1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2"},
    **{11: "<f8", 12: "<u4", 13: "<u8", 16: "<u2", 17: "u1", 18: "u1", 19: "u1", 20: "u1"},
}
"""How elements lie in the file, by ONNX's number of their type; bfloat16, float8: their bits."""

_LEARNED: Final = {1, 2, 3, 10, 11, 16, 17, 18, 19, 20}
"""Types of weights: floats, and 8-bit integers of quantised networks."""

_INPUTS: Final = {1: "float32", 2: "uint8", 10: "float16", 11: "float64"}

_CHANNELS_FIRST: Final = frozenset(
    {
        *("Conv", "ConvTranspose", "QLinearConv", "ConvInteger", "BatchNormalization", "LRN"),
        *("MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool"),
        *("InstanceNormalization", "GroupNormalization", "DepthToSpace", "SpaceToDepth"),
    }
)
"""Operations that ONNX defines with channels on the second axis."""

_CONVOLUTIONS: Final = frozenset({"Conv", "QLinearConv", "ConvInteger"})

_REARRANGES: Final = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Gather"})
"""Operations after which an axis is not what it was."""


@dataclass(frozen=True)
class _Node:
    op: str
    inputs: tuple[str, ...]
    order: tuple[int, ...] = ()
    axis: int | None = None


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """A graph that takes images.

    Parameters
    ----------
    path : Path
    input : str
        Name of the tensor that takes them.
    dtype : str
        What it takes.
    channels_first : bool
        Whether that is NCHW.
    batch : int or None
        How many at a time, if that is fixed.
    sides : (int or None, int or None)
        Height and width, where they are fixed.
    main : str
        The tensor that is taken when none is named.
    tensors : sequence of str
        All that are computed, in the graph's order.
    outputs : sequence of str
        Those that the file gives out by itself.
    parameters : int
        Numbers in its weights.
    weights_sha256, graph_sha256 : str
        Of the weights, whatever they are called and in which order; of everything else.
    """

    path: Path
    input: str
    dtype: str
    channels_first: bool
    batch: int | None
    sides: tuple[int | None, int | None]
    main: str
    tensors: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: int
    weights_sha256: str
    graph_sha256: str
    nodes: Mapping[str, _Node] = field(repr=False)

    def tensor(self, layer: str | None) -> str:
        """Return the name of a tensor; None is the main one."""
        return self.main if layer is None else layer

    def size(self, asked: ImageSize | None) -> ImageSize:
        """Say how large images are: what the graph fixes, else what is asked for.

        Raises
        ------
        BackboneError
            When the graph fixes another size, or nobody says one.
        """
        fixed_height, fixed_width = self.sides
        if asked is None:
            if fixed_height is None or fixed_width is None:
                raise BackboneError(
                    f"{self.path}: expected a size, which the graph leaves open, got none",
                    hint="Say what it was trained with: --size N.",
                )
            asked = (fixed_height, fixed_width)
        height, width, _ = image_shape(asked)
        if fixed_height not in (None, height) or fixed_width not in (None, width):
            raise BackboneError(
                f"{self.path}: expected images of {fixed_height} x {fixed_width} pixels, which the"
                f" graph fixes, got {height} x {width}",
                hint="Leave --size out.",
            )
        return height if height == width else (height, width)

    def shapes(self, names: Sequence[str], size: ImageSize) -> list[Shape | None]:
        """Compute one grey image, and tell what some tensors are.

        Parameters
        ----------
        names : sequence of str
        size : int or (int, int)
            Of the image.
        """
        patches = {name: self._patches(name) for name in names}
        wanted = list(dict.fromkeys([*names, *filter(None, patches.values())]))
        found = _computed(self, wanted, size)
        shapes: list[Shape | None] = []
        for name in names:
            sides = found[name]
            grid = found.get(patches[name] or "")
            shapes.append(self._shape(name, sides, grid))
        return shapes

    def _shape(
        self, name: str, sides: tuple[int, ...] | None, grid: tuple[int, ...] | None
    ) -> Shape | None:
        if sides is None or sides[:1] != (self.batch or 1,) or 0 in sides:
            return None
        if len(sides) == 2:
            return Vector(sides[1])
        if len(sides) == 3:
            count, channels = sides[1:]
            before = None if grid is None or len(grid) != 4 else count - grid[2] * grid[3]
            return Tokens(count, channels, before if before is None or before >= 0 else None)
        if len(sides) != 4:
            return None
        first = self._channels_first(name)
        if first is None:
            return None
        return Map(*sides[2:], sides[1], True) if first else Map(*sides[1:])

    def _channels_first(self, name: str) -> bool | None:
        """Say where the channels of a tensor are; None where the graph does not tell."""
        turned: tuple[int, ...] = (0, 1, 2, 3)
        while name != self.input:
            node = self.nodes.get(name)
            if node is None or node.op in _REARRANGES:
                return None
            if node.op in _CHANNELS_FIRST:
                return {1: True, 3: False}.get(turned.index(1))
            if node.op == "LayerNormalization" and node.axis in (-1, 3):
                return {1: True, 3: False}.get(turned.index(3))
            if node.op == "Transpose":
                if len(node.order) != 4:
                    return None
                turned = tuple(node.order[axis] for axis in turned)
            name = next((one for one in node.inputs if one in self.nodes or one == self.input), "")
        return {1: True, 3: False}.get(turned.index(1 if self.channels_first else 3))

    def _patches(self, name: str) -> str | None:
        """Find the convolution that cuts the image into the patches of a tensor, if one does.

        Going back from it, only one convolution may be met first: what it gives has a place for
        each patch.
        """
        met, seen, waiting = set(), set(), [name]
        while waiting:
            here = waiting.pop()
            node = self.nodes.get(here)
            if here in seen or node is None:
                continue
            seen.add(here)
            if node.op in _CONVOLUTIONS:
                met.add(here)
            elif node.op != "Shape":
                waiting += node.inputs
        return met.pop() if len(met) == 1 else None


def read_onnx(path: Path, tensor: str | None = None) -> OnnxFile:
    """Read a file.

    Parameters
    ----------
    path : Path
    tensor : str, optional
        The one to take; the first that the file gives out by default.

    Raises
    ------
    WeightsError
        When there is no such file, or it is damaged.
    BackboneError
        When its input is not one batch of images, or it has no such tensor.
    """
    try:
        data = memoryview(path.read_bytes())
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}.") from error
    try:
        model = Reader(_SCHEMA).decode(data, "Model")
        graph = one(model, "graph")
        if graph is None or not graph.get("node"):
            raise WireError("no graph")
        return _described(path, model, graph, tensor)
    except BottleneckError:
        raise
    except (WireError, ValueError, KeyError, IndexError, TypeError) as error:
        raise WeightsError(f"{path}: expected an ONNX file, got {error}") from error


def session_of(
    file: OnnxFile,
    names: Sequence[str],
    *,
    cuda: dict[str, Any] | None = None,
    tensorrt: dict[str, Any] | None = None,
) -> Any:
    """Make a session of ONNX Runtime that gives out some tensors.

    Parameters
    ----------
    file : OnnxFile
    names : sequence of str
    cuda : dict, optional
        Options of the CUDA provider; without them the CPU computes, a pass on one core.
    tensorrt : dict, optional
        Options of the TensorRT provider, which leaves to CUDA what it cannot do.

    Raises
    ------
    RuntimeUnavailableError
        When ONNX Runtime is not installed, or cannot load one of the providers.
    BackboneError
        When it does not take the graph.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise not_importable("ONNX Runtime", "onnxruntime", error) from error
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(file.path.parent)
    )
    providers: list[Any] = ["CPUExecutionProvider"]
    if cuda is not None:
        providers.insert(0, ("CUDAExecutionProvider", cuda))
    if tensorrt is not None:
        providers.insert(0, ("TensorrtExecutionProvider", tensorrt))
    more = [name for name in dict.fromkeys(names) if name not in file.outputs]
    try:
        session = ort.InferenceSession(_giving(file.path, more), options, providers=providers)
    except Exception as error:
        said = str(error).splitlines()[0]
        raise BackboneError(f"{file.path}: ONNX Runtime does not take it: {said}") from error
    require_providers(session, providers)
    return session


def require_providers(session: Any, providers: Sequence[Any]) -> None:
    """Refuse a session that lacks providers: it falls back, and says so in its log only.

    From here on it does not: a pass that fails on a GPU, for want of memory mostly, would be
    computed by the CPU, as would all after it.

    Raises
    ------
    RuntimeUnavailableError
        When their libraries are missing.
    """
    wanted = [one if isinstance(one, str) else one[0] for one in providers]
    missing = [one for one in wanted if one not in session.get_providers()]
    if missing:
        raise RuntimeUnavailableError(
            f"expected ONNX Runtime to compute with {', '.join(missing)}, got "
            f"{', '.join(session.get_providers())}",
            hint="Their libraries (CUDA, cuDNN, TensorRT) have to be where the loader looks; or "
            "--device cpu.",
        )
    session.disable_fallback()


def _giving(path: Path, names: Sequence[str]) -> bytes:
    """Return a file's bytes with more tensors given out.

    Protocol buffers join messages that come twice, so what is to be added to the graph's list of
    outputs is simply put behind.
    """
    values = b"".join(_message(12, _message(1, name.encode())) for name in names)
    return path.read_bytes() + (_message(7, values) if values else b"")


def _message(number: int, value: bytes) -> bytes:
    length, encoded = len(value), bytearray([number << 3 | 2])
    while length > 0x7F:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(encoded) + bytes([length]) + value


def _computed(
    file: OnnxFile, names: Sequence[str], size: ImageSize
) -> dict[str, tuple[int, ...] | None]:
    """Compute one grey image and return the shapes of some tensors."""
    height, width, _ = image_shape(size)
    sides = (3, height, width) if file.channels_first else (height, width, 3)
    image = np.full((file.batch or 1, *sides), 0.5).astype(file.dtype)
    session = session_of(file, names)
    found = session.run(list(names), {file.input: image})
    return {
        name: value.shape if isinstance(value, np.ndarray) and value.dtype.kind == "f" else None
        for name, value in zip(names, found, strict=True)
    }


@dataclass(frozen=True)
class _Stored:
    """A tensor that lies in the file.

    Parameters
    ----------
    content : bytes
        Hash of its type, shape and numbers.
    count : int
        How many numbers.
    is_weight : bool
        Whether it is learned; otherwise it is a number of an operation.
    """

    content: bytes
    count: int
    is_weight: bool

    @classmethod
    def of(cls, path: Path, tensor: Message) -> "_Stored":
        values = _values(path, tensor)
        dtype = one(tensor, "dtype", 0)
        head = f"{dtype}{ints(tensor, 'dims')}".encode()
        content = bytes.fromhex(fingerprint_parts([head, np.ascontiguousarray(values).tobytes()]))
        return cls(content, values.size, dtype in _LEARNED and values.size > 1)

    def meaning(self, weights: Sequence[bytes]) -> Any:
        return {"weight": weights.index(self.content)} if self.is_weight else self.content.hex()


def _described(path: Path, model: Message, graph: Message, tensor: str | None) -> OnnxFile:
    if graph.get("sparse") or model.get("functions"):
        raise BackboneError(f"{path}: sparse weights and functions in a graph are not read.")
    stored = {
        one(tensor, "name", ""): _Stored.of(path, tensor) for tensor in graph.get("initializer", [])
    }
    inputs = [value for value in graph.get("input", []) if one(value, "name") not in stored]
    input_name, dtype, first, batch, sides = _image_input(path, inputs)
    outputs = tuple(one(value, "name", "") for value in graph.get("output", []))
    for node in graph["node"]:
        for attribute in node.get("attribute", []):
            if "t" in attribute:
                stored[node["output"][0]] = _Stored.of(path, one(attribute, "t"))
    weights = sorted(each.content for each in stored.values() if each.is_weight)
    # A tensor is what it holds, or where it comes from: names say nothing.
    meant: dict[str, Any] = {name: each.meaning(weights) for name, each in stored.items()}
    meant[input_name] = "images"
    rest: list[Any] = []
    nodes: dict[str, _Node] = {}
    for at, node in enumerate(graph["node"]):
        op, names = one(node, "op", ""), tuple(node.get("input", []))
        attributes = {one(a, "name", ""): a for a in node.get("attribute", [])}
        for place, name in enumerate(node.get("output", [])):
            meant.setdefault(name, [at, place])
            nodes[name] = _Node(op, names, tuple(_order(attributes)), _axis(attributes))
        rest.append(
            [
                *(op, one(node, "domain", "")),
                [meant.get(name) for name in names],
                [[name, _attribute(attributes[name])] for name in sorted(attributes)],
            ]
        )
    tensors = tuple(name for name, node in nodes.items() if name and node.op != "Constant")
    main = tensor or outputs[0]
    if main not in tensors:
        import difflib

        near = difflib.get_close_matches(main, tensors, n=3, cutoff=0.4) or list(tensors)[-3:]
        raise BackboneError(
            f"{path}: expected a tensor of the graph, got {main!r}",
            hint=f"Nearest: {', '.join(near)}. `bottleneck backbones onnx:{path} --layers` lists "
            "all of them.",
        )
    opsets = sorted((one(o, "domain", ""), one(o, "version", 0)) for o in model.get("opset", []))
    return OnnxFile(
        path=path,
        input=input_name,
        dtype=dtype,
        channels_first=first,
        batch=batch,
        sides=sides,
        main=main,
        tensors=tensors,
        outputs=outputs,
        parameters=sum(each.count for each in stored.values() if each.is_weight),
        weights_sha256=fingerprint_parts(weights),
        graph_sha256=fingerprint([[list(o) for o in opsets], rest]),
        nodes=nodes,
    )


def _image_input(
    path: Path, inputs: Sequence[Message]
) -> tuple[str, str, bool, int | None, tuple[int | None, int | None]]:
    told = []
    for value in inputs:
        kind = one(one(value, "type", {}), "tensor", {})
        sides = [one(dim, "value") or None for dim in one(kind, "shape", {}).get("dim", [])]
        told.append((one(value, "name", ""), one(kind, "dtype"), sides))
    said = "; ".join(
        f"{name} {' x '.join(str(side or '?') for side in sides)}" for name, _, sides in told
    )
    if len(told) != 1 or len(told[0][2]) != 4 or told[0][1] not in _INPUTS:
        raise BackboneError(
            f"{path}: expected one input, a batch of images of numbers, got {said or 'none'}"
        )
    name, dtype, sides = told[0]
    if (sides[1] == 3) == (sides[3] == 3):
        raise BackboneError(
            f"{path}: expected images of three channels, on the second or on the last axis"
            f", got {said}"
        )
    first = sides[1] == 3
    height, width = sides[2:] if first else sides[1:3]
    return name, _INPUTS[dtype], first, sides[0], (height, width)


def _values(path: Path, stored: Message) -> NDArray[Any]:
    """Return the elements of a tensor, in one row."""
    number = one(stored, "dtype", 0)
    if number not in _DTYPES:
        return np.empty(0, np.uint8)  # strings and the like, which are no weights
    dtype = np.dtype(_DTYPES[number])
    if one(stored, "location", 0) == 1:
        return _external(path, stored, dtype)
    raw = one(stored, "raw")
    if raw is not None:
        return np.frombuffer(raw, dtype)
    for name in ("float", "double"):
        if stored.get(name):
            return np.concatenate(stored[name]).astype(dtype, copy=False)
    for name in ("int32", "int64", "uint64"):
        found = ints(stored, name)
        if found:
            # Half floats and booleans lie there by their bits.
            bits = np.dtype(f"<u{dtype.itemsize}") if dtype.kind in "fb" else dtype
            return np.array(found).astype(bits).view(dtype)
    return np.empty(0, dtype)


def _external(path: Path, stored: Message, dtype: np.dtype[Any]) -> NDArray[Any]:
    said = {one(entry, "key"): one(entry, "value", "") for entry in stored["external"]}
    folder = path.parent.resolve()
    file = (folder / said.get("location", "")).resolve()
    if not file.is_relative_to(folder):
        raise WeightsError(f"{path}: refers to weights outside its folder: {said['location']!r}.")
    count = int(np.prod(ints(stored, "dims"))) if ints(stored, "dims") else 1
    try:
        found = np.fromfile(file, dtype, count, offset=int(said.get("offset", 0)))
    except OSError as error:
        raise WeightsError(f"{file}: expected weights of {path}, got {error}") from error
    if len(found) != count:
        raise WeightsError(f"{file}: expected {count} numbers, got {len(found)}")
    return found


def _attribute(attribute: Message) -> list[Any]:
    """Return what an attribute says, as JSON values."""
    said: list[Any] = []
    for name in ("f", "floats"):
        said += [float(x) for part in attribute.get(name, []) for x in np.ravel(part)]
    for name in ("i", "ints"):
        said += ints(attribute, name)
    for name in ("s", "strings", "g"):
        said += [fingerprint_parts([bytes(part)]) for part in attribute.get(name, [])]
    return [repr(x) if isinstance(x, float) and not np.isfinite(x) else x for x in said]


def _order(attributes: Mapping[str, Message]) -> list[int]:
    return ints(attributes["perm"], "ints") if "perm" in attributes else []


def _axis(attributes: Mapping[str, Message]) -> int | None:
    return one(attributes["axis"], "i") if "axis" in attributes else -1
