"""Many dubs: the list is read strictly, a bad job costs itself alone, and a batch that was killed goes on."""

from __future__ import annotations

import csv
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from helpers import tiny
from helpers.sample_clips import sample_frames, write_sound, write_video

from personatalk.cli.main import main
from personatalk.errors import MediaError, PersonaTalkError
from personatalk.media.audio import read_speech
from personatalk.media.options import EncodeOptions
from personatalk.pipeline.batch import Attempt, JobOutcome, on_processes, run_batch
from personatalk.pipeline.batch_list import BatchJob, check_jobs, read_jobs
from personatalk.pipeline.batch_status import DONE, FAILED, SKIPPED, WAITING, JobStatus, read_status
from personatalk.pipeline.options import DubOptions, WeightPaths
from personatalk.sample import sample_files

HEADER = "video,speech,output"

# Seconds that a process may take on a slow machine that others use as well.
PATIENCE = 300


def in_turn(work: Attempt, jobs: list[BatchJob]) -> Generator[JobOutcome, None, None]:
    """An executor in this process."""
    yield from (work(job) for job in jobs)


def listed(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "jobs.csv"
    path.write_text("\n".join([header, *lines, ""]))
    return path


def jobs_of(folder: Path, count: int) -> list[BatchJob]:
    """Jobs with inputs that are there."""
    for name in ("v", "s"):
        (folder / name).write_text(name)
    return read_jobs(listed(folder, *(f"v,s,o{n}.mp4" for n in range(count))))


def write(job: BatchJob) -> None:
    job.output.write_text("dubbed")


def states(table: list[JobStatus]) -> list[str]:
    return [row.status for row in table]


# ---------------------------------------------------------------------------------------------- the list


def test_a_list_becomes_jobs_with_paths_from_its_folder(tmp_path: Path) -> None:
    header = f"\ufeff{HEADER}, Length,codec,crf,preset,identity,report"
    path = listed(
        tmp_path, 'v.mp4,"a, b.wav",/x/o.mp4,shortest,libx265,20,fast,f.onnx,r.json', "", "w,s,o,,,,,,", header=header
    )
    first, second = read_jobs(path, DubOptions(length="pingpong"))
    assert first == BatchJob(
        line=2,
        video=tmp_path / "v.mp4",
        speech=tmp_path / "a, b.wav",
        output=Path("/x/o.mp4"),
        report=tmp_path / "r.json",
        options=DubOptions("shortest", EncodeOptions("libx265", 20, "fast"), identity=tmp_path / "f.onnx"),
    )
    assert (second.line, second.report, second.options) == (4, None, DubOptions(length="pingpong"))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_list_of_any_spreadsheet_is_read(tmp_path: Path, separator: str, encoding: str, end: str) -> None:
    rows = [["video", "speech", "output", "crf"], ["J\u00fcrgen.mp4", f'"a{separator} b.wav"', "o1.mp4", "20"]]
    rows += [["\u00e9t\u00e9, soir; matin.mp4", "b.wav", "o2.mp4", ""]] if separator == "\t" else []
    path = tmp_path / "jobs.csv"
    path.write_bytes("".join(separator.join(row) + end for row in rows).encode(encoding))
    jobs = read_jobs(path)
    assert [job.video.name for job in jobs] == [row[0] for row in rows[1:]]
    assert jobs[0].speech.name == f"a{separator} b.wav" and jobs[0].output.name == "o1.mp4"
    assert jobs[0].options.encode.crf == 20


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x00\xd8", b"\x81\x8d,\x90", b"\x89PNG\r\n\x1a\n\x00"])
def test_bytes_that_are_no_text_are_no_list(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "jobs.csv").write_bytes(content)
    with pytest.raises(PersonaTalkError, match=r"jobs\.csv(: not a readable list|, line 1: unknown column)"):
        read_jobs(tmp_path / "jobs.csv")


@pytest.mark.parametrize(
    ("header", "line", "said"),
    [
        (f"{HEADER},colour", "v,s,o,red", r"line 1: unknown column 'colour'; known are video, speech, output, report"),
        ("video,speech", "v,s", "line 1: lacks the column output"),
        (f"{HEADER},video", "v,s,o,v", "line 1: names a column twice"),
        (HEADER, "v,,o", "line 2: speech is empty"),
        (HEADER, "v,s", "line 2: output is empty"),
        (HEADER, "v,s,o,more", "line 2: has more cells"),
        (f"{HEADER},crf", "v,s,o,nan", "line 2: crf 'nan' is not a number"),
        (f"{HEADER},length", "v,s,o,forever", "line 2: length 'forever' is none of video, "),
        (f"{HEADER},crf", "v,s,o,99", "line 2: crf 99: give one from 0 to 63"),
        (f"{HEADER},provenance", "v,s,o,perhaps", "line 2: provenance 'perhaps' is neither yes nor no"),
        (f"{HEADER},style-strength", "v,s,o,2", "line 2: style strength 2: give one from 0 to 1.5"),
        (f"{HEADER},face", "v,s,o,somebody", "line 2: face 'somebody' names no face"),
        (HEADER, "v,s,o\0", "line 2: output .* is not the name of a file"),
        (HEADER, 'v,"s,o', "not a readable list"),
        (HEADER, "", "names no job"),
    ],
)
def test_a_list_that_is_not_right_is_refused(tmp_path: Path, header: str, line: str, said: str) -> None:
    with pytest.raises(PersonaTalkError, match=said):
        read_jobs(listed(tmp_path, line, header=header))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["v,s,o.mp4,", "v,s,sub/../o.mp4,"], "line 3: the output .* is the output of line 2 as well"),
        (["v,s,o.mp4,", "o.mp4,s,p.mp4,"], "line 3: the video .* would be replaced by the output of line 2"),
        (["v,s,o.mp4,", "v,s,s,"], "line 2: the speech .* would be replaced by the output of line 3"),
        (["v,s,link,"], "line 2: the video .* would be replaced by the output of line 2"),
        (["v,s,o.mp4,r", "v,s,p.mp4,r"], "line 3: the report .* is the report of line 2 as well"),
        (["v,s,jobs.csv,"], "line 1: the list .* would be replaced"),
        (["v,s,jobs.status.csv,"], "line 2: the output .* is the status file as well"),
    ],
)
def test_jobs_that_would_destroy_files_are_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: list[str], said: str
) -> None:
    for name in ("v", "s"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "v")
    path = listed(tmp_path, *lines, header=f"{HEADER},report")
    with pytest.raises(PersonaTalkError, match=said):
        check_jobs(path, read_jobs(path), tmp_path / "jobs.status.csv")
    before = sorted(tmp_path.iterdir())
    assert main(["batch", str(path)]) == 1
    assert sorted(tmp_path.iterdir()) == before and "jobs.csv, line" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------- the work


