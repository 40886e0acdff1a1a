"""Threads that encoders make do not stay real-time threads."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest
from helpers.media_clips import Clip, make

from personatalk.media.options import EncodeOptions
from personatalk.media.probe import probe_video
from personatalk.media.rehearsal import rehearse
from personatalk.utils.scheduling import ordinary_scheduling

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="a matter of Linux")


def real_time() -> list[int]:
    """Return this process's threads that take the machine from all others."""
    threads = [int(path.name) for path in Path("/proc/self/task").glob("*")]
    return [thread for thread in threads if os.sched_getscheduler(thread) == os.SCHED_FIFO]


def make_real_time() -> None:
    """Do what SVT-AV1 does to the thread that opens it.

    Raises:
        PermissionError: The system does not let this process.
    """
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(os.sched_get_priority_max(os.SCHED_FIFO)))


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may")
def test_threads_that_become_real_time_are_ordinary_afterwards() -> None:
    done = threading.Event()
    try:
        with ordinary_scheduling():
            make_real_time()
            waiting = threading.Thread(target=done.wait, args=(60,))  # inherits it
            waiting.start()
            assert len(real_time()) == 2
        assert not real_time()
    except PermissionError:
        pytest.skip("not even root may here")
    finally:
        done.set()


def test_an_encoder_leaves_no_real_time_thread(tmp_path: Path) -> None:
    source = make(Clip(tmp_path / "a.mp4", count=2))
    before = threading.active_count()
    rehearse(tmp_path / "o.mkv", probe_video(source), None, EncodeOptions(codec="libsvtav1"), None)
    assert threading.active_count() == before
    assert not real_time()
