"""int8 for OpenVINO: post-training quantisation by NNCF, and what it costs in accuracy."""

import io
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import OptionError, not_importable
from bottleneck.fingerprint import canonical_json, fingerprint_parts
from bottleneck.process_wide import ALONE

JUDGED_SHARE: Final = 5
"""One image in so many is kept from calibration, and judges it."""

MIN_IMAGES: Final = 10

Compile = Callable[[Any, int], Any]
"""From a graph and a batch size to something that computes its outputs."""


def quantized(
    model: Any,
    images: NDArray[np.uint8],
    names: Sequence[str],
    compiled: Compile,
    *,
    exact: Sequence[str] = (),
) -> tuple[Any, dict[str, Any]]:
    """Make an int8 graph from a float32 one.

    Parameters
    ----------
    model : openvino.Model
        Takes a batch of images of any size; is not changed.
    images : ndarray of uint8, shape (n, size, size, 3)
        Images like those to come; a few hundred.
    names : sequence of str
        Names of the outputs.
    compiled : callable
        Compiles a graph for a batch size.
    exact : sequence of str
        Operations that stay float32, by the names they have in the graph.

    Returns
    -------
    model : openvino.Model
    details : dict
        For the recipe, under ``calibration``: how many images calibrated, how many others judged,
        and the mean and least cosine between the features of both graphs; and
        ``calibration_sha256``, which differs where the int8 graph may.

    Raises
    ------
    OptionError
        For fewer than :data:`MIN_IMAGES` images.
    RuntimeUnavailableError
        When NNCF is not installed.
    """
    if len(images) < MIN_IMAGES:
        raise OptionError(
            f"expected at least {MIN_IMAGES} images to calibrate int8 with, got {len(images)}"
        )
    judges = np.arange(len(images)) % JUDGED_SHARE == JUDGED_SHARE - 1
    whole_range = _adds_up_exactly()
    with _quiet_nncf() as nncf:
        small = nncf.quantize(
            model.clone(),
            nncf.Dataset([image[None] for image in images[~judges]]),
            subset_size=int(np.count_nonzero(~judges)),
            target_device=nncf.TargetDevice.CPU,
            ignored_scope=nncf.IgnoredScope(names=list(exact)),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.DISABLE if whole_range else None
            ),
        )
    made_of = canonical_json([nncf.__version__, whole_range, images.shape]).encode()
    cosines = _cosines(compiled(model, 1), compiled(small, 1), images[judges])
    return small, {
        "calibration": {
            "nncf": nncf.__version__,
            "images": int(np.count_nonzero(~judges)),
            "judged": int(np.count_nonzero(judges)),
            "cosine": {
                name: {"mean": round(float(one.mean()), 5), "min": round(float(one.min()), 5)}
                for name, one in zip(names, cosines, strict=True)
            },
        },
        "calibration_sha256": fingerprint_parts(
            [made_of, np.ascontiguousarray(images[~judges]).data.cast("B")]
        ),
    }


def _adds_up_exactly() -> bool:
    """Whether the CPU sums products of 8-bit numbers in 32 bits (VNNI, AMX).

    Older ones saturate at 16, so NNCF uses only half of the range of weights. That costs
    EfficientNet-Lite0 a cosine of 0.96 for 0.99, and is not done where it need not be.
    """
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "_vnni" in flags or "amx_int8" in flags


def _cosines(exact: Any, small: Any, images: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
    """Compare image by image; an array of cosines for each output."""
    found: list[list[float]] = []
    for image in images:
        left, right = exact(image[None]), small(image[None])
        found.append([_cosine(left[i][0], right[i][0]) for i in range(len(left))])
    return [np.array(column) for column in zip(*found, strict=True)]


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    lengths = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return float(np.dot(a, b)) / max(lengths, 1e-30)


@contextmanager
def _quiet_nncf() -> Iterator[Any]:
    """Import NNCF, and run it without log lines, progress bars and telemetry."""
    # Otherwise NNCF reports its use to its makers over the network.
    os.environ.setdefault("NNCF_CI", "1")
    try:
        import nncf
    except ImportError as error:
        raise not_importable("NNCF to calibrate int8 with", "openvino", error) from error
    logger = logging.getLogger("nncf")
    # Its progress bars go to standard output, which belongs to results.
    with ALONE, redirect_stdout(io.StringIO()):
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield nncf
        finally:
            logger.setLevel(level)
