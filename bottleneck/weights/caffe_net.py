"""Networks of Caffe as data, from a prototxt or from a caffemodel: layers in order, their settings.

Field numbers, defaults and names from ``caffe.proto`` (BVLC/caffe). What a network computes when
it is tested is kept: layers of training, labels, losses and what only ever fills weights are left
out. Every layer takes what an earlier one gives, as Caffe demands it, so there are no cycles.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from bottleneck.errors import WeightsError
from bottleneck.fingerprint import fingerprint
from bottleneck.weights.prototxt import MAX_BYTES, Text, TextError, parse
from bottleneck.weights.wire import Message, Reader, WireError

MAX_LAYERS: Final = 10_000
"""ResNet-269 has 1,800."""

_FLAGS: Final = {"true": 1, "t": 1, "True": 1, "false": 0, "f": 0, "False": 0}

_ARRANGEMENT: Final = {
    "pad": (9, 10),
    "kernel": (11, 12),
    "stride": (13, 14),
}

Fields = dict[str, tuple[int, str]]
"""Field name to its number and type: ``int``, ``float``, ``str``, a message, or its words."""

_MESSAGES: Final[dict[str, Fields]] = {
    "shape": {"dim": (1, "int")},
    "rule": {
        "phase": (1, "TRAIN TEST"),
        "min_level": (2, "int"),
        "max_level": (3, "int"),
        "stage": (4, "str"),
        "not_stage": (5, "str"),
    },
    "transform_param": {
        "scale": (1, "float"),
        "crop_size": (3, "int"),
        "crop_h": (11, "int"),
        "crop_w": (12, "int"),
        "mean_file": (4, "str"),
        "mean_value": (5, "float"),
        "force_gray": (7, "int"),
    },
    "data_param": {"scale": (2, "float"), "mean_file": (3, "str"), "crop_size": (5, "int")},
    "input_param": {"shape": (1, "shape")},
    "convolution_param": {
        "num_output": (1, "int"),
        "bias_term": (2, "int"),
        "pad": (3, "int"),
        "kernel_size": (4, "int"),
        "group": (5, "int"),
        "stride": (6, "int"),
        **{
            f"{what}_{side}": (number, "int")
            for what, numbers in _ARRANGEMENT.items()
            for side, number in zip("hw", numbers, strict=True)
        },
        "axis": (16, "int"),
        "dilation": (18, "int"),
    },
    "pooling_param": {
        "pool": (1, "MAX AVE STOCHASTIC"),
        "kernel_size": (2, "int"),
        "stride": (3, "int"),
        "pad": (4, "int"),
        "kernel_h": (5, "int"),
        "kernel_w": (6, "int"),
        "stride_h": (7, "int"),
        "stride_w": (8, "int"),
        "pad_h": (9, "int"),
        "pad_w": (10, "int"),
        "global_pooling": (12, "int"),
    },
    "batch_norm_param": {
        "use_global_stats": (1, "int"),
        "moving_average_fraction": (2, "float"),
        "eps": (3, "float"),
    },
    "scale_param": {"axis": (1, "int"), "num_axes": (2, "int"), "bias_term": (4, "int")},
    "bias_param": {"axis": (1, "int"), "num_axes": (2, "int")},
    "relu_param": {"negative_slope": (1, "float")},
    "prelu_param": {"channel_shared": (2, "int")},
    "elu_param": {"alpha": (1, "float")},
    "power_param": {"power": (1, "float"), "scale": (2, "float"), "shift": (3, "float")},
    "lrn_param": {
        "local_size": (1, "int"),
        "alpha": (2, "float"),
        "beta": (3, "float"),
        "norm_region": (4, "ACROSS_CHANNELS WITHIN_CHANNEL"),
        "k": (5, "float"),
    },
    "eltwise_param": {"operation": (1, "PROD SUM MAX"), "coeff": (2, "float")},
    "concat_param": {"concat_dim": (1, "int"), "axis": (2, "int")},
    "slice_param": {"slice_dim": (1, "int"), "slice_point": (2, "int"), "axis": (3, "int")},
    "inner_product_param": {
        "num_output": (1, "int"),
        "bias_term": (2, "int"),
        "axis": (5, "int"),
        "transpose": (6, "int"),
    },
    "dropout_param": {"dropout_ratio": (1, "float"), "scale_train": (2, "int")},
    "softmax_param": {"axis": (2, "int")},
    "flatten_param": {"axis": (1, "int"), "end_axis": (2, "int")},
    "reshape_param": {"shape": (1, "shape"), "axis": (2, "int"), "num_axes": (3, "int")},
}

_FILLS: Final = {"weight_filler", "bias_filler", "filler", "engine", "force_nd_im2col"}
_FILLS_TOO: Final = _FILLS | {"stable_prod_grad"}
"""Settings that change no feature: how weights are drawn, what computes."""

_SETTINGS: Final = {
    "Convolution": ("convolution_param", 106, 10),
    "Pooling": ("pooling_param", 121, 19),
    "BatchNorm": ("batch_norm_param", 139, 0),
    "Scale": ("scale_param", 142, 0),
    "Bias": ("bias_param", 141, 0),
    "ReLU": ("relu_param", 123, 30),
    "PReLU": ("prelu_param", 131, 0),
    "ELU": ("elu_param", 140, 0),
    "Power": ("power_param", 122, 21),
    "LRN": ("lrn_param", 118, 18),
    "Eltwise": ("eltwise_param", 110, 24),
    "Concat": ("concat_param", 104, 9),
    "Slice": ("slice_param", 126, 31),
    "InnerProduct": ("inner_product_param", 117, 17),
    "Dropout": ("dropout_param", 108, 12),
    "Softmax": ("softmax_param", 125, 39),
    "Flatten": ("flatten_param", 135, 0),
    "Reshape": ("reshape_param", 133, 0),
    "Input": ("input_param", 143, 0),
    "Data": ("data_param", 107, 11),
}
"""Of each kind of layer: where its settings are, the field's number in version 2 and 1."""

