"""The main job: video and speech in, dubbed video out.

Two passes over the frames, none of which is kept: the first finds faces and geometry, the second renders. Lip
references are fetched shot by shot; the reader already knows where each frame lies and seeks. What is finished is kept
in a folder beside the output until the job ends, so that a run that was cut off goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..media.reader import VideoReader
from ..media.segments import JobFolder
from ..media.timeline import Plan
from ..media.writer import resumable_writer
from ..provenance.signing import ProvenancePlan
from ..utils import memory
from ..utils.arrays import BoolArray, runs
from ..utils.progress import Progress, no_progress
from ..version import __version__
from .casting import DubPlan, cast_cues, cast_single
from .context import RunContext
from .cues import Cue
from .options import DubOptions
from .rendering import OnComposited, RenderContext, dubbed_frames
from .report import Report
from .request import DubRequest, speech_request
from .weights import Models


def dub(
    video: Path | str,
    speech: Path | str,
    output: Path | str,
    *,
    options: DubOptions | None = None,
    models: Models | None = None,
    progress: Progress | None = None,
) -> Report:
    """Dub a video: the same video with the mouth saying the speech, in the speaker's own way.

    Args:
        video: A video of a person speaking, or a still image of a person.
        speech: An audio file, or a video whose audio is taken; a pipe is read to its end first, and so is the standard
            input, `-`.
        output: The file to write; its suffix chooses the container. An existing file is replaced, at the very end.
        options: Choices; defaults where None.
        models: Loaded weights, to share between calls; those of the package where None.
        progress: Told about the progress.

    Returns:
        What was done. Frames that could not be dubbed were passed through and are listed in it.

    Raises:
        MediaError: An input cannot be read, or the output cannot be written; nothing is left under its name.
        FaceError: No usable face anywhere in the video, or nobody whom `DubOptions.face` means.
        WeightsError: The weights cannot be loaded.
        CredentialsError: The certificate or its key cannot be used.
    """
    with speech_request(Path(video), Path(speech), Path(output), options or DubOptions()) as request:
        report = run(request, request_cast(request), models, progress)
    # What was read in place of a pipe is gone.
    report.warnings = [warning.replace(str(request.speeches[0]), str(speech)) for warning in report.warnings]
    report.speech = str(speech)
    return report


def dub_cues(
    video: Path | str,
    cues: Path | str | Sequence[Cue],
    output: Path | str,
    *,
    options: DubOptions | None = None,
    models: Models | None = None,
    progress: Progress | None = None,
) -> Report:
    """Dub stretches of a video: each person of a list of cues says that cue's speech in that cue's time.

    All frames outside the cues keep their image, and the source's audio.

    Args:
        video: A video of people speaking.
        cues: A cue file, or the cues themselves.
        output: As of `dub`.
        options: As of `dub`; the face, the persona, the style and the length are the cues' own.
        models: As of `dub`.
        progress: As of `dub`.

    Raises:
        CueError: The cue file is not understood, or asks one person to say two things at once.
        PersonaTalkError: As of `dub`.
    """
    request = DubRequest.of_cues(video, cues, output, options or DubOptions())
    return run(request, request_cast(request), models, progress)


def request_cast(request: DubRequest) -> Callable[[RunContext], DubPlan]:
    """Return what decides who gets a new mouth in a run of a request."""
    if request.cues:
        return lambda context: cast_cues(context, request.cues)
    return lambda context: cast_single(context, request.speeches[0])


def run(
    request: DubRequest,
    cast: Callable[[RunContext], DubPlan],
    models: Models | None = None,
    progress: Progress | None = None,
    *,
    segment_frames: int | None = None,
    on_composited: OnComposited | None = None,
) -> Report:
    """Do one run: check, cast, render and write.

    Args:
        request: Files and choices.
        cast: Decides who gets a new mouth.
        models: As of `dub`.
        progress: As of `dub`.
        segment_frames: Frames that are finished together and survive a kill; see `JobFolder`.
        on_composited: Told about every new mouth; see `rendering.OnComposited`.

    Raises:
        PersonaTalkError: See `dub`.
    """
    start, options = time.perf_counter(), request.options
    speeches = ", ".join(map(str, request.speeches))
    report = Report(str(request.video), speeches, str(request.output), __version__, {"on": False}, options.length)
    request.check()
    with VideoReader(request.source) as reader:
        with report.stage("sign"):
            provenance = ProvenancePlan.decide(options.provenance, request.output, request.video, request.speeches)
        report.provenance = provenance.record()
        report.warnings += provenance.warnings
        with report.stage("models"):
            models = models or Models.load()
        with JobFolder(request.output, request.key(models), segment_frames) as folder:
            context = RunContext(reader, models, folder, options, report, progress or no_progress, request.still)
            plan = cast(context)
            memory.give_back()
            write_output(context, plan, request.output, provenance, on_composited)
    # What is read in place of a still image is nothing that the user knows.
    report.warnings = [warning.replace(str(request.source), str(request.video)) for warning in report.warnings]
    report.frames_per_second = report.frames / (time.perf_counter() - start)
    return report


def write_output(
    context: RunContext,
    plan: DubPlan,
    output: Path,
    provenance: ProvenancePlan,
    on_composited: OnComposited | None = None,
) -> None:
    """Render the frames of a plan and write them, from where a run before this one was cut off.

    Args:
        context: The run.
        plan: Who gets a new mouth, and when.
        output: The file to write.
        provenance: What the output says about its origin.
        on_composited: Told about every new mouth; see `rendering.OnComposited`.

    Raises:
        MediaError: The source is damaged, or the output cannot be written.
    """
    report, timeline, reader = context.report, plan.timeline, context.reader
    dubbed, info = np.zeros(len(timeline), bool), timeline.output(reader.info)

    def sign(path: Path) -> None:
        with report.stage("sign"):
            provenance.sign(path, output, _dubbed_ranges(dubbed, timeline))

    def record(place: int, reason: str | None) -> None:
        dubbed[place] = reason is None
        report.record_frame(float(timeline.time[place]), reason)

    with resumable_writer(
        context.folder,
        output,
        info,
        plan.audio,
        context.options.encode,
        speech_seconds_limit=timeline.speech_limit,
        extra_metadata=provenance.tags,
        finish=sign,
    ) as writer:
        _, durations = timeline.ticks(info.time_base, info.start_seconds)
        finished = writer.resume(int(d) for d in durations)
        for place, reason in enumerate(finished):
            record(place, reason)
        report.resumed = len(finished)
        context.on_progress("dubbing", len(finished), len(timeline))
        rendering = RenderContext(context.models, reader, timeline, report, provenance.watermark, on_composited)
        frames = dubbed_frames(rendering, plan.speakers, first=len(finished))
        for place, (frame, reason) in enumerate(frames, len(finished)):
            record(place, reason)
            with report.stage("encode"):
                writer.write(frame if plan.head_motion is None else plan.head_motion.moved(frame), reason)
            context.on_progress("dubbing", 1, len(timeline))
        report.generated = _dubbed_ranges(dubbed, timeline)
    report.warnings += writer.warnings


def _dubbed_ranges(dubbed: BoolArray, timeline: Plan) -> list[list[float]]:
    """Return start and end in seconds of the stretches of dubbed frames."""
    end = timeline.time + timeline.duration
    return [[float(timeline.time[first]), float(end[stop - 1])] for first, stop in runs(dubbed)]
