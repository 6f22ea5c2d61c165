"""What each kind of Caffe's layers becomes in Keras, with Caffe's rules of padding and order.

Rules from BVLC/caffe: ``base_conv_layer.cpp``, ``pooling_layer.cpp``, ``batch_norm_layer.cpp``.
Blobs of channels, height and width are kept channels last; whatever runs over all axes (a product,
a reshape) sees them in Caffe's order.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.backbones.architectures.caffe_layers import own_layers, pooled_length
from bottleneck.errors import BackboneError, WeightsError
from bottleneck.weights import Layer
from bottleneck.weights.caffe_net import NetLayer

MAX_VALUES: Final = 1 << 30
"""Parameters of a network, or numbers of one map: none that is known has a quarter of it."""

_LAST: Final = {1: 3, 2: 1, 3: 2}
"""Axes of a map: Caffe's to Keras's."""


@dataclass(frozen=True)
class Blob:
    """What a layer gives.

    Parameters
    ----------
    tensor : KerasTensor
    shape : tuple of int
        In Caffe's order, without the axis of images. Three axes are a map, which the tensor has
        channels last.
    """

    tensor: Any
    shape: tuple[int, ...]


@dataclass
class Building:
    """A network that is being built.

    Parameters
    ----------
    keras : module
    owner : str
        The file, for messages.
    weights : mapping of str to Layer, or None
        The file's layers by name; None leaves weights as they are drawn.
    batch : int
        Images for which shapes are written.
    partial : bool
        Whether layers may lack their weights.
    parameters : int
        How many there are so far.
    filled, random, fills : list
        Layers with weights of the file, and without; layers of Keras with what is theirs.
    """

    keras: Any
    owner: str
    weights: Mapping[str, Layer] | None
    batch: int
    partial: bool = False
    parameters: int = 0
    filled: list[str] = field(default_factory=list)
    random: list[str] = field(default_factory=list)
    fills: list[tuple[Any, Mapping[str, NDArray[Any]]]] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)

    def name(self, wanted: str) -> str:
        """Make a name that Keras takes, and that no other layer has."""
        plain = re.sub(r"[^A-Za-z0-9_.-]", "_", wanted.replace("/", ".")) or "layer"
        plain = plain if plain[0].isalnum() else f"l{plain}"
        found, count = plain, 1
        while found.lower() in self._taken:
            found, count = f"{plain}-{count}", count + 1
        self._taken.add(found.lower())
        return found

    def tensors(
        self, layer: NetLayer, expected: Mapping[str, tuple[int, ...]]
    ) -> dict[str, NDArray[Any]] | None:
        """Find the weights of a layer; None leaves them as they are drawn.

        Raises
        ------
        WeightsError
            When they are missing, or have other shapes; before anything is made for them.
        """
        self.parameters += sum(math.prod(shape) for shape in expected.values())
        if self.parameters > MAX_VALUES:
            raise self.wrong(layer, f"{self.parameters} parameters, more than any network has")
        if self.weights is None:
            return None
        found = self.weights.get(layer.name)
        received = {} if found is None else found.shapes
        if received == dict(expected) and found is not None:
            self.filled.append(layer.name)
            return found.tensors
        if self.partial:
            self.random.append(layer.name)
            return None
        wanted, got = (
            ", ".join(f"{role} {'x'.join(map(str, shape))}" for role, shape in shapes.items())
            for shapes in (expected, received)
        )
        raise WeightsError(
            f"{self.owner}: expected weights of layer {layer.name!r} ({layer.kind}), {wanted}, got"
            f" {got or 'none'}",
            hint="They belong to another network, or to images of another --size."
            if received
            else "They belong to another network.",
        )

    def fill(self, made: Any, found: Mapping[str, NDArray[Any]] | None) -> None:
        """Note what a layer is to be filled with once all are built."""
        if found is not None:
            self.fills.append((made, found))

    def fill_all(self) -> None:
        """Fill the layers."""
        for made, found in self.fills:
            variables = {variable.name: variable for variable in made.weights}
            for role, value in found.items():
                variables[role].assign(np.asarray(value, np.float32).reshape(variables[role].shape))

    def wrong(self, layer: NetLayer, received: str) -> BackboneError:
        """Make the error for a layer that cannot be built."""
        return BackboneError(
            f"{self.owner}: expected a layer {layer.name!r} ({layer.kind}) that can be built, got"
            f" {received}"
        )


# -- convolution and product


def _convolution(building: Building, layer: NetLayer, bottoms: list[Blob]) -> list[Blob]:
    keras, (blob,), settings = building.keras, bottoms, layer.settings
    channels, *sides = _map(building, layer, blob)
    kernel, stride, pad = _windows(building, layer)
    dilation = _pair(settings.all("dilation"), 1)
    count, groups = settings.one("num_output", 0), settings.one("group", 1)
    if not 0 < count <= MAX_VALUES or groups < 1 or channels % groups or count % groups:
        raise building.wrong(layer, f"{count} outputs in {groups} groups of {channels} channels")
    if settings.one("axis", 1) not in (1, -3):
        raise building.wrong(layer, f"the axis {settings.one('axis')}")
    extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    out = tuple(
        (n + 2 * p - e) // s + 1 for n, p, e, s in zip(sides, pad, extent, stride, strict=True)
    )
    _check_map(building, layer, (count, *out))
    bias = bool(settings.one("bias_term", 1))
    shapes = {"kernel": (*kernel, channels // groups, count)} | ({"bias": (count,)} if bias else {})
    found = building.tensors(layer, shapes)
    tensor, name = blob.tensor, building.name(layer.name)
    same = stride == (1, 1) and all(2 * p == e - 1 for p, e in zip(pad, extent, strict=True))
    if any(pad) and not same:
        padding = keras.layers.ZeroPadding2D(pad, name=building.name(f"{name}.pad"))
        tensor = padding(tensor)
    given: dict[str, Any] = {
        "strides": stride,
        "padding": "same" if same and any(pad) else "valid",
        "use_bias": bias,
        "name": name,
    }
    if groups == channels > 1 and stride[0] == stride[1] and dilation == (1, 1):
        made = keras.layers.DepthwiseConv2D(kernel, depth_multiplier=count // channels, **given)
        if found is not None:
            swapped = found["kernel"].reshape(*kernel, channels, count // channels)
            found = {**found, "kernel": swapped}
    else:
        made = keras.layers.Conv2D(count, kernel, groups=groups, dilation_rate=dilation, **given)
    tensor = made(tensor)
    building.fill(made, found)
    return [Blob(tensor, (count, *out))]


def _inner_product(building: Building, layer: NetLayer, bottoms: list[Blob]) -> list[Blob]:
    keras, (blob,), settings = building.keras, bottoms, layer.settings
    count = settings.one("num_output", 0)
    if not 0 < count <= MAX_VALUES or settings.one("axis", 1) not in (1, -len(blob.shape)):
        raise building.wrong(layer, f"{count} outputs over the axis {settings.one('axis', 1)}")
    flat = _flat(building, layer, blob)
    bias = bool(settings.one("bias_term", 1))
    turned = bool(settings.one("transpose", 0))
    (inputs,) = flat.shape
    kernel = (count, inputs) if turned else (inputs, count)
    found = building.tensors(layer, {"kernel": kernel} | ({"bias": (count,)} if bias else {}))
    if found is not None and turned:
        found = {**found, "kernel": found["kernel"].T}
    made = keras.layers.Dense(count, use_bias=bias, name=building.name(layer.name))
    tensor = made(flat.tensor)
    building.fill(made, found)
    return [Blob(tensor, (count,))]


# -- normalisation and activation


def _batch_norm(building: Building, layer: NetLayer, bottoms: list[Blob]) -> list[Blob]:
    (blob,) = bottoms
    if not layer.settings.one("use_global_stats", 1):
        raise building.wrong(
            layer, "use_global_stats: false, so that features would depend on the other images"
        )
    made = building.keras.layers.BatchNormalization(
        center=False,
        scale=False,
        epsilon=layer.settings.one("eps", 1e-5),
        name=building.name(layer.name),
    )
    channels = blob.shape[:1]
    found = building.tensors(layer, {"moving_mean": channels, "moving_variance": channels})
    tensor = made(blob.tensor)
    building.fill(made, found)
    return [Blob(tensor, blob.shape)]


def _scale(building: Building, layer: NetLayer, bottoms: list[Blob]) -> list[Blob]:
    blob, settings = bottoms[0], layer.settings
    scales = layer.kind == "Scale"
    shifts = bool(settings.one("bias_term", 0)) or not scales
    if len(bottoms) > 1:
        if shifts and scales:
            raise building.wrong(layer, "a bias besides two blobs")
        return [Blob(_broadcast(building, layer, bottoms, scales=scales), blob.shape)]
    if settings.one("axis", 1) not in (1, -len(blob.shape)) or settings.one("num_axes", 1) != 1:
        raise building.wrong(layer, "another axis than that of channels")
    made = own_layers(building.keras).ScaleShift(scales, shifts, name=building.name(layer.name))
    expected = ({"gamma": blob.shape[:1]} if scales else {}) | (
        {"beta": blob.shape[:1]} if shifts else {}
    )
    found = building.tensors(layer, expected)
    tensor = made(blob.tensor)
    building.fill(made, found)
    return [Blob(tensor, blob.shape)]


def _broadcast(building: Building, layer: NetLayer, bottoms: list[Blob], *, scales: bool) -> Any:
    """Multiply by a second blob, or add it: one number for each channel, or for all."""
    blob, other = bottoms[0], bottoms[1]
    layers, tensor = building.keras.layers, other.tensor
    if len(bottoms) != 2 or layer.settings.one("axis", 1) != 0:
        raise building.wrong(layer, f"{len(bottoms)} blobs, the second not of every image")
    if other.shape != blob.shape:
        if len(blob.shape) != 3 or other.shape not in (blob.shape[:1], (*blob.shape[:1], 1, 1)):
            raise building.wrong(layer, f"blobs of {blob.shape} and {other.shape}")
        name = building.name(f"{layer.name}.each")
        tensor = layers.Reshape((1, 1, blob.shape[0]), name=name)(tensor)
    made = layers.Multiply if scales else layers.Add
    return made(name=building.name(layer.name))([blob.tensor, tensor])


def _lrn(building: Building, layer: NetLayer, bottoms: list[Blob]) -> list[Blob]:
    (blob,), settings = bottoms, layer.settings
    _map(building, layer, blob)
    size = settings.one("local_size", 5)
    if not 1 <= size <= 4096 or size % 2 == 0:
        raise building.wrong(layer, f"a local_size of {size}, which is not odd")
    made = own_layers(building.keras).LocalResponse(
        size,
        settings.one("alpha", 1.0),
        settings.one("beta", 0.75),
        settings.one("k", 1.0),
        settings.one("norm_region", "ACROSS_CHANNELS") == "WITHIN_CHANNEL",
        name=building.name(layer.name),
    )
    return [Blob(made(blob.tensor), blob.shape)]


def _relu(building: Building, layer: NetLayer, bottoms: list[Blob]) -> list[Blob]:
    slope = layer.settings.one("negative_slope", 0.0)
    name = building.name(layer.name)
    return _each(bottoms, building.keras.layers.ReLU(negative_slope=slope, name=name))


def _prelu(building: Building, layer: NetLayer, bottoms: list[Blob]) -> list[Blob]:
    (blob,) = bottoms
    shared = bool(layer.settings.one("channel_shared", 0))
    axes = list(range(1, len(blob.shape) + 1))
    if not shared:
        axes = axes[:-1]
    made = building.keras.layers.PReLU(
        alpha_initializer=building.keras.initializers.Constant(0.25),
        shared_axes=axes or None,
        name=building.name(layer.name),
    )
    found = building.tensors(layer, {"alpha": (1,) if shared else blob.shape[:1]})
    tensor = made(blob.tensor)
    building.fill(made, found)
    return [Blob(tensor, blob.shape)]


def _elu(building: Building, layer: NetLayer, bottoms: list[Blob]) -> list[Blob]:
    alpha = layer.settings.one("alpha", 1.0)
    return _each(bottoms, building.keras.layers.ELU(alpha, name=building.name(layer.name)))


def _activation(building: Building, layer: NetLayer, bottoms: list[Blob]) -> list[Blob]:
    kind = {"Sigmoid": "sigmoid", "TanH": "tanh", "AbsVal": "abs"}[layer.kind]
    function = building.keras.ops.abs if kind == "abs" else kind
    made = building.keras.layers.Activation(function, name=building.name(layer.name))
    return _each(bottoms, made)


def _power(building: Building, layer: NetLayer, bottoms: list[Blob]) -> list[Blob]:
    settings = layer.settings
    if settings.one("power", 1.0) != 1:
        raise building.wrong(layer, f"a power of {settings.one('power')}, not 1")
    scale, shift = settings.one("scale", 1.0), settings.one("shift", 0.0)
    name = building.name(layer.name)
    return _each(bottoms, building.keras.layers.Rescaling(scale, shift, name=name))


def _softmax(building: Building, layer: NetLayer, bottoms: list[Blob]) -> list[Blob]:
    axis = _axis(building, layer, bottoms[0], layer.settings.one("axis", 1))
    made = building.keras.layers.Softmax(axis=axis, name=building.name(layer.name))
    return _each(bottoms, made)


def _each(bottoms: list[Blob], made: Any) -> list[Blob]:
    (blob,) = bottoms
    return [Blob(made(blob.tensor), blob.shape)]


def _same(building: Building, layer: NetLayer, bottoms: list[Blob]) -> list[Blob]:
    return bottoms * len(layer.tops)


# -- pooling


def _pooling(building: Building, layer: NetLayer, bottoms: list[Blob]) -> list[Blob]:
    (blob,), settings, layers = bottoms, layer.settings, building.keras.layers
    channels, *sides = _map(building, layer, blob)
    how = settings.one("pool", "MAX")
    if how not in ("MAX", "AVE"):
        raise building.wrong(layer, f"pool: {how}, which draws at random")
    name = building.name(layer.name)
    if settings.one("global_pooling", 0):
        kernel, stride, pad = (sides[0], sides[1]), (1, 1), (0, 0)
    else:
        kernel, stride, pad = _windows(building, layer)
    if any(p >= k for p, k in zip(pad, kernel, strict=True)):
        raise building.wrong(layer, f"a pad of {pad}, not below the kernel's {kernel}")
    each = list(zip(sides, kernel, stride, pad, strict=True))
    out = tuple(pooled_length(*one) for one in each)
    if any((o - 1) * s - p >= n for o, (n, _, s, p) in zip(out, each, strict=True)):
        raise building.wrong(layer, "windows that hold no pixel")
    _check_map(building, layer, (channels, *out))
    after = [(o - 1) * s + k - p - n for o, (n, k, s, p) in zip(out, each, strict=True)]
    if out == (1, 1) and kernel == tuple(sides) and not any(pad):
        kind = layers.GlobalMaxPooling2D if how == "MAX" else layers.GlobalAveragePooling2D
        made = kind(keepdims=True, name=name)
    elif not any(pad) and all(more <= 0 for more in after):
        kind = layers.MaxPooling2D if how == "MAX" else layers.AveragePooling2D
        made = kind(kernel, stride, "valid", name=name)
    elif how == "MAX" and all(
        o == -(-n // s) and max((o - 1) * s + k - n, 0) // 2 == p
        for o, (n, k, s, p) in zip(out, each, strict=True)
    ):
        made = layers.MaxPooling2D(kernel, stride, "same", name=name)
    else:
        made = own_layers(building.keras).PaddedPooling(how, kernel, stride, pad, name=name)
    return [Blob(made(blob.tensor), (channels, *out))]


# -- several blobs, other shapes


def _eltwise(building: Building, layer: NetLayer, bottoms: list[Blob]) -> list[Blob]:
    layers, settings = building.keras.layers, layer.settings
    if len({blob.shape for blob in bottoms}) != 1 or len(bottoms) < 2:
        raise building.wrong(layer, f"blobs of {[blob.shape for blob in bottoms]}")
    how, tensors = settings.one("operation", "SUM"), [blob.tensor for blob in bottoms]
    factors = settings.all("coeff")
    if factors and (how != "SUM" or len(factors) != len(bottoms)):
        raise building.wrong(layer, f"{len(factors)} factors for {how} of {len(bottoms)} blobs")
    for index, factor in enumerate(factors):
        if factor != 1:
            scaled = layers.Rescaling(factor, name=building.name(f"{layer.name}.{index}"))
            tensors[index] = scaled(tensors[index])
    made = {"SUM": layers.Add, "PROD": layers.Multiply, "MAX": layers.Maximum}[how]
    return [Blob(made(name=building.name(layer.name))(tensors), bottoms[0].shape)]


def _concat(building: Building, layer: NetLayer, bottoms: list[Blob]) -> list[Blob]:
    settings, first = layer.settings, bottoms[0].shape
    axis = settings.one("axis", settings.one("concat_dim", 1))
    place = _axis(building, layer, bottoms[0], axis)
    at = axis - 1 if axis > 0 else axis + len(first)
    if any(
        len(b.shape) != len(first)
        or b.shape[:at] + b.shape[at + 1 :] != first[:at] + first[at + 1 :]
        for b in bottoms
    ):
        raise building.wrong(layer, f"blobs of {[blob.shape for blob in bottoms]}")
    shape = (*first[:at], sum(blob.shape[at] for blob in bottoms), *first[at + 1 :])
    if len(bottoms) == 1:
        return bottoms
    made = building.keras.layers.Concatenate(axis=place, name=building.name(layer.name))
    return [Blob(made([blob.tensor for blob in bottoms]), shape)]


def _slice(building: Building, layer: NetLayer, bottoms: list[Blob]) -> list[Blob]:
    (blob,), settings = bottoms, layer.settings
    axis = settings.one("axis", settings.one("slice_dim", 1))
    place = _axis(building, layer, blob, axis)
    at = axis - 1 if axis > 0 else axis + len(blob.shape)
    length, count = blob.shape[at], len(layer.tops)
    points = settings.all("slice_point")
    if not points and length % count == 0:
        points = tuple(range(length // count, length, length // count))
    ends = [0, *points, length]
    if len(ends) != count + 1 or any(a >= b for a, b in pairwise(ends)):
        raise building.wrong(layer, f"slices at {points} of {length} for {count} blobs")
    tops = []
    for index, (start, stop) in enumerate(pairwise(ends)):
        name = building.name(layer.name if count == 1 else f"{layer.name}.{index}")
        made = own_layers(building.keras).Part(place, start, stop, name=name)
        shape = (*blob.shape[:at], stop - start, *blob.shape[at + 1 :])
        tops.append(Blob(made(blob.tensor), shape))
    return tops


def _flatten(building: Building, layer: NetLayer, bottoms: list[Blob]) -> list[Blob]:
    (blob,), settings = bottoms, layer.settings
    count = len(blob.shape) + 1
    first, last = (
        one + count if one < 0 else one
        for one in (settings.one("axis", 1), settings.one("end_axis", -1))
    )
    if not 1 <= first <= last < count:
        raise building.wrong(layer, f"the axes {first} to {last} of {count}")
    shape = blob.shape
    flat = (*shape[: first - 1], math.prod(shape[first - 1 : last]), *shape[last:])
    return [_reshaped(building, layer.name, blob, flat)]


def _reshape(building: Building, layer: NetLayer, bottoms: list[Blob]) -> list[Blob]:
    (blob,), settings = bottoms, layer.settings
    whole = (building.batch, *blob.shape)
    wanted = settings.one("shape")
    dims = () if wanted is None else wanted.all("dim")
    axis, count = settings.one("axis", 0), settings.one("num_axes", -1)
    start = axis if axis >= 0 else axis + len(whole) + 1
    stop = len(whole) if count == -1 else start + count
    if not 0 <= start <= stop <= len(whole):
        raise building.wrong(layer, f"the axes {start} to {stop} of {len(whole)}")
    sides = [whole[start + i] if dim == 0 else dim for i, dim in enumerate(dims)]
    sides = [*whole[:start], *sides, *whole[stop:]]
    if not sides or sides[0] not in (building.batch, 1) or sides.count(-1) > 1 or 0 in sides:
        raise building.wrong(layer, f"a shape of {sides}, not one of each image")
    shape = sides[1:]
    if -1 in shape:
        rest = math.prod(one for one in shape if one != -1)
        shape[shape.index(-1)] = math.prod(blob.shape) // rest
    if math.prod(shape) != math.prod(blob.shape) or any(one < 1 for one in shape):
        raise building.wrong(layer, f"a shape of {shape} for {blob.shape}")
    return [_reshaped(building, layer.name, blob, tuple(shape))]


def _flat(building: Building, layer: NetLayer, blob: Blob) -> Blob:
    return _reshaped(building, f"{layer.name}.flat", blob, (math.prod(blob.shape),))


def _reshaped(building: Building, name: str, blob: Blob, shape: tuple[int, ...]) -> Blob:
    """Give a blob another shape, its numbers in Caffe's order."""
    if shape == blob.shape:
        return blob
    layers, tensor = building.keras.layers, blob.tensor
    if len(blob.shape) == 3 and blob.shape[1:] != (1, 1):
        tensor = layers.Permute((3, 1, 2), name=building.name(f"{name}.first"))(tensor)
    if len(shape) != 3:
        return Blob(layers.Reshape(shape, name=building.name(name))(tensor), shape)
    tensor = layers.Reshape(shape, name=building.name(f"{name}.first"))(tensor)
    return Blob(layers.Permute((2, 3, 1), name=building.name(name))(tensor), shape)


