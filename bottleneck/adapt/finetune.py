"""Fine-tune a backbone from a trained head (linear probing, then fine-tuning).

The head is the start: A. Kumar et al., Fine-tuning can distort pretrained features and underperform
out-of-distribution, 2022. How long to train is decided on a validation share by a head that has not
seen it; then the given head is trained on all rows for so many epochs, or handed back where that
was not better than none.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.adapt.curves import curves_page
from bottleneck.adapt.layers import Body
from bottleneck.adapt.maps import Maps
from bottleneck.adapt.outcome import compared, difference, verdict
from bottleneck.adapt.splitting import Split, split_of
from bottleneck.adapt.training import Checkpoint, Plan, Rates, Rows, answers, train
from bottleneck.adapt.whole import Whole, prepared, put_head, whole_model
from bottleneck.backbones.keras_scope import import_training_keras, isolated
from bottleneck.cores import available_cores
from bottleneck.declare import listed
from bottleneck.errors import HeadError, ManifestError, OptionError
from bottleneck.extraction.plan import MaxFailed
from bottleneck.fingerprint import fingerprint
from bottleneck.heads.dense import head_form
from bottleneck.heads.solver.engines import keras_place
from bottleneck.options import FinetuneOptions
from bottleneck.runtimes import Placed
from bottleneck.sources import Source, open_source
from bottleneck.writing import prepare_output, write_text

if TYPE_CHECKING:
    from bottleneck.heads.head import Head

DEFAULT_UNFREEZE: Final = "last:1"


@dataclass(frozen=True)
class Finetuned:
    """A fine-tuned model, and how that went.

    Parameters
    ----------
    document : mapping
        JSON values; ``returned`` says whether the model is the fine-tuned one or the head.
    """

    document: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return dict(self.document)

    def __repr__(self) -> str:
        return f"<Finetuned {self.document['output']}, {self.document['returned']}>"


@dataclass(frozen=True, eq=False)
class _Upper:
    """The part that is trained, behind a cut.

    Parameters
    ----------
    model : keras.Model
        From maps at the cut to probabilities.
    features : keras.Model
        From maps at the cut to the head's features.
    lower : keras.Model or None
        From pixels to the cut; None where pixels are what is trained on.
    cut : str
        The layer that is cut behind.
    names : list of str
        Layers of the backbone that are trained.
    """

    model: Any
    features: Any
    lower: Any
    cut: str
    names: list[str]


def finetune_head(options: FinetuneOptions) -> Finetuned:
    """Fine-tune; see :func:`bottleneck.finetune`."""
    from bottleneck.heads.head import Head

    started = time.perf_counter()
    place, page = _place(options), _page(options)
    devices = () if options.device is None else (options.device,)
    head = Head.load_beside(options.head, devices, options.progress.note)
    _require_probabilities(head, str(options.head))
    source = open_source(listed(options.sources), choice=options.choice())
    split = split_of(head, source, options)
    where = keras_place(options.device, options.progress.note)
    with where.scope():
        document = _tuned(head, source, split, options, where=where, place=place)
    done = Finetuned(
        {
            "output": str(options.output),
            "head": str(options.head),
            "backbone": head.recipe.backbone,
            "backend": where.framework,
            "device": where.name,
            "classes": list(head.classes),
            **document,
            "rows": len(split.train.rows),
            "validation_rows": len(split.validation.rows),
            "seconds": round(time.perf_counter() - started, 3),
        }
    )
    if page is not None:
        write_text(page, curves_page(done.document))
    return done


def _tuned(
    head: "Head",
    source: Source,
    split: Split,
    options: FinetuneOptions,
    *,
    where: Placed,
    place: Path,
) -> dict[str, Any]:
    """Choose how far to train, train, write the model, and say what came of it."""
    from bottleneck.adapt.deploy import save_keras

    keras, backend = import_training_keras(), where.framework
    whole = _whole(head, options, backend, options.precision)
    body = Body.of(whole.backbone)
    checkpoint = Checkpoint.opened(
        place.with_name(f"{place.name}.part"), _identity(options, source, where)
    )
    start = [np.array(value) for value in whole.model.get_weights()]
    positions = _positions(body, options)
    tried: list[dict[str, Any]] = []
    chosen, outcome, maps = positions[-1], None, None
    try:
        for depth, candidate in enumerate(positions):
            if maps is not None:
                maps.close()
            whole.model.set_weights(start)
            upper = _upper(keras, whole, body, candidate, options.train_batchnorm)
            maps = _maps(upper, whole, source, options, place, failures=checkpoint.failed)
            name = "selection" if len(positions) == 1 else f"selection {depth + 1}"
            found = _selected(
                name,
                keras=keras,
                whole=whole,
                upper=upper,
                maps=maps,
                head=head,
                split=split,
                options=options,
                checkpoint=checkpoint,
            )
            tried.append(_step_of(upper, found, tried, split))
            if outcome is None or tried[-1]["pays"]:
                chosen, outcome = candidate, found
            else:
                break
        assert outcome is not None
        assert maps is not None
        maps.close()
        whole.model.set_weights(start)
        upper = _upper(keras, whole, body, chosen, options.train_batchnorm)
        maps = _maps(upper, whole, source, options, place, failures=checkpoint.failed)
        document = _finished(
            keras=keras,
            whole=whole,
            upper=upper,
            maps=maps,
            split=split,
            selected=outcome,
            options=options,
            checkpoint=checkpoint,
        )
        _require_few_failed(maps, source, options)
        failed = {source.manifest.keys[row]: why for row, why in sorted(maps.failed.items())}
    finally:
        if maps is not None:
            maps.close()
    told = f"{head.kind}, {document['returned']}"
    save_keras(_as_float32(whole, head, options, backend, told), place)
    checkpoint.path.unlink(missing_ok=True)
    steps = [{k: v for k, v in one.items() if k != "right"} for one in tried]
    return {**document, "steps": steps, "failed": failed}


def _as_float32(
    whole: Whole, head: "Head", options: FinetuneOptions, backend: str, told: str
) -> Whole:
    """Return a model that computes in float32, whatever it was trained in, and tells its head."""
    if options.precision != "float32":
        weights = whole.model.get_weights()
        whole = _whole(head, options, backend, "float32")
        whole.model.set_weights(weights)
    return replace(whole, about={**whole.about, "head": told})


def _whole(head: "Head", options: FinetuneOptions, backend: str, precision: str) -> Whole:
    return whole_model(
        head,
        owner=str(options.head),
        weights=None if options.weights is None else str(options.weights),
        backend=backend,
        dropout=options.dropout,
        precision=precision,
    )


def _page(options: FinetuneOptions) -> Path | None:
    """Check where the page goes, before any work."""
    if options.page is None:
        return None
    if not str(options.page).endswith(".html"):
        raise OptionError(f"expected a page that ends in .html, got {options.page}")
    return prepare_output(options.page, kind="other", inputs=options.paths("reads", "images"))


def _place(options: FinetuneOptions) -> Path:
    """Check the options and where the model goes, before any work."""
    if not str(options.output).endswith(".keras"):
        raise OptionError(f"expected an output that ends in .keras, got {options.output}")
    if options.rate <= 0 or options.head_rate <= 0:
        raise OptionError("expected --rate and --head-rate above 0")
    for name in ("validation", "label_smoothing", "dropout"):
        if not 0 <= getattr(options, name) < 1:
            raise OptionError(f"expected --{name.replace('_', '-')} of 0 to below 1")
    if options.gradual and (options.unfreeze or options.unfreeze_from):
        raise OptionError(
            "expected --gradual or --unfreeze, got both",
            hint="--gradual finds itself how many blocks to train.",
        )
    place = prepare_output(options.output, kind="other", inputs=options.paths("reads", "images"))
    if place.exists() and not options.overwrite:
        raise OptionError(
            f"the output {options.output} exists",
            hint="Give --overwrite (in Python overwrite=True) to replace it, or another name.",
        )
    return place


def _require_probabilities(head: "Head", owner: str) -> None:
    if head.task != "classes" or head_form(head).answer != "softmax":
        raise HeadError(
            f"expected a head with probabilities of classes in {owner}, got {head.kind} of"
            f" {head.task}",
            hint="logreg, mlp and stack have them, and others trained with --calibrate.",
        )


def _positions(body: Body, options: FinetuneOptions) -> list[list[int]]:
    """Return the layers to train; of --gradual one more block each time."""
    if options.gradual:
        return [body.chosen([f"last:{n}"], None) for n in range(1, len(body.blocks) + 1)]
    named = listed(options.unfreeze)
    if not named and options.unfreeze_from is None:
        named = (DEFAULT_UNFREEZE,)
    return [body.chosen(named, options.unfreeze_from)]


def _upper(
    keras: Any, whole: Whole, body: Body, positions: Sequence[int], batchnorm: bool
) -> _Upper:
    """Cut the model before the first layer that is trained; the parts share its weights."""
    trained = {id(body.layers[i]) for i in positions}
    whole.model.trainable = True
    for layer in body.layers:
        norm = "BatchNormalization" in type(layer).__name__
        if hasattr(layer, "trainable"):
            # A frozen BatchNormalization is one in inference mode too.
            layer.trainable = id(layer) in trained and (batchnorm or not norm)
    cut = body.cut_before(positions)
    backbone, top = whole.backbone, whole.top
    pooled = keras.Model(top.input, whole.features, name="pooled")
    with isolated(str(keras.backend.backend())):
        if cut == 0:
            lower, model = None, whole.model
            features = keras.Model(
                model.input, pooled(backbone(prepared(keras, model.input, whole.preprocess)))
            )
        else:
            tensor = body.tensors[cut]
            images = keras.Input(whole.geometry.shape, dtype="uint8")
            first = keras.Model(backbone.input, tensor, name="frozen")
            lower = keras.Model(images, first(prepared(keras, images, whole.preprocess)))
            rest = keras.Model(tensor, backbone.output, name="trained")
            found = keras.Input(tensor.shape[1:])
            model = keras.Model(found, top(rest(found)))
            features = keras.Model(found, pooled(rest(found)))
    names = [body.names[i] for i in positions if getattr(body.layers[i], "trainable", False)]
    return _Upper(model, features, lower, body.names[cut], names)


def _maps(
    upper: _Upper,
    whole: Whole,
    source: Source,
    options: FinetuneOptions,
    place: Path,
    *,
    failures: dict[int, str],
) -> Maps:
    if upper.lower is None:
        lower, shape, dtype = _as_they_are, whole.geometry.shape, "uint8"
    else:
        lower = upper.lower.predict_on_batch
        shape, dtype = upper.lower.output.shape[1:], "float32"
    return Maps(
        source,
        whole.geometry,
        lower,
        shape,
        dtype,
        views=options.views,
        workers=options.workers or available_cores(),
        folder=place.with_name(f".{place.name}.maps"),
        progress=options.progress,
        failed=failures,
    )


def _as_they_are(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels


def _selected(
    name: str,
    *,
    keras: Any,
    whole: Whole,
    upper: _Upper,
    maps: Maps,
    head: "Head",
    split: Split,
    options: FinetuneOptions,
    checkpoint: Checkpoint,
) -> dict[str, Any]:
    """Find how many epochs are best, from a head that has not seen the validation rows."""
    if name in checkpoint.finished:
        return dict(checkpoint.finished[name])
    if split.seen:
        put_head(whole, _refitted(upper, maps, head, split, options))
    options.progress.stage(
        f"{name}: {len(upper.names)} layers behind {upper.cut}, {len(split.fit.rows)} rows"
    )
    plan = _plan(options, split.fit, len(head.classes))
    outcome = train(
        name,
        upper.model,
        keras=keras,
        fast=whole.top.trainable_variables,
        maps=maps,
        plan=plan,
        rows=split.fit,
        validation=split.validation,
        checkpoint=checkpoint,
        progress=options.progress,
    )
    before, best = outcome["history"][0], outcome["history"][outcome["best_epoch"]]
    outcome["better"] = bool(
        outcome["best_epoch"] > 0 and best["val_accuracy"] >= before["val_accuracy"]
    )
    checkpoint.finished[name] = outcome
    checkpoint.current, checkpoint.arrays = {}, {}
    checkpoint.save()
    return outcome


def _finished(
    *,
    keras: Any,
    whole: Whole,
    upper: _Upper,
    maps: Maps,
    split: Split,
    selected: dict[str, Any],
    options: FinetuneOptions,
    checkpoint: Checkpoint,
) -> dict[str, Any]:
    """Train the given head on all rows for the chosen epochs; judge both on the test rows."""
    progress = options.progress
    start = [np.array(value) for value in whole.model.get_weights()]
    before = None if split.test is None else answers(upper.model, maps, split.test)
    epochs = selected["best_epoch"] if selected["better"] else 0
    history: list[dict[str, Any]] = []
    if epochs:
        progress.stage(f"training on all {len(split.train.rows)} rows for {epochs} epochs")
        plan = _plan(options, split.train, len(whole.about["classes"]))
        history = train(
            "training",
            upper.model,
            keras=keras,
            fast=whole.top.trainable_variables,
            maps=maps,
            plan=plan,
            rows=split.train,
            validation=None,
            checkpoint=checkpoint,
            progress=progress,
            until=epochs,
        )["history"]
    else:
        whole.model.set_weights(start)
    test = None
    if before is not None and split.test is not None:
        after = answers(upper.model, maps, split.test)
        kept = [int(row) not in maps.failed for row in split.test.rows]
        test = compared(before, after, split.groups[split.test.rows[kept]], options.seed)
    trained = int(sum(np.prod(v.shape) for v in upper.model.trainable_variables))
    document = {
        "returned": "fine-tuned" if epochs else "head",
        "layers": upper.names,
        "cut": upper.cut,
        "trainable_parameters": trained,
        "epochs": epochs,
        "selection": {k: v for k, v in selected.items() if k != "right"},
        "history": history,
        "test": test,
    }
    return document | {"verdict": verdict(document)}


def _refitted(
    upper: _Upper, maps: Maps, head: "Head", split: Split, options: FinetuneOptions
) -> "Head":
    """Fit the head again, with its own strength, without the validation rows."""
    from bottleneck.heads import select

    # Where maps are, since rows of a stack may be too many for memory.
    features = np.lib.format.open_memmap(
        maps.folder / "features.npy", "w+", np.float32, (len(split.fit.rows), head.dim)
    )
    rows: list[NDArray[np.int64]] = []
    for part, values in maps.batches(split.fit.rows, 0, 64):
        done = sum(map(len, rows))
        features[done : done + len(part)] = upper.features.predict_on_batch(values)
        rows.append(part)
    at = np.concatenate(rows)
    best = dict(head.best)
    strength = best.pop("C", None)
    if hasattr(head.estimator, "description_"):
        best["net"] = head.estimator.description_  # its layers and scaling, whatever became of them
    fitted = select(
        features[: len(at)],
        split.fit.labels(at),
        classes=head.classes,
        keys=[str(row) for row in at],
        head=head.kind,
        grid=None if strength is None else [float(strength)],
        settings=best or None,
        n_folds=0,
        seed=options.seed,
        device=options.device,
    )
    temperature = head.report.get("temperature")
    if temperature is not None:
        fitted = replace(fitted, report={**fitted.report, "temperature": temperature})
    return fitted


def _plan(options: FinetuneOptions, rows: Rows, classes: int) -> Plan:
    counts = np.bincount(rows.y, minlength=classes)
    balanced = len(rows.y) / (np.maximum(counts, 1) * max(1, int((counts > 0).sum())))
    weights = balanced if options.class_weights == "balanced" else np.ones(classes)
    return Plan(
        epochs=options.epochs,
        patience=options.patience,
        batch_size=options.batch_size,
        views=options.views,
        seed=options.seed,
        label_smoothing=options.label_smoothing,
        class_weights=weights.tolist(),
        rates=Rates(options.rate, options.head_rate, options.warmup, options.weight_decay),
    )


def _identity(options: FinetuneOptions, source: Source, where: Placed) -> str:
    other = ("output", "page", "overwrite", "workers", "max_failed", "head", "sources", "device")
    deciding = {name: value for name, value in options.values().items() if name not in other}
    return fingerprint(
        {
            "options": {k: list(v) if isinstance(v, tuple) else v for k, v in deciding.items()},
            "head": hashlib.sha256(Path(options.head).read_bytes()).hexdigest(),
            "images": source.stamp(),
            "backend": where.framework,
            "device": where.name.partition(":")[0],  # one GPU computes what another does
        }
    )


def _require_few_failed(maps: Maps, source: Source, options: FinetuneOptions) -> None:
    failed = len(maps.failed)
    if failed:
        row, why = min(maps.failed.items())
        options.progress.note(
            f"{failed} of {len(source)} images failed and were left out, the first:"
            f" {source.manifest.keys[row]}: {why}"
        )
    if MaxFailed.parse(str(options.max_failed)).exceeded(failed, len(source)):
        raise ManifestError(
            f"{failed} of {len(source)} images failed, more than --max-failed {options.max_failed}"
        )


def _step_of(
    upper: _Upper, found: dict[str, Any], tried: Sequence[Mapping[str, Any]], split: Split
) -> dict[str, Any]:
    """Say what one more block brought on the validation rows, with an interval."""
    history, best = found["history"], found["best_epoch"]
    step = {
        "layers": len(upper.names),
        "from": upper.names[0] if upper.names else upper.cut,
        "best_epoch": best,
        "val_accuracy": history[best].get("val_accuracy"),
        "val_log_loss": history[best].get("val_log_loss"),
        "right": found["right"],
        "gain": None,
        "pays": found["better"],
    }
    if tried:
        new, old = np.array(found["right"]), np.array(tried[-1]["right"])
        groups = split.groups[split.validation.rows]
        gain = difference(new, old, groups if len(groups) == len(new) else groups[:0], 0)
        step |= {"gain": gain.to_json(), "pays": found["better"] and gain.low > 0}
    return step
