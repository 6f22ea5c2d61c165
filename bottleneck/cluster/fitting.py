"""The rows of a set for fitting a head, held by the nodes of a cluster."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from bottleneck.cluster.holder import HELD_BYTES, Holder
from bottleneck.cluster.passes import ShardWorkers
from bottleneck.cluster.ray_crew import ray_crew
from bottleneck.errors import OptionError
from bottleneck.heads.rows import Rows, SubsetRows
from bottleneck.heads.set_rows import rows_of_set, sources_of_set
from bottleneck.heads.solver.engine import EngineName
from bottleneck.sets.view import SetRows
from bottleneck.store import FeatureStore


@contextmanager
def rows_on(
    on: str,
    store: FeatureStore,
    output: str,
    rows: NDArray[np.int64],
    *,
    threads: int | None = None,
    engine: EngineName = "numpy",
    device: str | None = None,
    tell: Callable[[str], None],
) -> Iterator[Rows]:
    """Have a cluster's nodes hold some rows of a set, each its shards.

    Parameters
    ----------
    on : str
        See :func:`~bottleneck.cluster.ray_crew.ray_crew`.
    store : FeatureStore
        The set.
    output : str
        Which features.
    rows : ndarray of int64
        Which rows, ascending.
    threads : int, optional
        Of each worker; by default one per core.
    engine : {"numpy", "keras"}
        What workers compute losses and gradients with.
    device : {"cpu", "gpu"}, optional
        Of each worker, with Keras; by default the GPU that it was given, else its cores.
    tell : callable
        Is told the passes, in words.

    Raises
    ------
    OptionError
        For a feature file, or a cluster that cannot be reached.
    """
    features = store.features(output)
    if not isinstance(features, SetRows):
        raise OptionError(
            f"expected a set for --on {on}, got the feature file {store.path}",
            hint="One file is read by one machine: leave --on out.",
        )
    with ray_crew(on, Holder, (threads, HELD_BYTES, engine, device)) as crew:
        workers = ShardWorkers(crew, sources_of_set(features), tell)
        yield SubsetRows(rows_of_set(features, workers), rows)
