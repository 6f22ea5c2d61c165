"""Finished rows as a data set of TensorFlow."""

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from bottleneck.store.datasets import Items

_BLOCK_ROWS = 1024


def tf_features(items: Items, batch_size: int | None, keys: bool) -> Any:
    """Stream rows in the file's order; a block of them is in memory at a time.

    Parameters
    ----------
    items : Items
        The rows.
    batch_size : int or None
        Rows of an element; None for single rows.
    keys : bool
        Whether an element ends with the rows' keys.

    Returns
    -------
    tf.data.Dataset
        Of ``(features, labels)``, with ``keys`` ``(features, labels, keys)``; of features alone
        where there are no labels.
    """
    dim = items.store.outputs[items.output]
    kind = tf.as_dtype(items.store.dtype)
    signature = [tf.TensorSpec((None, dim), kind)]
    if items.y is not None:
        signature.append(tf.TensorSpec((None, *items.y.shape[1:]), tf.as_dtype(items.y.dtype)))
    if keys:
        signature.append(tf.TensorSpec((None,), tf.string))

    def blocks() -> Iterator[Any]:
        for block, X in items.blocks(batch_size or _BLOCK_ROWS):
            parts: list[Any] = [X]
            if items.y is not None:
                parts.append(items.y[block])
            if keys:
                positions = range(*block.indices(len(items)))
                parts.append([items.key(i).encode("utf-8", "surrogateescape") for i in positions])
            yield tuple(parts) if len(parts) > 1 else X

    single = len(signature) == 1
    data = tf.data.Dataset.from_generator(
        blocks, output_signature=signature[0] if single else tuple(signature)
    )
    if batch_size is None:
        count = len(items)
        data = data.unbatch()
    else:
        count = -(-len(items) // batch_size)
    return data.apply(tf.data.experimental.assert_cardinality(count))