def test_one_bad_job_never_stops_the_others(tmp_path: Path) -> None:
    tried: list[int] = []

    def run(job: BatchJob) -> None:
        tried.append(job.line)
        if job.line == 2:
            raise MediaError("v is\nbad")
        if job.line == 3:
            raise ZeroDivisionError("a bug")
        if job.line == 4 and tried.count(4) == 1:
            raise OSError("once")
        write(job)

    told: list[tuple[int, str]] = []
    table = run_batch(
        jobs_of(tmp_path, 4),
        tmp_path / "st.csv",
        run=run,
        executor=in_turn,
        retries=2,
        on_outcome=lambda job, status, outcome: told.append((job.line, status.status)),
    )
    # Bad input is not tried again; what is, comes after all others.
    assert tried == [2, 3, 4, 5, 3, 4, 3]
    assert states(table) == [FAILED, FAILED, DONE, DONE]
    assert [row.attempts for row in table] == [1, 3, 2, 1]
    assert [row.exit_code for row in table] == [1, 1, 0, 0]
    assert [row.error for row in table] == ["v is bad", "ZeroDivisionError: a bug", "", ""]
    assert told[1] == (3, WAITING) and told[-1] == (3, FAILED)
    assert read_status(tmp_path / "st.csv") == table


def test_a_killed_batch_goes_on_where_it_was(tmp_path: Path) -> None:
    jobs, status, tried = jobs_of(tmp_path, 3), tmp_path / "st.csv", []

    def killed(job: BatchJob) -> None:
        if job.line == 3:
            raise KeyboardInterrupt
        write(job)

    def counted(job: BatchJob) -> None:
        tried.append(job.line)
        write(job)

    with pytest.raises(KeyboardInterrupt):
        run_batch(jobs, status, run=killed, executor=in_turn)
    assert states(read_status(status)) == [DONE, WAITING, WAITING]
    assert states(run_batch(jobs, status, run=counted, executor=in_turn)) == [SKIPPED, DONE, DONE]
    assert states(run_batch(jobs, status, run=counted, executor=in_turn)) == [SKIPPED] * 3
    assert tried == [3, 4] and sorted(tmp_path.glob(".*")) == []


