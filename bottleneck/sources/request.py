"""What the opener of a kind of source is given."""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from bottleneck.sources.choice import AS_FOUND, Choice
from bottleneck.sources.layout import common_folder
from bottleneck.sources.shards import Shard, open_shards


@dataclass(frozen=True)
class Request:
    """Files of one kind that are to be opened as one source.

    Parameters
    ----------
    name : str
        What was given, for messages: the source's name.
    locations : sequence of str
        Paths or URLs of the files in order.
    part : str
        What was named behind ``::``, empty for nothing.
    targets : sequence of str
        Columns to keep as targets.
    choice : Choice
        Where paths and labels are to be looked for.
    """

    name: str
    locations: Sequence[str]
    part: str = ""
    targets: Sequence[str] = ()
    choice: Choice = AS_FOUND

    @property
    def folder(self) -> str:
        """The folder or URL that all files lie in."""
        return common_folder([posixpath.dirname(location) for location in self.locations])

    def shards(self) -> list[Shard]:
        """Open the files.

        Raises
        ------
        SourceError
            When one does not exist.
        """
        return open_shards(self.locations)
