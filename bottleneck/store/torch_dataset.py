"""Finished rows as a data set of PyTorch."""

from typing import Any

import torch
from torch.utils.data import Dataset

from bottleneck.store.datasets import Items


class TorchFeatures(Dataset):  # type: ignore[misc]  # untyped base
    """A map-style data set over a feature file; nothing is read until it is asked for.

    An item is ``(features, label)``: a tensor of the file's own type, bit for bit, and the class
    code, an index into :attr:`classes` (or a tensor of targets); the features alone where no
    labels were asked for. It may be used by any number of workers, started in any way.

    Parameters
    ----------
    items : Items
        The rows.
    classes : tuple of str
        Class names, or those of the targets.
    keys : bool
        Whether an item ends with the row's key.
    """

    def __init__(self, items: Items, classes: tuple[str, ...], keys: bool) -> None:
        self._items = items
        self._keys = keys
        self.classes = classes

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        store = self._items.store
        return f"<TorchFeatures {len(self)} rows of {store.path.name}, {self._items.output}>"

    def __getitem__(self, position: int) -> Any:
        """Read one item."""
        if not -len(self) <= position < len(self):
            raise IndexError(f"expected a position below {len(self)}, got {position}")
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: list[int]) -> list[Any]:
        """Read several items at once, as loaders ask for a batch."""
        X = torch.from_numpy(self._items.features(positions))
        parts: list[Any] = [X]
        if self._items.y is not None:
            y = self._items.y[positions]
            parts.append(y.tolist() if y.ndim == 1 else torch.from_numpy(y))
        if self._keys:
            parts.append([self._items.key(position) for position in positions])
        return [*zip(*parts, strict=True)] if len(parts) > 1 else [*X]

    def key(self, position: int) -> str:
        """Return the key of the item at a position."""
        return self._items.key(position)
