"""What a weights file is, and which backbone of the catalogue it fits."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bottleneck.backbones import pairing
from bottleneck.backbones.builders import build
from bottleneck.backbones.catalogue import all_backbones, widths_of
from bottleneck.backbones.keras_scope import isolated
from bottleneck.backbones.network import BackboneSpec
from bottleneck.backbones.pairing import as_our_names, slim_row
from bottleneck.weights import Weights, read, release_of

_MOST_TRIED: Final = 4
"""Networks that are built to try a file on: those nearest to its number of parameters."""


@dataclass(frozen=True)
class Fit:
    """A backbone that a file fills.

    Parameters
    ----------
    backbone : str
    left_over : tuple of str
        Layers of the file that it has no place for: a head.
    """

    backbone: str
    left_over: tuple[str, ...]


@dataclass(frozen=True)
class WeightsReport:
    """A look inside a weights file.

    Parameters
    ----------
    file, format, writer : str
    version : str or None
    release : dict or None
        ``label``, ``file`` and ``backbone`` of a known release, told by the file's hash.
    sha256 : str
        Fingerprint of the tensors, the same in every kind of file with the same names.
    parameters : int
    layers : tuple of dict
        ``name``, ``kind``, ``shapes`` by role, ``parameters``.
    remarks : tuple of str
        What was converted, and what was decided.
    fits : tuple of Fit
    """

    file: str
    format: str
    writer: str
    version: str | None
    release: dict[str, str] | None
    sha256: str
    parameters: int
    layers: tuple[dict[str, Any], ...]
    remarks: tuple[str, ...]
    fits: tuple[Fit, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"kind": "weights", **asdict(self)}


def inspect_weights(path: Path) -> WeightsReport:
    """Look inside a weights file, and try it on the backbones of its size.

    Raises
    ------
    WeightsError
        When it is damaged, or of no known kind.
    """
    found, release = read(path), release_of(path)
    return WeightsReport(
        file=str(path),
        format=found.format,
        writer=found.writer,
        version=found.version,
        release=None if release is None else asdict(release),
        sha256=found.sha256,
        parameters=found.parameters,
        layers=tuple(
            {
                "name": layer.name,
                "kind": layer.kind,
                "shapes": {role: list(shape) for role, shape in layer.shapes.items()},
                "parameters": sum(int(value.size) for value in layer.tensors.values()),
            }
            for layer in found.layers
        ),
        remarks=found.remarks,
        fits=tuple(_fits(found, release.backbone if release else None)),
    )


def _fits(found: Weights, known: str | None) -> list[Fit]:
    known = known or slim_row(found)
    if known is not None:
        (own,) = [spec for spec in all_backbones() if spec.name == known]
        # Keras's row of the same network takes the same file.
        specs = [own, *(s for s in all_backbones() if own.network and s.class_name == own.network)]
        specs = [wide for spec in specs for wide in widths_of(spec)]
        specs = [spec for spec in specs if spec.params <= found.parameters]
    else:
        # A file holds the headless network and perhaps a head, never much less.
        held = found.parameters * 1.001
        known_by_keras = {"keras_applications", "early_keras", "music"}
        rows = [spec for spec in all_backbones() if spec.provider in known_by_keras]
        able = [wide for spec in rows for wide in widths_of(spec) if wide.params <= held]
        specs = sorted(able, key=lambda spec: -spec.params)[:_MOST_TRIED]
        specs += [s for s in able if s.family in {"vgg16", "vgg19"} and s not in specs]
    fits = []
    with isolated() as keras:
        for spec in specs:
            fit = _fit(keras, spec, found)
            if fit is not None:
                fits.append(fit)
    return fits


def _fit(keras: Any, spec: BackboneSpec, found: Weights) -> Fit | None:
    model = build(keras, spec, spec.input_size, random=False)
    layers = as_our_names(found, spec)
    try:
        pairs = pairing.pair(model, layers.layers, chained=found.chained)
        pairing.check(pairs)
    except pairing.UnpairedError:
        return None
    used = {id(layer) for _, layer in pairs}
    left = (*(layer for layer in layers.layers if id(layer) not in used), *layers.heads)
    return Fit(spec.name, tuple(layer.name for layer in left))
