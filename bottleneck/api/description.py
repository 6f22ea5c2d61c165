"""What a file is, and which backbones there are: everything that is only looked up."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bottleneck import backbones
from bottleneck.backbones.own import OwnBackbone, drop, entries, keep, teams_file, users_file
from bottleneck.backbones.registry import prefixes
from bottleneck.declare import listed
from bottleneck.errors import OptionError
from bottleneck.images import ImageSize, parse_size
from bottleneck.location import is_set
from bottleneck.options import (
    AddBackboneOptions,
    BackbonesOptions,
    InfoOptions,
    RemoveBackboneOptions,
)
from bottleneck.weights import is_weights, release_of
from bottleneck.writing import kind_of


@dataclass(frozen=True)
class Description:
    """What a file is.

    Parameters
    ----------
    kind : {"features", "head", "weights"}
        What it holds.
    document : mapping
        Everything it says of itself, as JSON values.
    """

    kind: Literal["features", "head", "weights"]
    document: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return dict(self.document)

    def __repr__(self) -> str:
        return f"<Description of {self.document['file']}: {self.kind}>"


def describe(options: InfoOptions) -> Description:
    """Describe a file; see :func:`bottleneck.info`."""
    from bottleneck.weights import is_certainly_weights

    if is_set(str(options.file)):
        return Description("features", _set(str(options.file)))
    file = Path(options.file)
    if is_certainly_weights(file):
        from bottleneck import backbones

        return Description("weights", backbones.inspect_weights(file).to_json())
    if file.is_file() and kind_of(file) == "head":
        return Description("head", _head(file))
    return Description("features", _features(file))


def _features(file: Path) -> dict[str, Any]:
    from bottleneck.manifest import SPLITS, UNLABELLED
    from bottleneck.store import FeatureStore
    from bottleneck.store.outdated import outdated_rows
    from bottleneck.store.runs import read_runs

    store = FeatureStore.open(file)
    manifest = store.manifest
    return {
        "kind": "features",
        "file": str(file),
        "creator": store.creator,
        "rows": len(store),
        "status": {status.label: count for status, count in store.counts().items()},
        "complete": store.complete,
        "outputs": store.outputs,
        "dtype": store.dtype.name,
        "bytes": file.stat().st_size,
        "classes": list(store.classes),
        "per_class": dict(
            zip(
                store.classes,
                np.bincount(
                    manifest.labels[manifest.labels != UNLABELLED], minlength=len(store.classes)
                ).tolist(),
                strict=True,
            )
        ),
        "labelled": int((manifest.labels != UNLABELLED).sum()),
        "groups": len(manifest.group_names),
        "targets": list(manifest.targets.names),
        "splits": {
            name: int((manifest.splits == code).sum())
            for code, name in enumerate(SPLITS)
            if name and (manifest.splits == code).any()
        },
        "recipe": {"identity": store.recipe.identity, "execution": store.recipe.execution},
        "identity_sha256": store.identity_sha256,
        "manifest_sha256": store.manifest_sha256,
        "outdated": len(outdated_rows(store)),
        "runs": read_runs(file),
    }


def _set(location: str) -> dict[str, Any]:
    """Describe a set part by part: no more than a few parts are in memory."""
    from collections import Counter

    from bottleneck.manifest import SPLITS, Manifest
    from bottleneck.sets import open_shards
    from bottleneck.sets.view import some_at_a_time
    from bottleneck.status import RowStatus
    from bottleneck.store.reader import count_status

    shards = open_shards(location)
    info = shards.info
    counts: Counter[RowStatus] = Counter()
    labels = np.zeros(len(info.classes) + 1, np.int64)
    splits = np.zeros(len(SPLITS), np.int64)
    groups: set[int] = set()
    targets: dict[str, None] = {}

    def look(number: int) -> tuple[Manifest, dict[RowStatus, int]]:
        manifest, store = shards.manifest(number), shards.store(number)
        if store is None:
            return manifest, {RowStatus.PENDING: len(manifest)}
        return manifest, count_status(store.status, store.location)

    for _, (manifest, found) in some_at_a_time(range(len(shards)), look):
        # Rows without a class are counted in front.
        labels += np.bincount(manifest.labels + 1, minlength=len(labels))
        splits += np.bincount(manifest.splits, minlength=len(splits))
        groups.update(map(hash, manifest.group_names))  # one may go on in the next part
        targets |= dict.fromkeys(manifest.targets.names)
        counts.update(found)
    size = info.rows * sum(info.outputs.values()) * np.dtype(info.dtype).itemsize
    return {
        "kind": "features",
        "file": location,
        "creator": "bottleneck",
        "rows": info.rows,
        "status": {status.label: count for status, count in counts.most_common() if count},
        "complete": not counts[RowStatus.PENDING],
        "outputs": dict(info.outputs),
        "dtype": info.dtype,
        "bytes": size,
        "classes": list(info.classes),
        "per_class": dict(zip(info.classes, labels[1:].tolist(), strict=True)),
        "labelled": int(labels[1:].sum()),
        "groups": len(groups),
        "targets": list(targets),
        "splits": {
            name: int(count)
            for name, count in zip(SPLITS, splits.tolist(), strict=True)
            if name and count
        },
        "recipe": {"identity": info.recipe.identity, "execution": info.recipe.execution},
        "identity_sha256": info.recipe.identity_sha256,
        "manifest_sha256": info.manifest_sha256,
        "outdated": 0,
        "runs": [],
        "shards": {
            "rows": info.rows_per_shard,
            "all": info.n_ranges,
            "published": len(shards.newest),
            "corrected": sum(version > 1 for version in shards.newest.values()),
            # What was corrected since is not.
            "sealed": bool(info.sealed)
            and all(info.shard(*one) in info.sealed for one in shards.newest.items()),
        },
    }


def _head(file: Path) -> dict[str, Any]:
    from bottleneck.heads import Head

    head = Head.load(file)
    return {
        "kind": "head",
        "file": str(file),
        "head": head.kind,
        "feature": head.output,
        "features": head.dim,
        "task": head.task,
        "classes": list(head.classes),
        "report": dict(head.report),
        "recipe": {"identity": head.recipe.identity, "execution": head.recipe.execution},
        "identity_sha256": head.recipe.identity_sha256,
    }


@dataclass(frozen=True)
class BackboneRow:
    """A backbone of the catalogue.

    Parameters
    ----------
    name : str
        What ``backbone=`` takes.
    takes : str
        ``image`` or ``sound``.
    input_size : int or (int, int)
        Side of its input, pixels; bands and frames of a spectrogram.
    dim : int
        Length of its features.
    params : int
        Its parameters.
    preprocess : str
        How pixels are scaled.
    weights : str
        Where they are: ``bundled``, ``cached``, ``extra``, ``download`` or, where somebody has to
        bring them, ``file``.
    provider : str
        Who brings it: ``lite``, ``keras_applications``, ``early_keras``, ``slim``, or ``own`` for
        names that were added.
    license : str or None
        Of the weights, where their package says one.
    """

    name: str
    takes: str
    input_size: int | tuple[int, int]
    dim: int
    params: int
    preprocess: str
    weights: str
    provider: str
    license: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class LayerOutput:
    """What can be taken from a backbone: a map, tokens, or (by channels alone) a vector.

    Parameters
    ----------
    layer : str
        What ``layers=`` takes.
    channels : int
    height, width : int or None
        Of a map.
    tokens : int or None
        How many there are.
    """

    layer: str
    channels: int
    height: int | None = None
    width: int | None = None
    tokens: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields that it has as JSON values."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def list_backbones(options: BackbonesOptions) -> list[BackboneRow] | list[LayerOutput]:
    """List; see :func:`bottleneck.api.backbones`."""
    words = listed(options.name)
    if options.layers:
        return _layers(words, parse_size(options.size))
    found, own = backbones.all_backbones(), list(entries())
    if words:
        wanted = [word.lower() for word in words]
        fitting = [
            spec
            for spec in found
            if all(word in spec.name or word in spec.class_name.lower() for word in wanted)
        ]
        # What there is instead, find() explains.
        own = [entry for entry in own if all(word in entry.name for word in words)]
        if not fitting and not own:
            fitting = [backbones.get(backbones.find("_".join(words)).name)]
        found = tuple(fitting)
    most = None if options.max_params is None else _count(options.max_params)
    mine = [
        own_row(entry)
        for entry in own
        if (options.provider, options.license) == (None, None)
        and (most is None or entry.params <= most)
    ]
    return mine + [
        BackboneRow(
            name=spec.name,
            takes=spec.item,
            input_size=spec.input_size if spec.fixed is None else spec.fixed.shape[:2],
            dim=spec.dim,
            params=spec.params,
            preprocess=spec.preprocess.name,
            weights=backbones.weights_at_hand(spec),
            provider=spec.provider,
            license=spec.licence,
        )
        for spec in found
        if options.provider in (None, spec.provider)
        and (most is None or spec.params <= most)
        and (options.license is None or options.license.lower() in (spec.licence or "").lower())
    ]


_KINDS = {".onnx": "onnx", ".prototxt": "caffe", ".caffemodel": "caffe", ".keras": "keras"}
"""Who reads a file, where it is no file of weights alone."""


def own_row(entry: OwnBackbone) -> BackboneRow:
    """Describe a backbone of one's own as a row of the catalogue."""
    return BackboneRow(
        name=entry.name,
        takes="image",
        input_size=entry.size or 0,
        dim=entry.dim,
        params=entry.params,
        preprocess=entry.preprocess or "its own",
        weights=entry.weights or entry.backbone,
        provider="own",
        license=None,
    )


