"""What the folders in an image's path mean, and what somebody says where that is not meant."""

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

from bottleneck.declare import Option, Options
from bottleneck.errors import ManifestError, OptionError
from bottleneck.manifest import SPLITS, split_code
from bottleneck.sources.rules import RULES, ItemRules, label_of

LabelFrom = Literal["folder", "parent", "name", "none"]


@dataclass(frozen=True)
class Choice:
    """Where paths and labels are to be looked for.

    Parameters
    ----------
    path_column, label_column : str, optional
        Columns of a table that name the images, and their classes.
    depth : int, optional
        The class is this folder of an image's path, counted from 1, the outermost: the path is
        the one that keys have, below the source, with splits and what is around everything.
    label_from : {"folder", "parent", "name", "none"}, optional
        ``folder``: the outermost folder that is no split, whatever else names a class; ``parent``:
        the folder that the image is in; ``name``: the file's name without the number at its end
        (``cat.12.jpg``, ``Abyssinian_100.jpg``); ``none``: no labels.
    item : {"image", "sound"}, optional
        What is looked for: what the network takes. By default images, and sounds where there are
        no images.

    Raises
    ------
    OptionError
        When more than one of them says where labels come from.
    """

    path_column: str | None = None
    label_column: str | None = None
    depth: int | None = None
    label_from: LabelFrom | None = None
    item: Literal["image", "sound"] | None = None

    def __post_init__(self) -> None:
        given = [
            f"--{name.replace('_', '-')} {value}"
            for name in ("label_column", "depth", "label_from")
            if (value := getattr(self, name)) is not None
        ]
        if len(given) > 1:
            raise OptionError(
                f"expected one place where labels come from, got {' and '.join(given)}",
                hint="Leave all but one of them out.",
            )
        for name in ("path_column", "label_column"):
            if getattr(self, name) == "":
                raise OptionError(f"expected the name of a column for --{name.replace('_', '-')}")

    @property
    def rules(self) -> ItemRules:
        """How the files of what is looked for are told from others."""
        return RULES[self.item or "image"]

    @property
    def from_path(self) -> bool:
        """Whether the class is in an image's path, whatever else names one."""
        return self.depth is not None or self.label_from in ("folder", "parent", "name")

    @property
    def decides(self) -> bool:
        """Whether it says what the class is, or that there is none."""
        return self.from_path or self.label_from == "none"

    @property
    def written(self) -> str:
        """The option that was given, for messages."""
        return f"--depth {self.depth}" if self.depth else f"--label-from {self.label_from}"


AS_FOUND = Choice()
"""Nothing is said: names tell."""


@dataclass(frozen=True)
class SourceOptions(Options):
    """What may be said of sources: base of the options of all that open them."""

    _: KW_ONLY
    path_column: Annotated[
        str | None, Option("Column of the table that names the images.", metavar="NAME")
    ] = None
    label_column: Annotated[
        str | None, Option("Column of the table that is the class.", metavar="NAME")
    ] = None
    depth: Annotated[
        int | None,
        Option(
            "The class is the Nth folder of an image's path: 1 is the outermost.",
            metavar="N",
            least=1,
        ),
    ] = None
    label_from: Annotated[
        LabelFrom | None,
        Option(
            "The class is the outermost folder below the splits, the folder the image is in "
            "(parent), the file's name without its number, or none."
        ),
    ] = None

    def choice(self) -> Choice:
        """Return what was said, for :func:`bottleneck.sources.open_source`."""
        return Choice(
            path_column=self.path_column,
            label_column=self.label_column,
            depth=self.depth,
            label_from=self.label_from,
        )


_NUMBER_AT_END = re.compile(r"[\s_.()\[\]-]*\d+[\s)\]]*$")


@dataclass(frozen=True)
class FolderLayout:
    """How paths of one source are read.

    Parameters
    ----------
    has_splits : bool
        Whether the first folder names the split, and so the second the class.
    wrapper : str
        A folder around everything that means nothing, with its slash; empty for none.
    choice : Choice
        What names the class, where not the outermost folder.
    """

    has_splits: bool
    wrapper: str = ""
    choice: Choice = AS_FOUND

    def label(self, path: str) -> str | None:
        """Return the class an image's path names; None when it lies in no class folder."""
        if self.choice.label_from == "none":
            return None
        if self.choice.label_from == "name":
            stem = posixpath.splitext(posixpath.basename(path))[0]
            return label_of(_NUMBER_AT_END.sub("", stem), path)
        if self.choice.depth is not None:
            folders = path.split("/")[:-1]
            return folders[self.choice.depth - 1] if len(folders) >= self.choice.depth else None
        folders = path.removeprefix(self.wrapper).split("/")[self.has_splits : -1]
        folders = [one for one in folders if one != ".."]  # in archives; names no folder
        if not folders:
            return None
        return folders[-1 if self.choice.label_from == "parent" else 0]

    def split(self, path: str) -> str:
        """Return ``train``, ``val``, ``test`` or an empty string."""
        top, slash, _ = path.removeprefix(self.wrapper).partition("/")
        return SPLITS[split_code(top) or 0] if slash and self.has_splits else ""


