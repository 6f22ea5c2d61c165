"""Surgery on a backbone: cut it off, take layers out, put layers in; the result is a backbone.

The graph is built anew, operation by operation in the order of the model. Each layer is made again
from its configuration and gets its weights back where their shapes are as they were; what has other
shapes, or is new, starts with random weights that are the same every time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bottleneck import backbones
from bottleneck.adapt.layers import Body
from bottleneck.backbones.keras_scope import isolated
from bottleneck.backbones.layer_files import apply_layers, require_layers
from bottleneck.backbones.network import Network, partial_source
from bottleneck.backbones.providers.keras_file import write
from bottleneck.backbones.weights import fingerprint
from bottleneck.declare import listed
from bottleneck.errors import BackboneError, OptionError
from bottleneck.images import Geometry
from bottleneck.images.geometry import parse_size
from bottleneck.options import EditOptions
from bottleneck.writing import prepare_output


@dataclass(frozen=True)
class Edited:
    """A backbone that was made of another one.

    Parameters
    ----------
    output, backbone : str
        Where it is, and what it was made of.
    kept : int
        Layers that have their weights.
    new : tuple of str
        Layers that were put in.
    dropped : tuple of str
        Layers that were taken out, those behind the cut too.
    random : tuple of dict
        Layers whose weights did not fit any more and are random: ``layer``, and the shapes as they
        ``were`` and ``are``.
    parameters, dim : int
        Of the result: how many, and channels of what it gives.
    size : int or (int, int)
        Of its images.
    sha256 : str
        Fingerprint of its weights.
    """

    output: str
    backbone: str
    kept: int
    new: tuple[str, ...]
    dropped: tuple[str, ...]
    random: tuple[Mapping[str, Any], ...]
    parameters: int
    dim: int
    size: int | tuple[int, int]
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    def __repr__(self) -> str:
        return f"<Edited {self.output} of {self.backbone}, {self.kept} layers kept>"


@dataclass(frozen=True, eq=False)
class _Segment:
    """Operations that go, between one tensor that comes in and one that goes on.

    Parameters
    ----------
    text : str
        What named it.
    names : frozenset of str
    entry : KerasTensor
        What comes in.
    last : str
        The operation whose output goes on.
    """

    text: str
    names: frozenset[str]
    entry: Any
    last: str


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is done where.

    Parameters
    ----------
    segments : sequence of _Segment
    put_in : mapping of str to list of str
        Declarations of layers, by the operation behind which they go.
    """

    segments: Sequence[_Segment]
    put_in: Mapping[str, Sequence[str]]

    def segment(self, name: str) -> _Segment | None:
        """Return the segment that an operation goes with."""
        return next((one for one in self.segments if name in one.names), None)


def edit_backbone(options: EditOptions) -> Edited:
    """Edit; see :func:`bottleneck.edit`."""
    place = _place(options)
    insertions = [_pair(text, "--insert") for text in listed(options.insert)]
    replacements = [_pair(text, "--replace") for text in listed(options.replace)]
    for _, layers in (*insertions, *replacements):
        require_layers(layers)
    network = backbones.load(
        options.backbone,
        weights=None if options.weights is None else str(options.weights),
        size=parse_size(options.size),
        declared=None
        if options.preprocess is None
        else backbones.DeclaredInput.parse(options.preprocess),
    )
    geometry = network.input
    if network.form != "keras" or not isinstance(geometry, Geometry):
        raise BackboneError(
            f"expected a backbone of images that is a Keras model, got {options.backbone}",
            hint="Those of `bottleneck backbones` and .keras files are.",
        )
    with isolated() as keras:
        whole = _as_graph(keras, network)
        model = whole if options.cut is None else _cut(keras, whole, options.cut)
        plan = _planned(model, listed(options.drop), insertions, replacements)
        made, sources = _rebuilt(keras, model, plan)
        kept, random = _with_weights(sources)
        made.trainable = False
        about = {
            "image": geometry.recipe(),
            "preprocess": asdict(network.spec.preprocess),
            "edited": {
                "backbone": network.spec.name,
                "weights_sha256": network.weights.sha256,
                "cut": options.cut,
                "drop": listed(options.drop),
                "insert": [f"{at}:{Path(layers).name}" for at, layers in insertions],
                "replace": [f"{at}:{Path(layers).name}" for at, layers in replacements],
            },
        }
        sha256 = fingerprint(made)
        write(made, place, about)
    _require_the_same(place, sha256)
    before, after = _names(whole), _names(made)
    return Edited(
        output=str(options.output),
        backbone=network.spec.name,
        kept=kept,
        new=tuple(name for name in after if name not in before),
        dropped=tuple(name for name in before if name not in after),
        random=tuple(random),
        parameters=int(made.count_params()),
        dim=int(made.output.shape[-1]),
        size=network.size,
        sha256=sha256,
    )