def add_backbone(options: AddBackboneOptions) -> BackboneRow:
    """Add; see :func:`bottleneck.api.add_backbone`."""
    if re.fullmatch(r"[A-Za-z0-9][\w.+-]*", options.name) is None:
        raise OptionError(
            f"expected a name of letters, digits, _, -, + and dots, got {options.name!r}"
        )
    if any(options.name in (spec.name, spec.class_name) for spec in backbones.all_backbones()):
        raise OptionError(f"expected a name that the catalogue does not have, got {options.name!r}")
    file = teams_file() if options.shared else users_file()
    if file is None:
        raise OptionError(
            "expected the folder of a team's catalogue for --shared, got none",
            hint="bottleneck --catalogue FOLDER backbones add ...",
        )
    backbone, weights = _meant(options)
    entry = OwnBackbone(
        options.name,
        backbone,
        weights=weights,
        preprocess=options.preprocess,
        layers=tuple(listed(options.layers)),
        size=parse_size(options.size),
    )
    given = options.preprocess
    network = backbones.load(
        backbone,
        weights=weights,
        size=entry.size,
        declared=None if given is None else backbones.DeclaredInput.parse(given),
    )
    outputs = [backbones.OutputSpec(layer, None) for layer in entry.layers]
    taken = network.taken(outputs or [backbones.OutputSpec(None, None)])
    entry = replace(
        entry,
        size=network.size,
        sha256=network.weights.sha256,
        dim=sum(shape.channels for _, shape in taken),
        params=int(network.details.get("parameters") or network.spec.params),
    )
    return own_row(keep(entry, file, overwrite=options.overwrite))


