"""Casting: who gets a new mouth in which frames, and the audio of the output."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..audio.rates import SAMPLE_RATE
from ..audio.voice_activity import speech_mask
from ..errors import CueError, FaceError, MediaError, OptionError
from ..faces.analysis import Analysis
from ..faces.people import People
from ..faces.resolution import merge_choices, resolve_choice
from ..faces.selection import FaceSearch
from ..media.audio import SampleFile, store_speech
from ..media.options import AS_LONG_AS_SPEECH
from ..media.probe import probe_speech
from ..media.timeline import Plan, plan
from ..stage1.inference import SpeechMotion
from ..stage2.face_crops import choose_crop_size
from ..utils.arrays import Array
from .analyses import KnownSpeaker, resting_mouth, source_mood
from .audio_mix import mix_cues
from .context import RunContext
from .cues import Cue, refuse_overlaps
from .head_motion import HeadMotion
from .speaker import Speaker
from .sync import source_sync

# Files in the job's folder: the person of each cue, and the audio that the cues make.
SPEAKERS_FILE = "who.json"
AUDIO_FILE = "sound.wav"

# Frames that show several faces, above which a user may have meant another than the largest.
NOTABLE_CROWD = 5

# A speech that is longer than the video by more than these seconds is worth a warning.
NOTABLE_EXCESS = 0.1

# Seconds of the speech beyond the end of the video that are read, since they tell how loud it is.
LOOKAHEAD = 30.0

# A person by numbers of `People`; None for the face that is followed where no cue names one.
PersonNumbers = tuple[int, ...] | None


@dataclass(frozen=True)
class DubPlan:
    """The plan of an output.

    Attributes:
        speakers: Everybody who gets a new mouth.
        timeline: Which source frame is shown when.
        audio: File whose audio the output gets.
        head_motion: Motion of the head in a clip made of a still image; None for none.
    """

    speakers: list[Speaker]
    timeline: Plan
    audio: Path
    head_motion: HeadMotion | None = None


class CuedMotion:
    """One person's mouth through several cues, at rest between them; a `speaker.Motion`.

    Args:
        parts: Cues and the motion of each, whose time begins at the cue's start.
        rest: Displacement of the closed mouth, (V, 3).
    """

    def __init__(self, parts: Sequence[tuple[Cue, SpeechMotion]], rest: Array) -> None:
        self.parts, self.rest = parts, rest

    def displacement_at(self, time: float, template: Array) -> Array:
        """See `speaker.Motion.displacement_at`."""
        for cue, motion in self.parts:
            if cue.start <= time < cue.end:
                return motion.displacement_at(time - cue.start, template)
        return self.rest


# ------------------------------------------------------------------------------------------------ one speaker


def cast_single(context: RunContext, speech: Path) -> DubPlan:
    """Plan an output in which one person says one speech.

    Args:
        context: The run.
        speech: An audio file, or a video whose audio is taken.

    Raises:
        PersonaTalkError: See `dub.dub`.
    """
    options, report = context.options, context.report
    with report.stage("speech"):
        needed = _seconds_needed(context, context.reader.info.duration)
        samples = _store_speech(context, speech, 0, needed)
    known = KnownSpeaker.load(context)
    with report.stage("analysis"):
        analysis = known.analysis(context, "analysis", options.search, None)
    seconds = len(samples) / SAMPLE_RATE
    if needed is not None and seconds >= needed:
        needed = _seconds_needed(context, float(analysis.time[-1] + analysis.duration[-1]))
        samples = _store_speech(context, speech, 0, needed)
        seconds = max(len(samples) / SAMPLE_RATE, probe_speech(speech).seconds)
    timeline = plan(analysis.time, analysis.duration, seconds, options.length)
    _record(context, analysis, timeline, seconds)
    with report.stage("sync"):
        report.source_sync = source_sync(analysis, context.models, context.folder.folder)
    if options.face is None:
        _warn_of_others(context, analysis)
    with report.stage("speech"):
        style = known.style(context, analysis)
        motion = _motion(context, str(speech), samples, style, resting_mouth(context, analysis))
    dubbed = timeline.dubbed
    if options.silence == "original":
        dubbed = dubbed & speech_mask(samples, timeline.time)
    crop_size = choose_crop_size(context.models.renderer.size, analysis, options.resolution)
    speaker = Speaker(analysis, motion, dubbed, crop_size, source_mood(context, analysis))
    return DubPlan([known.with_textures(context, speaker)], timeline, speech, _head_motion(context, analysis))


def _head_motion(context: RunContext, analysis: Analysis) -> HeadMotion | None:
    """Return the motion of the head where the source is a still image and it is wanted."""
    if context.still is None:
        return None
    context.report.warnings += [
        *context.still.warnings,
        "a still image shows one mouth: how the speaker talks, teeth and the inside of the mouth are guessed from it,"
        " and eyes do not blink; a video of the speaker, even a short one, gives more",
    ]
    if context.options.still == "fixed":
        return None
    size = context.reader.info.upright_size
    return HeadMotion(context.models.morphable, analysis, size, context.options.still_seed)


# ------------------------------------------------------------------------------------------- several speakers


def cast_cues(context: RunContext, cues: Sequence[Cue]) -> DubPlan:
    """Plan an output in which each person of a list of cues says that cue's speech in that cue's time.

    Args:
        context: The run.
        cues: In order of their starts.

    Raises:
        PersonaTalkError: See `dub.dub_cues`.
    """
    report, known, stretch = context.report, KnownSpeaker.load(context), _stretch(context, cues)
    with report.stage("analysis"):
        search, model = context.options.search(), context.models.morphable
        people = functools.cache(lambda: search.people(context.reader, model, context.on_progress))
        persons = _persons_of(context, cues, people)
        refuse_overlaps(cues, persons)
        analyses = _analyse_persons(context, cues, persons, people, known, stretch)
    first = next(iter(analyses.values()))
    timeline = plan(first.time, first.duration, float(first.time[-1] + first.duration[-1]))
    if stretch is not None and not ((timeline.time >= stretch[0]) & (timeline.time < stretch[1])).any():
        raise OptionError(f"{context.reader.info.path} ends at {timeline.speech_limit:.1f} s, before --start")
    _record(context, first, timeline, sum(cue.end - cue.start for cue in cues))
    if None in analyses and context.options.face is None:
        _warn_of_others(context, first)
    speakers = []
    with report.stage("speech"):
        files = dict.fromkeys(cue.speech for cue in cues)
        ends = {file: max(cue.offset + cue.end - cue.start for cue in cues if cue.speech == file) for file in files}
        speeches = {file: _store_speech(context, file, number, ends[file]) for number, file in enumerate(files)}
        for person, analysis in analyses.items():
            own = [cue for cue, of in zip(cues, persons, strict=True) if of == person]
            speaker = _cued_speaker(context, analysis, own, speeches, timeline, known)
            speakers.append(known.with_textures(context, speaker))
        audio = context.folder.folder / AUDIO_FILE
        mix_cues(context.reader.info.path, cues, timeline.speech_limit, audio)
    return DubPlan(speakers, timeline, audio)


def _stretch(context: RunContext, cues: Sequence[Cue]) -> tuple[float, float] | None:
    """Return start and end of the stretch that the options name; None where a list of cues does."""
    named = context.options.start is not None or context.options.end is not None
    return (cues[0].start, cues[0].end) if named else None


def _persons_of(context: RunContext, cues: Sequence[Cue], people: Callable[[], People]) -> list[PersonNumbers]:
    """Return the person of each cue; None for all of them where no cue names a face."""
    if all(cue.face is None for cue in cues):
        return [None] * len(cues)
    kept = _load_persons(context, len(cues))
    if kept is not None:
        return kept
    persons = merge_choices([resolve_choice(people(), cue.face or "largest") for cue in cues])
    for person in set(persons):
        try:
            resolve_choice(people(), _words(person))
        except FaceError as error:
            where = _where(cues, persons, person)
            raise CueError(f"{where}: these cues name the same person by numbers of several: {error}") from error
    context.folder.write(SPEAKERS_FILE, json.dumps(persons).encode())
    return list(persons)


def _load_persons(context: RunContext, count: int) -> list[PersonNumbers] | None:
    """Return the persons that a run before this one has found, which takes a pass over the video; None without."""
    kept = context.folder.path(SPEAKERS_FILE)
    if kept is not None:
        with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
            persons = [tuple(int(number) for number in person) for person in json.loads(kept.read_bytes())]
            if len(persons) == count and all(persons):
                return list(persons)
    return None


def _analyse_persons(
    context: RunContext,
    cues: Sequence[Cue],
    persons: Sequence[PersonNumbers],
    people: Callable[[], People],
    known: KnownSpeaker,
    stretch: tuple[float, float] | None,
) -> dict[PersonNumbers, Analysis]:
    """Return the analysis of each person who can be dubbed, with a warning for those who cannot.

    The audio of the others' cues is heard all the same.

    Raises:
        FaceError: Nobody can be dubbed.
    """

    def search(person: PersonNumbers) -> FaceSearch:
        found = context.options.search()
        return found if person is None else replace(found, face=_words(person), known=people())

    analyses: dict[PersonNumbers, Analysis] = {}
    errors: list[FaceError] = []
    for person in dict.fromkeys(persons):
        name = "-".join(["analysis", *map(str, person or (0,))])
        try:
            analyses[person] = known.analysis(context, name, functools.partial(search, person), stretch)
        except FaceError as error:
            errors.append(error)
            context.report.warnings.append(f"{_where(cues, persons, person)}: nobody is dubbed: {error}")
    if not analyses:
        raise errors[-1]
    return analyses


def _cued_speaker(
    context: RunContext,
    analysis: Analysis,
    cues: Sequence[Cue],
    speeches: Mapping[Path, SampleFile],
    timeline: Plan,
    known: KnownSpeaker,
) -> Speaker:
    """Return one person with the motion of that person's cues."""
    style, rest = known.style(context, analysis), resting_mouth(context, analysis)
    parts, dubbed = [], np.zeros(len(timeline), bool)
    for cue in cues:
        begin = round(cue.offset * SAMPLE_RATE)
        samples = speeches[cue.speech].part(begin, begin + round((cue.end - cue.start) * SAMPLE_RATE))
        if not len(samples):
            raise MediaError(f"{cue.where}: {cue.speech} has no audio from {cue.offset:g} s on")
        inside = (timeline.time >= cue.start) & (timeline.time < cue.end)
        if not inside.any():
            context.report.warnings.append(f"{cue.where}: the video shows nothing at {cue.start:g} s")
        dubbed |= inside
        parts.append((cue, _motion(context, cue.where, samples, style, rest)))
    crop_size = choose_crop_size(context.models.renderer.size, analysis, context.options.resolution)
    return Speaker(analysis, CuedMotion(parts, rest), dubbed, crop_size, source_mood(context, analysis))