V1_TYPES: Final = {
    35: ("ABSVAL", "AbsVal"),
    1: ("ACCURACY", "Accuracy"),
    30: ("ARGMAX", "ArgMax"),
    2: ("BNLL", "BNLL"),
    3: ("CONCAT", "Concat"),
    37: ("CONTRASTIVE_LOSS", "ContrastiveLoss"),
    4: ("CONVOLUTION", "Convolution"),
    5: ("DATA", "Data"),
    39: ("DECONVOLUTION", "Deconvolution"),
    6: ("DROPOUT", "Dropout"),
    32: ("DUMMY_DATA", "DummyData"),
    7: ("EUCLIDEAN_LOSS", "EuclideanLoss"),
    25: ("ELTWISE", "Eltwise"),
    38: ("EXP", "Exp"),
    8: ("FLATTEN", "Flatten"),
    9: ("HDF5_DATA", "HDF5Data"),
    10: ("HDF5_OUTPUT", "HDF5Output"),
    28: ("HINGE_LOSS", "HingeLoss"),
    11: ("IM2COL", "Im2col"),
    12: ("IMAGE_DATA", "ImageData"),
    13: ("INFOGAIN_LOSS", "InfogainLoss"),
    14: ("INNER_PRODUCT", "InnerProduct"),
    15: ("LRN", "LRN"),
    29: ("MEMORY_DATA", "MemoryData"),
    16: ("MULTINOMIAL_LOGISTIC_LOSS", "MultinomialLogisticLoss"),
    34: ("MVN", "MVN"),
    17: ("POOLING", "Pooling"),
    26: ("POWER", "Power"),
    18: ("RELU", "ReLU"),
    19: ("SIGMOID", "Sigmoid"),
    27: ("SIGMOID_CROSS_ENTROPY_LOSS", "SigmoidCrossEntropyLoss"),
    36: ("SILENCE", "Silence"),
    20: ("SOFTMAX", "Softmax"),
    21: ("SOFTMAX_LOSS", "SoftmaxWithLoss"),
    22: ("SPLIT", "Split"),
    33: ("SLICE", "Slice"),
    23: ("TANH", "TanH"),
    24: ("WINDOW_DATA", "WindowData"),
    31: ("THRESHOLD", "Threshold"),
}
"""Kinds of layers of version 1: number, word in a prototxt, name in version 2."""

_WORDS: Final = dict(V1_TYPES.values())

_JUDGING: Final = ("Accuracy", "ArgMax", "Silence", "HDF5Output")
"""What stands behind a network when it is trained; so does every kind that ends in Loss."""


def _layer_fields(version: int) -> Fields:
    numbers = (
        {"name": 1, "type": 2, "bottom": 3, "top": 4, "include": 8, "exclude": 9, "transform": 100}
        if version == 2
        else {"bottom": 2, "top": 3, "name": 4, "type": 5, "include": 32, "exclude": 33}
        | {"transform": 36}
    )
    kinds = {"include": "rule", "exclude": "rule", "transform": "transform_param"}
    fields = {
        ("transform_param" if name == "transform" else name): (number, kinds.get(name, "str"))
        for name, number in numbers.items()
    }
    if version == 1:
        fields["type"] = (5, "int")
        fields["layer"] = (1, "old")
    for name, *each in _SETTINGS.values():
        if each[2 - version]:
            fields[name] = (each[2 - version], name)
    return fields


