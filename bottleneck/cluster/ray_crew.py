"""Members on the nodes of a Ray cluster: one actor per device, and none that Ray restarts.

A restarted actor would wait for ever for a node that is gone (Ray's issue 26991), so that an actor
that ends is not brought back: what it had is handed to another one, and a new actor is made when
a node has room for it. Nodes are looked at again and again: one that joins later is used.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from bottleneck.cluster.crew import Member, WorkerLostError
from bottleneck.errors import OptionError, RuntimeUnavailableError
from bottleneck.gpus import showing_all

OBJECT_STORE_BYTES = 100 << 20
"""Of a cluster that is started here: no features pass through it."""


class _Actor:
    """What runs in the process of an actor: a worker, made there, with some of the node's cores.

    Where it cannot be made (a folder that the node does not see) calls say why: an actor whose
    making fails is to Ray one that was lost, and would be made again and again.
    """

    def __init__(self, make: Callable[..., Any], given: Sequence[Any], cores: int) -> None:
        if cores:  # what `available_cores` asks
            os.environ["LOKY_MAX_CPU_COUNT"] = str(cores)
        self._worker, self._error = None, None
        try:
            self._worker = make(*given)
        except Exception as error:  # noqa: BLE001  # whatever it is
            self._error = error

    def ready(self) -> bool:
        """Return when the worker is made, or cannot be."""
        return True

    def call(self, method: str, *given: Any) -> Any:
        """Call a method of the worker, or say why there is none."""
        if self._error is not None:
            raise self._error
        return getattr(self._worker, method)(*given)


class RayMember:
    """An actor on a node.

    Parameters
    ----------
    actor : ActorHandle
        It.
    node : str
        The node's number.
    name : str
        Where it is, for people.
    """

    def __init__(self, actor: Any, node: str, name: str) -> None:
        self.actor, self.node, self.name = actor, node, name
        self.ready = _future(actor.ready.remote(), name)

    def __repr__(self) -> str:
        return f"<RayMember {self.name}>"

    def call(self, method: str, *given: Any) -> "Future[Any]":
        """Call a method of the worker."""
        return _future(self.actor.call.remote(method, *given), self.name)


def _future(reference: Any, name: str) -> "Future[Any]":
    """Return a future of ours, whose errors are the worker's own, or that it was lost."""
    from ray import exceptions

    lost = (
        exceptions.RayActorError,
        exceptions.WorkerCrashedError,
        exceptions.LocalRayletDiedError,
        exceptions.NodeDiedError,
        exceptions.OutOfMemoryError,
        exceptions.ObjectLostError,
        exceptions.ActorUnschedulableError,
    )
    ours: Future[Any] = Future()

    def done(theirs: "Future[Any]") -> None:
        error = theirs.exception()
        if error is None:
            ours.set_result(theirs.result())
        elif isinstance(error, lost):
            ours.set_exception(WorkerLostError(f"{name}: {type(error).__name__}"))
        elif isinstance(error, exceptions.RayTaskError):
            cause = error.cause
            ours.set_exception(cause if isinstance(cause, Exception) else error)
        else:
            ours.set_exception(error)

    reference.future().add_done_callback(done)
    return ours


class RayCrew:
    """Actors on all nodes of a cluster that this process is connected to; see :func:`ray_crew`.

    Parameters
    ----------
    make : callable
        Makes the worker, in the actor's process.
    given : sequence
        What with.
    """

    def __init__(self, make: Callable[..., Any], given: Sequence[Any]) -> None:
        import ray

        self._ray: Any = ray
        self._make, self._given = make, tuple(given)
        self._there: list[RayMember] = []
        self._coming: list[RayMember] = []

    def members(self) -> Sequence[Member]:
        """Return the actors that are ready, after making those that nodes have room for."""
        for member in [member for member in self._coming if member.ready.done()]:
            self._coming.remove(member)
            error = member.ready.exception()
            if error is None:
                self._there.append(member)
            elif not isinstance(error, WorkerLostError):
                raise error
        held: dict[str, int] = {}
        for member in self._there + self._coming:
            held[member.node] = held.get(member.node, 0) + 1
        for node in self._ray.nodes():
            if not node["Alive"]:
                continue
            offered = node["Resources"]
            # A head that is kept free of work offers no core.
            devices = int(offered.get("GPU", 0)) or min(1, int(offered.get("CPU", 0)))
            for number in range(held.get(node["NodeID"], 0), devices):
                self._coming.append(self._made(node, number, devices))
        return list(self._there)

    def _made(self, node: Mapping[str, Any], number: int, devices: int) -> RayMember:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        gpus = 1 if node["Resources"].get("GPU", 0) else 0
        # A core less where there are several devices and cores do not go round.
        cores = int(node["Resources"].get("CPU", 0)) // devices
        actor = (
            self._ray.remote(_Actor)
            .options(
                num_gpus=gpus,
                num_cpus=cores,
                max_restarts=0,
                max_task_retries=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            )
            .remote(self._make, self._given, cores)
        )
        where = str(node["NodeManagerHostname"])
        name = f"{where}, GPU {number}" if gpus else where
        return RayMember(actor, node["NodeID"], name)

    def share(self, value: Any) -> Any:
        """Put a value where every node fetches it once."""
        return self._ray.put(value)

    def lost(self, member: Member) -> None:
        """Forget an actor, and end what is left of it."""
        self._there = [other for other in self._there if other is not member]
        if isinstance(member, RayMember):
            self._end(member)

    def close(self) -> None:
        """End all actors."""
        for member in self._there + self._coming:
            self._end(member)
        self._there, self._coming = [], []

    def _end(self, member: RayMember) -> None:
        with contextlib.suppress(Exception):  # it may be gone, and the cluster too
            self._ray.kill(member.actor)


@contextmanager
def ray_crew(on: str, make: Callable[..., Any], given: Sequence[Any] = ()) -> Iterator[RayCrew]:
    """Connect to a cluster, and make an actor per device.

    Parameters
    ----------
    on : str
        ``ray`` for the cluster of ``RAY_ADDRESS`` or of this machine, or else one that is started
        here; ``ray://HOST:PORT`` for another one.
    make, given
        As of :class:`RayCrew`.

    Raises
    ------
    OptionError
        For another engine, or a cluster that cannot be reached.
    RuntimeUnavailableError
        Without the package ``ray``.
    """
    require_engine(on)
    try:
        import ray
    except ImportError as error:
        raise RuntimeUnavailableError(
            "--on ray needs the package ray, which is not installed",
            hint='Install it: pip install "bottleneck-features[ray]", on every node.',
        ) from error
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if on == "ray":
            _local_or_found(ray, options)
        else:
            ray.init(address=on, **options)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise OptionError(
            f"expected a Ray cluster for --on {on}, could not reach it: {error}",
            hint="See `ray status` there; --on ray without an address starts one here.",
        ) from error
    crew = RayCrew(make, given)
    try:
        yield crew
    finally:
        crew.close()
        ray.shutdown()


def _local_or_found(ray: Any, options: Mapping[str, Any]) -> None:
    try:
        ray.init(address="auto", **options)
    except ConnectionError:
        with showing_all():
            ray.init(
                address="local",
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                **options,
            )


def require_engine(on: str) -> None:
    """Refuse another engine than Ray.

    Raises
    ------
    OptionError
    """
    if on != "ray" and not on.startswith("ray://"):
        raise OptionError(
            f"expected ray or ray://HOST:PORT for --on, got {on!r}",
            hint="Without an engine: --part i/n, on every machine.",
        )