def find_layout(paths: Iterable[str], name: str, choice: Choice = AS_FOUND) -> FolderLayout:
    """Find out whether the top level names splits; refuse to guess when it does so in part.

    One folder around everything, with folders in it, is no class but a wrapper, as archives often
    have one; so is the next in it.

    Parameters
    ----------
    paths : iterable of str
        Paths of images relative to their source; gone through several times.
    name : str
        The source, for messages.
    choice : Choice
        What is said of where labels are; it decides what the names leave open.

    Raises
    ------
    ManifestError
        When splits and other folders lie side by side, or no folder is as deep as was said.
    """
    wrapper = _wrapper(paths)
    tops = _tops(paths, wrapper)
    splits = {top for top in tops if split_code(top)}
    level = wrapper.count("/") + 1
    if choice.depth is not None:
        _check_depth(paths, name, choice.depth, level if splits == tops else 0, tops)
        return FolderLayout(bool(splits) and choice.depth > level, wrapper, choice)
    if not splits or splits == tops:
        return FolderLayout(bool(splits), wrapper, choice)
    classes_below = any(
        path.count("/") > 1 and path.partition("/")[0] in splits
        for path in (path.removeprefix(wrapper) for path in paths)
    )
    if len(splits) > 1 or classes_below:
        others = ", ".join(sorted(tops - splits)[:5])
        raise ManifestError(
            f"{name}: the folders {', '.join(sorted(splits))} look like splits, but beside them "
            f"are: {others}",
            hint=f"Say which folder is the class: --depth {level + 1}, or --depth {level} if those "
            "are classes. Or move them away.",
        )
    # One class of several that happens to be called train or test.
    return FolderLayout(False, wrapper, choice)


def _check_depth(
    paths: Iterable[str], name: str, depth: int, split_level: int, tops: Iterable[str]
) -> None:
    deepest = max(path.count("/") for path in paths)
    if depth > deepest:
        raise ManifestError(
            f"{name}: expected images in {depth} folders or more for --depth {depth}, the deepest "
            f"is in {deepest}",
            hint="Count the folders in the keys that --dry-run shows, the outermost is 1.",
        )
    if depth == split_level:
        raise ManifestError(
            f"{name}: the folders at --depth {depth} are splits: {', '.join(sorted(tops))}",
            hint=f"The folders below them are --depth {depth + 1}.",
        )


def _wrapper(paths: Iterable[str]) -> str:
    folders: list[str] | None = None
    deepest = 0
    for path in paths:
        parts = path.split("/")[:-1]
        deepest = max(deepest, len(parts))
        if folders is None:
            folders = parts
        else:
            same = (i for i, (a, b) in enumerate(zip(folders, parts, strict=False)) if a != b)
            folders = folders[: next(same, min(len(folders), len(parts)))]
    # The last folder of the deepest images is their class, or at least no wrapper.
    outer = (folders or [])[: max(0, deepest - 1)]
    split = next((i for i, folder in enumerate(outer) if split_code(folder)), len(outer))
    return "".join(f"{folder}/" for folder in outer[:split])


def _tops(paths: Iterable[str], wrapper: str) -> set[str]:
    start = len(wrapper)
    return {path[start:].partition("/")[0] for path in paths if path.find("/", start) >= 0}


def split_of_name(name: str) -> str:
    """Return the split that a file's name or a folder above it names, empty for none.

    ``train-00000-of-00002.parquet``, ``val/shard-3.tar`` and ``x_test`` name one;
    ``train_test.tar`` names two, and so none.
    """
    words = re.split(r"[^A-Za-z]+", name)
    found = {code for word in words if word and (code := split_code(word))}
    return SPLITS[found.pop()] if len(found) == 1 else ""


def common_folder(folders: Sequence[str]) -> str:
    """Return the folder that all of some folders are in, or are."""
    split = [folder.split("/") for folder in folders]
    shortest = min(map(len, split))
    same = next((i for i in range(shortest) if len({parts[i] for parts in split}) > 1), shortest)
    return "/".join(split[0][:same])
