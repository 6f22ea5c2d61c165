"""Write a head, its backbone and its preprocessing as one file, and check what was written.

Keras is written first. ONNX is made of its TensorFlow graph (tf2onnx), OpenVINO of the ONNX model,
so that there is one graph, however it is packed.
"""

import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from bottleneck.adapt.deployed import (
    IN_ARCHIVE,
    IN_FOLDER,
    KEY,
    Format,
    Tell,
    format_of,
    open_deployed,
    openvino_compute,
    pixels_in_batches,
)
from bottleneck.adapt.whole import Whole, whole_model
from bottleneck.backbones.keras_scope import import_keras
from bottleneck.errors import HeadError, OptionError, not_importable
from bottleneck.heads.dense import DenseForm
from bottleneck.process_wide import warnings_ignored
from bottleneck.runtimes import placed
from bottleneck.runtimes.quantize import JUDGED_SHARE, quantized
from bottleneck.writing import prepare_output, temporary_path, written_whole

if TYPE_CHECKING:
    from bottleneck.heads.head import Head

TOLERANCE: Final = 1e-4
"""By which a probability may differ from ours."""

LEAST_COSINE: Final = 0.95
"""Between the answers of an int8 model and of ours, on average, at least."""

OPSET: Final = 17

Precision = Literal["float32", "int8"]


@dataclass(frozen=True)
class Deployed:
    """A model that was written, and how its check came out.

    Parameters
    ----------
    output, format, precision : str
        Where it is and what.
    head, backbone : str
        What is in it.
    classes, bytes : int
        How many classes, and how large it is.
    device : str
        What `predict`'s answers were computed on, that it was compared with.
    checked : int
        Images it was compared with `predict` on.
    largest_difference : float
        Between its answers and those of `predict`.
    cosine : float
        Between them, of the images the mean.
    same_labels : int
        Images that get the same label.
    """

    output: str
    format: str
    precision: str
    head: str
    backbone: str
    classes: int
    bytes: int
    device: str
    checked: int
    largest_difference: float
    cosine: float
    same_labels: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def prepare_place(output: str | Path, inputs: tuple[str, ...] = ()) -> tuple[Path, Format]:
    """Check where a model is to be written, before any work; return the place and the format.

    Raises
    ------
    OptionError
        For another ending, or something else that is there.
    """
    given = Path(output)
    if given.is_dir():
        if given.suffix or not (given / IN_FOLDER).exists():
            raise OptionError(
                f"expected a new folder, or a model written before, got the folder {output}",
                hint="Give another name, or remove it yourself.",
            )
        return given.resolve(), "savedmodel"
    try:
        form = format_of(given)
    except HeadError as error:
        raise OptionError(
            f"expected an output that ends in .onnx, .keras or .xml, or a folder without an ending,"
            f" got {output}",
        ) from error
    beside = given.with_suffix(".bin")
    if form == "openvino" and beside.exists() and not given.exists():
        raise OptionError(
            f"expected no {beside}, where the weights of {output} go, but there is one",
            hint="Give another name, or remove it yourself.",
        )
    return prepare_output(output, kind="other", inputs=inputs), form


def deploy(
    head: "Head",
    output: str | Path,
    *,
    owner: str,
    pixels: Any,
    precision: Precision = "float32",
    weights: str | None = None,
    device: str | None = None,
    tell: Tell = lambda told: None,
) -> Deployed:
    """Write a head with its backbone as one model; it is read back and compared before it stays.

    Parameters
    ----------
    head : Head
        A head of dense layers.
    output : str or Path
        ``model.onnx``, ``model.keras``, ``model.xml`` (OpenVINO), or a folder (SavedModel).
    owner : str
        What the head is called, for messages.
    pixels : callable
        From a geometry to images to check on, and to calibrate int8 with: uint8 of shape
        (n, height, width, 3).
    precision : {"float32", "int8"}
        What it computes in; int8 is OpenVINO's.
    weights : str, optional
        Where the backbone's weights are now.
    device : str, optional
        What `predict`'s answers, and those of a Keras model or a SavedModel, are computed on: see
        :func:`bottleneck.runtimes.placed`. ONNX and OpenVINO answer on the CPU here.
    tell : callable, optional
        Is told of a GPU that is not used.

    Raises
    ------
    HeadError
        For a head that is no dense layers, or a model that does not answer as `predict` does.
    """
    place, form = prepare_place(output, (owner,))
    if precision == "int8" and form != "openvino":
        raise OptionError(
            f"expected an output that ends in .xml for int8, got {output}",
            hint="Only OpenVINO's models are quantised.",
        )
    where = placed("tensorflow", device, tell)
    with where.scope():
        whole = whole_model(head, owner=owner, weights=weights)
    images: NDArray[np.uint8] = pixels(whole.geometry)
    whole = replace(whole, about={**whole.about, "precision": precision})
    with _temporary(place, form) as temporary:
        _write(form, whole, temporary, images if precision == "int8" else None)
        if precision == "int8":  # on those it was not calibrated with
            images = images[JUDGED_SHARE - 1 :: JUDGED_SHARE]
        own = where.name if form in ("keras", "savedmodel") else "cpu"
        found = pixels_in_batches(images, open_deployed(temporary, own).compute)
        expected = _expected(head, owner, weights, images, where.name)
        checked = _checked(found, expected, precision, str(output))
        _put(temporary, place, form)
    return Deployed(
        output=str(output),
        format=form,
        precision=precision,
        head=head.kind,
        backbone=head.recipe.backbone,
        classes=len(head.classes),
        bytes=_size(place),
        device=where.name,
        **checked,
    )


