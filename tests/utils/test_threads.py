"""Work in threads: in order, few at once, with errors where they belong."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np  # noqa: F401 - loads BLAS
import pytest
from threadpoolctl import threadpool_info

from personatalk.utils.threads import cores, limit_cores, parallel_map


def blas_threads() -> int:
    """Most threads that any of the loaded BLAS libraries uses."""
    return max(entry["num_threads"] for entry in threadpool_info() if entry["user_api"] == "blas")


ALL = blas_threads()


@pytest.fixture(autouse=True)
def three_cores() -> Iterator[None]:
    before = cores()
    limit_cores(3)
    yield
    limit_cores(before)


def test_results_come_in_order_from_several_threads() -> None:
    together = threading.Barrier(3, timeout=120)

    def work(item: int) -> int:
        together.wait()  # passes only if three are at work at once
        assert blas_threads() == 1
        return item * item

    assert list(parallel_map(work, range(9))) == [item * item for item in range(9)]
    assert blas_threads() == ALL


def test_items_are_drawn_only_a_few_ahead() -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            drawn.append(item)
            yield item

    results = parallel_map(lambda item: item, items())
    for done in range(20):
        assert next(results) == done and len(drawn) <= done + 5
    results.close()
    assert len(drawn) <= 24


def test_an_error_comes_where_its_result_would_have_come() -> None:
    results = parallel_map(lambda item: 1 // item, [1, 1, 0, 1])
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert blas_threads() == ALL
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("frames")]


def test_maps_may_overlap() -> None:
    outer = parallel_map(lambda item: item, range(5))
    next(outer)
    assert list(parallel_map(lambda item: -item, outer)) == [-1, -2, -3, -4]
    assert blas_threads() == ALL


def test_the_last_map_gives_blas_its_cores_back() -> None:
    outer = parallel_map(lambda i: i, range(9))
    next(outer)
    inner = parallel_map(lambda i: i, range(9))
    next(inner)
    outer.close()
    assert blas_threads() == 1, "the second is still at work"
    inner.close()
    assert blas_threads() == ALL


def test_a_process_may_use_fewer_cores_than_there_are() -> None:
    code = "from personatalk.utils.threads import cores; print(cores())"
    for wish, wanted in (("1", 1), ("none", len(os.sched_getaffinity(0)))):
        environment = {**os.environ, "OMP_NUM_THREADS": wish}
        told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True)
        assert int(told.stdout) == wanted
