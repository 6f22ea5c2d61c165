"""Convolutions of a Keras network as PyTorch computes them best: one call, nothing copied.

Keras's Torch layers permute a kernel for every batch, which makes PyTorch copy the layout of what
goes in and comes out, and add the bias in a pass of its own. Here a kernel is laid out once, the
bias belongs to the convolution, and a ReLU behind it works in place. On NVIDIA's GPUs bias, ReLU
and the sum of a residual block before it are part of the convolution's kernel: reading and writing
maps is most of the time there, and each of these was a pass over all of them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from bottleneck.exhaustion import surely_out_of_memory
from bottleneck.runtimes.folding import Graph, has_plain_weights, rewired


def native(torch: Any, keras: Any, network: Any, *, fused: bool = False) -> Any:
    """Replace the convolutions of a network.

    Parameters
    ----------
    torch, keras : module
    network : keras.Model
        Built with ``backend="torch"``. Not changed; its other layers are shared with the result.
    fused : bool
        Whether cuDNN computes what comes behind a convolution with it.

    Returns
    -------
    keras.Model
        The same function; ``network`` itself where there is nothing to replace.
    """
    graph = Graph(network)
    plain = {id(layer): layer for layer, _ in graph.calls if _is_plain(keras, layer, graph)}
    if not plain:
        return network
    behind = {
        id(layer): (relu, most)
        for layer, relu in graph.pairs()
        if id(layer) in plain and (most := _relu(keras, relu)) is not None
    }
    kind = _kind(torch, keras)
    sums = [*_sums(keras, graph, {*plain} - {*behind})] if fused else []
    summed = {id(conv) for conv, *_ in sums}
    replaced = {
        id(layer): kind(layer, made, *behind.get(id(layer), (None, None))[1:], fused=fused)
        for layer, made in graph.calls
        if id(layer) in plain and id(layer) not in summed
    }
    replaced |= {
        id(add): kind(conv, made, _relu(keras, relu), at=at, fused=fused, name=add.name)
        for conv, at, add, made, relu in sums
    }
    left_out = [relu for relu, _ in behind.values()]
    left_out += [one for conv, _, _, _, relu in sums for one in (conv, relu)]
    return rewired(keras, network, replaced, left_out)


def _sums(keras: Any, graph: Graph, plain: set[int]) -> Iterator[tuple[Any, int, Any, Any, Any]]:
    """Yield convolutions whose maps are added to others, with a ReLU behind the sum.

    Each with its place among what is added, the sum, the tensor that gives, and the ReLU.
    """
    made = {id(layer): tensor for layer, tensor in graph.calls}
    for add, relu in graph.pairs():
        if type(add) is not keras.layers.Add or _relu(keras, relu) is None:
            continue
        givers, whole = graph.givers(add), made[id(add)]
        # What is spread over a map (one number per channel, say) is none itself.
        if len(givers) != 2 or any(given.shape != whole.shape for _, given in givers):
            continue
        for at in (1, 0):
            conv, _ = givers[at]
            if conv is not None and id(conv) in plain and conv.compute_dtype == add.compute_dtype:
                yield conv, at, add, whole, relu
                break


def _is_plain(keras: Any, layer: Any, graph: Graph) -> bool:
    return (
        type(layer) in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
        and has_plain_weights(keras, layer)
        and layer.padding in ("same", "valid")
        and graph.uses(layer) == 1
    )


def _relu(keras: Any, layer: Any) -> float | None:
    """Return the largest value a ReLU lets through; None for any other layer."""
    if type(layer) is keras.layers.Activation:
        largest = {keras.activations.relu: float("inf"), keras.activations.relu6: 6.0}
        return largest.get(layer.activation)
    if type(layer) is not keras.layers.ReLU or layer.negative_slope or layer.threshold:
        return None
    return float("inf") if layer.max_value is None else float(layer.max_value)


def _kind(torch: Any, keras: Any) -> Any:
    """Make the class of layers; it derives from what Keras's back end has made of its own."""
    functional = torch.nn.functional

    class Convolution(keras.layers.Layer):  # type: ignore[misc]
        def __init__(
            self,
            layer: Any,
            made: Any,
            most: float | None,
            *,
            fused: bool,
            at: int | None = None,
            name: str | None = None,
        ) -> None:
            super().__init__(name=name or layer.name, dtype=layer.dtype_policy, trainable=False)
            kernel, *bias = (
                variable.value.detach().to(getattr(torch, layer.compute_dtype))
                for variable in layer.weights
            )
            self._groups = getattr(layer, "groups", 1)
            if type(layer) is keras.layers.DepthwiseConv2D:
                height, width, self._groups, multiplier = kernel.shape
                kernel = kernel.reshape(height, width, 1, self._groups * multiplier)
            kernel = kernel.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
            self.register_buffer("laid_out", kernel, persistent=False)
            self.register_buffer("added", bias[0] if bias else None, persistent=False)
            self._strides = _both(layer.strides)
            self._dilation = _both(layer.dilation_rate)
            self._same = layer.padding == "same"
            self._most = most
            self._at = at
            self._fused = fused and most is not None and self._groups == 1
            self._overflows = layer.compute_dtype == "float16"
            self._tried: set[Any] = set()
            self._made = keras.KerasTensor(made.shape, layer.compute_dtype)
            self.built = True

        def compute_output_spec(self, inputs: Any) -> Any:
            return self._made

        def call(self, inputs: Any) -> Any:
            # Channels last in memory, which PyTorch takes as it is.
            if self._at is None:
                maps, other = inputs.permute(0, 3, 1, 2), None
            else:
                maps, other = (inputs[at].permute(0, 3, 1, 2) for at in (self._at, 1 - self._at))
            padding = (0, 0)
            if self._same:
                (top, bottom), (left, right) = self._padding(maps.shape[2:])
                if (top, left) == (bottom, right):
                    padding = top, left
                else:
                    maps = functional.pad(maps, (left, right, top, bottom))
            return self._computed(maps, padding, other).permute(0, 2, 3, 1)

        def _computed(self, maps: Any, padding: tuple[int, int], other: Any) -> Any:
            how = self._strides, padding, self._dilation, self._groups
            if self._fused and self._overflows and maps.shape not in self._tried:
                # cuDNN may take another kernel for each.
                self._tried.add(maps.shape)
                self._fused = self._keeps_nan(maps, other, how)
            if self._fused:
                try:
                    found = self._in_one(maps, other, how)
                    return found if self._most == float("inf") else found.clamp_(max=self._most)
                except RuntimeError as error:
                    if surely_out_of_memory(error):
                        raise
                    self._fused = False  # cuDNN has no such kernel for these shapes
            found = functional.conv2d(maps, self.laid_out, self.added, *how)
            if other is not None:
                found += other
            return found if self._most is None else found.clamp_(0.0, self._most)

        def _keeps_nan(self, maps: Any, other: Any, how: tuple[Any, ...]) -> bool:
            """Whether what does not fit into float16 is still seen behind the kernel's ReLU.

            Those of cuDNN may make 0 of what is no number, and an image whose maps overflow would
            get features like any other.
            """
            try:
                found = self._in_one(torch.full_like(maps, float("nan")), other, how)
            except RuntimeError as error:
                if surely_out_of_memory(error):
                    raise
                return False  # cuDNN has no such kernel for these shapes
            return bool(found.isnan().all())

        def _in_one(self, maps: Any, other: Any, how: tuple[Any, ...]) -> Any:
            if other is None:
                return torch.cudnn_convolution_relu(maps, self.laid_out, self.added, *how)
            return torch.cudnn_convolution_add_relu(
                maps, self.laid_out, other, 1.0, self.added, *how
            )

        def _padding(self, sides: Sequence[int]) -> list[tuple[int, int]]:
            """Pad as TensorFlow does: what is odd at the end."""
            found = []
            lengths = zip(
                sides, self.laid_out.shape[2:], self._strides, self._dilation, strict=True
            )
            for side, length, stride, dilation in lengths:
                reach = (length - 1) * dilation + 1
                more = max((-(-side // stride) - 1) * stride + reach - side, 0)
                found.append((more // 2, more - more // 2))
            return found

    return Convolution


def _both(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
