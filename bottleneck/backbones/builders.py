"""From a row of the catalogue to a network with weights.

Random weights that are the same on every framework.

Each framework has a generator of its own, so that Keras's initialisers draw other numbers on
each. Here NumPy draws, from the distributions that the layers name.
"""

import contextlib
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.backbones.architectures import efficientnet_lite, inception, music_taggers, resnets
from bottleneck.backbones.catalogue import (
    bundled_names,
    cache_folder,
    cached_file,
    weights_file,
    widths_of,
)
from bottleneck.backbones.declared import DeclaredInput
from bottleneck.backbones.keras_network import layer_tensors, shapes_of
from bottleneck.backbones.keras_scope import isolated
from bottleneck.backbones.network import PARTIAL, BackboneSpec, Network, WeightsInfo, partial_source
from bottleneck.backbones.own import released
from bottleneck.backbones.weights import (
    RESCALED_FAMILY,
    Archive,
    fingerprint,
    is_archive,
    open_archive,
    read_into,
    read_partly,
    rescaling_is_needed,
    with_rescaling,
)
from bottleneck.errors import BackboneError, WeightsError, first_line
from bottleneck.images import ImageSize, image_shape
from bottleneck.process_wide import ALONE, warnings_ignored
from bottleneck.weights import TAKEN, is_weights, read

_KERNELS: Final = (
    ("kernel", "kernel_initializer"),
    ("kernel", "depthwise_initializer"),
    ("depthwise_kernel", "depthwise_initializer"),
    ("pointwise_kernel", "pointwise_initializer"),
)
"""Where layers keep a kernel and what draws it."""

_TRUNCATED_STD: Final = 0.87962566103423978
"""Standard deviation of a standard normal that is cut off at -2 and 2."""


def draw_weights(model: Any) -> None:
    """Draw new kernels for a network, always the same ones; changes it in place.

    Kernels whose initialiser is no ``VarianceScaling`` (zeros, say) stay, as do biases and
    statistics, which start from constants.

    Parameters
    ----------
    model : keras.Model
    """
    generator = np.random.default_rng(0)
    for layer in _leaves(model):
        for kernel_name, initializer_name in _KERNELS:
            kernel = getattr(layer, kernel_name, None)
            initializer = getattr(layer, initializer_name, None)
            if kernel is not None and hasattr(initializer, "distribution"):
                kernel.assign(_variance_scaling(generator, tuple(kernel.shape), initializer))


def _leaves(model: Any) -> Iterator[Any]:
    """Yield the layers, those of models among them too, in their order."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _leaves(layer)
        else:
            yield layer


def _variance_scaling(
    generator: np.random.Generator, shape: tuple[int, ...], initializer: Any
) -> NDArray[np.float32]:
    """Draw as Keras documents ``VarianceScaling``: variance ``scale`` over the mode's fan."""
    field = math.prod(shape[:-2])
    fan_in, fan_out = field * shape[-2], field * shape[-1]
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
    variance = initializer.scale / max(1.0, fan[initializer.mode])
    if initializer.distribution == "uniform":
        limit = math.sqrt(3 * variance)
        return generator.uniform(-limit, limit, shape).astype(np.float32)
    drawn = generator.standard_normal(shape, np.float32)
    if initializer.distribution == "truncated_normal":
        while (outside := np.abs(drawn) > 2).any():
            drawn[outside] = generator.standard_normal(int(outside.sum()), np.float32)
        variance /= _TRUNCATED_STD**2
    return drawn * np.float32(math.sqrt(variance))


_NOT_BUILT: Final = {("nasnet_mobile", "torch")}
"""What Keras 3.15 does not build."""

_OWN: Final = {
    "efficientnet_lite": efficientnet_lite,
    "inception": inception,
    "music_tagger": music_taggers,
    "resnets": resnets,
}
"""Families that are built here; keyed by their module in the catalogue."""

