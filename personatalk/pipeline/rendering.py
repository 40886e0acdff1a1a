"""The second pass: renders new mouths into the frames of the output, which stream by."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from ..errors import MediaError
from ..faces.analysis import Analysis, SkipReason, yaw_of
from ..faces.light import well_lit
from ..faces.occlusion import ProbePoints, visibility
from ..geometry.camera import apply_transform
from ..geometry.morphable_model import MorphableModel
from ..media.reader import Frame, VideoReader
from ..media.timeline import Plan, shown_frames
from ..provenance.watermark import embed_watermark
from ..stage2.compositing import Patch, Rim, keep_other_things, match_colours, relit, to_image
from ..stage2.face_crops import FaceCropper
from ..stage2.geometry_map import ArrayMap, geometry_map
from ..stage2.reference_cells import Reference, merge_references
from ..stage2.references import FACE_REFERENCES, LIP_REFERENCES, face_references, lip_references
from ..utils.arrays import Array, Image, IntArray
from ..utils.threads import parallel_map
from .fading import blend_weight
from .report import Report
from .speaker import Speaker
from .weights import Models

# Frames before and after a frame that are held for its face references.
BEHIND, AHEAD = FACE_REFERENCES // 2, FACE_REFERENCES // 2

# A frame of the output, and why it has no new mouth; None if it has.
OutputFrame = tuple[Frame, "str | None"]

# Called with the number of an output frame and the new mouth that is pasted into it, from several threads.
OnComposited = Callable[[int, Patch], None]


@dataclass(frozen=True)
class RenderContext:
    """Parts of a run that the rendering of all speakers shares.

    Attributes:
        models: The trained parts.
        reader: The source.
        timeline: Which source frame is shown when.
        report: Record of times and lip references.
        watermark: Whether new mouths carry the watermark.
        on_composited: Told about every new mouth.
    """

    models: Models
    reader: VideoReader
    timeline: Plan
    report: Report
    watermark: bool
    on_composited: OnComposited | None = None


def dubbed_frames(context: RenderContext, speakers: list[Speaker], first: int = 0) -> Iterator[OutputFrame]:
    """Yield the frames of the output from number `first` on, in order.

    Args:
        context: Models, source, timeline and report.
        speakers: Who gets a new mouth; each is drawn over what the ones before left.
        first: The first frame that is wanted.
    """
    # The face references of the first frame lie before it, and those of the next speaker before those.
    start = max(0, first - BEHIND * len(speakers))
    for speaker in speakers:
        _record_resumed(context, speaker, first)
    frames = decoded_frames(context, start)
    for number, speaker in enumerate(speakers, 1):
        wanted = max(0, first - BEHIND * (len(speakers) - number))
        frames = MouthRenderer(context, speaker).frames(frames, start, wanted)
    for place, frame in enumerate(frames, start):
        if place >= first:
            yield frame


def _record_resumed(context: RenderContext, speaker: Speaker, first: int) -> None:
    """Record the lip references of the frames that a run before this one has finished."""
    shown, analysis = context.timeline.source_index[:first], speaker.analysis
    done = shown[speaker.dubbed[:first] & analysis.usable[shown]]
    for shot in sorted(set(analysis.shot_of[done].tolist())):
        context.report.record_lip_references(choose_lip_frames(context.models.morphable, analysis, shot))


def decoded_frames(context: RenderContext, start: int) -> Iterator[OutputFrame]:
    """Yield the output's frames from number `start` on as they are in the source, with their output times."""
    rest = context.timeline.since(start)
    numbered = shown_frames(context.reader, rest)
    while True:
        with context.report.stage("decode"):
            frame = next(numbered, None)
        if frame is None:
            return
        yield frame, SkipReason.ORIGINAL.value


@dataclass
class _PendingFrame:
    """A frame between decoding and encoding, and what its neighbours and itself need of it.

    Attributes:
        place: Number of the frame in the output.
        frame: The frame as it will be written.
        skipped_before: Why no speaker before has given it a new mouth; None if one has.
        skipped: Why this speaker gives it none; None if it gets one.
        shot: Number of its shot.
        blend_weight: Opacity of the new mouth, 0..1.
        crop: The source's face crop, uint8 (S, S, 3), or its colours where no more is needed; None if there is no
            usable face.
        transform: Image to crop, (2, 3).
        reference: The frame as a face reference.
    """

    place: int
    frame: Frame
    skipped_before: str | None
    skipped: str | None
    shot: int
    blend_weight: float
    crop: Image | None = None
    transform: Array | None = None
    reference: Reference | None = None


