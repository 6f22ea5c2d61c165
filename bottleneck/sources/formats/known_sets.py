"""Names of the classes of published IDX sets, whose files hold only numbers.

A set is known by what its labels are, never by what a folder is called: by a hash of all their
values, by the hash that its makers publish of the packed file, or, where neither is at hand, by its
own name of the file together with the number and the range of its labels.
"""

import hashlib
import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

LARGEST = 1 << 20
"""Labels of a file that are looked at; every known set has fewer."""


@dataclass(frozen=True)
class KnownSet:
    """A published set.

    Parameters
    ----------
    name : str
        What people call it.
    classes : tuple of str
        Names of its classes.
    first : int
        The number of the first of them.
    values : frozenset of str
        SHA-256 of the values of all labels, a byte each: of the training and of the test file.
    packed : frozenset of str
        MD5 of the packed files, as published.
    file, counts : str and frozenset of int
        A pattern of the file's name, and how many labels such a file has.
    """

    name: str
    classes: tuple[str, ...]
    first: int = 0
    values: frozenset[str] = field(default=frozenset())
    packed: frozenset[str] = field(default=frozenset())
    file: str = ""
    counts: frozenset[int] = field(default=frozenset())

    def named(self) -> dict[str, str]:
        """Return the name of each number."""
        return {str(self.first + code): name for code, name in enumerate(self.classes)}

    def holds(self, base: str, labels: NDArray[np.uint8], md5: str | None) -> bool:
        """Whether labels are of this set.

        Parameters
        ----------
        base : str
            Name of their file, without its folder.
        labels : ndarray of uint8, shape (n,)
            All of them.
        md5 : str, optional
            Of the file as it is.
        """
        if md5 in self.packed or hashlib.sha256(labels.tobytes()).hexdigest() in self.values:
            return True
        if not self.file or not re.match(self.file, base, re.I) or len(labels) not in self.counts:
            return False
        every = np.arange(self.first, self.first + len(self.classes))
        return np.array_equal(np.unique(labels), every)


KNOWN = (
    KnownSet(
        "Fashion-MNIST",
        (
            *("t-shirt", "trouser", "pullover", "dress", "coat"),
            *("sandal", "shirt", "sneaker", "bag", "ankle_boot"),
        ),
        # Of Debian's package dataset-fashion-mnist, which packs the makers' files anew.
        values=frozenset(
            {
                "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
                "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
            }
        ),
    ),
    KnownSet(
        "KMNIST",
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        packed=frozenset({"e144d726b3acfaa3e44228e80efcd344", "7320c461ea6c1c855c0b718fb2a4b134"}),
    ),
    KnownSet(
        "EMNIST letters",
        tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        first=1,
        file="emnist-letters-(train|test)-labels",
        counts=frozenset({124_800, 20_800, 88_800, 14_800}),
    ),
)
"""MNIST is not here: its numbers are its classes."""


def known_set(base: str, labels: NDArray[np.uint8], md5: str | None) -> KnownSet | None:
    """Find the set that labels are of; see :meth:`KnownSet.holds`."""
    return next((one for one in KNOWN if one.holds(base, labels, md5)), None)