_WRITTEN_BY: Final = {
    "slim": "a checkpoint of TF-slim (its prefix, folder or .tar.gz), or a frozen graph of one",
    "early_keras": "a file of Keras 1, release v0.2 of its models",
    "keras_applications": "a file that Keras wrote",
}


def load(
    spec: BackboneSpec,
    *,
    weights: str | Path | None = None,
    size: ImageSize | None = None,
    declared: DeclaredInput | None = None,
    backend: str | None = None,
) -> Network:
    """Build a network of a catalogue and give it weights; see :func:`registry.load`."""
    given, partial = partial_source(weights)
    source = _source(spec, given)
    if partial and source in {"bundled", "imagenet", "none"}:
        raise WeightsError(
            f"{spec.name}: expected a file of weights that may lack some, got {source}",
            hint="--partial --weights PATH.",
        )
    partly: dict[str, list[str]] = {}
    if declared is not None:
        spec = declared.applied(spec)
    side: ImageSize = spec.input_size if size is None else size
    if min(image_shape(side)[:2]) < spec.min_size:
        raise BackboneError(
            f"{spec.name}: expected images of at least {spec.min_size} pixels a side, got {side}",
            hint=f"Its own size is {spec.input_size}.",
        )
    with isolated(backend) as keras, warnings_ignored():  # Keras warns of sizes other than its own
        if (spec.name, keras.backend.backend()) in _NOT_BUILT:
            raise BackboneError(
                f"{spec.name}: expected a framework that Keras builds it on, got "
                f"{keras.backend.backend()}, where Keras refuses to, for a defect of its own",
                hint="Use another --runtime.",
            )
        if source == "bundled":
            model = efficientnet_lite.build(keras, spec.name, side, random=False)
            efficientnet_lite.load_bundled(model, spec)
        elif source == "imagenet":
            cached = cached_file(spec, side)
            if cached is not None:
                # Keras deletes a file whose hash it does not expect; ours to read, not to judge.
                model, side, spec = _from_file(keras, spec, cached, side)
            else:
                model = _downloaded(keras, spec, side)
        elif source == "none":
            model = build(keras, spec, side, random=True)
            draw_weights(model)
        elif partial:
            model = build(keras, spec, side, random=True)
            draw_weights(model)
            found = read_partly(model, Path(source), spec)
            partly = {name: list(layers) for name, layers in vars(found).items()}
        else:
            model, side, spec = _from_file(keras, spec, Path(source), size)
        model.trainable = False
        return Network(
            spec,
            model,
            side,
            WeightsInfo((PARTIAL if partial else "") + _lasting(source), fingerprint(model)),
            form="keras",
            layers=tuple(layer_tensors(model)),
            shapes=shapes_of(model, side),
            facts={**_width(spec), **({"random": partly["random"]} if partial else {})},
            details={
                "parameters": spec.params,
                "licence": spec.licence,
                **({"partial": partly} if partial else {}),
            },
            tested=not partial,
        )


def _source(spec: BackboneSpec, weights: str | Path | None) -> str:
    source = str(weights or ("bundled" if spec.bundled else "imagenet"))
    if source == "imagenet" and spec.bundled:
        return "bundled"  # its ImageNet weights are the package's
    if source == "imagenet" and cached_file(spec) is None:
        kept = released(spec.name)
        if kept is not None:
            return str(kept)
    if not spec.bundled and source == "imagenet" and weights_file(spec) is None:
        raise WeightsError(
            f"{spec.name}: expected a file of its weights, which nobody offers for download here",
            hint=f"--weights PATH: {_WRITTEN_BY[spec.provider]}.",
        )
    if source == "bundled" and not spec.bundled:
        raise WeightsError(
            f"{spec.name}: no package carries its weights",
            hint=f"Bundled: {', '.join(bundled_names()) or 'none installed'}; or use"
            " --weights imagenet or --weights PATH.",
        )
    if source not in {"bundled", "imagenet", "none"} and not is_weights(source):
        raise WeightsError(
            f"{spec.name}: expected bundled, imagenet, none or a weights file, got"
            f" {source!r}, and there is no such file",
            hint=f"It takes {TAKEN}",
        )
    return source