def _place(options: EditOptions) -> Path:
    if not str(options.output).endswith(".keras"):
        raise OptionError(f"expected an output that ends in .keras, got {options.output}")
    if not (options.cut or options.drop or options.insert or options.replace):
        raise OptionError("expected --cut, --drop, --insert or --replace, got none")
    source = partial_source(options.weights)[0]
    inputs = [one for one in (source, options.backbone.partition(":")[2]) if one]
    place = prepare_output(options.output, kind="other", inputs=inputs)
    if place.exists() and not options.overwrite:
        raise OptionError(
            f"the output {options.output} exists",
            hint="Give --overwrite (in Python overwrite=True) to replace it, or another name.",
        )
    return place


def _pair(text: str, option: str) -> tuple[str, str]:
    """Take ``LAYER:declaration`` apart."""
    layer, colon, layers = text.partition(":")
    if not colon or not layer or not layers:
        raise OptionError(
            f"expected LAYER:FILE for {option}, got {text!r}",
            hint="For example block1_conv1:conv5.toml.",
        )
    return layer, layers


def _as_graph(keras: Any, network: Network) -> Any:
    """Return the model from its input to what features are taken from."""
    model = getattr(network.model, "_functional", None) or network.model
    if not hasattr(model, "_run_through_graph"):
        raise BackboneError(
            f"{network.spec.name}: expected a model that is a graph of layers, got"
            f" {type(network.model).__name__}, whose code decides what it does"
        )
    return model if network.main is None else _cut(keras, model, network.main)


def _cut(keras: Any, model: Any, name: str) -> Any:
    body = Body.of(model)
    return keras.Model(model.input, body.tensors[body.position(name)], name=model.name)


def _planned(
    model: Any,
    drops: Sequence[str],
    insertions: Sequence[tuple[str, str]],
    replacements: Sequence[tuple[str, str]],
) -> _Plan:
    body = Body.of(model)
    segments = [_segment(model, body, text) for text in (*drops, *(at for at, _ in replacements))]
    for number, one in enumerate(segments):
        for other in segments[:number]:
            shared = sorted(one.names & other.names)
            if shared:
                raise OptionError(
                    f"expected layers that go once, got {shared[0]} in {other.text} and {one.text}"
                )
    put_in: dict[str, list[str]] = {}
    for segment, (_, layers) in zip(segments[len(drops) :], replacements, strict=True):
        put_in.setdefault(segment.last, []).append(layers)
    for at, layers in insertions:
        name = body.names[body.position(at)]
        if body.names.count(name) > 1:  # behind each use there would be layers of their own
            raise OptionError(f"{at}: expected a layer that is used once, got {name}")
        # Behind a layer that goes is where it was.
        gone = next((one for one in segments if name in one.names), None)
        put_in.setdefault(name if gone is None else gone.last, []).append(layers)
    return _Plan(segments, put_in)


def _segment(model: Any, body: Body, text: str) -> _Segment:
    """Find all that lies between what the first layer takes and what the last one gives.

    Raises
    ------
    OptionError
        When more than one tensor leads in or out, naming the layers between which it passes.
    """
    start, dots, end = text.partition("..")
    first, last = body.span(start)[0], body.span(end if dots else start)[1]
    nodes = body.nodes
    behind = OptionError(
        f"{text}: expected {body.names[last]} to come behind {body.names[first]}, but it does not"
    )
    if last < first:
        raise behind
    place = {id(tensor): i for i, tensor in enumerate(body.tensors)}
    entries = {place[id(tensor)] for tensor in nodes[first].input_tensors}
    if len(entries) != 1:
        joined = ", ".join(body.names[i] for i in sorted(entries)) or "nothing"
        raise OptionError(
            f"expected a first layer that takes what one other gives, got {body.names[first]},"
            f" which takes {joined}",
            hint="Begin where the branches do.",
        )
    (entry,) = entries
    found, open_ones = {last}, [last]
    while open_ones:
        for tensor in nodes[open_ones.pop()].input_tensors:
            i = place[id(tensor)]
            if i == entry or i in found:
                continue
            if i < entry:
                raise OptionError(
                    f"{text}: expected layers that take nothing from before {body.names[first]},"
                    f" but what {body.names[i]} gives leads past it",
                    hint="Take the branches with it: begin where they part.",
                )
            found.add(i)
            open_ones.append(i)
    if first not in found:
        raise behind
    for i, node in enumerate(nodes):
        inner = {place[id(tensor)] for tensor in node.input_tensors} & (found - {last})
        if i not in found and inner:
            raise OptionError(
                f"{text}: expected that only {body.names[last]} goes on, but {body.names[i]} takes"
                f" what {body.names[min(inner)]} gives",
                hint="Take it out with them, or end before it.",
            )
    names = [body.names[i] for i in found]
    for name in names:
        if body.names.count(name) > 1:
            raise OptionError(f"{text}: expected layers that are used once, got {name}")
    return _Segment(text, frozenset(names), body.tensors[entry], body.names[last])


