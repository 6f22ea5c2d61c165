"""What somebody says of sources, where their names do not tell it or tell something else."""

from dataclasses import dataclass
from typing import Literal

from bottleneck.errors import OptionError

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

    Raises
    ------
    OptionError
        When more than one of them says where labels come from.
    """

    path_column: str | None = None
    label_column: str | None = None
    depth: int | None = None
    label_from: LabelFrom | None = None

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
