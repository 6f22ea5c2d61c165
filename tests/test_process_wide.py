"""Changes of the whole process by several threads: put back, whoever ends last."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from bottleneck.heads.rows import ArrayRows
from bottleneck.heads.solver.row_pass import passes
from bottleneck.process_wide import Together


class Setting:
    """A setting as many have it: read, set, and put back by whoever has changed it."""

    def __init__(self) -> None:
        self.value = "user's"

    @contextmanager
    def changed(self, value: str) -> Iterator[None]:
        before, self.value = self.value, value
        try:
            yield
        finally:
            self.value = before


def test_the_first_one_makes_the_change_and_the_last_one_undoes_it() -> None:
    setting = Setting()
    together = Together(setting.changed)
    first, second = together("ours"), together("ours")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert setting.value == "ours"
    second.__exit__(None, None, None)
    assert setting.value == "user's"


def test_who_wants_it_otherwise_waits() -> None:
    setting, seen = Setting(), []
    together = Together(setting.changed)
    begun = threading.Event()

    def otherwise() -> None:
        begun.set()
        with together("others'"):
            seen.append(setting.value)

    with ThreadPoolExecutor(1) as executor:
        with together("ours"):
            waiting = executor.submit(otherwise)
            assert begun.wait(30)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.1)
            assert setting.value == "ours"
        waiting.result(timeout=30)
    assert seen == ["others'"]
    assert setting.value == "user's"


def test_a_change_that_fails_keeps_nobody_out() -> None:
    @contextmanager
    def failing(value: str) -> Iterator[None]:
        if value == "refused":
            raise ValueError(value)
        yield

    together = Together(failing)
    with pytest.raises(ValueError, match="refused"), together("refused"):
        pass
    with together("taken"):
        pass


def blas_threads() -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_passes_of_two_threads_give_blas_its_threads_back() -> None:
    rows = ArrayRows(np.ones((4, 2), np.float32))
    with threadpool_limits(3, user_api="blas"):
        first, second = passes(rows, threads=1), passes(rows, threads=1)
        first.__enter__()
        second.__enter__()
        assert blas_threads() == {1}
        first.__exit__(None, None, None)
        assert blas_threads() == {1}, "the other one's pass goes on"
        second.__exit__(None, None, None)
        assert blas_threads() == {3}
