"""What was seen while a source's images were listed, and is not among them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bottleneck.location import readable
from bottleneck.sources.endings import LABEL_SUFFIXES, suffix
from bottleneck.sources.rules import is_hidden

_MOST_SHOWN = 8
_LONGEST_ENDING = 10
"""Longer ones are parts of names, each its own: they are counted together."""


@dataclass(frozen=True)
class Listing:
    """Counts of what a source left out, and what it did with what it found.

    Parameters
    ----------
    endings : mapping of str to int
        Files that are no images by their ending, ``.svg``; the empty text stands for none.
    reasons : mapping of str to int
        Everything else that was left out, with how often: ``hidden``, ``label without an image``.
    notes : tuple of str
        What was understood in a way that one may want to know.
    """

    endings: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return what to tell people, a line for each kind; none where nothing was left out."""
        found = []
        if self.endings:
            by_count = sorted(
                self.endings.items(), key=lambda item: (not item[0], -item[1], item[0])
            )
            shown = [f"{name or 'no ending'} {count}" for name, count in by_count[:_MOST_SHOWN]]
            if rest := by_count[_MOST_SHOWN:]:
                shown.append(f"others {sum(count for _, count in rest)}")
            found.append(f"left out by ending: {', '.join(shown)}")
        if self.reasons:
            ordered = sorted(self.reasons.items())
            found.append(f"left out: {', '.join(f'{name} {count}' for name, count in ordered)}")
        return [*found, *self.notes]


class Tally:
    """Counts what is left out while images are listed."""

    def __init__(self) -> None:
        self.endings: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.notes: list[str] = []

    def leave_out(self, path: str) -> None:
        """Count a file that is no image, by why it is none."""
        if is_hidden(path):
            self.reasons["hidden"] += 1
            return
        ending = suffix(path.rpartition("/")[2])
        if len(ending) > _LONGEST_ENDING:
            ending = "longer endings"
        self.endings[ending] += 1

    def finish(self) -> Listing:
        """Return the counts as they are now."""
        return Listing(dict(self.endings), dict(self.reasons), tuple(self.notes))


def left_out(paths: Iterable[str], *, labels: bool = False) -> Listing:
    """Count paths that are no images; with ``labels``, files that hold labels do not count."""
    tally = Tally()
    for path in paths:
        if not (labels and suffix(path) in LABEL_SUFFIXES):
            tally.leave_out(path)
    return tally.finish()


def not_used(what: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the note on columns, features or arrays that no images or labels were taken from."""
    listed = [*dict.fromkeys(map(readable, names))]
    more = [f"and {len(listed) - _MOST_SHOWN} more"] if len(listed) > _MOST_SHOWN else []
    return (f"{what} not used: {', '.join(listed[:_MOST_SHOWN] + more)}",) if listed else ()


def join(listings: Iterable[Listing]) -> Listing:
    """Add up what several sources left out."""
    tally = Tally()
    for listing in listings:
        tally.endings.update(listing.endings)
        tally.reasons.update(listing.reasons)
        tally.notes += [note for note in listing.notes if note not in tally.notes]
    return tally.finish()
