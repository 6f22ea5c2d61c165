"""One file that labels images by itself: what is in it, and what runs it.

ONNX, Keras, TensorFlow's SavedModel and OpenVINO hold the same graph, from uint8 pixels of the
input's size to probabilities, and beside it the same JSON document (``Whole.about``) with the
classes and the resize rule: as metadata ``bottleneck`` of the ONNX model, as ``bottleneck.json``
inside of the ``.keras`` archive, as ``assets.extra/bottleneck.json`` of the SavedModel, and as
``bottleneck`` in OpenVINO's ``rt_info``.
"""

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from bottleneck.adapt.whole import VERSION
from bottleneck.backbones.keras_scope import import_keras
from bottleneck.backbones.onnx_file import require_providers
from bottleneck.errors import (
    HeadError,
    OptionError,
    RuntimeUnavailableError,
    first_line,
    not_importable,
)
from bottleneck.gpus import number_here
from bottleneck.images import Geometry
from bottleneck.process_wide import warnings_ignored
from bottleneck.runtimes import placed
from bottleneck.runtimes.protocol import TENSORRT, gpu_index

Format = Literal["onnx", "keras", "savedmodel", "openvino"]

ENDINGS: Final[Mapping[str, Format]] = {
    ".onnx": "onnx",
    ".keras": "keras",
    ".xml": "openvino",
    "": "savedmodel",
}
"""Formats by the ending of the output; a SavedModel is a folder."""

KEY: Final = "bottleneck"
"""Under which name the document is kept."""

IN_ARCHIVE: Final = f"{KEY}.json"
IN_FOLDER: Final = f"assets.extra/{KEY}.json"

Compute = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From images (n, height, width, 3) to probabilities or scores (n, classes)."""

Tell = Callable[[str], None]

_Opened = tuple[dict[str, Any], Compute, str]
"""What is known of a model, what computes it, and on what."""


@dataclass(frozen=True, eq=False)
class DeployedModel:
    """A deployed model, ready to label pixels.

    Parameters
    ----------
    path : Path
        Where it was.
    format : {"onnx", "keras", "savedmodel", "openvino"}
    about : dict
        What is known of it; see :class:`bottleneck.adapt.whole.Whole`.
    compute : callable
        From uint8 images (n, height, width, 3) to what :attr:`about` calls its ``answer``. May be
        called from any thread.
    device : str
        What computes: ``cpu``, ``gpu:0`` and the like.
    """

    path: Path
    format: Format
    about: dict[str, Any]
    compute: Compute
    device: str

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the output's columns."""
        return tuple(self.about["classes"])

    @property
    def geometry(self) -> Geometry:
        """How images become its input."""
        return Geometry.from_recipe(self.about["image"])

    def __repr__(self) -> str:
        return f"<DeployedModel {self.path.name} {self.format}, {len(self.classes)} classes>"

    def records(self, answers: NDArray[np.float32]) -> list[dict[str, Any]]:
        """Say in words what the model answered: a label, its probability, and all of them."""
        return [self._record(row) for row in np.asarray(answers, np.float64)]

    def _record(self, row: NDArray[np.float64]) -> dict[str, Any]:
        values = {name: float(f"{v:.6g}") for name, v in zip(self.classes, row, strict=True)}
        if self.about["task"] == "numbers":
            return {"values": values}
        if self.about["task"] == "labels":
            return {"labels": [name for name, v in values.items() if v > 0.5], "values": values}
        label = self.classes[int(row.argmax())]
        if self.about["answer"] == "scores":
            return {"label": label, "scores": values}
        return {"label": label, "probability": values[label], "probabilities": values}


def open_deployed(
    path: str | Path, device: str | None = None, tell: Tell = lambda told: None
) -> DeployedModel:
    """Open what :func:`bottleneck.adapt.deploy.deploy` wrote.

    Parameters
    ----------
    path : str or Path
    device : str, optional
        What is to compute: ``cpu``, ``gpu`` or ``gpu:N``. The first GPU that what runs the model
        sees, else the CPU.
    tell : callable, optional
        Is told of a GPU that is not used.

    Raises
    ------
    HeadError
        For a file that is missing, damaged, or was not written by ``export --deploy`` or
        ``finetune``.
    RuntimeUnavailableError
        When what runs its format is not installed, or has no such GPU.
    OptionError
        For a device that it never has.
    """
    place = Path(path)
    if not place.exists():
        raise HeadError(f"expected a deployed model, found nothing at {place}")
    form = format_of(place)
    try:
        with warnings_ignored():  # other people's deprecations
            about, compute, where = _OPENERS[form](place, device, tell)
    except (HeadError, OptionError, RuntimeUnavailableError):
        raise
    except Exception as error:
        # Each framework raises its own.
        said = first_line(error)[:300]
        raise HeadError(f"{place}: expected a model ({form}), got: {said}") from error
    return DeployedModel(place, form, about, compute, where)


