"""Features that were computed before, given where images are: files, and sets here or elsewhere."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from bottleneck.errors import BottleneckError, OptionError
from bottleneck.location import SET_FILE, expand_braces, has_wildcard, is_set, is_url
from bottleneck.sets.place import place_of
from bottleneck.store.format import is_feature_file

_AT_ONCE: Final = 8


def feature_files(given: Sequence[str]) -> list[str]:
    """Return what is given if it is feature files and sets, nothing if it is images.

    Behind a URL it is asked whether there is a set.

    Raises
    ------
    OptionError
        For feature files among other things.
    """
    with ThreadPoolExecutor(_AT_ONCE) as executor:
        features = [*executor.map(_is_features, given)]
    if any(features) and not all(features):
        found, other = given[features.index(True)], given[features.index(False)]
        raise OptionError(
            f"expected feature files or images, got both: {found} and {other}",
            hint="Take them one after the other.",
        )
    return [*given] if any(features) else []


def _is_features(text: str) -> bool:
    if not is_url(text):
        return is_set(text) or is_feature_file(text)
    if has_wildcard(text) or expand_braces(text) != [text] or "::" in text:
        return False
    try:
        return place_of(text).read(SET_FILE) is not None
    except BottleneckError:  # no place for sets; or what is wrong is told of the images
        return False
