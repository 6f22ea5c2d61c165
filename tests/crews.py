"""A crew in the threads of this process, whose members are lost on order.

All that is sent goes through pickle, so that members share nothing with each other.
"""

import pickle
from concurrent.futures import ThreadPoolExecutor

from bottleneck.cluster.crew import WorkerLostError


class ThreadMember:
    def __init__(self, name, worker, fails_at=None):
        self.name, self.worker = name, worker
        self.calls, self.fails_at = 0, fails_at
        self.pool = ThreadPoolExecutor(1, name)

    def call(self, method, *given):
        self.calls += 1
        if self.fails_at is not None and self.calls > self.fails_at:
            return self.pool.submit(self._lose)
        return self.pool.submit(self._work, method, pickle.dumps(given))

    def _work(self, method, given):
        return pickle.loads(pickle.dumps(getattr(self.worker, method)(*pickle.loads(given))))

    def _lose(self):
        raise WorkerLostError(self.name)


class ThreadCrew:
    """``count`` members; some are lost at a call, and ``joins`` more come after so many looks."""

    def __init__(self, count, make, fails_at=None, joins=()):
        self.there = [
            ThreadMember(f"member {i}", make(), (fails_at or {}).get(i)) for i in range(count)
        ]
        self.make, self.joins, self.looks = make, list(joins), 0
        self.losses = []
        self.ever = list(self.there)

    def members(self):
        self.looks += 1
        while self.joins and self.looks >= self.joins[0]:
            self.joins.pop(0)
            self.there.append(ThreadMember(f"member {len(self.ever)}", self.make()))
            self.ever.append(self.there[-1])
        return list(self.there)

    def share(self, value):
        return value

    def lost(self, member):
        self.losses.append(member)
        self.there.remove(member)

    def close(self):
        for member in self.ever:
            member.pool.shutdown()
