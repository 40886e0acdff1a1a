"""Work in processes: order, errors, crashes and how they are told."""

from __future__ import annotations

import os
import signal
import time

import pytest

from personatalk.errors import PersonaTalkError
from personatalk.utils import processes


def double(item: int) -> int:
    if item < 0:
        raise ValueError(f"no {item}")
    if item == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    if item == 14:
        os._exit(7)
    if item == 15:
        time.sleep(600)
    return 2 * item


def crashed(item: int, code: int | None) -> tuple[int, int | None]:
    return item, code


@pytest.mark.slow
def test_a_crash_costs_one_item_and_tells_how_it_ended() -> None:
    found = processes.local(double, [1, 13, 2, 14, 3], 2, crashed)
    assert list(found) == [2, (13, -signal.SIGKILL), 4, (14, 7), 6]


@pytest.mark.slow
def test_an_error_of_the_work_ends_the_run() -> None:
    found = processes.local(double, [1, -1, 2], 1, crashed)
    assert next(found) == 2
    with pytest.raises(ValueError, match="no -1"):
        next(found)


@pytest.mark.slow
def test_results_may_come_as_they_are_done() -> None:
    assert sorted(processes.local(double, range(5), 2, crashed, ordered=False)) == [0, 2, 4, 6, 8]


def test_without_items_no_process_is_started() -> None:
    assert list(processes.local(double, [], 2, crashed)) == []


@pytest.mark.slow
@pytest.mark.ray
def test_a_place_on_a_cluster_tells_of_results_crashes_and_ends() -> None:
    pytest.importorskip("ray")
    with processes.ray_cluster("local", 1) as ray:
        worker: processes.RayWorker[int, int] = processes.RayWorker(ray, double)
        worker.give(2)
        assert worker.result() == 4 and worker.ready()
        worker.give(14)
        with pytest.raises(EOFError):
            worker.result()
        worker.give(15)
        assert not worker.ready()
        worker.terminate()
        with pytest.raises(EOFError):
            worker.result()


@pytest.mark.slow
@pytest.mark.ray
def test_a_cluster_that_is_not_there_is_said() -> None:
    pytest.importorskip("ray")
    with pytest.raises(PersonaTalkError, match="no Ray cluster at"):
        next(processes.map_on_ray(double, [1], "127.0.0.1:1", crashed))