def _words(person: tuple[int, ...]) -> str:
    """Return a person as `--face` names them."""
    return "+".join(map(str, person))


def _where(cues: Sequence[Cue], persons: Sequence[PersonNumbers], person: PersonNumbers) -> str:
    """Return the places of a person's cues, for messages."""
    return ", ".join(cue.where for cue, of in zip(cues, persons, strict=True) if of == person)


# ------------------------------------------------------------------------------------------------------ both


def _store_speech(context: RunContext, speech: Path, number: int, until: float | None) -> SampleFile:
    """Decode a speech up to a time to samples on the disk."""
    return store_speech(speech, context.folder.folder / f"speech-{number}.samples", SAMPLE_RATE, until)


def _seconds_needed(context: RunContext, video_seconds: float | None) -> float | None:
    """Return how much of a speech a video of some length needs; None for all of it.

    What comes after the video tells how loud the speech is, and what the mouth does last.
    """
    if video_seconds is None or context.options.length in AS_LONG_AS_SPEECH:
        return None
    return video_seconds + LOOKAHEAD


def _motion(context: RunContext, where: str, samples: SampleFile, style: Array, rest: Array) -> SpeechMotion:
    """Return the motion to a speech, with a warning where no speech is heard in it."""
    motion = SpeechMotion(context.models.stage1, samples, style, rest)
    if not motion.voice.any():
        context.report.warnings.append(f"{where}: no speech is heard in it: the mouth rests throughout")
    return motion


def _record(context: RunContext, analysis: Analysis, timeline: Plan, speech_seconds: float) -> None:
    """Record what is known before the first frame is rendered."""
    report = context.report
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
    report.speech_used_seconds = min(speech_seconds, timeline.speech_limit)
    report.offsets = {"container_start": analysis.info.start_seconds, "first_frame": float(analysis.time[0])}
    excess = speech_seconds - report.speech_used_seconds
    if excess > NOTABLE_EXCESS:
        report.warnings.append(
            f"the speech is {excess:.1f} s longer than the video and was cut; --length loop or pingpong keeps all of it"
        )


def _warn_of_others(context: RunContext, analysis: Analysis) -> None:
    """Warn that a frame shows several people, of whom nobody has chosen one."""
    crowded = int((analysis.faces > 1).sum())
    if crowded >= min(NOTABLE_CROWD, len(analysis)):
        context.report.warnings.append(
            f"{crowded} of {len(analysis)} frames show more than one face: the largest of each shot is dubbed;"
            f" 'personatalk faces {analysis.info.path}' lists the people, --face chooses one"
        )
