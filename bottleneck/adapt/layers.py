"""The layers of a backbone by name: its blocks, where it can be cut, what is trained of it."""

import difflib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bottleneck.errors import OptionError

_STEM: Final = re.compile(
    r"(?:conv\d+_block\d+|block_?\d+[a-z]?|stage_?\d+_block_?\d+|[A-Za-z]+_?\d+(?:_\d+)?[a-z]?)"
)
"""What the layers of a block have in common at the beginning of their names: ``block5`` of
``block5_conv1``, ``conv5_block3`` of ``conv5_block3_1_conv``, ``block7a`` of ``block7a_dwconv``."""

_NUMBERED: Final = re.compile(
    r"(?:conv2d|conv1d|dense|depthwise_conv2d|separable_conv2d)(?:_\d+)?$"
)
"""Names that Keras gives: they say nothing of blocks."""


@dataclass(frozen=True, eq=False)
class Body:
    """A backbone's operations in order, and where one tensor is all that passes.

    Parameters
    ----------
    names : sequence of str
        Operations in an order in which each comes after what it needs; the first is the input.
    tensors : sequence
        What each gives.
    layers : sequence
        The operations themselves.
    cuts : collection of int
        Positions whose tensor alone leads from what is before to what is behind.
    nodes : sequence
        Where each is called: what it takes and gives.
    """

    names: Sequence[str]
    tensors: Sequence[Any]
    layers: Sequence[Any]
    cuts: Collection[int]
    nodes: Sequence[Any]

    @classmethod
    def of(cls, model: Any) -> "Body":
        """Take a functional model of one input and one output apart."""
        nodes = _in_order(model)
        operations = [node.operation for node in nodes]
        tensors = [node.output_tensors[0] for node in nodes]
        place = {id(tensor): i for i, tensor in enumerate(tensors)}
        last_use = list(range(len(nodes)))
        for i, node in enumerate(nodes):
            for tensor in node.input_tensors:
                source = place[id(tensor)]
                last_use[source] = max(last_use[source], i)
        cuts = [
            i
            for i in range(len(nodes))
            if all(last_use[j] <= i for j in range(i))  # nothing before is needed later
        ]
        return cls([one.name for one in operations], tensors, operations, cuts, nodes)

    @property
    def blocks(self) -> list[list[int]]:
        """Positions of layers with weights, in blocks: from one cut to another, by their names.

        Neighbours whose names begin alike are one block.
        """
        found: list[list[int]] = []
        stems: list[str] = []
        start = 0
        for cut in sorted(self.cuts):
            segment = [i for i in range(start, cut + 1) if self.layers[i].weights]
            start = cut + 1
            if not segment:
                continue
            stem = _stem(self.names[segment[0]])
            # What normalises belongs to what it normalises, whatever it is called.
            joined = stems and (stem == stems[-1] or all(map(self._is_norm, segment)))
            if joined:
                found[-1] += segment
            else:
                found.append(segment)
                stems.append(stem)
        return found

    def _is_norm(self, position: int) -> bool:
        return "Normalization" in type(self.layers[position]).__name__

    def cut_before(self, positions: Sequence[int]) -> int:
        """Return the last cut that all of some layers come behind; 0 is the input itself."""
        return max(cut for cut in self.cuts if cut < min(positions))

    def chosen(self, names: Sequence[str], start: str | None) -> list[int]:
        """Find layers with weights by name.

        Parameters
        ----------
        names : sequence of str
            Names of layers; beginnings of names (``block5``) for all layers of the block; or
            ``last:N`` for the last N blocks.
        start : str or None
            This layer or block, and everything behind it.

        Raises
        ------
        OptionError
            For a name that no layer has, or has no weights.
        """
        found: set[int] = set()
        for name in names:
            found |= set(self._named(name))
        if start is not None:
            first = min(self._named(start))
            found |= {i for i in range(first, len(self.names)) if self.layers[i].weights}
        return sorted(found)

    def span(self, name: str) -> tuple[int, int]:
        """Return the first and the last position of a layer, or of a block by its beginning.

        Raises
        ------
        OptionError
            For a name that no layer has.
        """
        found = self._alike(name)
        return found[0], found[-1]

    def position(self, name: str) -> int:
        """Return the position of a layer, or of the last one of a block; errors as of `span`."""
        return self.span(name)[1]

    def _alike(self, name: str) -> list[int]:
        exact = [i for i, one in enumerate(self.names) if one == name]
        found = exact or [i for i, one in enumerate(self.names) if name and _begins(one, name)]
        if not found:
            near = difflib.get_close_matches(name, [*self.names], n=3, cutoff=0.3)
            raise OptionError(
                f"expected the name of a layer or the beginning of a block's, got {name!r}",
                hint=f"Nearest: {', '.join(near or self.names[-3:])}; `bottleneck backbones NAME "
                "--layers` lists all.",
            )
        return found

    def _named(self, name: str) -> list[int]:
        what, _, count = name.partition(":")
        if what == "last" and count:
            if not count.isdecimal() or not 1 <= int(count) <= len(self.blocks):
                raise OptionError(
                    f"expected last:1 to last:{len(self.blocks)} blocks of layers, got {name}"
                )
            return [i for block in self.blocks[-int(count) :] for i in block]
        alike = self._alike(name)
        exact = [i for i in alike if self.names[i] == name]
        with_weights = [i for i in alike if self.layers[i].weights]
        if not with_weights and exact and exact[0] in self.cuts:
            # A sum or a concatenation ends a block: what it closes is meant.
            with_weights = next((b for b in reversed(self.blocks) if b[-1] < exact[0]), [])
        if not with_weights:
            raise OptionError(f"expected a layer with weights, got {name!r}, which has none")
        return with_weights


def _begins(one: str, name: str) -> bool:
    """Whether a layer belongs to a block of a name: ``block1`` is not that of ``block12_conv``."""
    return one.startswith(name) and not (one[len(name) :][:1].isdigit() and name[-1:].isdigit())


def _stem(name: str) -> str:
    found = None if _NUMBERED.match(name) else _STEM.match(name)
    return found.group() if found else name


def _in_order(model: Any) -> list[Any]:
    """Return the nodes of a model so that each comes after those it needs, the deepest first."""
    by_depth = model._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
