"""The package's functions: what the commands and pipelines call, and nothing else.

Each has the name and the options of its command, which :mod:`bottleneck.options` declares once.
Results have ``to_json()``, the document that the command prints with ``--json``; where it prints a
list, so does each of its items. What a function needs is imported when it is called.

All are names of :mod:`bottleneck` too, but for ``backbones``: there that is the package of them.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from bottleneck.api.exporting import HeadExport
from bottleneck.api.given import require_kinds
from bottleneck.declare import listed, takes
from bottleneck.errors import OptionError
from bottleneck.options import (
    AddBackboneOptions,
    BackbonesOptions,
    BenchOptions,
    CompareOptions,
    DemoOptions,
    DoctorOptions,
    DriftOptions,
    EditOptions,
    EvaluateOptions,
    ExportOptions,
    ExtractOptions,
    ExtractSetOptions,
    FinetuneOptions,
    GraphOptions,
    InfoOptions,
    InitOptions,
    MergeOptions,
    NeighborsOptions,
    PlanOptions,
    PredictOptions,
    RaceOptions,
    RelabelOptions,
    RemoveBackboneOptions,
    RescueOptions,
    RunOptions,
    SealOptions,
    ServeOptions,
    SurveyOptions,
    TagOptions,
    TrainOptions,
    VerifyOptions,
    ViewOptions,
)

if TYPE_CHECKING:
    from bottleneck.adapt.deploy import Deployed
    from bottleneck.adapt.drift import Drift
    from bottleneck.adapt.edit import Edited
    from bottleneck.adapt.finetune import Finetuned
    from bottleneck.adapt.service import Served
    from bottleneck.api.description import BackboneRow, Description, LayerOutput
    from bottleneck.api.evaluation import Judged
    from bottleneck.api.installation import Finding
    from bottleneck.api.prediction import Predicted
    from bottleneck.api.relabelling import Relabelled
    from bottleneck.api.starting import Begun
    from bottleneck.api.tagging import Tagging
    from bottleneck.api.training import Trained
    from bottleneck.comparison.neighbors import Graph, Neighbor
    from bottleneck.comparison.race import Raced
    from bottleneck.comparison.study import Comparison
    from bottleneck.comparison.view import View
    from bottleneck.extraction import ExtractResult
    from bottleneck.extraction.sets import Planned, SetRun
    from bottleneck.pipeline import Outcome
    from bottleneck.sets.sealing import Sealed
    from bottleneck.sources import Survey
    from bottleneck.speed import BenchResult
    from bottleneck.store.export import ExportResult
    from bottleneck.store.merge import MergeResult
    from bottleneck.store.rescue import RescueResult
    from bottleneck.store.verify import VerifyReport


@takes(ExtractOptions)
def extract(options: ExtractOptions) -> "ExtractResult":
    """Write the features of all images of some sources to a file, or finish such a file.

    If the file exists and was begun with the same images and recipe, only the rows that are not
    finished are computed. Identical images are computed once.
    """
    if len(listed(options.backbone)) != 1:
        raise OptionError(
            f"expected one backbone, got {', '.join(listed(options.backbone)) or 'none'}",
            hint="extract_many makes a file for each of several.",
        )
    (result,) = extract_many(**options.values(), progress=options.progress)
    return result


@takes(ExtractOptions)
def extract_many(options: ExtractOptions) -> "list[ExtractResult]":
    """Write a feature file for each of several backbones; every image is decoded once.

    The output has ``{backbone}`` in it. A JPEG is decoded at the scale the largest input needs;
    a smaller one may so be drawn from more pixels than in a run of its own.
    """
    from bottleneck import extraction

    require_kinds(options, "extract")
    return extraction.extract_many(options)


@takes(PlanOptions)
def plan(options: PlanOptions) -> "Planned":
    """List images for many machines: a set, whose shards :func:`extract_set` fills.

    The set holds the list in parts of ``rows`` rows, and how features are made; neither changes
    any more. Planned again it is accepted if it is the very same.
    """
    from bottleneck.extraction.sets import plan_set

    require_kinds(options, "plan")
    return plan_set(options)


@takes(ExtractSetOptions)
def extract_set(options: ExtractSetOptions) -> "SetRun":
    """Fill the shards of a set, with any number of others who do the same elsewhere.

    Each range of rows is a feature file on the local disk until it is done, and is then published
    once. Stopped or killed and run again, anywhere, what is published is not done again. With
    ``on="ray"`` the nodes of a cluster are the others, and this process hands out the ranges.
    """
    if options.on:
        from bottleneck.cluster.extraction import extract_on

        return extract_on(options)
    from bottleneck.extraction.sets import work_on_set

    return work_on_set(options)


@takes(SealOptions)
def seal(options: SealOptions) -> "Sealed":
    """Write the SHA-256 of every shard into a complete set, for :func:`verify` to compare."""
    from bottleneck.sets.sealing import seal as seal_set

    return seal_set(options.set)


@takes(SurveyOptions)
def survey(options: SurveyOptions) -> "Survey":
    """List the images of some sources, and say what they are, without computing anything.

    The same list, with the same labels, splits and groups, is what ``extract`` would store.
    """
    from bottleneck.sources import Survey, open_source

    source = open_source(listed(options.sources), listed(options.targets), options.choice())
    return Survey.of(source)


@takes(InitOptions)
def init(options: InitOptions) -> "Begun":
    """Look at some sources, and write a commented pipeline for what is there.

    It extracts features and, where there are classes or targets, trains a head and judges it; on
    a part held out where there is no test split.
    """
    from bottleneck.api.starting import write_pipeline

    return write_pipeline(options)


@takes(TrainOptions)
def train(options: TrainOptions) -> "Trained":
    """Fit a head on stored features, select its strength, judge it once on the test rows.

    The head is fitted on the rows of the ``train`` split, or on all rows where the file has no
    splits; ``val`` rows are left alone. Its strength is chosen by cross-validation on those rows;
    the rows of the ``test`` split, or those held out, are touched once, at the end.
    """
    from bottleneck.api.training import fit_head

    require_kinds(options, "train")
    return fit_head(options)


@takes(EvaluateOptions)
def evaluate(options: EvaluateOptions) -> "Judged":
    """Judge a head on stored features of the same recipe."""
    from bottleneck.api.evaluation import judge

    require_kinds(options, "evaluate")
    return judge(options)


@takes(PredictOptions)
def predict(options: PredictOptions) -> "Predicted":
    """Label images, by exactly the recipe of the features the head was trained on.

    Each image is a row of key, label, probability (where the head has any) and error. Without an
    output the rows are the result's ``records``. Features that are stored already are taken as
    they are, if they are of that recipe. A prediction into a file that is stopped is resumed.
    """
    from bottleneck.api.prediction import label_images

    require_kinds(options, "predict")
    return label_images(options)


@takes(FinetuneOptions)
def finetune(options: FinetuneOptions) -> "Finetuned":
    """Train the last layers of a head's backbone together with the head, from where they are.

    How many epochs is decided on a validation share, by a head that has not seen it; where none is
    better, the model is the head. It is compared with the frozen head on the test split, if there
    is one. A run that was stopped is resumed by the same call.
    """
    from bottleneck.adapt.finetune import finetune_head

    require_kinds(options, "finetune")
    return finetune_head(options)


@takes(EditOptions)
def edit(options: EditOptions) -> "Edited":
    """Make a backbone of another one: cut it off, take layers out, put layers in.

    Layers keep their weights where shapes allow it; what is new or does not fit any more is random
    and listed. The file is a backbone (``keras:NEW.keras``) that knows its input; its recipe says
    what it was made of.
    """
    from bottleneck.adapt.edit import edit_backbone

    return edit_backbone(options)


@takes(DriftOptions)
def drift(options: DriftOptions) -> "Drift":
    """Test whether new images look like those of a head's features, over all and per class.

    And name those that are unlike all that was learnt: farther from the training rows than all but
    a share of the rows held out.
    """
    from bottleneck.adapt.drift import find_drift

    require_kinds(options, "drift")
    return find_drift(options)


@takes(ServeOptions)
def serve(options: ServeOptions) -> "Served":
    """Serve a deployed model over HTTP until it is stopped by a signal.

    ``POST /predict`` labels the image that is the body; ``/health`` and ``/metrics`` tell the rest.
    """
    from bottleneck.adapt.service import serve_model

    return serve_model(options)


@takes(CompareOptions)
def compare(options: CompareOptions) -> "Comparison":
    """Compare backbones, layers and heads on the same images, splits and folds.

    All files list the same images; what failed in one is left out for all. Heads are selected
    by cross-validation on the training rows and judged on the test rows, or, without a test
    split, by nested cross-validation.
    """
    from bottleneck.api.evaluation import compare_files

    require_kinds(options, "compare")
    return compare_files(options)


@takes(RaceOptions)
def race(options: RaceOptions) -> "Raced":
    """Find the backbone to take on growing samples of the training images.

    Those whose interval is behind the best leave; the feature files are ordinary ones, which
    ``extract`` finishes, and test images are not looked at.
    """
    from bottleneck.comparison.race import race as run_race

    require_kinds(options, "race")
    return run_race(options)


@takes(MergeOptions)
def merge(options: MergeOptions) -> "MergeResult":
    """Join feature files of one recipe, as from several machines, into one.

    The inputs list the same images and have finished others of them; or, with ``concatenate``,
    they list different images. Stopped and run again, it resumes.
    """
    from bottleneck.store.merge import merge as merge_files

    require_kinds(options, "merge")
    return merge_files(
        listed(options.inputs), options.output, concatenate_lists=options.concatenate
    )


@takes(ExportOptions)
def export(options: ExportOptions) -> "ExportResult | HeadExport | Deployed":
    """Hand finished features on: to other programs, or as a smaller feature file; or a head.

    ``FILE.npy`` comes with ``FILE.csv`` (path, label, split, group of each row), ``FILE.parquet``
    holds both, ``FILE.usearch`` is an index for approximate search by cosine with the same table
    beside it. Rows that are not finished stay behind. A head becomes an ONNX model, ``FILE.onnx``,
    of features; with ``deploy`` a model of pixels, which needs nothing of this package.
    """
    from bottleneck.api.exporting import export_file

    return export_file(options)


@takes(VerifyOptions)
def verify(options: VerifyOptions) -> "VerifyReport":
    """Check a feature file: layout, fingerprints, and the checksum of every finished row."""
    from bottleneck.location import is_set
    from bottleneck.sets.sealing import verify_set
    from bottleneck.store.verify import verify as verify_file

    if is_set(str(options.file)):
        if options.fix:
            raise OptionError(
                "expected a single feature file with --fix, got a set, whose shards never change",
                hint="Move a bad shard away: `extract --set` makes it again.",
            )
        return verify_set(options.file)
    return verify_file(options.file, fix=options.fix)


@takes(RelabelOptions)
def relabel(options: RelabelOptions) -> "Relabelled":
    """Write a feature file with corrected labels: same images, same features, bit for bit.

    The original stays as it is. Every change is counted by label before and after; classes that
    come or go are named. Images that the file does not have are refused.
    """
    from bottleneck.api.relabelling import apply_corrections

    require_kinds(options, "relabel")
    return apply_corrections(options)


@takes(RescueOptions)
def rescue(options: RescueOptions) -> "RescueResult":
    """Save the sound rows of a feature file whose metadata was damaged.

    Only rows whose checksums match are taken; the others are pending in the new file, and
    ``extract`` computes them.
    """
    from bottleneck.store.rescue import rescue as rescue_file

    return rescue_file(options.broken, options.output, like=options.like)


@takes(NeighborsOptions)
def neighbors(options: NeighborsOptions) -> "list[Neighbor]":
    """Find the images of a feature file that are most similar to an image.

    The image goes through the recipe of the file, so its features mean the same as those stored.
    """
    from bottleneck.comparison.neighbors import neighbors as search

    require_kinds(options, "neighbors")
    return search(
        options.features,
        options.image,
        count=options.count,
        feature=options.feature,
        weights=None if options.weights is None else str(options.weights),
        device=options.device,
        progress=options.progress,
    )


@takes(GraphOptions)
def graph(options: GraphOptions) -> "Graph":
    """Write the exact graph of nearest neighbours of a feature file.

    A sparse matrix of distances that :func:`scipy.sparse.load_npz` reads, row i for finished row
    i. Rows are read block by block, so that features may be larger than memory.
    """
    from bottleneck.comparison.neighbors import write_graph

    require_kinds(options, "graph")
    return write_graph(**options.values(), progress=options.progress)


@takes(ViewOptions)
def view(options: ViewOptions) -> "View":
    """Look at a feature file before anything is trained: images, a map, duplicates and leaks.

    With ``output`` the page is written; ``serve`` of what comes back serves it.
    """
    from bottleneck.api.evaluation import view_file

    require_kinds(options, "view")
    return view_file(options)


@takes(TagOptions)
def tag(options: TagOptions) -> "Tagging":
    """Say which tags a network has for songs, by its own top: no head is trained.

    The backbone is one that brings a top with its weights, as taggers of music do.
    """
    from bottleneck.api.tagging import tag_items

    return tag_items(options)


@takes(BenchOptions)
def bench(options: BenchOptions) -> "BenchResult":
    """Measure a backbone on this machine: alone, the decoding alone, and both together.

    Without sources, JPEGs of 500 x 375 pixels are drawn.
    """
    from bottleneck.speed import measure

    return measure(options)


@takes(InfoOptions)
def info(options: InfoOptions) -> "Description":
    """Say what a feature file, a head or a weights file is, and how it was made.

    Of weights: format, writer, known release, layers and shapes, and which backbone they fit.
    """
    from bottleneck.api.description import describe

    return describe(options)


@takes(BackbonesOptions)
def backbones(options: BackbonesOptions) -> "list[BackboneRow] | list[LayerOutput]":
    """List the backbones: input size, feature length, parameters, where their weights are.

    With names only those whose name contains all of them.
    """
    from bottleneck.api.description import list_backbones

    return list_backbones(options)


@takes(AddBackboneOptions)
def add_backbone(options: AddBackboneOptions) -> "BackboneRow":
    """Give a file, and what is said of it, a name that ``backbone=`` takes everywhere.

    The network is loaded, so that what cannot be is not added. Recipes do not hold the name: they
    say what the file is.
    """
    from bottleneck.api import description

    return description.add_backbone(options)


@takes(RemoveBackboneOptions)
def remove_backbone(options: RemoveBackboneOptions) -> "BackboneRow":
    """Remove a name that was added; its files stay."""
    from bottleneck.api import description

    return description.remove_backbone(options)


@takes(RunOptions)
def run(options: RunOptions) -> "list[Outcome]":
    """Run the steps of a pipeline file in order; skip those that are up to date.

    A feature file is continued, never started over, unless forced: images whose bytes changed
    are computed again, and another list of images or another recipe is refused.
    """
    from bottleneck.pipeline import STEPS, load_pipeline, run_pipeline

    outcomes = []
    for outcome in run_pipeline(
        load_pipeline(Path(options.pipeline), listed(options.settings)),
        {name: globals()[name] for name in STEPS},
        options.progress,
        dry_run=options.dry_run,
        force=options.force,
    ):
        outcomes.append(outcome)
        if options.each is not None:
            options.each(outcome)
    return outcomes


@takes(DemoOptions)
def demo(options: DemoOptions) -> "list[Outcome]":
    """Run the whole job on real images that come with the package, in a folder of its own.

    The sample and the pipelines to copy from are put there, and the first pipeline is run.
    """
    from bottleneck.api.starting import copy_examples

    pipeline = copy_examples(Path(options.folder))
    return run(pipeline, each=options.each, progress=options.progress)


@takes(DoctorOptions)
def doctor(options: DoctorOptions) -> "list[Finding]":
    """Check this installation: versions, devices, clashes, and one tiny real run."""
    from bottleneck.api.installation import examine

    return examine(options)


__all__ = [
    "HeadExport",
    "backbones",
    "bench",
    "compare",
    "demo",
    "doctor",
    "drift",
    "edit",
    "evaluate",
    "export",
    "extract",
    "extract_many",
    "extract_set",
    "finetune",
    "graph",
    "info",
    "init",
    "merge",
    "neighbors",
    "plan",
    "predict",
    "race",
    "relabel",
    "rescue",
    "run",
    "seal",
    "serve",
    "survey",
    "tag",
    "train",
    "verify",
    "view",
]
