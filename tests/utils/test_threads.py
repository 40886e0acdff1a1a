"""Work in threads: in order, few at once, with errors where they belong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from personatalk.utils.threads import parallel_map


@pytest.fixture(autouse=True)
def three_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_from_several_threads() -> None:
    together = threading.Barrier(3, timeout=120)

    def work(item: int) -> int:
        together.wait()  # passes only if three are at work at once
        assert torch.get_num_threads() == 1
        return item * item

    assert list(parallel_map(work, range(9))) == [item * item for item in range(9)]
    assert torch.get_num_threads() == 3


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
    assert torch.get_num_threads() == 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("frames")]


def test_maps_may_overlap() -> None:
    outer = parallel_map(lambda item: item, range(5))
    next(outer)
    assert list(parallel_map(lambda item: -item, outer)) == [-1, -2, -3, -4]
    assert torch.get_num_threads() == 3


def test_later_threads_have_all_cores_again() -> None:
    def cores() -> int:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(torch.get_num_threads).result()

    outer = parallel_map(lambda i: i, range(9))
    next(outer)
    inner = parallel_map(lambda i: i, range(9))
    next(inner)
    outer.close()
    assert cores() == 1, "the second is still at work"
    inner.close()
    assert cores() == 3