@dataclass(frozen=True)
class _RenderTask:
    """A frame and the references that it is rendered from; no references where it is passed through."""

    pending: _PendingFrame
    lips: list[Reference]
    faces: list[Reference]


class MouthRenderer:
    """Gives one speaker a new mouth.

    Args:
        context: Models, source, timeline and report.
        speaker: The speaker.
    """

    def __init__(self, context: RenderContext, speaker: Speaker) -> None:
        self.context, self.speaker = context, speaker
        models, analysis, timeline = context.models, speaker.analysis, context.timeline
        shown = timeline.source_index
        dubbed = analysis.usable[shown] & speaker.dubbed
        self._blend_weight = blend_weight(dubbed, analysis.shot_of[shown], yaw_of(analysis.pose)[shown], timeline.time)
        self._probe_points = ProbePoints.of(models.morphable)
        self._lips: tuple[int, list[Reference]] = (-1, [])
        self._cropper = FaceCropper(models.morphable, analysis, speaker.crop_size)

    def frames(self, frames: Iterable[OutputFrame], start: int = 0, first: int = 0) -> Iterator[OutputFrame]:
        """Yield frames with a new mouth. At most a window of face references, and a few frames in work, are held.

        Args:
            frames: The output's frames from number `start` on.
            start: Number of the first of them.
            first: Frames before this one are not rendered: they are references only.
        """
        cropped = parallel_map(self._crop, self._pending(frames, start))
        rendered = parallel_map(self._render, self._tasks(cropped, first))
        # An error leaves no threads behind, nor the frames that they hold.
        with closing(cropped), closing(rendered):
            yield from rendered

    def _pending(self, frames: Iterable[OutputFrame], start: int) -> Iterator[_PendingFrame]:
        """Decide about each frame whether it gets a new mouth."""
        analysis = self.speaker.analysis
        for place, (frame, before) in enumerate(frames, start):
            unusable = analysis.reason.get(frame.index)
            skipped, weight = unusable and unusable.value, float(self._blend_weight[place])
            if not self.speaker.dubbed[place]:
                skipped = SkipReason.ORIGINAL.value
            elif unusable is None and weight == 0:
                skipped = SkipReason.PROFILE.value
            yield _PendingFrame(place, frame, before, skipped, int(analysis.shot_of[frame.index]), weight)

    def _crop(self, pending: _PendingFrame) -> _PendingFrame:
        """Crop the face and encode it as a reference."""
        index, analysis, known = pending.frame.index, self.speaker.analysis, self.speaker.faces
        if index in analysis.reason:
            return pending
        with self.context.report.stage("references"):
            pending.transform = self._cropper.transform(index)
            kept = known and known.lookup(index)
            if kept and index not in analysis.occlusions:
                pending.reference, pending.crop = kept
            else:
                pending.crop = self._cropper.cut(pending.frame)
                pending.reference = kept[0] if kept else self._encode(index, pending.crop)
        return pending

    def _encode(self, index: int, crop: Image) -> Reference:
        return self._cropper.encode(self.context.models.renderer, index, crop)

    def _tasks(self, cropped: Iterable[_PendingFrame], first: int) -> Iterator[_RenderTask]:
        """Yield each frame with its references."""
        window: deque[_PendingFrame] = deque()
        place = 0  # in the window, of the next frame to leave
        for pending in cropped:
            window.append(pending)
            if len(window) - place > AHEAD:
                yield self._task(window, place, first)
                place += 1
            while place > BEHIND:
                window.popleft()
                place -= 1
        while place < len(window):
            yield self._task(window, place, first)
            place += 1

    def _task(self, window: deque[_PendingFrame], place: int, first: int) -> _RenderTask:
        pending = window[place]
        if pending.skipped is not None or pending.place < first:
            return _RenderTask(pending, [], [])
        near = (window[int(i)] for i in face_references(place, len(window)))
        faces = [other.reference for other in near if other.shot == pending.shot and other.reference is not None]
        return _RenderTask(pending, self._lip_references(pending.shot), faces)

    def _render(self, task: _RenderTask) -> OutputFrame:
        """Give a frame its new mouth."""
        pending, report = task.pending, self.context.report
        if not task.lips:
            # That this speaker was not wanted here says less than why another could not be dubbed.
            own = None if pending.skipped == SkipReason.ORIGINAL.value else pending.skipped
            return pending.frame, pending.skipped_before and (own or pending.skipped_before)
        with report.stage("geometry"):
            target = self._target(pending.frame)
        with report.stage("render"):
            rendered = self.context.models.renderer.render(target, task.lips, task.faces)
        with report.stage("composite"):
            composited = self._composite(pending, rendered, target.face)
        if composited is None:
            return pending.frame, pending.skipped_before and SkipReason.OUTSIDE.value
        return composited, None

    def _target(self, frame: Frame) -> ArrayMap:
        """Return the geometry of the new speech at the frame's time, under the frame's own pose and upper face."""
        model, index, analysis = self.context.models.morphable, frame.index, self.speaker.analysis
        video = analysis.vertices(model, index)
        vertices = self._cropper.place(model.join(self.speaker.vertices(model, index, frame.time), video), index)
        return geometry_map(model, vertices, self._cropper.size, (self._cropper.place(video, index),))

    def _composite(self, pending: _PendingFrame, rendered: Image, mask: Array) -> Frame | None:
        """Return the frame with its new mouth; None if that lies outside the image."""
        assert pending.crop is not None and pending.transform is not None
        lit = relit(rendered, self.speaker.analysis.light[pending.frame.index])
        rim = Rim.of(pending.crop, mask)
        matched = match_colours(lit, rim)
        mask = keep_other_things(matched, rim, mask)
        if self.context.watermark:
            matched = embed_watermark(matched, pending.frame.time)
        width, height = self.context.reader.info.upright_size
        opacity = pending.blend_weight * mask * self._visibility(pending)
        patch = to_image(matched, opacity, pending.transform, width, height)
        if patch is None:
            return None
        if self.context.on_composited is not None:
            self.context.on_composited(pending.place, patch)
        return pending.frame.pasted(patch.pixels, patch.mask, patch.left, patch.top)

    def _visibility(self, pending: _PendingFrame) -> Array | float:
        """Return the share of each pixel that nothing in front of the face hides, (S, S), or 1 for all of them."""
        index, analysis = pending.frame.index, self.speaker.analysis
        if index not in analysis.occlusions:
            return 1.0
        assert pending.crop is not None and pending.transform is not None
        shape = analysis.shots[analysis.shot_of[index]].alpha
        points = self._probe_points.at(shape, analysis.beta[index], analysis.pose[index])
        return visibility(analysis.occlusions[index], apply_transform(pending.transform, points), pending.crop)

    def _lip_references(self, shot: int) -> list[Reference]:
        """Return the lip references of a shot, fetched and encoded once."""
        report = self.context.report
        if self._lips[0] != shot:
            with report.stage("references"):
                chosen = choose_lip_frames(self.context.models.morphable, self.speaker.analysis, shot)
                lips = self.speaker.lips.get(shot)
                if not lips:
                    fetched = self._cropper.fetch(self.context.reader, chosen)
                    lips = [self._encode(index, crop) for index, crop in fetched]
                self._lips = (shot, [merge_references(lips)])
            report.record_lip_references(chosen)
        return self._lips[1]


def choose_lip_frames(model: MorphableModel, analysis: Analysis, shot: int) -> IntArray:
    """Choose the lip references of a shot by Algorithm 1 of the paper.

    Args:
        model: The morphable model.
        analysis: The analysis of the video.
        shot: Number of the shot.

    Returns:
        Frame numbers of the video, from the most closed mouth to the most open one.

    Raises:
        MediaError: The shot has no usable face.
    """
    span = analysis.shots[shot]
    frames = span.start + np.flatnonzero(analysis.usable[span.start : span.stop])
    if len(frames) == 0:
        raise MediaError(f"{analysis.info.path}: shot {shot} has no usable face")
    for good in (analysis.lips_hidden == 0, well_lit(analysis.light)):
        frames = frames[good[frames]] if good[frames].any() else frames
    return frames[lip_references(analysis.openings(model, frames), LIP_REFERENCES)]