_MESSAGES["layer"] = _layer_fields(2)
_MESSAGES["layers"] = _layer_fields(1)
_MESSAGES["old"] = {}
_MESSAGES["net"] = {
    "name": (1, "str"),
    "layers": (2, "layers"),
    "input": (3, "str"),
    "input_dim": (4, "int"),
    "input_shape": (8, "shape"),
    "layer": (100, "layer"),
}

_WIRE: Final = {
    message: {
        number: (name, kind if kind in _MESSAGES or kind in {"str", "float"} else "int")
        for name, (number, kind) in fields.items()
    }
    for message, fields in _MESSAGES.items()
}


@dataclass(frozen=True)
class Settings:
    """The settings of a layer: field name to values; messages are settings again."""

    values: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def one(self, name: str, default: Any = None) -> Any:
        """Last value of a field, or a default."""
        found = self.values.get(name, ())
        return found[-1] if found else default

    def all(self, name: str) -> tuple[Any, ...]:
        """Every value of a field."""
        return self.values.get(name, ())

    def plain(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            name: [one.plain() if isinstance(one, Settings) else one for one in found]
            for name, found in sorted(self.values.items())
        }


@dataclass(frozen=True)
class NetLayer:
    """A layer: what it is called, does, takes and gives."""

    name: str
    kind: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    settings: Settings


@dataclass(frozen=True)
class Net:
    """A network of Caffe.

    Parameters
    ----------
    name : str
        What its makers call it.
    input : str
        The blob of images.
    shape : tuple of int
        (n, channels, height, width) of the input, where the file says it; else empty.
    layers : tuple of NetLayer
        In an order in which they can be computed; none of training.
    transform : Settings
        What its data layer does to pixels.
    judged : bool
        Whether a loss or an accuracy stood behind it: then it ends in a classifier.
    """

    name: str
    input: str
    shape: tuple[int, ...]
    layers: tuple[NetLayer, ...]
    transform: Settings
    judged: bool

    @property
    def sha256(self) -> str:
        """Fingerprint of what it computes, whatever file says it."""
        return fingerprint(
            [[one.kind, one.bottoms, one.tops, one.settings.plain()] for one in self.layers]
        )


def is_text(path: Path) -> bool:
    """Tell a prototxt from a caffemodel, in which lengths and tags are control characters."""
    with path.open("rb") as file:
        return not any(byte < 9 or 13 < byte < 32 for byte in file.read(4096))


def read_net(path: Path) -> Net:
    """Read a network from a prototxt or a caffemodel.

    Raises
    ------
    WeightsError
        When it is damaged, or cannot be a network of images.
    """
    try:
        data = path.read_bytes() if path.stat().st_size <= MAX_BYTES or not is_text(path) else None
        if data is None:
            raise TextError("more text than any network has")
        if is_text(path):
            return _net(_from_text(parse(data), "net"), saved=False)
        return _net(_from_wire(Reader(_WIRE).decode(memoryview(data), "net"), "net"), saved=True)
    except (ValueError, OverflowError) as error:
        what = "caffemodel" if isinstance(error, WireError) else "network of Caffe"
        raise WeightsError(
            f"{path}: expected a {what}, got a damaged one: {error}",
            hint="A deploy.prototxt or a .caffemodel; a prototxt of a solver is none.",
        ) from error
    except OSError as error:
        raise WeightsError(
            f"{path}: expected a file of Caffe, which cannot be read: {error}"
        ) from error


def _from_text(found: Text, message: str) -> Settings:
    fields = _MESSAGES[message]
    values = {}
    for name, given in found.items():
        if name in fields:
            values[name] = tuple(_typed(name, one, fields[name][1]) for one in given)
        elif message.endswith("_param") and message in _LAYERS_OWN and name not in _FILLS_TOO:
            raise TextError(f"{message} with {name!r}, which is not known")
    return Settings(values)


_LAYERS_OWN: Final = {name for name, _, _ in _SETTINGS.values()} - {"data_param"}


def _typed(name: str, value: "str | Text", kind: str) -> Any:
    if isinstance(value, dict) != (kind in _MESSAGES):
        received = "a message" if isinstance(value, dict) else repr(value)
        raise TextError(f"{name}: {received} where it was not expected")
    if isinstance(value, dict):
        return _from_text(value, kind)
    if kind == "float":
        return _float(name, float(value.rstrip("fF")))
    if kind == "str" or value in kind.split() or name == "type":
        return value
    if value in _FLAGS:
        return _FLAGS[value]
    return _word(name, int(value), kind)