def test_a_job_is_done_again_when_anything_of_it_changed(tmp_path: Path) -> None:
    jobs, status = jobs_of(tmp_path, 2), tmp_path / "st.csv"
    again = functools.partial(run_batch, status=status, run=write, executor=in_turn)
    again(jobs)
    jobs[0].output.unlink()
    assert states(again(jobs)) == [DONE, SKIPPED]
    other = [
        jobs[0],
        BatchJob(3, *(getattr(jobs[1], n) for n in ("video", "speech", "output")), options=DubOptions("shortest")),
    ]
    assert states(again(other)) == [SKIPPED, DONE]
    (tmp_path / "v").write_text("longer")
    assert states(again(other)) == [DONE, DONE]
    os.utime(tmp_path / "s", (1, 1))
    assert states(again(other)) == [DONE, DONE]
    # The order of the list is no part of a job; other weights are.
    assert states(again(read_jobs(listed(tmp_path, "v,s,x.mp4", "v,s,o0.mp4")))) == [DONE, SKIPPED]
    assert states(again(other[:1], weights=WeightPaths(stage2=tmp_path / "s"))) == [DONE]
    (tmp_path / "anna.png").write_text("one")
    of_anna = [replace(jobs[0], options=DubOptions(face=str(tmp_path / "anna.png")))]
    assert states(again(of_anna)) == [DONE] and states(again(of_anna)) == [SKIPPED]
    (tmp_path / "anna.png").write_text("another")
    assert states(again(of_anna)) == [DONE]


def test_a_file_that_is_no_status_is_kept(tmp_path: Path) -> None:
    jobs, notes = jobs_of(tmp_path, 1), tmp_path / "notes.csv"
    notes.write_text("my,own,table\n1,2,3\n")
    with pytest.raises(PersonaTalkError, match=r"notes\.csv: no status of a batch"):
        run_batch(jobs, notes, run=write, executor=in_turn)
    assert notes.read_text() == "my,own,table\n1,2,3\n" and not jobs[0].output.exists()


def test_a_status_that_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, 1)
    with pytest.raises(PersonaTalkError, match="the status cannot be written"):
        run_batch(jobs, tmp_path / "none" / "st.csv", run=write, executor=in_turn)
    assert not jobs[0].output.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("drawn_faces")
def test_a_job_is_dubbed_with_the_options_of_its_line(tmp_path: Path) -> None:
    tiny.clip_of(tmp_path / "v.mp4", tiny.talking(6))
    tiny.speech_of(tmp_path / "s.wav")
    lines = ["v.mp4,s.wav,one.mp4,one.json,,no", "v.mp4,none.wav,two.mp4,,,", "v.mp4,s.wav,three.mp4,3.json,rest,"]
    path = listed(tmp_path, *lines, header=f"{HEADER},report,silence,provenance")
    # Weights of a name of their own, since a process keeps what it has loaded.
    weights = WeightPaths(stage2="tiny")
    options = DubOptions(silence="original", encode=EncodeOptions(preset="ultrafast"))
    jobs = read_jobs(path, options)
    assert [job.options.silence for job in jobs] == ["original", "original", "rest"]
    table = run_batch(jobs, tmp_path / "st.csv", weights=weights, executor=in_turn)
    assert states(table) == [DONE, FAILED, DONE]
    assert "none.wav" in table[1].error
    signed = [json.loads((tmp_path / name).read_text())["provenance"]["on"] for name in ("one.json", "3.json")]
    assert signed == [False, True]
    assert states(run_batch(jobs[:1], tmp_path / "st.csv", weights=weights, executor=in_turn)) == [SKIPPED]