def save_keras(whole: Whole, place: Path) -> None:
    """Write a whole model as a ``.keras`` archive with its document, whole or not at all."""
    with _temporary(place, "keras") as temporary:
        _write("keras", whole, temporary, None)
        _put(temporary, place, "keras")


def _expected(
    head: "Head", owner: str, weights: str | None, images: NDArray[np.uint8], device: str
) -> NDArray[np.float64]:
    """Answer as `predict` does: the compiled backbone, then the head on its features."""
    from bottleneck.extraction.run import rebuild_embedder

    embedder = rebuild_embedder(
        head.recipe, owner=owner, weights=weights, runtime="tensorflow", devices=[device]
    )
    with closing(embedder):
        parts = [embedder.network(images[at : at + 32]) for at in range(0, len(images), 32)]
    X = np.concatenate([part[head.output] for part in parts]).astype(embedder.dtype)
    probabilities = head.predict_proba(X)
    return head.scores(X) if probabilities is None else probabilities


def _checked(
    found: NDArray[np.float32], expected: NDArray[np.float64], precision: str, output: str
) -> dict[str, Any]:
    # Scores have a scale of their own.
    scale = max(1.0, float(np.abs(expected).max()))
    difference = float(np.abs(found - expected).max()) / scale
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    cosine = float(np.mean(np.sum(found * expected, axis=1) / np.maximum(lengths, 1e-30)))
    same = int(np.sum(found.argmax(axis=1) == expected.argmax(axis=1)))
    if precision == "float32" and not difference <= TOLERANCE:
        raise HeadError(
            f"expected {output} to answer as predict does to {TOLERANCE:g}, got a difference of"
            f" {difference:.2g}: nothing was written",
        )
    if precision == "int8" and not cosine >= LEAST_COSINE:
        raise HeadError(
            f"expected int8 answers with a cosine of at least {LEAST_COSINE} to those of predict,"
            f" got {cosine:.3f}: nothing was written",
            hint="Calibrate on images like those to come (--images), or stay with float32.",
        )
    return {
        "checked": len(found),
        "largest_difference": difference,
        "cosine": cosine,
        "same_labels": same,
    }


def _write_keras(whole: Whole, place: Path, calibration: NDArray[np.uint8] | None) -> None:
    whole.model.save(place)
    with zipfile.ZipFile(place, "a") as archive:
        archive.writestr(IN_ARCHIVE, json.dumps(whole.about, ensure_ascii=False))


def _write_savedmodel(whole: Whole, place: Path, calibration: NDArray[np.uint8] | None) -> None:
    import_keras("tensorflow")
    import tensorflow as tf

    classes = tf.constant(whole.about["classes"])

    def with_labels(images: Any) -> dict[str, Any]:
        answers = whole.model(images, training=False)
        found = {whole.about["answer"]: answers}
        if whole.about["task"] == "classes":
            found["label"] = tf.gather(classes, tf.argmax(answers, axis=1))
        return found

    module = tf.Module()
    module.model = whole.model
    module.classes = classes
    module.function = tf.function(with_labels, input_signature=_signature(tf, whole))
    tf.saved_model.save(module, str(place), signatures=module.function)
    note = place / IN_FOLDER
    note.parent.mkdir(exist_ok=True)
    note.write_text(json.dumps(whole.about), encoding="utf-8")


def _write_onnx(whole: Whole, place: Path, calibration: NDArray[np.uint8] | None) -> None:
    model, onnx = _onnx_model(whole)
    if whole.about["task"] == "classes":
        _add_labels(onnx, model, whole)
    onnx.helper.set_model_props(
        model, {KEY: json.dumps(whole.about), "classes": json.dumps(whole.about["classes"])}
    )
    onnx.checker.check_model(model, full_check=True)
    place.write_bytes(model.SerializeToString())