def build(
    keras: Any, spec: BackboneSpec, size: ImageSize, *, random: bool, weights: str | None = None
) -> Any:
    """Build the headless network of a row.

    Parameters
    ----------
    keras : module
    spec : BackboneSpec
    size : int or (int, int)
        Side of the square input, or height and width, pixels.
    random : bool
        Draw kernels; where a network is about to be filled, what can stay zero stays zero.
    weights : str, optional
        What Keras is asked to load, ``imagenet``.
    """
    own = _OWN.get(spec.family)
    if own is not None:
        return own.build(keras, spec.name, size, random=random)
    made = getattr(keras.applications, spec.network or spec.class_name)
    width = _width(spec)
    return made(weights=weights, include_top=False, input_shape=image_shape(size), **width)


def _width(spec: BackboneSpec) -> dict[str, Any]:
    """Say how wide a MobileNet is, where it is not as in the paper."""
    found = {"alpha": spec.alpha, "depth_multiplier": spec.depth_multiplier}
    return {name: value for name, value in found.items() if value != 1}


def _downloaded(keras: Any, spec: BackboneSpec, size: ImageSize) -> Any:
    try:
        # Keras reports its download on stdout, which belongs to results.
        with ALONE, contextlib.redirect_stdout(sys.stderr):
            return build(keras, spec, size, random=True, weights="imagenet")
    except Exception as error:
        raise WeightsError(
            f"{spec.name}: expected ImageNet weights from Keras, got {first_line(error)}",
            hint=f"Without a network: put {weights_file(spec, size)} into {cache_folder()}, where"
            f" Keras looks, or name a file with --weights PATH, or choose a backbone whose weights"
            f" are bundled: {', '.join(bundled_names()) or 'none installed'}.",
        ) from error


def _from_file(
    keras: Any, spec: BackboneSpec, path: Path, size: ImageSize | None
) -> tuple[Any, ImageSize, BackboneSpec]:
    """Build and fill a network; also returns its side, and its row: the file decides the width."""
    archive = open_archive(keras, path, spec) if is_archive(path) else None
    side = size or spec.input_size
    if archive is not None:
        side = archive.size or side
        if size is not None and side != size:
            raise WeightsError(
                f"{path}: expected a network for images of {size} pixels, got one that"
                f" fixes its input at {side}",
                hint=f"Use --size {side}, or save its weights alone: .weights.h5 has no size.",
            )
    failed: WeightsError | None = None
    for one in _widths(spec, path, archive):
        model = build(keras, one, side, random=False)
        try:
            rescaled = archive.fill(model) if archive else _filled(model, path, one)
        except WeightsError as error:
            if failed is None or one.name == spec.name:
                failed = error
            continue
        return (with_rescaling(keras, model) if rescaled else model), side, one
    assert failed is not None
    raise failed


def _widths(spec: BackboneSpec, path: Path, archive: Archive | None) -> Sequence[BackboneSpec]:
    """List the rows that a file may be of: those of other widths too, where none was named."""
    if widths_of(spec) == (spec,):
        return (spec,)
    held = archive.model.count_params() if archive else read(path).parameters
    able = [one for one in widths_of(spec) if one.params <= held]
    return able if any(one.name == spec.name for one in able) else [*able, spec]


def _filled(model: Any, path: Path, spec: BackboneSpec) -> bool:
    """Fill a network from any file but an archive; say whether it wants the extra rescaling."""
    rescalings = read_into(model, path, spec)
    if spec.family != RESCALED_FAMILY:
        return False
    variance = model.get_layer("normalization").get_weights()[1]
    return rescaling_is_needed(variance, rescalings)


def _lasting(source: str) -> str:
    """Return a path that means the same from any folder; it is kept in recipes."""
    return source if source in {"bundled", "imagenet", "none"} else str(Path(source).resolve())