def _rebuilt(keras: Any, model: Any, plan: _Plan) -> tuple[Any, dict[str, tuple[Any, Any]]]:
    """Build the graph anew; return the model, and each layer that stays beside the one it was."""
    copies: dict[int, Any] = {}
    sources: dict[str, tuple[Any, Any]] = {}
    entries: dict[str, Any] = {}
    taken = {operation.name for operation in model.operations}
    given = keras.Input(batch_shape=model.input.shape, dtype=model.input.dtype, name="images")
    arrived = {id(model.input): given}

    def put_behind(name: str, tensor: Any) -> Any:
        for layers in plan.put_in.get(name, ()):
            tensor = apply_layers(keras, layers, tensor, taken)
        return tensor

    def visit(operation: Any, *args: Any, **kwargs: Any) -> Any:
        segment = plan.segment(operation.name)
        if segment is not None:
            if segment.text not in entries:
                entries[segment.text] = arrived[id(segment.entry)]
            entry = entries[segment.text]
            return put_behind(segment.last, entry) if operation.name == segment.last else entry
        copy = copies.setdefault(id(operation), _copied(keras, operation))
        try:
            found = copy(*args, **kwargs)
        except Exception as error:
            shapes = [tuple(one.shape) for one in keras.tree.flatten((args, kwargs)) if _is(one)]
            raise BackboneError(
                f"{operation.name} does not take what comes to it now, of shapes"
                f" {', '.join(map(str, shapes))}: {str(error).strip().splitlines()[0]}",
                hint="Put in layers that give what it took before, or take it out too.",
            ) from error
        if copy is not operation:
            sources[operation.name] = operation, copy
        return put_behind(operation.name, found)

    body = Body.of(model)
    tensors: dict[str, list[Any]] = {}  # a layer that is shared gives several, in this order
    for name, tensor in zip(body.names, body.tensors, strict=True):
        tensors.setdefault(name, []).append(tensor)

    def watched(operation: Any, *args: Any, **kwargs: Any) -> Any:
        found = visit(operation, *args, **kwargs)
        arrived[id(tensors[operation.name].pop(0))] = found
        return found

    first = put_behind(body.names[0], given)
    arrived[id(model.input)] = first
    (found,) = keras.tree.flatten(model._run_through_graph([first], call_fn=watched))
    return keras.Model(given, found, name=model.name), sources


def _copied(keras: Any, operation: Any) -> Any:
    if not isinstance(operation, keras.layers.Layer):
        return operation  # it holds nothing
    return type(operation).from_config(operation.get_config())


def _is(value: Any) -> bool:
    return hasattr(value, "shape")


def _with_weights(sources: Mapping[str, tuple[Any, Any]]) -> tuple[int, list[dict[str, Any]]]:
    """Give layers their weights back; say how many have them, and which cannot."""
    kept, random = 0, []
    for name, (old, new) in sources.items():
        were = [list(one.shape) for one in old.get_weights()]
        are = [list(one.shape) for one in new.get_weights()]
        if were == are:
            new.set_weights(old.get_weights())
            kept += bool(were)
        else:
            random.append({"layer": name, "were": were, "are": are})
    return kept, random


def _names(model: Any) -> list[str]:
    return [one.name for one in model.operations if type(one).__name__ != "InputLayer"]


def _require_the_same(place: Path, sha256: str) -> None:
    """Open what was written, as any command will."""
    found = backbones.load(f"keras:{place}").weights.sha256
    if found != sha256:
        raise BackboneError(
            f"expected {place} to hold the weights {sha256[:12]}, but it holds {found[:12]}"
        )
