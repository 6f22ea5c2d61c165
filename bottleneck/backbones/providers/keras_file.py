"""Keras models in files: ``keras:FILE`` or ``keras:FILE#layer``; own models too."""

import json
import zipfile
from pathlib import Path
from typing import Any, Final

from bottleneck.backbones.declared import DeclaredInput, file_and_layer, file_spec
from bottleneck.backbones.keras_network import image_size, network_of
from bottleneck.backbones.keras_scope import isolated
from bottleneck.backbones.network import Form, Network
from bottleneck.errors import WeightsError
from bottleneck.fingerprint import fingerprint
from bottleneck.images import ImageSize

FORMS: Final[tuple[Form, ...]] = ("keras",)
SYNTAX: Final = "FILE#layer"


def canonical(name: str) -> str:
    """Return the file's name without its folder, and the layer."""
    return file_and_layer(name)


def load(
    name: str,
    *,
    weights: str | Path | None = None,
    size: ImageSize | None = None,
    declared: DeclaredInput | None = None,
    backend: str | None = None,
) -> Network:
    """Read a model; see :class:`bottleneck.backbones.registry.Provider`.

    Code inside the file (Lambda layers) is never run.
    """
    given, _, layer = name.partition("#")
    path = Path(given if weights is None else weights).expanduser()
    if not path.is_file():
        raise WeightsError(f"{path}: expected a .keras file, which is not there")
    with isolated(backend) as keras:
        try:
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:
            said = str(error).strip() or repr(error)
            raise WeightsError(
                f"{path}: expected a model that Keras opens, got {said.splitlines()[0]}"
            ) from error
        model.trainable = False
        size = image_size(str(path), model, size)
        spec = file_spec(
            f"keras:{canonical(name)}",
            size=size,
            dim=int(model.output_shape[-1] or 0) if isinstance(model.output_shape, tuple) else 0,
            params=int(model.count_params()),
            declared=declared,
        )
        return network_of(
            spec,
            model,
            size,
            source=str(path.resolve()),
            main=layer or None,
            facts={"library": "keras", "architecture_sha256": _architecture(path, model)},
        )


def _architecture(path: Path, model: Any) -> str:
    """Fingerprint what the file says of the model besides its weights."""
    try:
        with zipfile.ZipFile(path) as archive:
            said = json.loads(archive.read("config.json"))["config"]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        said = json.loads(model.to_json())["config"]
    return fingerprint(said)