# ---------------------------------------------------------------------------------------------- processes


def crash_or_write(job: BatchJob) -> None:
    if job.line == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    if job.line == 4:
        time.sleep(1)
    write(job)


@pytest.mark.slow
def test_a_crash_costs_one_job_and_tells_how_it_ended(tmp_path: Path) -> None:
    table = run_batch(
        jobs_of(tmp_path, 3), tmp_path / "st.csv", run=crash_or_write, executor=on_processes(2), retries=1
    )
    assert states(table) == [DONE, FAILED, DONE]
    assert (table[1].attempts, table[1].exit_code) == (2, 128 + signal.SIGSEGV)
    assert "crashed" in table[1].error


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    write_video(folder / "a.mp4", sample_frames(5))
    write_sound(folder / "s.wav", read_speech(sample_files()[1])[:4000])
    return folder


@pytest.mark.slow
def test_true_dubs_through_the_command_and_again(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"{material}/a.mp4,{material}/s.wav,one.mp4,one.json", f"{material}/none.mp4,{material}/s.wav,two.mp4,"]
    path = listed(tmp_path, *lines, header=f"{HEADER},report")
    assert main(["batch", str(path), "--preset", "ultrafast", "-o", str(tmp_path / "st.csv")]) == 1
    assert "1 done, 0 skipped, 1 failed" in capsys.readouterr().out
    first, second = csv.DictReader((tmp_path / "st.csv").open(newline=""))
    assert (first["status"], first["exit_code"]) == ("done", "0")
    assert (second["status"], second["exit_code"], second["attempts"]) == ("failed", "1", "1")
    assert "none.mp4 does not exist" in second["error"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["jobs.csv", "one.json", "one.mp4", "st.csv"]
    written = (tmp_path / "one.mp4").stat().st_mtime_ns
    assert main(["batch", str(listed(tmp_path, lines[0], header=f"{HEADER},report")), "--preset", "ultrafast", "-o",
                 str(tmp_path / "st.csv")]) == 0  # fmt: skip
    assert "0 done, 1 skipped, 0 failed" in capsys.readouterr().out
    assert (tmp_path / "one.mp4").stat().st_mtime_ns == written


@pytest.mark.slow
@pytest.mark.ray
def test_two_workers_of_a_ray_cluster_share_the_jobs(material: Path, tmp_path: Path) -> None:
    path = listed(tmp_path, *(f"{material}/a.mp4,{material}/s.wav,{n}.mp4" for n in range(2)))
    assert main(["batch", str(path), "--preset", "ultrafast", "--ray", "local", "--workers", "2"]) == 0
    table = read_status(tmp_path / "jobs.status.csv")
    assert states(table) == [DONE, DONE]
    assert len({row.worker for row in table}) == 2


@pytest.mark.slow
def test_an_interrupt_ends_it_and_keeps_what_is_finished(material: Path, tmp_path: Path) -> None:
    video, speech = sample_files()
    path = listed(tmp_path, f"{video},{speech},one.mp4")
    words = [sys.executable, "-m", "personatalk", "batch", str(path), "--preset", "ultrafast"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        deadline = time.monotonic() + PATIENCE
        # The hidden folder beside the output says that the job has begun.
        while (
            not (tmp_path / ".one.mp4.personatalk").exists() and process.poll() is None and time.monotonic() < deadline
        ):
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 130, said
    assert said == "personatalk: interrupted; the same command goes on from what is finished\n"
    # What is finished of the job waits for its next run. A process that was slow to end and had to be killed may leave
    # the empty file of its lock, which nobody holds.
    with FileLock(tmp_path / ".one.mp4.personatalk.lock", blocking=False) as lock:
        Path(lock.lock_file).unlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".one.mp4.personatalk", "jobs.csv", "jobs.status.csv"]
    assert states(read_status(tmp_path / "jobs.status.csv")) == [WAITING]
