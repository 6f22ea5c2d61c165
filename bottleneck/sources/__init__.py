"""Where images come from: folders, tables, archives, arrays, object stores."""

from bottleneck.sources.base import Source
from bottleneck.sources.choice import AS_FOUND, Choice
from bottleneck.sources.files import FileSource
from bottleneck.sources.kinds import Kind
from bottleneck.sources.memory import PixelSource
from bottleneck.sources.opened import listed_once, open_source
from bottleneck.sources.request import Request
from bottleneck.sources.several import SeveralSources
from bottleneck.sources.survey import Survey
from bottleneck.sources.urls import single_files

__all__ = [
    "AS_FOUND",
    "Choice",
    "FileSource",
    "Kind",
    "PixelSource",
    "Request",
    "SeveralSources",
    "Source",
    "Survey",
    "listed_once",
    "open_source",
    "single_files",
]
