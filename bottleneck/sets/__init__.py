"""Many feature files as one: ranges of rows, filled by many machines, read as a whole."""

from bottleneck.sets.description import ROWS, SetInfo, published, read_info
from bottleneck.sets.place import Place, place_of
from bottleneck.sets.shards import Shards
from bottleneck.sets.view import open_set, open_shards

__all__ = [
    "ROWS",
    "Place",
    "SetInfo",
    "Shards",
    "open_set",
    "open_shards",
    "place_of",
    "published",
    "read_info",
]