def _write_openvino(whole: Whole, place: Path, calibration: NDArray[np.uint8] | None) -> None:
    try:
        import openvino
    except ImportError as error:
        raise not_importable("OpenVINO", "openvino", error) from error
    from openvino._offline_transformations import apply_moc_transformations

    model = openvino.Core().read_model(_onnx_model(whole)[0].SerializeToString())
    apply_moc_transformations(model, cf=True, smart_reshape=True)
    if calibration is not None:
        # The head in int8 costs half of the labels and saves nothing.
        head = [
            one.friendly_name for one in model.get_ordered_ops() if one.get_type_name() == "MatMul"
        ]
        model, _ = quantized(
            model,
            calibration,
            [whole.about["answer"]],
            lambda graph, _: _answers(graph),
            exact=head[-_products(whole) :],
        )
    model.set_rt_info(json.dumps(whole.about), KEY)
    openvino.save_model(model, place, compress_to_fp16=False)


def _products(whole: Whole) -> int:
    """Count the dense layers of the head."""
    if isinstance(whole.form, DenseForm):
        return len(whole.form.layers)
    return sum(type(layer).__name__ == "Dense" for layer in whole.top.layers)


def _answers(graph: Any) -> Any:
    compute = openvino_compute(graph)
    return lambda images: [compute(images)]


@contextmanager
def _log_level_kept() -> Iterator[None]:
    """Keep the level of TensorFlow's log, which tf2onnx sets for the process and its children."""
    name = "TF_CPP_MIN_LOG_LEVEL"
    before = os.environ.get(name)
    try:
        yield
    finally:
        if before is not None:
            os.environ[name] = before
        else:
            os.environ.pop(name, None)


@_log_level_kept()
def _onnx_model(whole: Whole) -> tuple[Any, Any]:
    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise not_importable(
            "tf2onnx to make a model of ONNX or OpenVINO", "deploy", error
        ) from error
    import_keras("tensorflow")
    import logging

    import tensorflow as tf

    for name in ("tf2onnx", "tensorflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    signature = _signature(tf, whole)
    function = tf.function(
        lambda images: {whole.about["answer"]: whole.model(images, training=False)},
        input_signature=signature,
        autograph=False,
    )
    model, _ = tf2onnx.convert.from_function(
        function, signature, opset=OPSET, custom_op_handlers={"Relu6": (_as_clip, [])}
    )
    return model, onnx


def _as_clip(context: Any, node: Any, name: str, args: Any) -> None:
    """Write ReLU6 as one operation: tf2onnx makes six of it, which nothing fuses or quantises."""
    bounds = [
        context.make_const(f"{name}_{bound}", np.array(bound, np.float32)).output[0]
        for bound in (0, 6)
    ]
    node.type = "Clip"
    node.input.extend(bounds)


def _add_labels(onnx: Any, model: Any, whole: Whole) -> None:
    """Let the graph say the likeliest class by name too."""
    helper, graph = onnx.helper, model.graph
    names = [name.encode() for name in whole.about["classes"]]
    graph.initializer.append(
        helper.make_tensor("class_names", onnx.TensorProto.STRING, [len(names)], names)
    )
    graph.node.append(
        helper.make_node("ArgMax", [whole.about["answer"]], ["class_index"], axis=1, keepdims=0)
    )
    graph.node.append(helper.make_node("Gather", ["class_names", "class_index"], ["label"]))
    graph.output.append(helper.make_tensor_value_info("label", onnx.TensorProto.STRING, [None]))


def _signature(tf: Any, whole: Whole) -> list[Any]:
    return [tf.TensorSpec((None, *whole.geometry.shape), tf.uint8, name="images")]


_WRITERS: Final = {
    "keras": _write_keras,
    "savedmodel": _write_savedmodel,
    "onnx": _write_onnx,
    "openvino": _write_openvino,
}


def _write(form: Format, whole: Whole, place: Path, calibration: NDArray[np.uint8] | None) -> None:
    with warnings_ignored():  # other people's deprecations
        _WRITERS[form](whole, place, calibration)


@contextmanager
def _temporary(place: Path, form: Format) -> Iterator[Path]:
    """Lend a name of the same ending beside the place; what is left there goes."""
    hidden = temporary_path(place)
    temporary = hidden if form == "savedmodel" else hidden.with_name(hidden.name + place.suffix)
    try:
        yield temporary
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        for left in (temporary, temporary.with_suffix(".bin")):
            left.unlink(missing_ok=True)


def _put(temporary: Path, place: Path, form: Format) -> None:
    if form == "savedmodel":
        old = place.with_name(f".{place.name}.{os.getpid()}.old")
        if place.exists():
            place.rename(old)
        temporary.rename(place)
        shutil.rmtree(old, ignore_errors=True)
        return
    if form == "openvino":
        # The weights first: without the graph nobody looks for them.
        with written_whole(place.with_suffix(".bin")) as lent:
            temporary.with_suffix(".bin").rename(lent)
    with written_whole(place) as lent:
        temporary.rename(lent)


def _size(place: Path) -> int:
    if place.is_dir():
        return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    beside = place.with_suffix(".bin")
    more = beside.stat().st_size if place.suffix == ".xml" and beside.exists() else 0
    return place.stat().st_size + more
