"""The main job: video and speech in, dubbed video out.

Two passes over the frames, none of which is kept: the first finds faces and geometry, the second renders. Lip
references are fetched shot by shot; the reader already knows where each frame lies and seeks. What is finished is kept
in a folder beside the output until the job ends, so that a run that was cut off goes on.
"""

from __future__ import annotations

import contextlib
import functools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..audio.encoder import SAMPLE_RATE
from ..audio.voice_activity import speech_mask
from ..errors import CueError, FaceError, MediaError, PersonaTalkError, WeightsError
from ..faces.analysis import Analysis, analyse
from ..faces.choice import FacePicture, parse_choice
from ..faces.clustering import People
from ..faces.selection import FaceSearch, merge_choices, resolve_choice
from ..geometry import rasterizer
from ..media.audio import SampleFile, store_speech
from ..media.preflight import check_output, check_source
from ..media.probe import probe_speech
from ..media.reader import VideoReader
from ..media.segments import JobFolder
from ..media.timeline import Plan, plan
from ..media.writer import VideoWriter
from ..provenance.options import Provenance
from ..provenance.signing import ProvenancePlan
from ..stage1.inference import SpeechMotion, rest_offsets, speaking_style
from ..stage2 import sparse_attention
from ..utils import serialization
from ..utils.arrays import Array, runs
from ..utils.files import file_stamp
from ..utils.progress import Progress, no_progress
from ..version import __version__
from .audio_mix import mix_cues
from .casting import SPEAKERS_FILE, CuedMotion, DubPlan
from .cues import Cue, read_cues, refuse_overlaps
from .options import DubOptions
from .persona import Persona, analysis_of
from .rendering import dubbed_frames
from .report import Report
from .roles import Speaker
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
        video: A video of a person speaking.
        speech: An audio file, or a video whose sound is taken.
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
    job = _Job(Path(video), [Path(speech)], Path(output), options or DubOptions(), models, progress)
    return job.run(job.one_speaker)


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

    All frames outside the cues keep their picture, and the source's sound.

    Args:
        video: A video of people speaking.
        cues: A cue file, or what it says.
        output: As of `dub`.
        options: As of `dub`; the face, the persona, the style and the length are the cues' own.
        models: As of `dub`.
        progress: As of `dub`.

    Raises:
        CueError: The cue file is not understood, or asks one person to say two things at once.
        PersonaTalkError: As of `dub`.
    """
    options = options or DubOptions()
    if (options.face, options.persona, options.style, options.length) != (None, None, None, "video"):
        raise PersonaTalkError("cues say who speaks and when: give no face, persona, style or length beside them")
    known = read_cues(cues) if isinstance(cues, str | Path) else sorted(cues, key=lambda cue: cue.start)
    if not known or any(not 0 <= cue.start < cue.end or cue.offset < 0 for cue in known):
        raise CueError("a list of cues needs one at least, each with 0 <= start < end and an offset of 0 or more")
    speeches = list(dict.fromkeys(cue.speech for cue in known))
    job = _Job(Path(video), speeches, Path(output), options, models, progress, known)
    return job.run(job.several_speakers)


class _Job:
    """One run; see `dub` for the arguments."""

    def __init__(
        self,
        video: Path,
        speeches: list[Path],
        output: Path,
        options: DubOptions,
        models: Models | None,
        progress: Progress | None,
        cues: Sequence[Cue] = (),
    ) -> None:
        self.cues = cues
        self.video, self.speeches, self.output, self.options = video, speeches, output, options
        self.tell = progress or no_progress
        self._models = models
        self._sounds: dict[Path, SampleFile] = {}
        words = ", ".join(map(str, speeches))
        self.report = Report(str(video), words, str(output), __version__, {"on": False}, options.length)

    models: Models
    reader: VideoReader
    folder: JobFolder

    def run(self, cast: Callable[[], DubPlan]) -> Report:
        """Do it."""
        start, report = time.perf_counter(), self.report
        check_output(self.output, [self.video, *self.speeches])
        self.options.check()
        with VideoReader(self.video) as self.reader:
            check_source(self.reader.info, self.output, self.options.encode.codec)
            for speech in self.speeches:
                probe_speech(speech)
            with report.stage("sign"):
                provenance = ProvenancePlan.decide(self.options.provenance, self.output, self.video, self.speeches)
            report.provenance = provenance.record()
            report.warnings += provenance.warnings
            with report.stage("models"):
                self.models = self._models or Models.load()
                rasterizer.warm_up()
                sparse_attention.warm_up()
            with JobFolder(self.output, self._key()) as self.folder:
                self._write(cast(), provenance)
        report.frames_per_second = report.frames / (time.perf_counter() - start)
        return report

    def _key(self) -> dict[str, Any]:
        """What the finished parts of a run depend on."""
        options = self.options
        chosen = (options.persona, options.style, options.face_model, options.identity)
        files = [self.video, *self.speeches, *(f for f in chosen if f is not None), *self._pictures()]
        return {
            "version": __version__,
            "files": [file_stamp(file) for file in files],
            "options": repr(replace(options, provenance=Provenance(options.provenance.on))),
            "models": self.models.fingerprint(),
            "cues": [repr(replace(cue, where="")) for cue in self.cues],
        }

    def _pictures(self) -> list[Path]:
        """Reference pictures of faces."""
        words = [self.options.face, *(cue.face for cue in self.cues)]
        choices = [parse_choice(word) for word in words if word is not None]
        return [choice.path for choice in choices if isinstance(choice, FacePicture)]

    def _write(self, cast: DubPlan, provenance: ProvenancePlan) -> None:
        report, timeline, info = self.report, cast.timeline, self.reader.info

        def sign(path: Path) -> None:
            with report.stage("sign"):
                provenance.sign(path, self.output, self.video, report.generated)

        with VideoWriter(
            self.output,
            info,
            cast.sound,
            self.options.encode,
            speech_seconds_limit=timeline.speech_limit,
            extra_metadata=provenance.tags,
            finish=sign,
            job=self.folder,
        ) as writer:
            _, durations = timeline.ticks(info.time_base, info.start_seconds)
            notes = writer.resume(int(d) for d in durations)
            for place, reason in enumerate(notes):
                report.note(float(timeline.time[place]), reason)
            report.resumed = len(notes)
            self.tell("dubbing", len(notes), len(timeline))
            for frame, reason in dubbed_frames(
                self.models, self.reader, cast.roles, timeline, report, provenance.watermark, first=len(notes)
            ):
                report.note(frame.time, reason)
                with report.stage("encode"):
                    writer.write(frame, reason)
                self.tell("dubbing", 1, len(timeline))
            report.generated = _generated(report, timeline)
        report.warnings += writer.warnings

    # ------------------------------------------------------------------------------------------ who speaks

    def one_speaker(self) -> DubPlan:
        """One person, one speech."""
        with self.report.stage("speech"):
            samples = self._speech(self.speeches[0])
        persona = None
        if self.options.persona is not None:
            persona = Persona.load(self.options.persona, self.models.morphable)
        known = None if persona is None else persona.find(self.video, self.options.search())
        with self.report.stage("analysis"):
            if known is not None:
                analysis = self._known(analysis_of(known, self.reader.info, self.models.morphable))
            else:
                analysis = self._analysis("analysis", self.options.search)
        timeline = plan(analysis.time, analysis.duration, len(samples) / SAMPLE_RATE, self.options.length)
        self._describe(analysis, timeline, len(samples) / SAMPLE_RATE)
        if persona is not None and known is None:
            self.report.warnings.append(
                f"{self.options.persona} was not made from this video, or for another face or face model:"
                " its style is used, the video was analysed"
            )
        with self.report.stage("speech"):
            style = self._style(analysis, persona)
            motion = SpeechMotion(self.models.stage1, samples, style, self._rest(analysis))
        dubbed = timeline.dubbed
        if self.options.silence == "original":
            dubbed = dubbed & speech_mask(samples, timeline.time)
        role = Speaker(analysis, motion, dubbed)
        if persona is not None and known is not None:
            lips, faces = persona.lips(known, self.models), persona.textures(known, self.models)
            role = replace(role, lips=lips, faces=faces)
        return DubPlan([role], timeline, self.speeches[0])

    def several_speakers(self) -> DubPlan:
        """The people of the list of cues."""
        cues = self.cues
        with self.report.stage("analysis"):
            who = self._who()
            refuse_overlaps(cues, who)
            found: dict[tuple[int, ...] | None, Analysis] = {}
            for person in dict.fromkeys(who):
                try:
                    name = "-".join(["analysis", *map(str, person or (0,))])
                    found[person] = self._analysis(name, functools.partial(self._search, person))
                except FaceError as error:
                    # Their words are heard, and the others are dubbed.
                    last = error
                    places = ", ".join(c.where for c, number in zip(cues, who, strict=True) if number == person)
                    self.report.warnings.append(f"{places}: nobody is dubbed: {error}")
            if not found:
                raise last
        first = next(iter(found.values()))
        seconds = float(first.time[-1] + first.duration[-1])
        timeline = plan(first.time, first.duration, seconds)
        self._describe(first, timeline, sum(cue.end - cue.start for cue in cues))
        roles = []
        for person, analysis in found.items():
            with self.report.stage("speech"):
                mine = [cue for cue, number in zip(cues, who, strict=True) if number == person]
                roles.append(self._cued(analysis, mine, timeline))
        sound = self.folder.folder / "sound.wav"
        with self.report.stage("speech"):
            mix_cues(self.video, cues, timeline.speech_limit, sound)
        return DubPlan(roles, timeline, sound)

    def _who(self) -> list[tuple[int, ...] | None]:
        """The person of each cue, by number; None where no cue names a face: the face that is followed without."""
        if all(cue.face is None for cue in self.cues):
            return [None] * len(self.cues)
        kept = self.folder.path(SPEAKERS_FILE)
        if kept is not None:
            # Finding everybody takes a pass over the video: a run that goes on does not need it again.
            with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
                who = [tuple(int(number) for number in person) for person in json.loads(kept.read_bytes())]
                if len(who) == len(self.cues) and all(who):
                    return list(who)
        who = merge_choices([resolve_choice(self._people, cue.face or "largest") for cue in self.cues])
        for person in set(who):
            try:
                resolve_choice(self._people, "+".join(map(str, person)))
            except FaceError as error:
                places = ", ".join(cue.where for cue, numbers in zip(self.cues, who, strict=True) if numbers == person)
                raise CueError(f"{places}: these cues name the same person by numbers of several: {error}") from error
        self.folder.write(SPEAKERS_FILE, json.dumps(who).encode())
        return list(who)

    @functools.cached_property
    def _people(self) -> People:
        """Everybody in the video."""
        return self.options.search().people(self.reader, self.tell)

    def _search(self, person: tuple[int, ...] | None) -> FaceSearch:
        """What finds one of them."""
        search = self.options.search()
        if person is None:
            return search
        return replace(search, face="+".join(map(str, person)), known=self._people)

    def _cued(self, analysis: Analysis, cues: list[Cue], timeline: Plan) -> Speaker:
        """One person's part in a list of cues."""
        style, rest = self._style(analysis, None), self._rest(analysis)
        parts, dubbed = [], np.zeros(len(timeline), bool)
        for cue in cues:
            begin = round(cue.offset * SAMPLE_RATE)
            samples = self._speech(cue.speech).part(begin, begin + round((cue.end - cue.start) * SAMPLE_RATE))
            inside = (timeline.time >= cue.start) & (timeline.time < cue.end)
            if not len(samples):
                raise MediaError(f"{cue.where}: {cue.speech} has no sound from {cue.offset:g} s on")
            if not inside.any():
                self.report.warnings.append(f"{cue.where}: the video shows nothing at {cue.start:g} s")
            dubbed |= inside
            parts.append((cue, SpeechMotion(self.models.stage1, samples, style, rest)))
        return Speaker(analysis, CuedMotion(parts, rest), dubbed)

    def _speech(self, path: Path) -> SampleFile:
        """A speech as samples on the disk, decoded once."""
        if path not in self._sounds:
            target = self.folder.folder / f"speech-{len(self._sounds)}.samples"
            self._sounds[path] = store_speech(path, target, SAMPLE_RATE)
        return self._sounds[path]

    def _analysis(self, name: str, search: Callable[[], FaceSearch]) -> Analysis:
        """The analysis that a run before this one has left, or a new one of the face that is looked for."""
        kept = self.folder.path(f"{name}.safetensors")
        if kept is not None:
            try:
                arrays, _ = serialization.load_arrays(kept, kind="analysis", version=1)
                return self._known(Analysis.from_arrays(self.reader.info, arrays, self.models.morphable))
            except (WeightsError, ValueError):
                pass  # it is made again
        with search().open(self.reader, self.tell) as (tracker, chosen):
            made = analyse(self.reader, tracker, self.models.morphable, self.tell, self.models.initialise, chosen)
        with self.folder.writing(f"{name}.safetensors") as path:
            serialization.save_arrays(path, made.arrays(), kind="analysis", version=1, config={}, half=False)
        return made

    def _known(self, analysis: Analysis) -> Analysis:
        """Let the reader learn where frames lie, as the pass that was saved would have: then it can seek."""
        if len(analysis.shots) > 1:
            for _ in self.reader.frames():
                pass
        return analysis

    def _style(self, analysis: Analysis, persona: Persona | None) -> torch.Tensor:
        """Style embedding (1, D), as strong as it is wanted."""
        beta = analysis.beta[analysis.usable] if persona is None else persona.beta
        if self.options.style is not None:
            beta = self._expressions(Path(self.options.style))
        style = speaking_style(self.models.stage1, self.models.morphable, beta)
        return self.options.style_strength * style

    def _expressions(self, path: Path) -> Array:
        """Expressions that tell the style of a persona or of a video, (N, E)."""
        if path.suffix == ".persona":
            return Persona.load(path, self.models.morphable).beta
        models = self.models
        with VideoReader(path) as reader, FaceSearch(face_model=self.options.face_model).open(reader) as (tracker, _):
            found = analyse(reader, tracker, models.morphable, None, models.initialise)
        return found.beta[found.usable]

    def _rest(self, analysis: Analysis) -> Array:
        seen = np.flatnonzero(analysis.usable)
        model = self.models.morphable
        return rest_offsets(model, analysis.beta[seen], analysis.openings(model, seen))

    def _describe(self, analysis: Analysis, timeline: Plan, speech_seconds: float) -> None:
        report = self.report
        report.source_frames = len(analysis)
        report.faces = int(analysis.usable.sum())
        report.shots = [
            {
                "first": shot.start,
                "last": shot.stop - 1,
                "start_seconds": float(analysis.time[shot.start]),
                "usable": int(analysis.usable[shot.start : shot.stop].sum()),
            }
            for shot in analysis.shots
        ]
        report.video_seconds = timeline.speech_limit
        report.speech_seconds = speech_seconds
        report.speech_used_seconds = min(report.speech_seconds, timeline.speech_limit)
        report.offsets = {"container_start": analysis.info.start_seconds, "first_frame": float(analysis.time[0])}
        left = report.speech_seconds - report.speech_used_seconds
        if left > 0.1:
            report.warnings.append(
                f"the speech is {left:.1f} s longer than the video and was cut; --length pingpong keeps all of it"
            )


def _generated(report: Report, timeline: Plan) -> list[list[float]]:
    """Start and end in seconds of the stretches of dubbed frames."""
    dubbed, end = np.ones(report.frames, bool), timeline.time + timeline.duration
    for span in report.passed_through:
        dubbed[span.first : span.last + 1] = False
    return [[float(timeline.time[first]), float(end[stop - 1])] for first, stop in runs(dubbed)]
