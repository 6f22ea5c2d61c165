"""The admission test of a network that our own tests do not know: eight pictures before row 0.

What goes wrong with networks from elsewhere is seldom an error: a layer that was not in the
checkpoint is random, a network left in training mode drops and masks, a batch of one is something
else than a batch of eight. Features of such a network look like any others. Here it has to compute
the same twice, alone and together, in any order, for weights that are the same when they are
loaded again; to see a difference between pictures; and to agree with the plainest way to compute
it, and with what its provider makes of a picture, where there is such.
"""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bottleneck import runtimes
from bottleneck.backbones.keras_scope import isolated
from bottleneck.backbones.network import Network, OutputSpec
from bottleneck.errors import BackboneError, OptionError
from bottleneck.fingerprint import fingerprint
from bottleneck.images import Geometry, decode
from bottleneck.items import KINDS
from bottleneck.location import cache_folder
from bottleneck.runtimes import CompiledBackbone
from bottleneck.runtimes.outputs import keras_tensors, preprocessed, taken
from bottleneck.writing import write_text

COUNT: Final = 8

TOLERANCE: Final = {"float32": 1e-3, "tf32": 1e-2}
"""Part of the largest feature by which a batch may differ from its images one by one; other
precisions have :data:`COARSE`. What goes wrong is off by whole features."""

COARSE: Final = 5e-2

LEAST_COSINE: Final = {"float32": 0.9999, "tf32": 0.999}
"""Between the features of a picture by the runtime and by the reference; other precisions have
:data:`COARSE_COSINE`."""

COARSE_COSINE: Final = 0.98

MOST_PIXELS: Final = 1.01
"""Of 255, by which our pixels may differ from the provider's: one, and what rounding adds."""

_SIDES: Final = ((333, 500), (480, 300))
"""Height and width of the pictures whose pixels are compared."""

VERSION: Final = 2
"""Raised by one whenever a check is added, so that what was admitted before is tested again."""

_Features = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Admission:
    """What the test measured; differences are parts of the largest feature.

    Parameters
    ----------
    version : int
    pictures : int
    repeated, single, permuted : float
        Largest difference between the same batch twice, images alone and together, and another
        order.
    least_difference : float
        Between the features of two pictures, the smallest.
    constant : int
        Features that are the same for all pictures.
    reference : str or None
        What computed the network in the plainest way; None where that is what the runtime does.
    cosine : float or None
        The least between the features of a picture by both.
    pixels : float or None
        Largest difference of our pixels from those of the provider's own processor, of 255; None
        where it has none, or the preprocessing was said by hand.
    """

    version: int
    pictures: int
    repeated: float
    single: float
    permuted: float
    least_difference: float
    constant: int
    reference: str | None = None
    cosine: float | None = None
    pixels: float | None = None


def admit(
    network: Network,
    compiled: CompiledBackbone,
    again: Callable[[], Network],
    *,
    precision: str,
    outputs: Sequence[OutputSpec] = (),
) -> dict[str, Any]:
    """Test a network, unless the same one was admitted before.

    Parameters
    ----------
    network : Network
    compiled : CompiledBackbone
        The same, ready to compute.
    again : callable
        Loads it once more.
    precision : str
        What it computes in.
    outputs : sequence of OutputSpec
        What is taken from it, for the reference.

    Returns
    -------
    dict
        For the recipe: what was measured.

    Raises
    ------
    BackboneError
        When it fails; names the check.
    """
    key = fingerprint(
        [
            *(VERSION, network.spec.name, network.weights.sha256, dict(network.facts)),
            *(list(network.input.shape), dict(compiled.dims)),
            *(list(network.spec.preprocess.scale), list(network.spec.preprocess.offset)),
            *(compiled.runtime, compiled.version, compiled.device, precision),
            network.spec.input(network.size).recipe() if network.processor else None,
        ]
    )
    file = cache_folder() / "admitted" / f"{key}.json"
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(known, dict) and known.get("version") == VERSION:
            return known
    except (OSError, ValueError):
        pass
    found = vars(_tested(network, compiled, again, precision, outputs))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(found))
    except (OSError, OptionError):
        pass  # tested again next time
    return dict(found)


def _tested(
    network: Network,
    compiled: CompiledBackbone,
    again: Callable[[], Network],
    precision: str,
    outputs: Sequence[OutputSpec],
) -> Admission:
    name, tolerance = network.spec.name, TOLERANCE.get(precision, COARSE)
    sha256 = again().weights.sha256
    if sha256 != network.weights.sha256:
        raise _refused(
            name,
            "two loads, one fingerprint of the weights",
            f"{network.weights.sha256[:12]} and {sha256[:12]}",
            "Some weights are random: they are not in the checkpoint.",
        )
    images = KINDS[network.input.item].trial(network.input)
    first = compiled(images)
    for output, features in first.items():
        if not np.isfinite(features).all():
            count = int((~np.isfinite(features)).sum())
            raise _refused(
                name,
                "finite features",
                f"{count} of {features.size} of {output} are not",
                "Another --preprocess or --precision may be what it wants.",
            )
    repeated = _difference(first, compiled(images))
    if repeated > tolerance:
        raise _refused(
            name,
            "the same batch twice, the same features",
            f"a difference of {repeated:.2g} of the largest feature",
            "The network draws at random: it masks or drops, as in training.",
        )
    alone = [compiled(image[None]) for image in images]
    single = _difference(first, {key: np.concatenate([one[key] for one in alone]) for key in first})
    if single > tolerance:
        raise _refused(
            name,
            "images alone and together, the same features",
            f"a difference of {single:.2g} of the largest feature",
            "It looks at other images of the batch, as normalisation in training mode does.",
        )
    order = np.roll(np.arange(COUNT)[::-1], 3)
    turned = compiled(images[order])
    permuted = _difference({key: value[order] for key, value in first.items()}, turned)
    if permuted > tolerance:
        raise _refused(
            name,
            "another order of the images, the same features",
            f"a difference of {permuted:.2g} of the largest feature",
            "Features depend on the place in the batch.",
        )
    least, constant = _varied(name, first, tolerance)
    reference, cosine = _compared(
        network, first, images, outputs, runtime=compiled.runtime, precision=precision
    )
    pixels = _pixels(network)
    return Admission(
        VERSION, COUNT, repeated, single, permuted, least, constant, reference, cosine, pixels
    )