# -- what layers have in common


def _map(building: Building, layer: NetLayer, blob: Blob) -> tuple[int, int, int]:
    if len(blob.shape) != 3:
        raise building.wrong(layer, f"a blob of {blob.shape}, not channels x height x width")
    channels, height, width = blob.shape
    return channels, height, width


def _check_map(building: Building, layer: NetLayer, shape: tuple[int, ...]) -> None:
    if any(side < 1 for side in shape):
        raise building.wrong(
            layer, f"a map of {shape[1]} x {shape[2]}: the images are too small for it"
        )
    if math.prod(shape) > MAX_VALUES:
        raise building.wrong(layer, f"a map of {shape}, larger than any network has")


def _windows(
    building: Building, layer: NetLayer
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Read kernel, stride and padding, each (height, width)."""
    settings = layer.settings
    found = []
    for what, many, default in (
        ("kernel", "kernel_size", 0),
        ("stride", "stride", 1),
        ("pad", "pad", 0),
    ):
        both = settings.one(f"{what}_h"), settings.one(f"{what}_w")
        pair = _pair(settings.all(many), default)
        found.append(
            (pair[0] if both[0] is None else both[0], pair[1] if both[1] is None else both[1])
        )
    kernel, stride, pad = found
    if min(*kernel, *stride) < 1 or min(pad) < 0 or max(*kernel, *stride, *pad) > 1 << 16:
        raise building.wrong(layer, f"a kernel of {kernel}, stride {stride}, pad {pad}")
    return kernel, stride, pad


def _pair(values: Sequence[int], default: int) -> tuple[int, int]:
    if len(values) > 2:
        raise ValueError(f"{len(values)} numbers for height and width")
    return (values[0], values[-1]) if values else (default, default)


def _axis(building: Building, layer: NetLayer, blob: Blob, axis: int) -> int:
    """Return Keras's axis for one of Caffe's."""
    count = len(blob.shape) + 1
    found = axis + count if axis < 0 else axis
    if not 1 <= found < count:
        raise building.wrong(layer, f"the axis {axis}, which is not one of each image")
    return _LAST[found] if count == 4 else found


Maker = Callable[[Building, NetLayer, list[Blob]], list[Blob]]

KINDS: Final[Mapping[str, Maker]] = {
    "Convolution": _convolution,
    "InnerProduct": _inner_product,
    "BatchNorm": _batch_norm,
    "Scale": _scale,
    "Bias": _scale,
    "LRN": _lrn,
    "ReLU": _relu,
    "PReLU": _prelu,
    "ELU": _elu,
    "Sigmoid": _activation,
    "TanH": _activation,
    "AbsVal": _activation,
    "Power": _power,
    "Softmax": _softmax,
    "Pooling": _pooling,
    "Eltwise": _eltwise,
    "Concat": _concat,
    "Slice": _slice,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Split": _same,
    "Dropout": _same,
}
"""What is built, by the kind of layer."""


def made(building: Building, layer: NetLayer, bottoms: list[Blob]) -> list[Blob]:
    """Build a layer of a known kind on what it takes; returns what it gives.

    Raises
    ------
    BackboneError
        For a setting that cannot be honoured; names the layer.
    WeightsError
        For weights that are missing or do not fit.
    """
    several = layer.kind in {"Eltwise", "Concat", "Scale", "Bias"}
    if len(bottoms) != 1 and not (several and bottoms):
        raise building.wrong(layer, f"{len(bottoms)} blobs to take")
    try:
        tops = KINDS[layer.kind](building, layer, bottoms)
    except BackboneError:
        raise
    except (ValueError, TypeError, IndexError, OverflowError, ZeroDivisionError) as error:
        if isinstance(error, WeightsError):
            raise
        said = next(iter(str(error).splitlines()), repr(error))
        raise building.wrong(layer, f"settings that cannot be honoured: {said}") from error
    if len(tops) != len(layer.tops):
        raise building.wrong(layer, f"{len(layer.tops)} blobs to give, not {len(tops)}")
    return tops
