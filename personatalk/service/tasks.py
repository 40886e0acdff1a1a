"""Work on a job, in a process of its own that clients' files may crash.

What comes out lies in the job's folder: the result, `report.json`, and images.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from filelock import FileLock

from ..errors import MediaError, PersonaTalkError
from ..media.container import refuse_playlists
from ..media.probe import probe_speech, probe_video
from ..media.reader import VideoReader
from ..media.still import StillVideo, still_as_video
from ..pipeline.batch import JobOutcome, cached_models, run_job
from ..pipeline.casting import DubPlan
from ..pipeline.context import RunContext
from ..pipeline.curves import dub_curves
from ..pipeline.dub import request_cast, run
from ..pipeline.options import DubOptions, WeightPaths
from ..pipeline.people_sheet import people_entries
from ..pipeline.report import Report
from ..pipeline.request import DubRequest
from ..pipeline.weights import load_face_model
from ..provenance.signer import config_folder
from ..provenance.verify import verify
from ..utils.files import atomic_write
from .options import Limits
from .pictures import write_passed_through, write_people
from .progress import ProgressFile

# Files of a finished job.
REPORT, CURVES = "report.json", "curves.json"

# Seconds to wait for a process of a server that was killed, which ends by itself.
PATIENCE = 60.0


@dataclass(frozen=True)
class Task:
    """A job as the process needs it that works on it.

    Attributes:
        line: The job's number.
        kind: Of the job.
        folder: Of the job.
        video: The video in it.
        shown: Names to be shown, by the paths that they stand for.
        speech: The speech in it; None where there is none.
        output: The file to write; None where there is none.
        options: Choices for a dub.
        limits: Limits of what may be asked for.
    """

    line: int
    kind: str
    folder: Path
    video: Path
    shown: dict[str, str]
    speech: Path | None = None
    output: Path | None = None
    options: DubOptions = field(default_factory=DubOptions)
    limits: Limits = field(default_factory=Limits)

    def public(self, text: str) -> str:
        """Return a text for clients: with the names that they know, and no folder of the server."""
        for path, shown in self.shown.items():
            text = text.replace(path, shown)
        text = text.replace(f"{self.folder}/", "").replace(str(self.folder), "the job")
        return text.replace(str(config_folder()), "the server's settings")


def run_task(weights: WeightPaths, task: Task) -> JobOutcome:
    """Do the work on a job, and return what came of it."""
    refuse_playlists()
    outcome = run_job(lambda task: _work(weights, task), task)
    return replace(outcome, error=task.public(outcome.error))


def crashed(task: Task, code: int | None) -> JobOutcome:
    """Return the outcome of a job whose process died."""
    shown = task.shown[str(task.video)]
    return JobOutcome(task.line, code or 1, error=f"{shown}: the process that worked on it crashed", again=True)


def _work(weights: WeightPaths, task: Task) -> None:
    """Do the work on a job.

    Raises:
        PersonaTalkError: Bad input, or it asks for more than is allowed.
    """
    with FileLock(task.folder / ".lock", timeout=PATIENCE), still_as_video(task.video) as still:
        check_limits(task, task.video if still is None else still.path)
        {"dub": _dub, "faces": _find_faces, "verify": _verify}[task.kind](weights, task, still)


def check_limits(task: Task, source: Path) -> None:
    """Make sure that the files are media of a size that is allowed.

    Args:
        task: The job.
        source: The video that is read.

    Raises:
        MediaError: They are not.
    """
    limits, video = task.limits, probe_video(source)
    if video.width * video.height > 1e6 * limits.frame_megapixels:
        raise MediaError(
            f"{task.video}: frames of {video.width} x {video.height} pixels; at most {limits.frame_megapixels:g}"
            " megapixels are taken here"
        )
    lengths = {task.video: video.duration or 0.0}
    if task.speech is not None:
        lengths[task.speech] = probe_speech(task.speech).seconds
    for path, seconds in lengths.items():
        if seconds > 60 * limits.media_minutes:
            raise MediaError(
                f"{path}: {seconds / 60:.1f} minutes long; at most {limits.media_minutes:g} are taken here"
            )


def _dub(weights: WeightPaths, task: Task, still: StillVideo | None) -> None:
    """Dub, and write report, curves and images of passed-through frames."""
    assert task.speech is not None and task.output is not None
    request = DubRequest.of_speech(task.video, task.speech, task.output, task.options, still)
    progress = ProgressFile(task.folder)
    progress("start", 0, 0)

    def cast(context: RunContext) -> DubPlan:
        plan = request_cast(request)(context)
        _write_json(task, CURVES, asdict(dub_curves(context.models.morphable, plan)))
        return plan

    report = run(request, cast, cached_models(weights), progress)
    progress("report", 0, 0)
    write_passed_through(task.output, report.passed_through, task.folder)
    _write_json(task, REPORT, asdict(_public(task, report)))


def _public(task: Task, report: Report) -> Report:
    """Return a report with the names that the client knows."""
    report.video, report.speech, report.output = map(task.public, (report.video, report.speech, report.output))
    report.warnings = [task.public(warning) for warning in report.warnings]
    return report


def _find_faces(weights: WeightPaths, task: Task, still: StillVideo | None) -> None:
    """Find the people of the video, and write a list of them and images of their faces."""
    model, _ = load_face_model(weights.morphable, weights.deep3d)
    with VideoReader(task.video if still is None else still.path) as reader:
        people = replace(task.options, face=None).search().people(reader, model, ProgressFile(task.folder))
    write_people(people, task.folder)
    _write_json(task, REPORT, {"video": task.shown[str(task.video)], "people": people_entries(people)})


def _verify(weights: WeightPaths, task: Task, still: StillVideo | None) -> None:
    """Look for what says that the video was generated, and write it."""
    model, _ = load_face_model(weights.morphable, weights.deep3d)
    found = verify(task.video, model=model, progress=ProgressFile(task.folder))
    summary = [task.public(line) for line in found.summary()]
    content = json.loads(found.json()) | {"file": task.shown[str(task.video)], "summary": summary}
    _write_json(task, REPORT, content)


def _write_json(task: Task, name: str, content: object) -> None:
    try:
        with atomic_write(task.folder / name) as draft:
            draft.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise PersonaTalkError(f"{task.folder / name}: cannot be written ({error.strerror})") from error
