"""Passes over shards that others hold: who answers for which, and who when one is lost."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakSet

from bottleneck.cluster.crew import Crew, Member, WorkerLostError
from bottleneck.cluster.holder import Asked, Source
from bottleneck.errors import HeadError
from bottleneck.heads.rows import Layout
from bottleneck.heads.solver.question import Node, Question, RowData

_T = TypeVar("_T")

_SECONDS = 1.0
"""How often it is looked for members that joined, while shards wait for one."""

_PATIENCE = 300
"""How often, before it is given up."""


class ShardWorkers:
    """Answers questions about shards by the members of a crew.

    Every shard has a home, whose memory holds it: shards are moved only where a member is lost,
    or where one that joined has fewer than the others. It does not matter to an answer.

    Parameters
    ----------
    crew : Crew
        Who holds the shards: members with the methods of
        :class:`~bottleneck.cluster.holder.Holder`.
    sources : mapping of int to Source
        Where the rows of each shard are.
    tell : callable, optional
        Is told how far a pass is, in words.
    """

    def __init__(
        self,
        crew: Crew,
        sources: Mapping[int, Source],
        tell: Callable[[str], None] = lambda words: None,
    ) -> None:
        self._crew, self._sources, self._tell = crew, sources, tell
        self._passes = 0
        self._homes: dict[int, Member] = {}
        self._sent: dict[Member, set[tuple[int, int]]] = {}
        self._known: WeakSet[Any] = WeakSet()

    def ask(
        self, question: Question[_T], data: RowData | None, layout: Layout
    ) -> Iterator[tuple[Node, _T]]:
        """Yield sums of nodes; see :class:`~bottleneck.heads.solver.question.Workers`."""
        self._known.update(part for part in (data, layout) if part is not None)
        alive = [part.token for part in self._known]
        shards = {shard.number: shard for shard in layout.shards}
        everyone = sorted(shards)
        shared = self._crew.share(question)
        waiting = set(everyone)
        asked: dict[Future[Any], tuple[Member, list[int]]] = {}
        patience = _PATIENCE
        settled = False
        self._passes += 1

        def pieces(member: Member, number: int) -> Asked:
            sent, shard = self._sent.setdefault(member, set()), shards[number]
            taken = rows = None
            if layout.taken is not None:
                rows = None if (number, layout.token) in sent else layout.taken[number]
                taken = layout.token, rows
            known = None
            if data is not None:
                new = (number, data.token) not in sent
                known = data.token, data.cut(shard.start, shard.stop) if new else None
            sent |= {(number, part.token) for part in (data, layout) if part is not None}
            return Asked(number, self._sources[number], taken, known)

        while waiting or asked:
            members = self._crew.members() if waiting else ()
            if waiting and members:
                patience = _PATIENCE
                for member, numbers in self._deal(waiting, members, settled).items():
                    about = [pieces(member, number) for number in numbers]
                    future = member.call("ask", shared, about, everyone, alive)
                    asked[future] = member, numbers
                waiting, settled = set(), True
            if waiting and not asked and (patience := patience - 1) < 0:
                raise HeadError(
                    f"{len(waiting)} shards have no worker: all were lost, and none came",
                    hint="See the cluster's logs; give workers more memory, or more machines.",
                )
            done, _ = wait(asked, _SECONDS if waiting else None, FIRST_COMPLETED)
            if not done and not asked:
                time.sleep(_SECONDS)
            for future in done:
                member, numbers = asked.pop(future)
                try:
                    nodes = future.result()
                except WorkerLostError:
                    self._forget(member)
                    waiting |= set(numbers)
                    continue
                yield from nodes.items()
                left = len(waiting) + sum(len(numbers) for _, numbers in asked.values())
                self._tell(
                    f"pass {self._passes} over the shards, {len(everyone) - left} of "
                    f"{len(everyone)}, {len(set(self._homes.values()))} workers"
                )

    def devices(self) -> Sequence[str]:
        """Name what the homes of the shards compute on: each device once, in order."""
        asked = [member.call("device") for member in set(self._homes.values())]
        found = set()
        for future in asked:
            with suppress(WorkerLostError):  # a pass would notice
                found.add(str(future.result()))
        return sorted(found)

    def _forget(self, member: Member) -> None:
        self._crew.lost(member)
        self._sent.pop(member, None)
        self._homes = {at: home for at, home in self._homes.items() if home is not member}

    def _deal(
        self, numbers: set[int], members: Sequence[Member], settled: bool
    ) -> dict[Member, list[int]]:
        """Say who answers for which shards: their homes, as far as that is fair."""
        held: dict[Member, list[int]] = {member: [] for member in members}
        for number, home in sorted(self._homes.items()):
            if home in held and number in self._sources:
                held[home].append(number)
        if not settled:  # while a pass is under way, moving shards would not make it shorter
            most = -(-len(self._sources) // len(members))
            for own in held.values():
                del own[most:]
        homeless = sorted(set(numbers) - {number for own in held.values() for number in own})
        counts = dict.fromkeys(held, 0)
        for _ in homeless:
            counts[min(held, key=lambda member: len(held[member]) + counts[member])] += 1
        at = 0
        for member, count in counts.items():  # neighbours, whose sums meet early in the tree
            held[member] += homeless[at : at + count]
            at += count
        self._homes = {number: member for member, own in held.items() for number in own}
        found = {member: sorted(set(own) & numbers) for member, own in held.items()}
        return {member: own for member, own in found.items() if own}