def format_of(path: Path) -> Format:
    """Tell the format by the ending; a folder is a SavedModel.

    Raises
    ------
    HeadError
        For another ending.
    """
    form = ENDINGS.get(path.suffix.lower())
    if path.is_dir():
        return "savedmodel"
    if form is None:
        raise HeadError(
            f"expected a model that ends in .onnx, .keras or .xml, or a folder, got {path}",
            hint="`bottleneck export HEAD --deploy -o model.onnx` writes one.",
        )
    return form


def parsed(text: str | bytes | None, path: Path) -> dict[str, Any]:
    """Read the document of a model.

    Raises
    ------
    HeadError
        Where there is none, or one of a newer format.
    """
    if text is None:
        raise HeadError(
            f"{path}: expected a model with its classes and resize rule, found neither",
            hint="`bottleneck export HEAD --deploy` and `bottleneck finetune` write them.",
        )
    about: dict[str, Any] = json.loads(text)
    if about.get("version") != VERSION:
        raise HeadError(
            f"{path}: expected a model of format {VERSION}, got {about.get('version')!r}",
            hint="Update this package: pip install --upgrade bottleneck-features",
        )
    return about


def openvino_compute(model: Any) -> Compute:
    """Compile an OpenVINO model for the CPU, in float32 but for what was quantised."""
    import openvino

    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return _one_at_a_time(lambda pixels: np.array(compiled(pixels)[0], np.float32))


def _one_at_a_time(compute: Compute) -> Compute:
    """Let one thread compute at a time, with all cores.

    OpenVINO's model refuses a second one. TensorFlow's ends the process on a CPU: see
    :class:`bottleneck.runtimes.tensorflow.OneAtATime`.
    """
    computing = Lock()

    def compute_alone(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with computing:
            return compute(pixels)

    return compute_alone


def _open_onnx(path: Path, device: str | None, tell: Tell) -> _Opened:
    try:
        import onnxruntime
    except ImportError as error:
        raise not_importable("ONNX Runtime", "deploy", error) from error
    if device is not None and device.startswith(TENSORRT):
        raise OptionError(f"expected the device cpu, gpu or gpu:N for {path}, got {device!r}")
    place = placed("onnxruntime", device, tell)
    providers: list[Any] = ["CPUExecutionProvider"]
    gpu = gpu_index(place.name)
    if gpu is not None:  # float32 is float32 there too
        cuda = {"device_id": number_here(gpu), "use_tf32": 0}
        providers.insert(0, ("CUDAExecutionProvider", cuda))
    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(str(path), providers=providers)
    try:
        require_providers(session, providers)
    except RuntimeUnavailableError as error:
        if device is not None:
            raise
        tell(f"the CPU computes, though there is a GPU: {error.message}. {error.hint}")
        return _open_onnx(path, "cpu", tell)
    about = parsed(session.get_modelmeta().custom_metadata_map.get(KEY), path)

    def compute(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        (found,) = session.run([about["answer"]], {"images": pixels})
        return np.asarray(found, np.float32)

    return about, compute, place.name


def _open_keras(path: Path, device: str | None, tell: Tell) -> _Opened:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        about = parsed(archive.read(IN_ARCHIVE) if IN_ARCHIVE in names else None, path)
    keras = import_keras()
    place = placed(str(keras.backend.backend()), device, tell)
    with place.scope():
        model = keras.saving.load_model(path, compile=False)

    def compute(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with place.scope(), place.exact():  # as predict does
            return np.asarray(model.predict_on_batch(pixels), np.float32)

    return about, _one_at_a_time(compute), place.name


def _open_savedmodel(path: Path, device: str | None, tell: Tell) -> _Opened:
    note = path / IN_FOLDER
    about = parsed(note.read_text(encoding="utf-8") if note.exists() else None, path)
    import_keras("tensorflow")
    import tensorflow as tf

    place = placed("tensorflow", device, tell)
    with place.scope():
        loaded = tf.saved_model.load(str(path))
    function = loaded.signatures["serving_default"]

    def compute(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with place.scope(), place.exact():  # as predict does
            return np.asarray(function(images=tf.constant(pixels))[about["answer"]], np.float32)

    # What was loaded has to live as long as its function.
    compute.loaded = loaded  # type: ignore[attr-defined]
    return about, _one_at_a_time(compute), place.name


def _open_openvino(path: Path, device: str | None, tell: Tell) -> _Opened:
    try:
        import openvino
    except ImportError as error:
        raise not_importable("OpenVINO", "openvino", error) from error
    place = placed("openvino", device, tell)
    model = openvino.Core().read_model(path)
    text = model.get_rt_info(KEY).value if model.has_rt_info(KEY) else None
    return parsed(text, path), openvino_compute(model), place.name


_OPENERS: Final[Mapping[Format, Callable[[Path, str | None, Tell], _Opened]]] = {
    "onnx": _open_onnx,
    "keras": _open_keras,
    "savedmodel": _open_savedmodel,
    "openvino": _open_openvino,
}


def pixels_in_batches(
    pixels: NDArray[np.uint8], compute: Compute, size: int = 32
) -> NDArray[np.float32]:
    """Compute many images, some at a time."""
    parts: Sequence[NDArray[np.float32]] = [
        compute(pixels[start : start + size]) for start in range(0, len(pixels), size)
    ]
    return np.concatenate(parts)