def _compared(
    network: Network,
    found: _Features,
    images: NDArray[Any],
    outputs: Sequence[OutputSpec],
    *,
    runtime: str,
    precision: str,
) -> tuple[str | None, float | None]:
    """Compute the network in the plainest way, and return what did and the least cosine."""
    if not outputs or precision == "int8":  # which was compared when it was calibrated
        return None, None
    if network.form == "keras":
        reference, expected = "keras", _by_keras(network, images, outputs)
    elif network.form == "graph" and runtime != "onnxruntime" and find_spec("onnxruntime"):
        compiled = runtimes.get("onnxruntime").compile(network, outputs, device="cpu")
        reference, expected = "onnxruntime", compiled(images)
    else:
        return None, None
    cosine = min(_cosine(found[key], expected[key]) for key in found)
    if cosine < LEAST_COSINE.get(precision, COARSE_COSINE):
        raise _refused(
            network.spec.name,
            f"the same features from {runtime} and from {reference}",
            f"a cosine of {cosine:.5f}",
            "Another --runtime may compute it right; this one should be told of it.",
        )
    return reference, cosine


def _by_keras(network: Network, images: NDArray[Any], outputs: Sequence[OutputSpec]) -> _Features:
    """Compute outputs by the model as it is: nothing frozen, folded or converted."""
    take = taken(network, outputs, "keras")
    with isolated() as keras:
        model = keras.Model(network.model.input, keras_tensors(network, take))
        given = preprocessed(keras.ops, images, network.spec.preprocess)
        # On JAX, predict gives away the variables' memory, which what was compiled still uses.
        compute = model if keras.backend.backend() == "jax" else model.predict_on_batch
        found = compute(keras.ops.convert_to_numpy(given))
        pooled = take.pooled(keras.ops, found)
        return {
            output.name: np.asarray(keras.ops.convert_to_numpy(one), np.float32)
            for output, one in zip(take.outputs, pooled, strict=True)
        }


def _cosine(left: NDArray[Any], right: NDArray[Any]) -> float:
    """Return the least cosine of two sets of features, row by row."""
    a, b = (np.asarray(one, np.float64).reshape(len(one), -1) for one in (left, right))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / np.maximum(lengths, 1e-30)).min())


def _pixels(network: Network) -> float | None:
    """Compare our pixels of some pictures with those of the provider's own processor."""
    given = network.spec.input(network.size)
    if network.processor is None or not isinstance(given, Geometry):
        return None
    scale = np.asarray(network.spec.preprocess.scale)
    worst = 0.0
    for sides in _SIDES:
        for picture in KINDS["image"].trial(Geometry(sides)):
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "png")
            ours = decode(file.getvalue(), given) * scale + network.spec.preprocess.offset
            theirs = network.processor(picture)
            worst = max(worst, float((np.abs(ours - theirs) / np.abs(scale)).max()))
    if worst > MOST_PIXELS:
        raise _refused(
            network.spec.name,
            "our pixels within a 255th of those of its own processor",
            f"a difference of {worst:.1f}",
            "Say its preprocessing by hand: --preprocess.",
        )
    return worst


def _varied(name: str, found: _Features, tolerance: float) -> tuple[float, int]:
    least, constant = np.inf, 0
    for output, features in found.items():
        scale = max(float(np.abs(features).max()), 1e-30)
        spread = np.ptp(features, axis=0)
        constant += int((spread == 0).sum())
        between = [
            float(np.abs(features[i] - features[j]).max()) / scale
            for i in range(COUNT)
            for j in range(i)
        ]
        if min(between) <= min(tolerance, 1e-4) * 0.1:
            raise _refused(
                name,
                f"pictures that differ, features of {output} that differ",
                f"two whose features are {min(between):.2g} of the largest apart",
                "It does not see the pictures: another --preprocess, or another tensor.",
            )
        least = min(least, *between)
    return float(least), constant


def _difference(left: _Features, right: _Features) -> float:
    """Return the largest difference of a feature, as a part of its output's largest one."""
    return max(
        float(np.abs(left[key] - right[key]).max()) / max(float(np.abs(left[key]).max()), 1e-30)
        for key in left
    )


def _refused(name: str, check: str, received: str, hint: str) -> BackboneError:
    return BackboneError(
        f"{name} failed the admission test: expected {check}, got {received}", hint=hint
    )
