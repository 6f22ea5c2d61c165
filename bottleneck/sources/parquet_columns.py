"""Which columns of a Parquet table hold images or paths, labels, splits and groups."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from bottleneck.errors import SourceError

_PATHS = ("path", "file_name", "image_path", "filepath")
_LABELS = ("label", "labels", "class", "target", "fine_label")


@dataclass(frozen=True)
class Columns:
    """Which columns of a table mean what; empty for none.

    Parameters
    ----------
    leaf : str
        Path of the encoded images, ``image.bytes``.
    path : str
        Path of the images' names or places, ``image.path``.
    label, split, group : str
        Names of columns.
    classes : tuple of str
        Class names by label, where the schema has them.
    label_names : mapping of str to tuple of str
        The same for columns of lists of labels.
    """

    leaf: str
    path: str
    label: str
    split: str
    group: str
    classes: tuple[str, ...] = ()
    label_names: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def missing(self, names: Sequence[str], targets: Sequence[str] = ()) -> str | None:
        """Return the first of them that is not among some names."""
        used = (self.leaf, self.path, self.label, self.split, self.group, *targets)
        tops = (n if n in names else n.partition(".")[0] for n in used if n)
        return next((top for top in tops if top not in names), None)


def choose_columns(schema: Any, name: str, part: str = "") -> Columns:
    """Find the columns of a table that hold images or paths, labels, splits and groups.

    Raises
    ------
    SourceError
        When none holds images or paths, or there is no telling which; lists the columns.
    """
    leaves = {}
    for field in schema:
        kind = field.type
        if pa.types.is_struct(kind):
            inner = [kind.field(i).name for i in range(kind.num_fields)]
            if "bytes" in inner:
                leaves[field.name] = (
                    f"{field.name}.bytes", f"{field.name}.path" if "path" in inner else ""
                )  # fmt: skip
        elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            leaves[field.name] = (field.name, "")
    image, _, label = part.partition(",")
    listed = ", ".join(f"{field.name} ({_type_name(field.type)})" for field in schema)
    for wanted in filter(None, (image, label)):
        if wanted not in schema.names:
            raise SourceError(f"{name} has no column {wanted!r}", hint=f"It has: {listed}")
    paths = [column for column in _PATHS if column in schema.names]
    if not image and leaves:
        image = next((n for n in ("image", "img", "jpg", "png") if n in leaves), "")
        if not image and len(leaves) > 1:
            raise SourceError(
                f"cannot tell which column of {name} holds the images: {listed}",
                hint=f"Name it: {name}::{next(iter(leaves))}",
            )
        image = image or next(iter(leaves))
    if image and image not in leaves:
        raise SourceError(
            f"{name}: the column {image!r} holds no encoded images: {listed}",
            hint="Images are binary, or {bytes, path} as Hugging Face writes them.",
        )
    if not image and not paths:
        raise SourceError(
            f"expected a column of images or of paths in {name}, got {listed}",
            hint="Images are binary, or {bytes, path} as Hugging Face writes them; paths are "
            "texts in a column named path.",
        )
    classes = _class_labels(schema)
    usable = {f.name for f in schema if _is_plain(f.type)}
    likely = [n for n in (*_LABELS, *(classes if len(classes) == 1 else ())) if n in usable]
    label = label or (likely[0] if likely else "")
    leaf, path = leaves[image] if image else ("", paths[0])
    if image and not path and "path" in usable:
        path = "path"
    return Columns(
        leaf=leaf,
        path=path,
        label=label,
        split="split" if "split" in usable else "",
        group="group" if "group" in usable else "",
        classes=classes.get(label, ()),
        label_names=_class_labels(schema, lists=True),
    )


def _class_labels(schema: Any, *, lists: bool = False) -> dict[str, tuple[str, ...]]:
    """Return the class names that Hugging Face's ``datasets`` leaves in the schema.

    With ``lists``, those of columns that hold lists of labels.
    """
    try:
        info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = info["info"]["features"]
        if lists:
            features = {column: _item(feature) for column, feature in features.items()}
        return {
            column: tuple(map(str, feature["names"]))
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _item(feature: Any) -> Any:
    """Return what a list is of: written as ``{"feature": item}``, or before as ``[item]``."""
    if isinstance(feature, list) and len(feature) == 1:
        return feature[0]
    return feature.get("feature") if isinstance(feature, dict) else None


def _is_plain(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_boolean(kind)
    )


def _type_name(kind: Any) -> str:
    text = str(kind)
    return text if len(text) <= 40 else f"{text[:37]}..."
