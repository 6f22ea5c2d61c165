"""Hand features or a head on to other programs."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bottleneck.declare import listed
from bottleneck.errors import OptionError, StoreError
from bottleneck.location import is_set
from bottleneck.options import ExportOptions
from bottleneck.writing import kind_of, prepare_output

if TYPE_CHECKING:
    from bottleneck.adapt.deploy import Deployed
    from bottleneck.comparison.handover import Program
    from bottleneck.store.export import ExportResult, Target


@dataclass(frozen=True)
class HeadExport:
    """A head that was exported.

    Parameters
    ----------
    output : str
        The ONNX model.
    head : str
        Which head it is.
    features, classes : int
        Length of its input, and how many it tells apart.
    bytes : int
        Size of the model.
    """

    output: str
    head: str
    features: int
    classes: int
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


_CHECKED = 64
"""Images a deployed model is checked on."""


def export_file(options: ExportOptions) -> "ExportResult | HeadExport | Deployed":
    """Export; see :func:`bottleneck.export`."""
    from bottleneck.store.export import export_arrays, export_compressed

    source = Path(options.source)
    if options.deploy:
        return _deploy(options)
    to = options.to
    handed_over = to in ("fiftyone", "atlas", "cleanlab", "lightly", "tensorboard")
    own = options.precision != "float32" or options.weights or options.device
    if own or (options.images and not handed_over):
        raise OptionError(
            "expected --deploy with --precision, --images, --weights and --device",
            hint="Without it a head is exported alone, for features.",
        )
    if source.is_file() and kind_of(source) == "head":
        return _export_head(options)
    if options.compress and (options.to or options.feature):
        raise OptionError("expected --compress, or --to and --feature, got both")
    if is_set(str(options.source)) and to in ("npy", "parquet") and not Path(options.output).suffix:
        return _export_shards(options)
    if options.compress:
        return export_compressed(options.source, options.output, compression=options.compress)
    if handed_over:
        from bottleneck.comparison.handover import hand_over

        return hand_over(
            options.source,
            options.output,
            cast("Program", to),
            feature=options.feature,
            images=listed(options.images),
        )
    return export_arrays(
        options.source, options.output, to=cast("Target | None", to), feature=options.feature
    )


def _export_shards(options: ExportOptions) -> "ExportResult":
    """Write a file for each shard of a set, with the rows of no other in memory."""
    from bottleneck.sets import open_shards
    from bottleneck.store.export import ENDINGS, ExportResult, export_arrays

    shards = open_shards(options.source)
    (ending,) = [ending for ending, target in ENDINGS.items() if target == options.to]
    folder = Path(options.output)
    rows = before = after = 0
    for number in sorted(shards.newest):
        store = shards.store(number)
        if store is None or not store.done.any():
            continue
        output = folder / f"{shards.info.stem(number)}{ending}"
        options.progress.working(f"{len(shards.newest)} shards, {output.name}")
        one = export_arrays(store, output, to=cast("Target", options.to), feature=options.feature)
        rows, before, after = rows + one.rows, before + one.bytes_before, after + one.bytes_after
    if not rows:
        raise StoreError(f"expected finished rows in {options.source}, found none")
    return ExportResult(str(folder), rows, before, after)


def _deploy(options: ExportOptions) -> "Deployed":
    from bottleneck.adapt.deploy import deploy, prepare_place
    from bottleneck.api.starting import sample_images
    from bottleneck.extraction.run import COUNT, calibration_images
    from bottleneck.heads import Head
    from bottleneck.sources import open_source

    if options.compress or options.to or options.feature:
        raise OptionError("expected no --compress, --to or --feature with --deploy")
    if options.precision == "int8" and not options.images:
        raise OptionError(
            "expected images to calibrate int8 with, got none",
            hint="--images SOURCE: a few hundred like those to come.",
        )
    prepare_place(options.output, options.paths("reads"))
    devices = () if options.device is None else (options.device,)
    head = Head.load_beside(options.source, devices, options.progress.note)
    given = listed(options.images) or (str(sample_images() / "test"),)
    source = open_source(given)
    options.progress.stage(f"writing {options.output}")
    return deploy(
        head,
        options.output,
        owner=str(options.source),
        pixels=lambda geometry: calibration_images(
            source, geometry, count=COUNT if options.precision == "int8" else _CHECKED
        ),
        precision=options.precision,
        weights=None if options.weights is None else str(options.weights),
        device=options.device,
        tell=options.progress.note,
    )


def _export_head(options: ExportOptions) -> "HeadExport":
    from bottleneck.heads import Head
    from bottleneck.heads.onnx import write_onnx

    if options.compress or options.to or options.feature:
        raise OptionError("expected no --compress, --to or --feature for a head")
    if Path(options.output).suffix.lower() != ".onnx":
        raise OptionError(
            f"expected an output that ends in .onnx for the head {options.source}, "
            f"got {options.output}",
            hint="A head is exported as an ONNX model; with its backbone by --deploy.",
        )
    place = prepare_output(options.output, kind="other", inputs=[options.source])
    head = Head.load(options.source)
    write_onnx(head, place)
    return HeadExport(
        output=str(options.output),
        head=head.kind,
        features=head.dim,
        classes=len(head.classes),
        bytes=place.stat().st_size,
    )
