"""Where images come from: folders, tables, archives, arrays, object stores."""

from bottleneck.sources.arrays import PixelSource
from bottleneck.sources.base import SeveralSources, Source
from bottleneck.sources.folder import FileSource
from bottleneck.sources.kinds import Kind
from bottleneck.sources.layout import AS_FOUND, Choice
from bottleneck.sources.opening import listed_once, open_source
from bottleneck.sources.rules import OtherItemsError
from bottleneck.sources.shards import Request
from bottleneck.sources.survey import Survey
from bottleneck.sources.urls import locate, single_files

__all__ = [
    "AS_FOUND",
    "Choice",
    "FileSource",
    "Kind",
    "OtherItemsError",
    "PixelSource",
    "Request",
    "SeveralSources",
    "Source",
    "Survey",
    "listed_once",
    "locate",
    "open_source",
    "single_files",
]
