"""Standard streams that are closed, or that nobody reads any more, cost no traceback and no file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PRINTS = """import os, sys
from personatalk.cli.streams import robust_streams
with robust_streams():
    for number in range(50_000):
        print("a line of some length")
    print("bad \\udcff name", file=sys.stderr)
    file = open("kept", "w")
    assert file.fileno() > 2
    os.write(2, b"a library says something")
    file.close()
    open("done", "w").close()
"""


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], cwd=folder, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize(
    "rest", ["", "| head -0", "| head -1", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full"]
)
def test_the_work_goes_on(tmp_path: Path, rest: str) -> None:
    (tmp_path / "prints.py").write_text(PRINTS)
    done = shell(f"{sys.executable} prints.py {rest}", tmp_path)
    assert done.returncode == 0 and (tmp_path / "done").exists()
    assert (tmp_path / "kept").read_bytes() == b""
    said = "bad \\udcff name\na library says something"
    assert done.stderr == ("" if "2>&-" in rest else said)
    assert done.stdout.count("\n") == (50_000 if rest in ("", "2>&-") else rest == "| head -1")


@pytest.mark.slow
@pytest.mark.parametrize("rest", ["2>&-", ">&- 2>&-", "2>&1 >&- | head -0"])
def test_an_error_keeps_its_exit_code(tmp_path: Path, rest: str) -> None:
    done = shell(f"{sys.executable} -m personatalk dub missing.mp4 missing.wav -o o.mp4 {rest}", tmp_path)
    assert done.returncode == 10 and "Traceback" not in done.stderr + done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("rest", ["| head -0", ">&-"])
def test_help_that_nobody_reads_is_no_error(tmp_path: Path, rest: str) -> None:
    done = shell(f"{sys.executable} -m personatalk dub --help {rest}", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