def _from_wire(found: Message, message: str) -> Settings:
    fields = _MESSAGES[message]
    values: dict[str, tuple[Any, ...]] = {}
    for name, given in found.items():
        kind = fields[name][1]
        each: Iterable[Any]
        if kind in _MESSAGES:
            each = (_from_wire(one, kind) for one in given)
        elif kind == "float":
            each = (_float(name, float(one)) for part in given for one in part)
        elif kind == "str":
            each = given
        else:
            flat = (n for one in given for n in (one if isinstance(one, list) else [one]))
            each = (_word(name, number, kind) for number in flat)
        values[name] = tuple(each)
    return Settings(values)


def _float(name: str, value: float) -> float:
    with np.errstate(over="ignore"):
        single = float(np.float32(value))  # as Caffe keeps it
    if not abs(single) < float("inf"):
        raise TextError(f"{name}: {value} where a number was expected")
    return single


def _word(name: str, number: int, kind: str) -> Any:
    if kind == "int":
        return number
    words = kind.split()
    if not 0 <= number < len(words):
        raise TextError(f"{name}: {number}, not one of {', '.join(words)}")
    return words[number]


def _net(found: Settings, *, saved: bool) -> Net:
    old, new = found.all("layers"), found.all("layer")
    given = (*old, *new)
    if not given or len(given) > MAX_LAYERS:
        raise TextError(f"{len(given)} layers")
    if any(one.all("layer") for one in old):
        raise TextError("layers as Caffe wrote them before 2014 (version 0)")
    # What is saved was chosen when it was trained: its rules speak of that.
    entries = [one for one in given if saved or _is_tested(one)]
    inputs = [(name, _shape(found, index)) for index, name in enumerate(found.all("input"))]
    known, labels = {name for name, _ in inputs}, set[str]()
    layers: list[NetLayer] = []
    transform, judged = Settings(), False
    for entry in entries:
        kind = _kind(entry.one("type", ""))
        name, tops = str(entry.one("name", "")), entry.all("top")
        own = entry.one(_SETTINGS[kind][0], Settings()) if kind in _SETTINGS else Settings()
        if kind == "BatchNorm" and (saved or own.one("use_global_stats", 1)):
            # What is saved says how it was trained; it is tested on the statistics it keeps.
            kept = {name: one for name, one in own.values.items() if name != "use_global_stats"}
            own = Settings(kept)
        if kind == "Input":
            shapes = own.all("shape") or (Settings(),)
            inputs += [
                (top, shapes[min(index, len(shapes) - 1)].all("dim"))
                for index, top in enumerate(tops)
            ]
            known.update(tops)
            continue
        if kind.endswith("Data") and not entry.all("bottom"):
            inputs += [(top, ()) for top in tops[:1]]
            labels.update(tops[1:])
            known.update(tops[:1])
            transform = Settings({**own.values, **entry.one("transform_param", own).values})
            continue
        bottoms = entry.all("bottom")
        if kind in _JUDGING or kind.endswith("Loss") or labels.intersection(bottoms):
            judged = judged or kind != "Silence"
            labels.update(tops)
            continue
        for bottom in bottoms:
            if bottom not in known:
                raise TextError(f"layer {name!r} takes {bottom!r}, which no layer before it gives")
        if not bottoms:
            raise TextError(f"layer {name!r} ({kind}) that takes nothing")
        known.update(tops)
        layers.append(NetLayer(name, kind, bottoms, tops, own))
    if len({name for name, _ in inputs}) != 1:
        names = ", ".join(name for name, _ in inputs)
        raise TextError(f"{len(inputs)} inputs ({names}), where one of images was expected")
    if not layers:
        raise TextError("no layer that computes")
    name, shape = max(inputs, key=lambda one: len(one[1]))
    return Net(str(found.one("name", "")), name, shape, tuple(layers), transform, judged)


def _shape(found: Settings, index: int) -> tuple[int, ...]:
    shapes = found.all("input_shape")
    if shapes:
        return tuple(shapes[min(index, len(shapes) - 1)].all("dim"))
    return found.all("input_dim")[4 * index : 4 * index + 4]


def _kind(kind: Any) -> str:
    if isinstance(kind, int):
        return V1_TYPES.get(kind, ("", f"number {kind}"))[1]
    return _WORDS.get(kind, str(kind))


def _is_tested(entry: Settings) -> bool:
    include, exclude = entry.all("include"), entry.all("exclude")
    if include:
        return any(map(_meets, include))
    return not any(map(_meets, exclude))


def _meets(rule: Settings) -> bool:
    """Tell whether a rule is met by a network that is tested, at level 0 and in no stage."""
    return (
        rule.one("phase", "TEST") == "TEST"
        and rule.one("min_level", 0) <= 0 <= rule.one("max_level", 0)
        and not rule.all("stage")
    )
