"""The options of all functions that list images, declared once."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from bottleneck.declare import Option, Options
from bottleneck.sources.choice import Choice, LabelFrom


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