def _meant(options: AddBackboneOptions) -> tuple[str, str | None]:
    """Return what a file stands for, and its weights; paths are full ones."""
    given = str(options.file)
    weights = None if options.weights is None else str(Path(options.weights).resolve())
    prefix, colon, rest = given.partition(":")
    if not colon or prefix not in prefixes():
        prefix, rest = _KINDS.get(Path(given.partition("#")[0]).suffix.lower(), ""), given
    path, mark, part = rest.partition("#")
    if prefix and options.backbone is None:
        return f"{prefix}:{Path(path).resolve() if Path(path).exists() else path}{mark}{part}", (
            weights
        )
    if not is_weights(given):
        raise OptionError(
            f"{given}: expected a file, or PROVIDER:NAME, got neither",
            hint="bottleneck backbones add NAME FILE, with -b for a file of weights.",
        )
    release = release_of(Path(given))
    backbone = options.backbone or (release.backbone if release is not None else None)
    if backbone is None:
        raise OptionError(
            f"{given}: expected to be told whose weights they are, got nothing",
            hint=f"-b NAME; `bottleneck info {given}` says what they fit.",
        )
    return backbone, str(Path(given).resolve())


def remove_backbone(options: RemoveBackboneOptions) -> BackboneRow:
    """Remove; see :func:`bottleneck.api.remove_backbone`."""
    return own_row(drop(options.name))


def _count(text: str) -> float:
    unit = {"k": 1e3, "m": 1e6, "g": 1e9}.get(text[-1:].lower())
    try:
        return float(text) if unit is None else float(text[:-1]) * unit
    except ValueError:
        raise OptionError(f"expected a number for --max-params, as 25M, got {text!r}") from None


def _layers(names: Sequence[str], size: ImageSize | None) -> list[LayerOutput]:
    if len(names) != 1:
        raise OptionError("expected the name of one backbone with --layers")
    (name,) = names
    found = backbones.find(name)
    if ":" in found.name and not found.name.startswith("caffe:"):
        # Shapes do not depend on what is done to pixels.
        backbone = backbones.load(name, size=size, declared=backbones.DeclaredInput.parse("none"))
    else:
        backbone = backbones.load(name, weights="none", size=size)
    shapes = zip(backbone.layers, backbone.shapes(backbone.layers), strict=True)
    return [_layer(name, shape) for name, shape in shapes if shape is not None]


def _layer(name: str, shape: backbones.Shape) -> LayerOutput:
    if isinstance(shape, backbones.Map):
        return LayerOutput(name, shape.channels, shape.height, shape.width)
    if isinstance(shape, backbones.Tokens):
        return LayerOutput(name, shape.channels, tokens=shape.count)
    return LayerOutput(name, shape.channels)
