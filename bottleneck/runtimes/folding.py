"""Batch normalisation folded into the weights before it: one pass over a map less for each.

What a convolution gives is scaled and shifted by numbers that are fixed once a network is trained,
so its kernel and bias can be (Markuš, Fusing batch normalization and convolution in runtime, 2018).
The function is the same but for rounding; the weights that a recipe names stay those of the
network. Not in bfloat16, where kernels and shifts rounded after they were scaled lose more than
those rounded before (EfficientNet-Lite0: docs/decisions/0005-runtimes.md).
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def folded(keras: Any, network: Any, *, largest: float = math.inf) -> Any:
    """Rewire a network so that no convolution or dense layer has its batch normalisation behind it.

    Only plain cases are folded: a layer without an activation whose values go to one normalisation
    of its channels and nowhere else, both of them used once.

    Parameters
    ----------
    keras : module
    network : keras.Model
        Not changed; its other layers are shared with the result.
    largest : float
        A layer whose weights would become larger than this keeps its normalisation.

    Returns
    -------
    keras.Model
        The same function; ``network`` itself where there is nothing to fold.
    """
    pairs = [pair for pair in _pairs(keras, network) if _weights(*pair, largest) is not None]
    if not pairs:
        return network
    replaced: dict[int, Any] = {}
    for layer, _ in pairs:
        config = {**layer.get_config(), "use_bias": True}
        # What only training asks for may be of kinds that Keras does not know by name.
        config |= {name: "zeros" for name in config if name.endswith("_initializer")}
        config |= {n: None for n in config if n.endswith(("_regularizer", "_constraint"))}
        replaced[id(layer)] = type(layer).from_config(config)
    made = rewired(keras, network, replaced, [norm for _, norm in pairs])
    for layer, norm in pairs:
        replaced[id(layer)].set_weights(_weights(layer, norm, largest))
    return made


def rewired(
    keras: Any, network: Any, replaced: Mapping[int, Any], left_out: Iterable[Any] = ()
) -> Any:
    """Make a network with other layers in the place of some.

    Parameters
    ----------
    keras : module
    network : keras.Model
        Not changed; its other layers are shared with the result.
    replaced : mapping of int to keras.layers.Layer
        By the ``id`` of the layer whose place it takes.
    left_out : iterable of keras.layers.Layer
        Layers of one input, which is handed on as it is.
    """
    passed = {id(layer) for layer in left_out}

    def call(layer: Any, *values: Any, **options: Any) -> Any:
        if id(layer) not in passed:
            return layer(*values, **options)
        return values[0] if values else options["inputs"]

    return keras.models.clone_model(
        network,
        clone_function=lambda layer: replaced.get(id(layer), layer),
        call_function=call,
    )


def has_plain_weights(keras: Any, layer: Any) -> bool:
    """Tell whether the weights of a layer are its kernels and its bias, and all it does.

    Not so where it has an activation, is quantized, or has adapters of low rank (LoRA) beside them.
    """
    return (
        layer.activation is keras.activations.linear
        and getattr(layer, "data_format", "channels_last") == "channels_last"
        and getattr(layer, "quantization_mode", None) is None
        and not getattr(layer, "lora_enabled", False)
    )


class Graph:
    """Which layers of a network are called, and who takes what they give.

    Parameters
    ----------
    network : keras.Model
        A functional one; of any other nothing is known.

    Attributes
    ----------
    calls : list of (layer, tensor)
        Each call of a layer that gives one tensor, with that.
    """

    def __init__(self, network: Any) -> None:
        depths = getattr(network, "_nodes_by_depth", {}).values()
        self._nodes = [node for nodes in depths for node in nodes]
        self._uses = Counter(id(node.operation) for node in self._nodes)
        self._takers = Counter(id(tensor) for tensor in network.outputs)
        self._takers.update(id(one) for node in self._nodes for one in node.input_tensors)
        self.calls = [
            (node.operation, node.output_tensors[0])
            for node in self._nodes
            if len(node.output_tensors) == 1
        ]

    def givers(self, layer: Any) -> list[tuple[Any, Any]]:
        """List what gives each input of a layer that is called once, with the tensor it is.

        None stands for what others take too, for inputs of the network, and for layers that are
        called more than once.
        """
        made = {id(tensor): one for one, tensor in self.calls if self.uses(one) == 1}
        (node,) = (node for node in self._nodes if node.operation is layer)
        return [
            (made.get(id(tensor)) if self._takers[id(tensor)] == 1 else None, tensor)
            for tensor in node.input_tensors
        ]

    def uses(self, layer: Any) -> int:
        """Return how often a layer is called."""
        return self._uses[id(layer)]

    def pairs(self) -> Iterator[tuple[Any, Any]]:
        """Yield layers that hand all they give to one other, both called once; with that."""
        made = {id(tensor): layer for layer, tensor in self.calls}
        for node in self._nodes:
            if len(node.input_tensors) != 1 or self.uses(node.operation) != 1:
                continue
            given = id(node.input_tensors[0])
            if given in made and self._takers[given] == 1 and self.uses(made[given]) == 1:
                yield made[given], node.operation


def _pairs(keras: Any, network: Any) -> list[tuple[Any, Any]]:
    """List the layers that can be folded, each with the normalisation behind it."""
    layers = keras.layers
    kinds = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D, layers.Dense)
    graph = Graph(network)
    last = {id(layer): len(tensor.shape) - 1 for layer, tensor in graph.calls}
    return [
        (layer, norm)
        for layer, norm in graph.pairs()
        if type(norm) is keras.layers.BatchNormalization
        and norm.axis in (-1, last[id(layer)])
        and type(layer) in kinds
        and has_plain_weights(keras, layer)
        # A file may have layers of half precision, whatever the others compute in.
        and layer.compute_dtype == norm.compute_dtype == "float32"
    ]


def _weights(layer: Any, norm: Any, largest: float) -> list[NDArray[np.float32]] | None:
    """Return the weights of a layer that does what both did; None where they are too large."""
    named: Mapping[str, NDArray[np.float64]] = {
        variable.name: np.asarray(value, np.float64)
        for variable, value in zip(norm.weights, norm.get_weights(), strict=True)
    }
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = named.get("gamma", 1.0) / np.sqrt(named["moving_variance"] + norm.epsilon)
    if not np.isfinite(scale).all():
        return None
    *kernels, last = layer.get_weights()[: -1 if layer.use_bias else None]
    bias = layer.get_weights()[-1] if layer.use_bias else 0.0
    # A depthwise kernel ends in (channels, multiplier), and those are the channels it gives.
    depthwise = type(layer).__name__ == "DepthwiseConv2D"
    kernel = last * (scale.reshape(last.shape[2:]) if depthwise else scale)
    shift = (bias - named["moving_mean"]) * scale + named.get("beta", 0.0)
    made = [*kernels, kernel.astype(np.float32), shift.astype(np.float32)]
    fit = all(np.isfinite(one).all() and np.abs(one).max() <= largest for one in made)
    return made if fit else None
